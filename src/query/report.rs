//! What of a ledger deserves a look: how much was stitched, what was refused or remarked, and ids that look wrong.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::fold::{Notices, Outcome, PersonNo};
use crate::log::body::{DeviceNo, Flags, IdNo, LinkSource};
use crate::log::kind::Kind;
use crate::log::record::Row;
use crate::model::id::{PersonId, hyphenated_uuid};
use crate::model::kind::{IdKind, KindNo};
use crate::model::policy::{IdClass, is_placeholder};
use crate::query::reader::Reader;
use crate::store::segments::Fault;

/// Least users of an id or device that makes it a shared one.
const SHARED_BY: u64 = 2;
/// The share of a limit, in percent, from which on a person is near it.
const NEAR_PERCENT: u64 = 80;
/// Fewest hex digits of a text that looks like a generated id. An id of MongoDB has 24, a hash 32 or more.
const GENERATED_DIGITS: usize = 16;

/// What of a ledger deserves a look; [`Reader::report`] makes it. Lists hold the most striking entries, and say how many there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Living persons.
    pub persons: u64,
    /// Those of them that an operation identified (D1).
    pub identified_persons: u64,
    /// How much of what visitors did is known to be a user's.
    pub stitched: Stitched,
    /// Refused operations by the name of the refusal, the most frequent first.
    pub refusals: Vec<Touched>,
    /// Notices by name, the most frequent first.
    pub notices: Vec<Touched>,
    /// Ids that do not count as users, and that links name together with several users.
    pub shared_ids: Worst<SharedId>,
    /// Devices on which several users signed in.
    pub shared_devices: Worst<SharedId>,
    /// The persons with the most ids, of those with several.
    pub largest_persons: Vec<LargePerson>,
    /// Persons with 80 % or more of the ids that `max_ids_per_person` or `max_moved_ids` allows (D8).
    pub persons_near_limit: u64,
    /// The kinds of ids that the policy names (D12), in its order.
    pub kinds: Vec<KindHeld>,
    /// Users whose ids look generated: a UUID, or 16 hex digits and more. They may be ids of devices or sessions.
    pub generated_users: Worst<NotedId>,
    /// Ids that stand for no particular person, and that may merge all the same. `block_placeholders` in the policy bars them (B2).
    pub placeholders: Worst<NotedId>,
}

/// Events under ids that do not count as users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stitched {
    /// Ids that do not count as users and have events; others are left out.
    pub ids: u64,
    /// Those of them whose person has a user.
    pub ids_of_users: u64,
    /// The events of the former.
    pub events: u64,
    /// The events of the latter. Its share of `events` is the stitch rate.
    pub events_of_users: u64,
}

/// Operations with one refusal or notice. Retracted operations are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// Its name.
    pub name: &'static str,
    /// The rule, of a refusal.
    pub rule: Option<&'static str>,
    /// How many operations.
    pub operations: u64,
    /// How many persons, as things stand, they speak for. An id without a person counts as one.
    pub persons: u64,
}

/// The worst of a kind, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Worst<T> {
    /// How many there are in all.
    pub count: u64,
    /// The worst of them, the worst first.
    pub worst: Vec<T>,
}

/// An id or device that several users share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SharedId {
    /// Its text.
    pub id: String,
    /// How many users.
    pub users: u64,
}

/// A person with many ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LargePerson {
    /// Who it is.
    pub person_id: PersonId,
    /// The first of its ids.
    pub distinct_id: String,
    /// How many ids it has.
    pub ids: u64,
}

/// How many ids of a kind there are (D12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KindHeld {
    /// The name of the kind.
    pub kind: String,
    /// How many ids are of it.
    pub ids: u64,
    /// How many persons have one or more.
    pub persons: u64,
    /// The most that one person has.
    pub most: u64,
    /// The policy's `max_per_person`.
    pub max_per_person: Option<u32>,
    /// Persons with 80 % or more of that, if that is more than one id.
    pub persons_near_limit: u64,
    /// Persons beyond it: merges made them so, or it was higher before.
    pub persons_beyond: u64,
}

