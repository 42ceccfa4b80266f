//! Small worlds, all of them: every sequence of links over three ids and one device, every sequence of property changes over
//! one id and two keys, up to a length. On each the engine gives what the reference model gives.
//!
//! `EXHAUSTIVE=1` in the environment goes one step further: all worlds of links of length 4, and up to renaming those of
//! length 5, and of length 4 under every policy.
#![cfg(feature = "testing")]

use std::collections::BTreeSet;
use std::sync::Arc;

use identity_ledger::model::{Dialect, Survivor};
use identity_ledger::storage::Memory;
use identity_ledger::testing::reference::{Reference, ReferenceOutcome};
use identity_ledger::testing::{differences, notation};
use identity_ledger::*;

const IDS: [&str; 3] = ["ann", "bob", "cat"];

/// A link operation; ids by number. T may be S (C8).
#[derive(Clone, Copy)]
enum Link {
    Identify(usize, usize),
    /// Differs from an identify in the class of a new S alone (B4, D9).
    Alias(usize, usize),
    Merge(usize, usize),
    DeviceAlias(usize),
    DeviceIdentify(usize),
    Reset,
}

impl Link {
    fn all() -> Vec<Link> {
        let pairs = || (0..3).flat_map(|t| (0..3).filter(move |s| *s != t).map(move |s| (t, s)));
        let links = pairs().flat_map(|(t, s)| [Link::Identify(t, s), Link::Alias(t, s), Link::Merge(t, s)]);
        let itself = (0..3).map(|id| Link::Identify(id, id));
        let device = (0..3).flat_map(|id| [Link::DeviceAlias(id), Link::DeviceIdentify(id)]);
        links.chain(itself).chain(device).chain([Link::Reset]).collect()
    }

    fn names(self) -> Vec<usize> {
        match self {
            Link::Identify(t, s) | Link::Alias(t, s) | Link::Merge(t, s) => vec![t, s],
            Link::DeviceAlias(id) | Link::DeviceIdentify(id) => vec![id],
            Link::Reset => Vec::new(),
        }
    }

    /// The operation, as the `number`th of its world.
    fn operation(self, number: usize) -> Operation {
        let id = |id: usize| DistinctId::new(IDS[id]).unwrap();
        let device = || DeviceId::new("phone").unwrap();
        let request = match self {
            Link::Identify(t, s) => {
                Request::Identify { who: Actor::Id(id(t)), anonymous: Some(Source::Id(id(s))) }
            }
            Link::Alias(t, s) => Request::Alias { who: Actor::Id(id(t)), alias: Some(Source::Id(id(s))) },
            Link::Merge(t, s) => Request::Merge { who: Actor::Id(id(t)), alias: Some(Source::Id(id(s))) },
            Link::DeviceAlias(s) => {
                Request::Alias { who: Actor::Device(device()), alias: Some(Source::Id(id(s))) }
            }
            Link::DeviceIdentify(user) => Request::DeviceIdentify { device: device(), user: id(user) },
            Link::Reset => Request::Reset {
                device: device(),
                reset_device: false,
                new_id: Some(DistinctId::new(format!("$device:{number}")).unwrap()),
            },
        };
        Operation::new(Timestamp::from_micros(i64::try_from(number).unwrap()).unwrap(), request)
    }
}

/// Visits every world of exactly `length` links. `canonical` leaves out those that are another with ids renamed: only the
/// world in which the first id mentioned is ann, and each new one the next, is visited.
fn worlds_of_links(length: usize, canonical: bool, visit: &mut dyn FnMut(&[Operation])) {
    fn grow(
        world: &mut Vec<Operation>,
        used: usize,
        (length, canonical): (usize, bool),
        all: &[Link],
        visit: &mut dyn FnMut(&[Operation]),
    ) {
        if world.len() == length {
            return visit(world);
        }
        for link in all {
            let mut used = used;
            let in_order = link.names().into_iter().all(|name| {
                let fits = name <= used;
                used = used.max(name + 1);
                fits
            });
            if in_order || !canonical {
                world.push(link.operation(world.len() + 1));
                grow(world, used, (length, canonical), all, visit);
                world.pop();
            }
        }
    }
    grow(&mut Vec::new(), 0, (length, canonical), &Link::all(), visit);
}

