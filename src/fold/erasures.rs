//! Erasures: what is to be forgotten, by number (H3). The structure stays; what a number stood for does not.
//!
//! A fold needs no text, so erasing changes nothing of what it did before. From the erase record on it knows which payload
//! items are covered, so that every answer can say "erased" before the last byte is gone, and a verifier can tell a permitted
//! absence from any other.

use std::collections::{BTreeMap, BTreeSet};

use crate::fold::State;
use crate::fold::generations::Origin;
use crate::fold::links::{NONE, PersonNo};
use crate::log::body::{Body, DeviceNo, Erasure, IdNo, Removal, Restated};
use crate::log::record::Row;
use crate::model::id::Seq;

/// What the public id of a person is made of (D10, D11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PersonIdBasis {
    /// D10: the text of the id that founded it.
    Founding(IdNo),
    /// D11: the text of an id, and a record: the one that defined the id, after the ledger's first erasure; the split that founded
    /// the person; or the erasure after which the person is called after this id.
    At(IdNo, Seq),
    /// D11: nothing but the number of the id that founded it, and the split that did, if one did; the text is gone.
    Erased(IdNo, Option<Seq>),
}

impl PersonIdBasis {
    /// The id whose text, or else whose number, it is made of.
    pub fn id(self) -> IdNo {
        match self {
            PersonIdBasis::Founding(id) | PersonIdBasis::At(id, _) | PersonIdBasis::Erased(id, _) => id,
        }
    }

    /// The same with the id numbered by what `ids` gives for it.
    pub(crate) fn of(self, ids: impl Fn(IdNo) -> IdNo) -> PersonIdBasis {
        match self {
            PersonIdBasis::Founding(id) => PersonIdBasis::Founding(ids(id)),
            PersonIdBasis::At(id, seq) => PersonIdBasis::At(ids(id), seq),
            PersonIdBasis::Erased(id, split) => PersonIdBasis::Erased(ids(id), split),
        }
    }
}

/// All erasures so far. By number throughout; 2^32 - 1 stands for none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Erasures {
    /// Erase records, and the record that says it is done, or NONE.
    pub(super) list: BTreeMap<u32, u32>,
    /// The last erase record that is done, as a file beside the chain says: of a ledger that follows a log no record says so. It is one
    /// copy's, so no digest covers it.
    pub(super) done_beside: Option<u32>,
    /// Ids and the records that erase them.
    pub(super) ids: BTreeSet<(u32, u32)>,
    pub(super) devices: BTreeMap<u32, u32>,
    /// Records whose item is erased no matter for whom they speak: definitions, and records named by number.
    pub(super) records: BTreeMap<u32, u32>,
    /// What is left of records, newest.
    pub(super) restated: BTreeMap<u32, Left>,
    /// Persons who live on without the id that founded them.
    pub(super) renamed: BTreeMap<u32, (u32, u32)>,
    /// The ids they are called after since then, each with the person: an absorbed one and its survivor may share one. No digest
    /// covers it.
    pub(super) called_after: BTreeSet<(u32, u32)>,
    /// By person, its ids as they were last looked through: kept so that N erasures of N ids of a person do not look through N ids
    /// each. No digest covers it, and a state that is read back has none.
    pub(super) remaining: BTreeMap<u32, Remaining>,
    /// How many ids were looked through to find what persons are called after.
    pub(super) looked_through: u64,
}

/// The ids of a person that are not erased.
#[derive(Clone, Debug)]
pub(super) struct Remaining {
    /// How many ids the person had. A living person gains ids, and loses them only where its component is refolded.
    size: u32,
    /// Those that were not erased, from the highest on.
    ids: Vec<IdNo>,
}

/// What is left of a record's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// The restate record that holds it.
    pub(crate) by: u32,
    /// Places of values that are erased.
    pub(crate) erased: Vec<u16>,
}

impl Erasures {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The ledger's first erasure: from there on persons are founded under D11.
    fn first(&self) -> Option<u32> {
        self.list.first_key_value().map(|(seq, _)| *seq)
    }

    /// The last one.
    pub(crate) fn last(&self) -> Option<u32> {
        self.list.last_key_value().map(|(seq, _)| *seq)
    }

    /// Every erase record, ascending, each with the record that says it is done.
    pub(crate) fn list(&self) -> impl Iterator<Item = (u32, Option<u32>)> {
        self.list.iter().map(|(seq, done)| (*seq, (*done != NONE).then_some(*done)))
    }