/// An id that deserves a look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotedId {
    /// Its text.
    pub distinct_id: String,
    /// How many events it has.
    pub events: u64,
}

impl<T> Worst<T> {
    /// The `most` worst by `rank`; of equals those that came first.
    fn of<K: Ord>(mut all: Vec<T>, most: usize, rank: impl Fn(&T) -> K) -> Worst<T> {
        let count = all.len() as u64;
        all.sort_by_key(|one| Reverse(rank(one)));
        all.truncate(most);
        Worst { count, worst: all }
    }
}

/// Counts by name while the log is walked.
#[derive(Default)]
struct Tallies(BTreeMap<&'static str, (Option<&'static str>, u64, BTreeSet<Whose>)>);

/// Whom an operation speaks for: a person, or an id without one.
type Whose = Result<PersonNo, IdNo>;

impl Tallies {
    fn add(&mut self, name: &'static str, rule: Option<&'static str>, whose: Whose) {
        let (of, operations, persons) = self.0.entry(name).or_default();
        *of = rule;
        *operations += 1;
        persons.insert(whose);
    }

    fn finish(self) -> Vec<Touched> {
        let touched = |(name, (rule, operations, persons)): (_, (_, _, BTreeSet<Whose>))| Touched {
            name,
            rule,
            operations,
            persons: persons.len() as u64,
        };
        let mut all: Vec<Touched> = self.0.into_iter().map(touched).collect();
        all.sort_by_key(|touched| Reverse(touched.operations));
        all
    }
}

/// What the walk gathers.
#[derive(Default)]
struct Seen {
    refusals: Tallies,
    notices: Tallies,
    /// An id and a user that a link names together.
    linked: Vec<(u32, u32)>,
    /// A device and a user that signed in on it.
    signed_in: Vec<(u32, u32)>,
}

impl Seen {
    fn see(&mut self, row: &Row, outcome: &Outcome, whose: Whose) {
        if let Some(refusal) = outcome.refusal {
            self.refusals.add(refusal.name(), Some(refusal.rule()), whose);
        }
        let notices: Notices = outcome.notices;
        notices.names().for_each(|name| self.notices.add(name, None, whose));
        if row.flags.has(Flags::PROCESSING_OFF) {
            return;
        }
        if let (Kind::Identify | Kind::Alias, LinkSource::Id(other)) = (row.kind, row.other()) {
            self.linked.push((other.0, row.id.0));
        }
        if let (Kind::Identify | Kind::Switch, Some(device)) = (row.kind, row.device()) {
            self.signed_in.push((device.0, row.id.0));
        }
    }
}

/// Each first number of the pairs, with how many different second ones it has.
fn partners(mut pairs: Vec<(u32, u32)>) -> Vec<(u32, u64)> {
    pairs.sort_unstable();
    pairs.dedup();
    let groups = pairs.chunk_by(|a, b| a.0 == b.0);
    groups.map(|group| (group[0].0, group.len() as u64)).collect()
}

