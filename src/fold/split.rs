//! A split (H2): what leaves a person, and what each group is by itself.

use std::collections::BTreeSet;

use crate::fold::delta::Known;
use crate::fold::fold_cache::{Came, CameTo};
use crate::fold::generations::Origin;
use crate::fold::links::{NONE, PersonNo};
use crate::fold::outcome::{NotParted, Refusal};
use crate::fold::{Person, State};
use crate::log::body::{Flags, IdNo, LinkSource, SplitOff};
use crate::log::component::ComponentRecords;
use crate::log::kind::Kind;
use crate::log::record::Record;
use crate::model::id::Seq;

/// What leaves a person in a split.
pub(super) struct Leaving {
    pub(super) person: PersonNo,
    /// The ids, ascending.
    pub(super) ids: Vec<IdNo>,
    /// The named ids that are not the person's.
    pub(super) others: Option<NotParted>,
}

impl State {
    /// H2: those of the ids that a split names that leave the person of T here, or why none can. `told` holds the component's records
    /// before the split.
    pub(super) fn leaving(&self, record: Record<'_>, told: &ComponentRecords) -> Result<Leaving, Refusal> {
        let row = record.row;
        let Some(person) = self.links.person(row.id) else {
            return Err(Refusal::NoPerson { by: self.defined_by(row.id) });
        };
        let named = record.leavers().expect("a split").ids;
        let (ids, others): (Vec<IdNo>, Vec<IdNo>) =
            named.into_iter().partition(|id| self.links.person(*id) == Some(person));
        let others = others.first().map(|id| NotParted {
            id: *id,
            by: self.came_by(*id, told),
            ids: others.len() as u32, // MAX_RECORDS bounds it
        });
        match others {
            Some(NotParted { id, by, .. }) if ids.is_empty() => Err(Refusal::OtherPerson { id, by }),
            _ if ids.len() as u64 == u64::from(self.links.size(person)) => {
                Err(Refusal::WholePerson { by: Seq(row.seq.into()) })
            }
            others => Ok(Leaving { person, ids, others }),
        }
    }

    /// The record by which an id is with its person: the link, merge or split that brought it there. Of an id without a person, the
    /// record that defined it.
    pub(super) fn came_by(&self, id: IdNo, told: &ComponentRecords) -> Seq {
        let (Some(person), Some(since)) = (self.links.person(id), self.links.since(id)) else {
            return self.defined_by(id);
        };
        let stands = |seq: &Seq| {
            let record = told.record(seq.0 as u32); // MAX_RECORDS bounds it
            let refolded =
                record.is_some_and(|record| matches!(record.row.kind, Kind::Retract | Kind::Reclassify));
            !refolded && !self.is_retracted(*seq)
        };
        let moved = self.moves_back(id).map(|(seq, _)| seq).find(stands);
        let Origin { founded, split } = self.origin(person);
        let parted = if split { Seq(founded.into()) } else { Seq(0) };
        Seq(since.into()).max(moved.unwrap_or(parted)).max(parted)
    }

    // -- H2 --------------------------------------------------------------------------------------------------------