    /// Those that are not done.
    pub(crate) fn pending(&self) -> impl Iterator<Item = u32> {
        self.list.keys().copied().filter(|erase| !self.is_done(*erase))
    }

    /// Whether some are not done.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending().next().is_some()
    }

    /// The last one that is done.
    pub(crate) fn last_done(&self) -> Option<u32> {
        self.list.keys().rev().copied().find(|erase| self.is_done(*erase))
    }

    /// The record that says that this erase record's items are gone.
    pub(crate) fn done_by(&self, erase: u32) -> Option<u32> {
        self.list.get(&erase).copied().filter(|done| *done != NONE)
    }

    /// Whether this erase record's items are said to be gone, by a record or beside the chain.
    pub(crate) fn is_done(&self, erase: u32) -> bool {
        self.done_by(erase).is_some() || self.is_done_beside(erase)
    }

    /// Whether a file beside the chain says so.
    pub(crate) fn is_done_beside(&self, erase: u32) -> bool {
        self.done_beside.is_some_and(|last| erase <= last)
    }

    /// The record that took the text of an id.
    pub(crate) fn of_id(&self, id: IdNo) -> Option<u32> {
        self.ids.range((id.0, 0)..=(id.0, NONE)).next().map(|(_, by)| *by)
    }

    /// The record that took the text of a device.
    pub(crate) fn of_device(&self, device: DeviceNo) -> Option<u32> {
        self.devices.get(&device.0).copied()
    }

    /// The first erasure that covers this record's payload item.
    pub(crate) fn of(&self, row: &Row) -> Option<u32> {
        if self.is_empty() {
            return None; // most ledgers
        }
        let named = self.records.get(&row.seq).copied();
        let id = row.id.0;
        let spoken = row.speaks_for_id().then(|| self.ids.range((id, row.seq + 1)..=(id, NONE)).next());
        let spoken = spoken.flatten().map(|(_, by)| *by);
        [named, spoken].into_iter().flatten().min()
    }

    /// The ids whose texts are erased; one that was erased more than once, as often.
    pub(crate) fn ids(&self) -> impl Iterator<Item = IdNo> {
        self.ids.iter().map(|(id, _)| IdNo(*id))
    }

    /// The records whose item is erased no matter for whom they speak.
    pub(crate) fn records(&self) -> impl Iterator<Item = u32> {
        self.records.keys().copied()
    }

    /// What is left of a record that was rectified.
    pub(crate) fn left_of(&self, record: u32) -> Option<&Left> {
        self.restated.get(&record)
    }

    /// The earliest record that an erasure which is not done may cover; if all are done, that any may cover.
    pub(crate) fn earliest(&self, defined: impl Fn(IdNo) -> u32) -> Option<u32> {
        let any = !self.is_pending();
        let pending = |by: &u32| any || !self.is_done(*by);
        let records = self.records.iter().filter(|(_, by)| pending(by)).map(|(record, _)| *record);
        let ids = self.ids.iter().filter(|(_, by)| pending(by)).map(|(id, _)| defined(IdNo(*id)));
        records.chain(ids).min()
    }

    /// The person, present or not, that is called after this id since this erasure.
    pub(super) fn who_is_called(&self, (id, by): (IdNo, u32)) -> Option<PersonNo> {
        let called = self.called_after.range((id.0, 0)..=(id.0, NONE)).map(|(_, person)| person);
        called.copied().find(|person| self.renamed.get(person) == Some(&(id.0, by))).map(PersonNo)
    }

    /// What no digest covers of them: who is called after which id.
    pub(super) fn called_after(renamed: &BTreeMap<u32, (u32, u32)>) -> BTreeSet<(u32, u32)> {
        renamed.iter().map(|(person, (id, _))| (*id, *person)).collect()
    }
}

impl State {
    pub(crate) fn erasures(&self) -> &Erasures {
        &self.erasures
    }

    /// Takes over the erasures of a later state of the same log. Who is whom does not depend on them.
    pub(crate) fn erased_since(&mut self, later: &Erasures) {
        self.erasures = later.clone();
    }

    /// Takes note that the erasures up to an erase record are done, as a file beside the chain says. A ledger that follows no log has
    /// records for that.
    pub(crate) fn done_beside(&mut self, last: Option<u32>) {
        self.erasures.done_beside = last.filter(|_| self.followed().is_some());
    }