/// Folds a world in one batch and compares everything; the batch is one frame, so that a world costs one hash.
///
/// Where ids are shared, something is said under each of them after each link (D13).
fn compare(policy: &Policy, world: &[Operation]) {
    let said = |(number, link): (usize, &Operation)| -> Vec<Operation> {
        let shared = policy.shared_ids.iter().enumerate();
        let operation = |(place, id): (usize, &String)| {
            let event = OperationId(uuid::Uuid::from_u128((2 * number + place) as u128));
            let id = DistinctId::new(id.as_str()).unwrap();
            Operation::capture(link.time, id, event).set("a", number as i64).unwrap()
        };
        [link.clone()].into_iter().chain(shared.map(operation)).collect()
    };
    let world = &world.iter().enumerate().flat_map(said).collect::<Vec<_>>();
    let options = LedgerOptions::new().seeded(1);
    let mut ledger = options.create_in(Arc::new(Memory::new()), Tenant::default(), policy.clone()).unwrap();
    let appended: Vec<Appended> = ledger.append_batch(world).unwrap().into_iter().collect();
    let mut reference = Reference::new(policy.clone());
    let told: Vec<_> = world.iter().map(|operation| reference.apply(operation)).collect();
    let said: Vec<ReferenceOutcome> = appended.iter().map(ReferenceOutcome::from).collect();
    let mut what = differences(ledger.reader(), &reference);
    if said != told {
        what.push(format!("outcomes: the engine says {said:?}, the reference model {told:?}"));
    }
    what.extend(unlawful(&ledger, &appended));
    assert!(what.is_empty(), "{}\n\n{}", what.join("\n"), notation::page(policy, world).unwrap());
}

/// The laws that cost next to nothing: persons partition their ids, redirects end, and two ids of a person have a proof.
fn unlawful(ledger: &Ledger, appended: &[Appended]) -> Vec<String> {
    let state = ledger.reader().state();
    let mut what = Vec::new();
    let mut seen = BTreeSet::new();
    for person in state.persons() {
        let ids = state.ids_of(person.number);
        if !ids.iter().all(|id| seen.insert(*id) && state.person(*id) == Some(person.number)) {
            what.push(format!("{ids:?} are not those of {:?} alone", person.number));
        }
        if ids.iter().any(|id| state.proof(ids[0], *id).is_none()) {
            what.push(format!("{ids:?} are one person without a proof"));
        }
    }
    if seen.len() != state.ids().filter(|id| state.person(*id).is_some()).count() {
        what.push("an id has a person that does not list it".to_owned());
    }
    let refused_links = appended
        .iter()
        .filter_map(Appended::outcome)
        .filter(|outcome| outcome.refusal.is_some() && outcome.link.is_some());
    if refused_links.count() > 0 {
        what.push("an operation was refused and linked".to_owned());
    }
    what
}

/// Each choice that section D and F leave to a policy, once.
fn policies() -> Vec<Policy> {
    let base = Policy::default();
    vec![
        base.clone(),
        Policy::preset(Preset::Strict),
        Policy { dialect: Dialect::Core, ..Policy::preset(Preset::OneUser) },
        Policy { survivor: Survivor::Elder, max_moved_ids: Some(1), ..base.clone() },
        Policy { max_ids_per_person: Some(2), max_moved_ids: Some(1), ..base.clone() },
        Policy { dialect: Dialect::Core, max_ids_per_person: Some(3), ..base.clone() },
        Policy { shared_ids: ["bob", "phone"].map(str::to_owned).into(), ..base },
    ]
}

fn further() -> bool {
    std::env::var_os("EXHAUSTIVE").is_some()
}

#[test]
fn all_worlds_of_links() {
    for policy in policies() {
        for length in 0..=3 {
            let mut worlds = 0;
            worlds_of_links(length, false, &mut |world| {
                worlds += 1;
                compare(&policy, world);
            });
            assert_eq!(worlds, 28_usize.pow(u32::try_from(length).unwrap()));
        }
    }
    worlds_of_links(4, !further(), &mut |world| compare(&Policy::default(), world));
}