/// Whether a text looks as if a program had made it up: a UUID of any version, or nothing but hex digits, many of them.
fn looks_generated(text: &str) -> bool {
    let is_hex = text.len() >= GENERATED_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hyphenated_uuid(text).is_some() || is_hex && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

impl Reader {
    /// What of the ledger deserves a look. Lists hold at most `most` entries each. Walks through the whole log, as [`Reader::replay`]
    /// does, and holds 8 bytes a link meanwhile.
    ///
    /// ```
    /// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// for user in ["ann", "bob", "carl"] {
    ///     let tablet = Some(Source::new("tablet"));
    ///     let _ = ledger.append(Operation::identify(Timestamp::from_micros(0)?, DistinctId::new(user)?, tablet))?;
    /// }
    /// let report = ledger.reader().report(10)?;
    /// assert_eq!((report.shared_ids.worst[0].id.as_str(), report.shared_ids.worst[0].users), ("tablet", 3));
    /// assert_eq!(report.notices[0].name, "joins_identified_person");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Fault`], the first.
    pub fn report(&self, most: usize) -> Result<Report, Fault> {
        let state = self.state();
        let mut seen = Seen::default();
        self.replay(|step| {
            let row = step.record.row;
            if let Some(outcome) = step.outcome
                && !state.is_retracted(step.record.seq())
            {
                let id = state.speaks_for(row.id, step.record.seq());
                let whose = state.person(id).ok_or(id);
                seen.see(row, outcome, whose);
            }
        })?;
        let Seen { refusals, notices, mut linked, mut signed_in } = seen;
        // An id that the policy says is shared (D13) deserves no look for that.
        let is_meant = |id: IdNo| !state.is_user(id) && state.class(id) != IdClass::Shared;
        linked.retain(|(id, user)| state.is_user(IdNo(*user)) && is_meant(IdNo(*id)));
        signed_in.retain(|(_, user)| state.is_user(IdNo(*user)));
        let shared = |pairs, name: &dyn Fn(u32) -> String| {
            let shared = partners(pairs).into_iter().filter(|(_, users)| *users >= SHARED_BY);
            let all: Vec<(u32, u64)> = shared.collect();
            let Worst { count, worst } = Worst::of(all, most, |(_, users)| *users);
            let worst =
                worst.into_iter().map(|(number, users)| SharedId { id: name(number), users }).collect();
            Worst { count, worst }
        };
        let (largest_persons, persons_near_limit) = self.largest(most);
        let [generated_users, placeholders] = self.noted(most);
        Ok(Report {
            persons: state.persons().count() as u64,
            identified_persons: state.persons().filter(|person| person.identified_by.is_some()).count()
                as u64,
            stitched: self.stitched(),
            refusals: refusals.finish(),
            notices: notices.finish(),
            shared_ids: shared(linked, &|id| self.id_name(IdNo(id))),
            shared_devices: shared(signed_in, &|device| self.device_name(DeviceNo(device))),
            largest_persons,
            persons_near_limit,
            kinds: self.kinds(),
            generated_users,
            placeholders,
        })
    }

    fn stitched(&self) -> Stitched {
        let state = self.state();
        let users: BTreeSet<_> =
            state.ids().filter(|id| state.is_user(*id)).filter_map(|id| state.person(id)).collect();
        let mut stitched = Stitched::default();
        for id in state.ids().filter(|id| !state.is_user(*id)) {
            let events = state.events_of_id(id).events;
            let is_users = state.person(id).is_some_and(|person| users.contains(&person));
            stitched.events += events;
            stitched.ids += u64::from(events > 0);
            if is_users {
                stitched.events_of_users += events;
                stitched.ids_of_users += u64::from(events > 0);
            }
        }
        stitched
    }

    /// The persons with the most ids, and how many are near a limit.
    fn largest(&self, most: usize) -> (Vec<LargePerson>, u64) {
        let (state, policy) = (self.state(), self.state().policy());
        let limit = [policy.max_ids_per_person, policy.max_moved_ids].into_iter().flatten().min();
        let mut near = 0;
        let mut sizes = Vec::new();
        for person in state.persons().map(|person| person.number) {
            let ids = state.ids_of(person).len() as u64;
            near += u64::from(limit.is_some_and(|limit| ids * 100 >= u64::from(limit) * NEAR_PERCENT));
            if ids > 1 {
                sizes.push((ids, person));
            }
        }
        let Worst { worst, .. } = Worst::of(sizes, most, |(ids, _)| *ids);
        let large = |(ids, person)| LargePerson {
            person_id: self.own_person_id(person, state),
            distinct_id: self.id_name(state.ids_of(person)[0]),
            ids,
        };
        (worst.into_iter().map(large).collect(), near)
    }

    fn kinds(&self) -> Vec<KindHeld> {
        let state = self.state();
        let mut kinds: Vec<KindHeld> = Vec::new();
        for IdKind { name, max_per_person, .. } in &self.policy().id_kinds {
            let kind = KindNo(kinds.len() as u8); // MAX_ID_KINDS bounds it
            let mut held = KindHeld {
                kind: name.clone(),
                ids: state.ids().filter(|id| state.kind(*id) == Some(kind)).count() as u64,
                persons: 0,
                most: 0,
                max_per_person: *max_per_person,
                persons_near_limit: 0,
                persons_beyond: 0,
            };
            for ids in state.persons().map(|person| u64::from(state.held(person.number, kind))) {
                let limit = max_per_person.map(u64::from);
                held.persons += u64::from(ids > 0);
                held.most = held.most.max(ids);
                held.persons_near_limit +=
                    u64::from(ids > 1 && limit.is_some_and(|limit| ids * 100 >= limit * NEAR_PERCENT));
                held.persons_beyond += u64::from(limit.is_some_and(|limit| ids > limit));
            }
            kinds.push(held);
        }
        kinds
    }

    /// Users that look generated, and placeholders that may merge.
    fn noted(&self, most: usize) -> [Worst<NotedId>; 2] {
        let state = self.state();
        let mut found: [Vec<(u64, IdNo)>; 2] = Default::default();
        for id in state.ids() {
            let Some(text) = self.id_text(id) else { continue };
            let events = state.events_of_id(id).events;
            let is_placeholder = state.class(id).is_mergeable() && is_placeholder(text);
            for (list, is_one) in
                found.iter_mut().zip([state.is_user(id) && looks_generated(text), is_placeholder])
            {
                if is_one {
                    list.push((events, id));
                }
            }
        }
        found.map(|found| {
            let Worst { count, worst } = Worst::of(found, most, |(events, _)| *events);
            let noted = |(events, id)| NotedId { distinct_id: self.id_name(id), events };
            Worst { count, worst: worst.into_iter().map(noted).collect() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DeviceId, DistinctId, Ledger, Operation, OperationId, Policy, Processing, Request, Source, Target,
        Tenant, Timestamp,
    };

    fn at() -> Timestamp {
        Timestamp::from_micros(5).unwrap()
    }

    fn id(text: &str) -> DistinctId {
        DistinctId::new(text).unwrap()
    }

    fn identify(user: &str, visitor: &str) -> Operation {
        Operation::identify(at(), id(user), Some(Source::new(visitor)))
    }

    fn capture(who: &str, number: u128) -> Operation {
        Operation::capture(at(), id(who), OperationId(uuid::Uuid::from_u128(number)))
    }

    fn on_tablet(user: &str) -> Operation {
        Operation::new(
            at(),
            Request::DeviceIdentify { device: DeviceId::new("tablet").unwrap(), user: id(user) },
        )
    }

    /// Two users of a kiosk and three of a tablet, a placeholder, a generated user, one refused link that was retracted and one that was not.
    fn ledger() -> Ledger {
        let policy = Policy { max_ids_per_person: Some(5), ..Policy::default() };
        let mut ledger = Ledger::in_memory(Tenant::default(), policy).unwrap();
        let operations = [
            capture("web", 1),
            capture("stray", 2),
            identify("ann", "web"),
            identify("ann", "kiosk"),
            identify("507f1f77bcf86cd799439011", "kiosk"),
            identify("bob", "N/A"),
            capture("N/A", 3),
            on_tablet("ann"),
            on_tablet("bob"),
            on_tablet("carl"),
            Operation::alias(at(), id("bob"), Source::new("ann"))
                .with_id(OperationId(uuid::Uuid::from_u128(9))),
            Operation::alias(at(), id("bob"), Source::new("null")),
        ];
        drop(ledger.append_batch(&operations).unwrap());
        let retract = Operation::retract(at(), Target::Operation(OperationId(uuid::Uuid::from_u128(9))));
        drop(ledger.append_batch(&[retract]).unwrap());
        ledger
    }

    #[test]
    fn a_report_says_what_deserves_a_look() {
        let ledger = ledger();
        let report = ledger.reader().report(10).unwrap();
        let touched = |list: &[Touched]| {
            list.iter().map(|one| (one.name, one.operations, one.persons)).collect::<Vec<_>>()
        };
        assert_eq!(
            touched(&report.refusals),
            [("unmergeable_id", 1, 1)],
            "a retracted operation is left out"
        );
        assert_eq!(touched(&report.notices), [("joins_identified_person", 1, 1)]);
        let shared = |list: &Worst<SharedId>| {
            list.worst.iter().map(|one| (one.id.clone(), one.users)).collect::<Vec<_>>()
        };
        assert_eq!(shared(&report.shared_ids), [("kiosk".to_owned(), 2)]);
        assert_eq!(shared(&report.shared_devices), [("tablet".to_owned(), 3)]);
        let noted = |list: &Worst<NotedId>| {
            list.worst.iter().map(|one| (one.distinct_id.clone(), one.events)).collect::<Vec<_>>()
        };
        assert_eq!(noted(&report.generated_users), [("507f1f77bcf86cd799439011".to_owned(), 0)]);
        assert_eq!(noted(&report.placeholders), [("N/A".to_owned(), 1)]);
        let Stitched { ids, ids_of_users, events, events_of_users } = report.stitched;
        assert_eq!((ids, ids_of_users, events, events_of_users), (3, 2, 3, 2), "`stray` is of no user");
        let largest = &report.largest_persons[0];
        assert_eq!((largest.ids, report.persons_near_limit), (5, 1));
        assert_eq!(largest.person_id, ledger.resolve("ann").unwrap().person_id);
        assert_eq!((report.persons, report.identified_persons), (3, 2));
    }

    #[test]
    fn an_id_without_a_person_is_not_taken_for_a_person() {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let off = |who: &str| identify(who, "x").with_processing(Processing::Off); // refused, and founds no person
        drop(ledger.append_batch(&[off("first"), capture("second", 1), off("second")]).unwrap());
        let refusals = ledger.reader().report(1).unwrap().refusals;
        assert_eq!((refusals[0].name, refusals[0].operations, refusals[0].persons), ("processing_off", 2, 2));
    }

    #[test]
    fn lists_are_cut_and_say_how_long_they_are() {
        let mut ledger = ledger();
        for number in 0..5 {
            let visitor = format!("shared-{number}");
            let users: Vec<Operation> =
                (0..number).map(|user| identify(&format!("u{user}"), &visitor)).collect();
            drop(ledger.append_batch(&users).unwrap());
        }
        let report = ledger.reader().report(2).unwrap();
        assert_eq!(report.shared_ids.count, 4, "the kiosk, and those of two users and more");
        assert_eq!(report.shared_ids.worst.iter().map(|one| one.users).collect::<Vec<_>>(), [4, 3]);
        assert_eq!(
            (report.largest_persons.len(), ledger.reader().report(0).unwrap().shared_ids.worst.len()),
            (2, 0)
        );
    }

    #[test]
    fn what_a_program_made_up_is_told_from_a_name() {
        for text in ["5b6c8b1e-2c1f-4d0e-9d47-0f6f5d8f6f10", "507f1f77bcf86cd799439011", "DEADBEEFDEADBEE0"] {
            assert!(looks_generated(text), "{text}");
        }
        for text in ["ann", "4711", "1234567890123456", "deadbeefdeadbee", "507f1f77bcf86cd79943901x"] {
            assert!(!looks_generated(text), "{text}");
        }
    }

    #[test]
    fn partners_are_counted_once() {
        assert_eq!(partners(vec![(2, 1), (1, 5), (2, 1), (2, 3)]), [(1, 1), (2, 2)]);
        assert_eq!(partners(Vec::new()), []);
    }
}