    /// The record that erased the text of an id; `None` if it is not erased.
    pub fn id_erased_by(&self, id: IdNo) -> Option<Seq> {
        self.erasures.of_id(id).map(|by| Seq(by.into()))
    }

    /// The record that erased the text of a device's id.
    pub fn device_erased_by(&self, device: DeviceNo) -> Option<Seq> {
        self.erasures.of_device(device).map(|by| Seq(by.into()))
    }

    /// What the public id of a person is made of, whatever became of it (D10, D11). All generations of one person are called the same.
    pub fn called(&self, person: PersonNo) -> PersonIdBasis {
        if let Some((id, by)) = self.renamed(person) {
            return PersonIdBasis::At(id, Seq(by.into()));
        }
        self.called_by(
            self.founding(person),
            self.generations.origins.get(&person).and_then(|origin| origin.key()),
        )
    }

    /// The id that a person is called after since the one that founded it was erased, and the erasure.
    fn renamed(&self, person: PersonNo) -> Option<(IdNo, u32)> {
        if self.erasures.renamed.is_empty() {
            return None; // most ledgers
        }
        let last = if self.is_retired(person) { self.founded_again(person) } else { None };
        let (id, by) = self.erasures.renamed.get(&last.unwrap_or(person).0)?;
        Some((IdNo(*id), *by))
    }

    /// What the public id of the person of an id is made of, or of the one it would found.
    pub fn called_of(&self, id: IdNo) -> PersonIdBasis {
        self.person(id).map_or_else(|| self.implied(id), |person| self.called(person))
    }

    /// As [`State::called`], for a person of a component that was told alone: the same founding id and origin make the same
    /// person, if this state ever had it.
    pub(crate) fn called_alone(&self, founding: IdNo, origin: Origin) -> PersonIdBasis {
        let renames = !self.erasures.renamed.is_empty(); // most ledgers have none
        let known = renames.then(|| self.last_of(founding, origin.key())).flatten();
        known.map_or_else(|| self.called_by(founding, origin.key()), |person| self.called(person))
    }

    /// The latest generation of a person, by what tells it apart for ever: its founding id and [`Origin::key`].
    pub(crate) fn last_of(&self, founding: IdNo, key: Option<u32>) -> Option<PersonNo> {
        let same =
            |person: &PersonNo| self.founding(*person) == founding && self.origin(*person).key() == key;
        let first = || self.links.person_first(founding).filter(same);
        // One that was founded again since its component was folded again is the latest, and no generation knows it.
        let founded = self.founded_by(founding).filter(same).max();
        self.generations.latest.get(&(founding, key)).copied().max(founded).or_else(first)
    }

    /// An id that was defined after the ledger's first erasure is told from an erased one of the same text by the record that defined
    /// it. That record is known before the id founds anybody, so the implied person and the founded one are called the same.
    ///
    /// Cost: nothing of the id is looked at where nothing was erased, for exports ask for each row.
    fn called_by(&self, founding: IdNo, split: Option<u32>) -> PersonIdBasis {
        let split = split.map(|founded| Seq(founded.into()));
        let defined = || self.links.defined(founding);
        match (self.erasures.first(), split) {
            (Some(_), split) if self.erasures.of_id(founding).is_some() => {
                PersonIdBasis::Erased(founding, split)
            }
            (_, Some(founded)) => PersonIdBasis::At(founding, founded),
            (Some(first), None) if defined() > first => PersonIdBasis::At(founding, Seq(defined().into())),
            _ => PersonIdBasis::Founding(founding),
        }
    }

    /// What the person is called that an id without a person would found.
    pub fn implied(&self, id: IdNo) -> PersonIdBasis {
        self.called_alone(id, Origin { founded: self.links.defined(id), split: false })
    }

    /// Folds a record of an erasure.
    pub(super) fn erase(&mut self, seq: u32, body: &Body) {
        match body {
            Body::Erase(erasure) => self.forget(seq, erasure),
            Body::EraseDone(removal) => self.note_removal(seq, removal),
            Body::Restate(restated) => {
                let Restated { record, erased, .. } = &**restated;
                self.erasures.restated.insert(*record, Left { by: seq, erased: erased.clone() });
            }
            _ => unreachable!("only records of erasures come here"),
        }
    }