    /// Divides the person of T, or says why what the split asks is not possible here.
    pub(super) fn divide(
        &mut self,
        record: Record<'_>,
        told: &ComponentRecords,
        came: &[Came],
    ) -> Option<Refusal> {
        let row = record.row;
        let Leaving { person, ids, .. } = match self.leaving(record, told) {
            Ok(leaving) => leaving,
            Err(refusal) => return Some(refusal),
        };
        let SplitOff { together, .. } = record.leavers().expect("a split");
        let leaving: BTreeSet<IdNo> = ids.iter().copied().collect();
        let stay = self.ids_of(person).into_iter().filter(|id| !leaving.contains(id)).collect();
        let mut groups: Vec<Vec<IdNo>> = vec![stay];
        if together {
            groups.push(ids);
        } else {
            groups.extend(ids.into_iter().map(|id| vec![id]));
        }
        let mut group_of = vec![None; self.ids().len()];
        for (group, ids) in groups.iter().enumerate() {
            ids.iter().for_each(|id| group_of[id.index()] = Some(group));
        }
        let worlds = self.worlds(groups.len(), told, came, &group_of);

        let (before, origin) = (self.persons[person.index()], self.origin(person));
        self.generations.origin(person, before.founding, origin);
        self.empty(person);
        self.links.part(&groups, row.seq);
        for (number, (ids, world)) in groups.iter().zip(worlds).enumerate() {
            let new = PersonNo(self.persons.len() as u32);
            let users: Vec<IdNo> = ids.iter().copied().filter(|id| self.is_user(*id)).collect();
            ids.iter().for_each(|id| self.kinds.join(*id, new));
            let (founding, origin) = match number {
                0 => (before.founding, origin), // what stays keeps its id
                _ => (ids[0], Origin { founded: row.seq, split: true }),
            };
            self.persons.push(Person {
                founding,
                created_at: world.earliest.or(world.named).unwrap_or(before.created_at),
                identified_by: world.identified_by.unwrap_or(NONE),
                users: users.len() as u32, // MAX_RECORDS bounds it
                first_user: users.first().map_or(NONE, |id| id.0),
                profile: Default::default(),
            });
            self.put_known(new, world.known);
            self.generations.origin(new, founding, origin);
            if !ids.contains(&founding) {
                self.generations.anchors.insert(new, ids[0]);
            }
            if number == 0 {
                self.generations.retired.insert(person, Some(new));
            }
        }
        None
    }

    /// What each group of a person is by itself: the operations of which `came` tells refolded to the group their T is in.
    pub(super) fn worlds(
        &self,
        groups: usize,
        told: &ComponentRecords,
        came: &[Came],
        group_of: &[Option<usize>],
    ) -> Vec<World> {
        let mut worlds = vec![World::default(); groups];
        for (record, came) in told.records().zip(came) {
            if came.to == CameTo::ToNothing {
                continue;
            }
            let row = record.row;
            let group = group_of[came.id.index()];
            let mut asserts = false;
            if let LinkSource::Id(other) = row.other() {
                let others = group_of[other.index()];
                // A link that was made, and whose ends are apart now: this split or an earlier one parted them.
                let parted = came.to == CameTo::Through && others != group;
                asserts = came.identifies && !parted;
                if let (CameTo::Through, Some(others)) = (came.to, others) {
                    worlds[others].name(record.time());
                }
            }
            if let Some(group) = group {
                worlds[group].fold(record, asserts, came.by_time);
            }
        }
        worlds
    }
}

/// A group of ids as if it had been one person from the beginning.
#[derive(Clone, Default)]
pub(super) struct World {
    pub(super) known: Known,
    /// The earliest time of an operation that touched it.
    pub(super) earliest: Option<i64>,
    /// The earliest time of a link that was made and named one of its ids as S.
    pub(super) named: Option<i64>,
    pub(super) identified_by: Option<u32>,
}

impl World {
    pub(super) fn name(&mut self, time: i64) {
        self.named = Some(self.named.map_or(time, |named| named.min(time)));
    }

    /// Folds an operation of the group's T; `asserts` says whether it asserts identity within what the group knows, `by_time` whether it wrote
    /// by event time.
    pub(super) fn fold(&mut self, record: Record<'_>, asserts: bool, by_time: bool) {
        let row = record.row;
        let bare = matches!(row.kind, Kind::Switch) && !row.has_changes();
        if row.flags.has(Flags::PROCESSING_OFF) || bare || row.kind == Kind::Reset || row.refolds() {
            return;
        }
        let quiet =
            row.flags.has(Flags::GROUP_IDENTIFY) || row.flags.has(Flags::QUIET) && self.earliest.is_some(); // E3
        let time = record.time();
        self.earliest = Some(self.earliest.map_or(time, |earliest| earliest.min(time)));
        if asserts {
            self.identified_by.get_or_insert(row.seq);
        }
        match record.changes() {
            _ if quiet => {}
            changes if by_time => drop(self.known.change_by_time(changes, (time, row.seq))),
            changes => drop(self.known.change(changes, row.seq)),
        }
    }
}