/// To length 5, and to length 4 under every policy: a minute of an optimised build, so only when it is asked for.
#[test]
fn longer_worlds_of_links_up_to_renaming() {
    if further() {
        for policy in policies() {
            worlds_of_links(4, true, &mut |world| compare(&policy, world));
        }
        worlds_of_links(5, true, &mut |world| compare(&Policy::default(), world));
    }
}

#[test]
fn worlds_up_to_renaming_are_the_others_renamed() {
    let (mut renamed, mut all) = (0, 0);
    worlds_of_links(3, true, &mut |world| {
        let page = notation::page(&Policy::default(), world).unwrap();
        // With two or three of the ids there are six ways to name them, with one three, with none one.
        renamed += match IDS.iter().filter(|id| page.contains(*id)).count() {
            0 => 1,
            1 => 3,
            _ => 6,
        };
    });
    worlds_of_links(3, false, &mut |_| all += 1);
    assert_eq!(renamed, all);
}

// -- property changes ----------------------------------------------------------------------------------------------

/// What one operation may ask of one key: every set of verbs, or a relative change (E9), which is the only one of its key.
const VERBS: u8 = 12;

fn set(number: usize, verbs: [u8; 2]) -> Operation {
    let at = i64::try_from(number).unwrap();
    let who = DistinctId::new("ann").unwrap();
    let mut operation = Operation::properties(Timestamp::from_micros(at).unwrap(), who);
    for (key, verbs) in ["a", "b"].into_iter().zip(verbs) {
        if verbs >= 8 {
            operation = match verbs {
                8 => operation.add(key, at),
                9 => operation.append(key, [at, 0]),
                10 => operation.union(key, [0, at]),
                _ => operation.remove(key, [0]),
            }
            .unwrap();
            continue;
        }
        // A value names its operation and verb, so that nobody's can be taken for another's.
        operation = if verbs & 1 == 0 { operation } else { operation.set(key, 10 * at).unwrap() };
        operation = if verbs & 2 == 0 { operation } else { operation.set_once(key, 10 * at + 1).unwrap() };
        operation = if verbs & 4 == 0 { operation } else { operation.unset(key).unwrap() };
    }
    operation
}

fn worlds_of_changes(length: usize, asked: &[[u8; 2]], visit: &mut dyn FnMut(&[Operation])) {
    fn grow(
        world: &mut Vec<Operation>,
        length: usize,
        asked: &[[u8; 2]],
        visit: &mut dyn FnMut(&[Operation]),
    ) {
        if world.len() == length {
            return visit(world);
        }
        for verbs in asked {
            world.push(set(world.len() + 1, *verbs));
            grow(world, length, asked, visit);
            world.pop();
        }
    }
    grow(&mut Vec::new(), length, asked, visit);
}

/// Two keys to length 4, each set, set once, unset or left alone, one of them also added to; one key to length 4 by every set of verbs; two keys to
/// length 2 by every set of verbs.
#[test]
fn all_worlds_of_property_changes() {
    let all: Vec<[u8; 2]> = (0..VERBS).flat_map(|a| (0..VERBS).map(move |b| [a, b])).collect();
    let one_key: Vec<[u8; 2]> = (0..VERBS).map(|a| [a, 0]).collect();
    let one_verb: Vec<[u8; 2]> =
        [0, 1, 2, 4, 8].into_iter().flat_map(|a| [0, 1, 2, 4].map(|b| [a, b])).collect();
    let mut worlds = 0;
    for (asked, length) in [(&all, if further() { 3 } else { 2 }), (&one_key, 4), (&one_verb, 4)] {
        for length in 0..=length {
            worlds_of_changes(length, asked, &mut |world| {
                worlds += 1;
                compare(&Policy::default(), world);
            });
        }
    }
    let of_length = |asked: u32, length| (0..=length).map(|length| asked.pow(length)).sum::<u32>();
    assert_eq!(worlds, of_length(144, if further() { 3 } else { 2 }) + of_length(12, 4) + of_length(20, 4));
}