    fn forget(&mut self, seq: u32, erasure: &Erasure) {
        let Erasures { list, ids, devices, records, .. } = &mut self.erasures;
        list.insert(seq, NONE);
        for id in &erasure.ids {
            ids.insert((id.0, seq));
            records.entry(self.links.defined(*id)).or_insert(seq);
        }
        for device in &erasure.devices {
            devices.entry(device.device.0).or_insert(seq);
            records.entry(device.defined).or_insert(seq);
        }
        for record in &erasure.records {
            records.entry(*record).or_insert(seq);
        }
        erasure.ids.iter().for_each(|id| self.rename_after(*id, seq));
    }

    fn note_removal(&mut self, seq: u32, removal: &Removal) {
        for removed in &removal.erasures {
            if let Some(done) = self.erasures.list.get_mut(&removed.erase)
                && *done == NONE
            {
                *done = seq;
            }
        }
    }

    /// D11: a living person that was called after an erased id is called after its lowest remaining one from here on.
    fn rename_after(&mut self, id: IdNo, seq: u32) {
        let renamed = |person: &PersonNo| self.erasures.renamed.contains_key(&person.0);
        let founded: Vec<u32> =
            self.founded_by(id).filter(|person| !renamed(person)).map(|person| person.0).collect();
        let called: Vec<u32> =
            self.erasures.called_after.range((id.0, 0)..=(id.0, NONE)).map(|(_, person)| *person).collect();
        for person in founded.into_iter().chain(called) {
            self.erasures.called_after.remove(&(id.0, person));
            match self.next_remaining(PersonNo(person)) {
                Some(next) => self.call_after(person, next, seq),
                None => drop(self.erasures.renamed.remove(&person)),
            }
        }
    }

    /// The lowest id of a living person that is not erased.
    fn lowest_remaining(&self, person: PersonNo) -> Option<IdNo> {
        let remaining = |id: &IdNo| self.erasures.of_id(*id).is_none();
        if self.lives(person) { self.links.ring(self.anchor(person)).filter(remaining).min() } else { None }
    }

    /// The same, where the id that was the lowest so far was erased: what was looked through for that one is not looked through again.
    fn next_remaining(&mut self, person: PersonNo) -> Option<IdNo> {
        let known = self.erasures.remaining.remove(&person.0);
        if !self.lives(person) {
            return None;
        }
        let size = self.links.size(person);
        let mut remaining = match known.filter(|known| known.size == size) {
            Some(known) => known,
            None => self.look_through(person, size),
        };
        let is_erased = |id: &mut IdNo| self.erasures.of_id(*id).is_some();
        while remaining.ids.pop_if(is_erased).is_some() {}
        let lowest = remaining.ids.last().copied();
        debug_assert_eq!(lowest, self.lowest_remaining(person), "a person loses ids by a refold only");
        if lowest.is_some() {
            self.erasures.remaining.insert(person.0, remaining);
        }
        lowest
    }

    fn look_through(&mut self, person: PersonNo, size: u32) -> Remaining {
        self.erasures.looked_through += u64::from(size);
        let remaining = |id: &IdNo| self.erasures.of_id(*id).is_none();
        let mut ids: Vec<IdNo> = self.links.ring(self.anchor(person)).filter(remaining).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Remaining { size, ids }
    }

    fn lives(&self, person: PersonNo) -> bool {
        self.survivor(person) == person && !self.is_retired(person)
    }

    fn call_after(&mut self, person: u32, id: IdNo, erase: u32) {
        self.erasures.renamed.insert(person, (id.0, erase));
        self.erasures.called_after.insert((id.0, person));
    }

    /// D11, where a component was folded again: its persons whose founding id is erased, each with its last generation, keep the name
    /// that they had. A living one that had none is called after its lowest remaining id.
    pub(super) fn call_anew(&mut self, persons: Vec<(PersonNo, Option<PersonNo>)>) {
        for (person, before) in persons {
            for changed in [Some(person), before].into_iter().flatten() {
                self.erasures.remaining.remove(&changed.0);
            }
            let Some(erase) = self.erasures.of_id(self.founding(person)) else { continue };
            let kept = before.and_then(|before| self.take_name(before));
            if let Some((id, by)) = kept.or_else(|| self.name_as_ever(person, erase)) {
                self.call_after(person.0, id, by);
            }
        }
    }

