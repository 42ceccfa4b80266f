//! Whose ids were as is told now: what was retracted was never asked (H1), and an id always had the class that it has (H5). A split parts
//! from its own record on, as it says (H2).

use std::collections::{BTreeMap, BTreeSet};

use crate::export::people::{Owner, Start};
use crate::export::tables::{Export, source};
use crate::fold::{PersonNo, State};
use crate::log::body::IdNo;
use crate::log::component::{ComponentRecords, Node};
use crate::log::kind::Kind;
use crate::log::record::Record;
use crate::model::id::Seq;
use crate::store::segments::Fault;

impl Export<'_> {
    /// The starts of all periods of the ids whose component was corrected. Those of all other ids are as they were told then.
    ///
    /// Cost: the records of those components, read and folded once, and a step for each period.
    pub(super) fn corrected(&self) -> Result<BTreeMap<IdNo, Vec<Start>>, Fault> {
        let mut seeds: BTreeSet<IdNo> = self.state.reclassified().collect();
        for seq in self.state.retract_targets() {
            seeds.insert(self.fixed(seq)?.id);
        }
        let mut told = BTreeMap::new();
        while let Some(seed) = seeds.pop_first() {
            if !told.contains_key(&seed) {
                let records = self.reader.log.component(Node::Id(seed), self.as_of().0 + 1)?;
                self.tell(&records, &mut told);
            }
        }
        Ok(told)
    }

    /// Folds a component without what is retracted in it, and notes each move of an id.
    fn tell(&self, records: &ComponentRecords, told: &mut BTreeMap<IdNo, Vec<Start>>) {
        let (ids, _) = records.named();
        let mut moves =
            Moves { export: self, ids: &ids, whose: vec![None; ids.len()], of: BTreeMap::new(), told };
        self.state.alone_telling(records, |seq, _, small| {
            moves.see(records.record(seq).expect("what is told of is in the excerpt"), small);
        });
        for id in ids {
            told.entry(id).or_default(); // also of one that came to no person
        }
    }
}

/// The moves of a component's ids. Persons and ids have the component's own numbers, but for those of `told`.
struct Moves<'a> {
    export: &'a Export<'a>,
    /// The whole's numbers of the ids.
    ids: &'a [IdNo],
    whose: Vec<Option<PersonNo>>,
    of: BTreeMap<PersonNo, Vec<IdNo>>,
    told: &'a mut BTreeMap<IdNo, Vec<Start>>,
}

impl Moves<'_> {
    /// Notes what a record moved; `small` is the component right after it.
    fn see(&mut self, record: Record<'_>, small: &State) {
        let seq = record.seq();
        if record.row.kind == Kind::Split {
            return small.ids().for_each(|id| self.moved(id, seq, small, Some("split")));
        }
        let here = |id: IdNo| self.ids.binary_search(&id).ok().map(|number| IdNo(number as u32)); // MAX_RECORDS bounds it
        let (id, other) = (here(record.row.id), source(record).and_then(here));
        for id in [id, id.map(|id| small.speaks_for(id, seq)), other].into_iter().flatten() {
            // An id moves alone when it comes to its first person, and with all of its person when that is absorbed.
            match self.whose[id.index()].filter(|whose| small.person(id) != Some(*whose)) {
                None => self.moved(id, seq, small, None),
                Some(absorbed) => {
                    let all = self.of.remove(&absorbed).unwrap_or_default();
                    all.into_iter().for_each(|id| self.moved(id, seq, small, Some("merged")));
                }
            }
        }
    }

    /// Notes that `id` came to the person that it has, if it did; `change` says how, if that was not its first.
    fn moved(&mut self, id: IdNo, seq: Seq, small: &State, change: Option<&'static str>) {
        let Some(person) = small.person(id) else { return };
        let before = self.whose[id.index()].replace(person);
        if before == Some(person) {
            return;
        }
        self.of.entry(person).or_default().push(id);
        let public = |person| (small.founding(person), small.origin(person).key());
        if before.map(public) == Some(public(person)) {
            return; // a split founds the part that stays once more, under the same public id
        }
        let founds = small.founding(person) == id && Seq(small.origin(person).founded.into()) == seq;
        let change = change.unwrap_or(if founds { "founded" } else { "joined" });
        let start = Start { from: seq, owner: Some(self.owner(person, small)), change };
        self.told.entry(self.ids[id.index()]).or_default().push(start);
    }

    /// A person by its number in the whole, if it has one there.
    fn owner(&self, person: PersonNo, small: &State) -> Owner {
        let (founding, origin) = (self.ids[small.founding(person).index()], small.origin(person));
        let Export { state, .. } = self.export;
        let person_no = state.last_of(founding, origin.key());
        let called = || self.export.id_called(state.called_alone(founding, origin));
        Owner { person_no, person_id: person_no.map_or_else(called, |person| self.export.person_id(person)) }
    }
}