    /// Takes the name of a former generation, for the present one.
    fn take_name(&mut self, person: PersonNo) -> Option<(IdNo, u32)> {
        let (id, by) = self.erasures.renamed.remove(&person.0)?;
        self.erasures.called_after.remove(&(id, person.0));
        Some((IdNo(id), by))
    }

    /// The name that a living person would have, had it always had its present ids: after the lowest that is left, with the last
    /// erasure that took a name from it, of its founding id (`erase`) or of one below. None if another person has that name.
    fn name_as_ever(&self, person: PersonNo, erase: u32) -> Option<(IdNo, u32)> {
        let next = self.lowest_remaining(person)?;
        let below = self.links.ring(self.anchor(person)).filter(|id| *id < next);
        let erased = below.filter_map(|id| self.erasures.of_id(id)).max();
        let name = (next, erased.unwrap_or(erase).max(erase));
        self.erasures.who_is_called(name).is_none().then_some(name)
    }
}

/// Payload items that are absent, until it is known which record permits that.
#[derive(Debug)]
pub(crate) struct Absences {
    rows: Vec<Row>,
    /// How many there may be before all are looked through again.
    limit: usize,
}

impl Default for Absences {
    fn default() -> Absences {
        Absences { rows: Vec::new(), limit: 1 << 16 }
    }
}

impl Absences {
    /// Takes note of a record without its item.
    pub(crate) fn see(&mut self, row: &Row, so_far: &Erasures) {
        self.rows.push(*row);
        if self.rows.len() >= self.limit {
            self.rows.retain(|row| so_far.of(row).is_none());
            self.limit = (2 * self.rows.len()).max(1 << 16);
        }
    }

    /// The first that no erasure covers.
    pub(crate) fn unlicensed(&self, erasures: &Erasures) -> Option<u64> {
        self.unlicensed_but(erasures, |_| false)
    }

    /// The same, where others may permit it too.
    pub(crate) fn unlicensed_but(&self, erasures: &Erasures, too: impl Fn(&Row) -> bool) -> Option<u64> {
        let mut open = self.rows.iter().filter(|row| erasures.of(row).is_none());
        open.find(|row| !too(row)).map(|row| row.seq.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erase::{ErasureRequest, ErasureSubject};
    use crate::log::kind::Kind;
    use crate::{DeviceId, DistinctId, Ledger, Operation, Policy};
    use crate::{OperationId, Processing, Source, SplitMode, Target, Tenant, Timestamp};

    pub(super) fn id(text: &str) -> DistinctId {
        DistinctId::new(text).unwrap()
    }

    fn time() -> Timestamp {
        Timestamp::from_micros(5).unwrap()
    }

    fn ledger() -> Ledger {
        Ledger::in_memory(Tenant::default(), Policy::default()).unwrap()
    }

    /// The record of a link of `who`, and of the id `source` that joins it.
    fn link(ledger: &mut Ledger, who: &str, source: &str) -> Seq {
        let link = Operation::identify(time(), id(who), Some(Source::new(source)));
        ledger.append(link).unwrap().seq().unwrap()
    }

    fn erase(ledger: &mut Ledger, subject: ErasureSubject) -> Seq {
        ledger.erase(&[ErasureRequest::new(time(), subject, "")]).unwrap()[0].seq
    }

    fn erase_id(ledger: &mut Ledger, text: &str) -> Seq {
        erase(ledger, ErasureSubject::Ids([id(text)].into()))
    }

    /// An id that is only captured under, without a person.
    fn seen(ledger: &mut Ledger, text: &str) -> IdNo {
        let number = OperationId(uuid::Uuid::from_u128(ledger.checkpoint().records.into()));
        let capture = Operation::capture(time(), id(text), number);
        let _ = ledger.append(capture.with_processing(Processing::Off)).unwrap();
        ledger.reader().id_no(text).unwrap()
    }

    fn called(ledger: &Ledger, text: &str) -> PersonIdBasis {
        ledger.reader().state().called_of(ledger.reader().id_no(text).unwrap())
    }

    /// D11: who an id would found tells an id that came after an erasure from an erased one of the same text.
    #[test]
    fn whom_an_id_would_found_depends_on_what_was_erased_before_it_came() {
        let mut ledger = ledger();
        let [early, gone] = ["early", "gone"].map(|text| seen(&mut ledger, text));
        assert_eq!(
            [early, gone].map(|id| ledger.reader().state().implied(id)),
            [early, gone].map(PersonIdBasis::Founding)
        );
        erase(&mut ledger, ErasureSubject::PersonOf(id("gone")));
        let again = seen(&mut ledger, "gone");
        assert_ne!(gone, again, "nothing says that they were one");
        let state = ledger.reader().state();
        assert_eq!(state.implied(early), PersonIdBasis::Founding(early));
        assert_eq!(state.implied(gone), PersonIdBasis::Erased(gone, None));
        assert_eq!(state.implied(again), PersonIdBasis::At(again, state.defined_by(again)));
    }

    #[test]
    fn a_person_without_a_text_is_called_by_number_and_one_with_a_text_after_it() {
        let mut ledger = ledger();
        link(&mut ledger, "ann", "phone");
        link(&mut ledger, "bob", "laptop");
        let [ann, bob] = ["ann", "bob"].map(|text| ledger.reader().id_no(text).unwrap());
        erase(&mut ledger, ErasureSubject::PersonOf(id("ann")));
        link(&mut ledger, "ann", "tablet"); // another ann: nothing says that they were one
        let person = ledger.reader().state().person(ann).unwrap();
        assert_eq!(ledger.reader().state().called(person), PersonIdBasis::Erased(ann, None));
        assert_eq!(called(&ledger, "bob"), PersonIdBasis::Founding(bob));
        let again = ledger.reader().id_no("ann").unwrap();
        assert_eq!(
            called(&ledger, "ann"),
            PersonIdBasis::At(again, ledger.reader().state().defined_by(again))
        );
    }

    /// A person whose ids are erased one by one was looked through from the beginning for each.
    #[test]
    fn who_loses_one_id_after_the_other_is_looked_through_once() {
        const IDS: usize = 60;
        let mut ledger = ledger();
        let ids: Vec<String> = (0..IDS).map(|number| format!("i{number:02}")).collect();
        for other in &ids[1..] {
            link(&mut ledger, &ids[0], other);
        }
        for (erased, next) in ids.iter().zip(&ids[1..]) {
            let by = erase_id(&mut ledger, erased);
            assert_eq!(called(&ledger, next), PersonIdBasis::At(ledger.reader().id_no(next).unwrap(), by));
        }
        assert_eq!(ledger.reader().state().erasures().looked_through, IDS as u64);
    }

    /// D11 where a component was folded again: a name stays, whatever becomes of the id that it is made of.
    #[test]
    fn a_person_folded_again_is_called_as_before_also_without_that_id() {
        let mut ledger = ledger();
        link(&mut ledger, "zoe", "z1"); // is called after another id too
        let elsewhere = erase_id(&mut ledger, "zoe");
        let links = ["i1", "i2", "i3"].map(|phone| link(&mut ledger, "ivy", phone));
        let [i1, i2, i3] = ["i1", "i2", "i3"].map(|text| ledger.reader().id_no(text).unwrap());
        let (first, second) = (erase_id(&mut ledger, "ivy"), erase_id(&mut ledger, "i1"));
        assert_eq!(
            called(&ledger, "i2"),
            PersonIdBasis::At(i2, second),
            "after the lowest that is left, {i1:?} is gone"
        );
        let mut retract = |seq| ledger.append(Operation::retract(time(), Target::Record(seq))).unwrap();
        let _ = retract(links[2]);
        assert_eq!(called(&ledger, "i2"), PersonIdBasis::At(i2, second), "as before");
        assert_eq!(ledger.reader().state().person(i3), None);
        let _ = ledger.append(Operation::retract(time(), Target::Record(ledger_last(&ledger)))).unwrap(); // i3 is back
        let _ = ledger.append(Operation::retract(time(), Target::Record(links[1]))).unwrap();
        assert_eq!(ledger.reader().state().person(i2), None);
        assert_eq!(called(&ledger, "i3"), PersonIdBasis::At(i2, second), "as before");
        assert!(elsewhere < first && first < second);
        assert!(matches!(called(&ledger, "z1"), PersonIdBasis::At(_, by) if by == elsewhere));
    }

    fn ledger_last(ledger: &Ledger) -> Seq {
        Seq(ledger.checkpoint().records - 1)
    }

    /// Of all persons with one public id the present one says what it is called.
    #[test]
    fn a_person_told_of_alone_is_called_as_in_the_whole() {
        let mut ledger = ledger();
        for phone in ["g1", "g2"] {
            link(&mut ledger, "gus", phone);
        }
        let [gus, g1, g2] = ["gus", "g1", "g2"].map(|text| ledger.reader().id_no(text).unwrap());
        let founded = ledger.reader().state().origin(ledger.reader().state().person(gus).unwrap());
        let split = Operation::split(time(), id("gus"), [id("g2")], SplitMode::Together);
        let split = ledger.append(split).unwrap().seq().unwrap();
        let by = erase_id(&mut ledger, "gus");
        let state = ledger.reader().state();
        assert_eq!(state.called_alone(gus, founded), PersonIdBasis::At(g1, by));
        assert_eq!(state.called_alone(gus, founded), state.called_of(gus));
        let parted = Origin { founded: split.0 as u32, split: true };
        assert_eq!(state.called_alone(g2, parted), PersonIdBasis::At(g2, split));
        let never = Origin { founded: 1, split: true };
        assert_eq!(
            state.called_alone(g1, never),
            PersonIdBasis::At(g1, Seq(1)),
            "no person of that name is known"
        );
    }

    #[test]
    fn an_erased_device_names_the_record_that_erased_it() {
        let mut ledger = ledger();
        for (text, user) in [("d1", "ann"), ("d2", "bob")] {
            let mut device = ledger.device(DeviceId::new(text).unwrap());
            let _ = device.identify(time(), id(user), Default::default()).unwrap();
        }
        let by = erase(&mut ledger, ErasureSubject::PersonOf(id("bob")));
        let erased =
            [DeviceNo(0), DeviceNo(1)].map(|device| ledger.reader().state().device_erased_by(device));
        assert_eq!(erased, [None, Some(by)]);
    }

    fn row(kind: Kind, id: u32, seq: u32) -> Row {
        Row::made_up(kind, IdNo(id), seq)
    }

    /// H3: an erase record covers what stands before it, and nothing behind.
    #[test]
    fn an_erasure_covers_the_records_before_it_that_speak_for_its_ids() {
        let erasures = Erasures {
            list: [(10, 12), (20, NONE)].into(),
            ids: [(7, 10), (7, 20)].into(),
            records: [(3, 20), (4, 10)].into(),
            ..Erasures::default()
        };
        let set = |seq| erasures.of(&row(Kind::Set, 7, seq));
        assert_eq!([9, 10, 11, 19, 20, 21].map(set), [Some(10), Some(20), Some(20), Some(20), None, None]);
        assert_eq!(erasures.of(&row(Kind::Set, 8, 5)), None, "another id's");
        assert_eq!(erasures.of(&row(Kind::DefineDevice, 7, 5)), None, "it speaks for no id");
        let named = [3, 4].map(|seq| erasures.of(&row(Kind::DefineName, NONE, seq)));
        assert_eq!(named, [Some(20), Some(10)], "named by number");

        // Where a removal begins to look: at what is not done, or at all if that is asked for again.
        let defined = |id: IdNo| 100 - id.0;
        assert_eq!(erasures.earliest(defined), Some(3));
        let later = |done| Erasures {
            list: [(10, 12), (20, done)].into(),
            records: [(4, 10), (6, 20)].into(),
            ..erasures.clone()
        };
        assert_eq!([NONE, 22].map(|done| later(done).earliest(defined)), [Some(6), Some(4)]);
        let ids = Erasures { ids: [(98, 20)].into(), ..later(NONE) };
        assert_eq!(ids.earliest(defined), Some(2), "from its definition on");
    }

    /// However many payload items are absent, those that an erasure covers are forgotten, and the first other
    /// one is reported.
    #[test]
    fn of_absent_items_the_first_without_a_license_is_told() {
        let erasures =
            Erasures { list: [(300_000, NONE)].into(), ids: [(7, 300_000)].into(), ..Erasures::default() };
        let mut absences = Absences::default();
        (0..200_000).for_each(|seq| {
            absences.see(&row(Kind::Set, if seq == 150_000 { 8 } else { 7 }, seq), &erasures)
        });
        assert!(absences.rows.len() < 1 << 16, "{}", absences.rows.len());
        assert_eq!(absences.unlicensed(&erasures), Some(150_000));
        assert_eq!(absences.unlicensed_but(&erasures, |row| row.id == IdNo(8)), None);
    }
}
