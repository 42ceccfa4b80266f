//! Rule A6 as a table, and every way in which its checks can meet: for each combination of conditions a ledger is brought to
//! where they hold, one link is asked for, and the refusal is the first line of the table that hits. The table below is
//! written from docs/semantics.md and knows nothing of the engine.

use std::sync::Arc;

use identity_ledger::model::IdKind;
use identity_ledger::storage::Memory;
use identity_ledger::*;

/// What is true when the link is asked for.
#[derive(Clone, Copy, Debug)]
struct Case {
    merge: bool,
    off: bool,
    s: S,
    t_unmergeable: bool,
    to: P,
    from: P,
    strict: bool,
    /// `max_moved_ids` is 1. A person that is identified here has two ids, any other one.
    moved_bounded: bool,
    /// `max_ids_per_person` is 1.
    size_bounded: bool,
    /// `max_user_ids` is 1. S is a user, and T becomes one.
    users_bounded: bool,
    /// `max_per_person` of the kind that T and S are of is 1.
    kind_bounded: bool,
}

/// The other id.
#[derive(Clone, Copy, Debug, PartialEq)]
enum S {
    None,
    IsT,
    Unmergeable,
    Unstorable,
    Shared,
    SamePerson,
    Other,
}

/// The person of an id.
#[derive(Clone, Copy, Debug, PartialEq)]
enum P {
    Unknown,
    Known,
    Identified,
}

/// A6, line by line: the rule that refuses, by its name.
fn table(case: &Case) -> Option<&'static str> {
    let Case { merge, off, s, t_unmergeable, to, from, strict, .. } = *case;
    let unmergeable_s = matches!(s, S::Unmergeable | S::Unstorable) || s == S::Shared && merge;
    if off {
        return Some("processing_off"); // 1
    }
    if s == S::None || s == S::IsT {
        return None; // 2, 3
    }
    if t_unmergeable || unmergeable_s {
        return Some("unmergeable_id"); // 4, 6
    }
    if s == S::Shared || s == S::SamePerson {
        return None; // 5, 7
    }
    if from == P::Identified && !merge {
        match to {
            P::Unknown if strict => return Some("joins_identified_person"), // 8
            P::Unknown => {}
            P::Known | P::Identified => return Some("source_identified"),
        }
    }
    if case.moved_bounded && to != P::Unknown && from == P::Identified {
        return Some("too_many_moved_ids"); // 9; an identified person brings two ids
    }
    if case.size_bounded {
        return Some("too_many_ids");
    }
    if case.users_bounded && !merge {
        return Some("too_many_user_ids"); // 10
    }
    (case.kind_bounded && !merge).then_some("too_many_ids_of_kind") // 11
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let both = [false, true];
    for bits in 0..1_u32 << 8 {
        let bit = |at: u32| both[(bits >> at & 1) as usize];
        for s in [S::None, S::IsT, S::Unmergeable, S::Unstorable, S::Shared, S::SamePerson, S::Other] {
            for to in [P::Unknown, P::Known, P::Identified] {
                for from in [P::Unknown, P::Known, P::Identified] {
                    cases.push(Case {
                        merge: bit(0),
                        off: bit(1),
                        s,
                        t_unmergeable: bit(2),
                        to,
                        from,
                        strict: bit(3),
                        moved_bounded: bit(4),
                        size_bounded: bit(5),
                        users_bounded: bit(6),
                        kind_bounded: bit(7),
                    });
                }
            }
        }
    }
    cases.retain(possible);
    cases
}

/// An unmergeable id is in no link, so it is identified by none and shares no person; ids of one person are linked.
fn possible(case: &Case) -> bool {
    let linked_t = case.to == P::Identified || case.s == S::SamePerson;
    let about_s = case.s == S::Other || case.from == P::Unknown; // only then S is another person's or nobody's
    !(case.t_unmergeable && linked_t) && about_s && (case.s != S::SamePerson || case.to == P::Identified)
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

/// The kind of T and S, and of no other id.
fn kinds(max_per_person: Option<u32>) -> Vec<IdKind> {
    let matches = ["t", "s"].map(str::to_owned).into();
    vec![IdKind { name: "end".to_owned(), matches, max_per_person, ..IdKind::default() }]
}

/// Brings a ledger to where the case holds, under a policy that lets everything through; then the policy is changed (A3).
fn ledger(case: &Case, t: &str, s: &str) -> Ledger {
    let at = Timestamp::from_micros(0).unwrap();
    let options = LedgerOptions::new().seeded(1);
    let shared_ids = std::collections::BTreeSet::from(["kiosk".to_owned()]);
    let before = Policy { id_kinds: kinds(None), shared_ids: shared_ids.clone(), ..Policy::default() };
    let mut ledger = options.create_in(Arc::new(Memory::new()), Tenant::default(), before).unwrap();
    let mut said = Vec::new();
    let mut known = |text: &str, person: P, other: &str| match person {
        P::Unknown => {}
        P::Known => said.push(Operation::properties(at, id(text))),
        P::Identified => said.push(Operation::alias(at, id(text), Source::new(other))),
    };
    known(t, case.to, if case.s == S::SamePerson { s } else { "t's other" });
    if case.s == S::Other {
        known(s, case.from, "s's other");
    }
    // S is a user without a person: a device switched to it (D9, F3).
    let device = DeviceId::new("device").unwrap();
    said.extend(
        ["warm-up", s].map(|user| {
            Operation::new(at, Request::DeviceIdentify { device: device.clone(), user: id(user) })
        }),
    );
    assert!(ledger.append_batch(&said).is_ok());
    let preset = if case.strict { Preset::Strict } else { Preset::Posthog };
    let limit = |on: bool| on.then_some(1);
    let policy = Policy {
        max_moved_ids: limit(case.moved_bounded),
        max_ids_per_person: limit(case.size_bounded),
        max_user_ids: limit(case.users_bounded),
        id_kinds: kinds(limit(case.kind_bounded)),
        shared_ids,
        ..Policy::preset(preset)
    };
    assert!(ledger.set_policy(&policy).is_ok());
    ledger
}

#[test]
fn the_first_line_that_hits_decides_in_every_combination() {
    let cases = cases();
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for case in &cases {
        let t = if case.t_unmergeable { "null" } else { "t" };
        let s = match case.s {
            S::Unmergeable => "undefined",
            S::Shared => "kiosk",
            _ => "s",
        };
        let source = match case.s {
            S::None => None,
            S::IsT => Some(Source::new(t)),
            S::Unstorable => Some(Source::Unstorable),
            S::Unmergeable | S::Shared | S::SamePerson | S::Other => Some(Source::new(s)),
        };
        for identify in [false, true].into_iter().filter(|identify| !(*identify && case.merge)) {
            let mut ledger = ledger(case, t, s);
            let who = Actor::Id(id(t));
            let request = match (case.merge, identify) {
                (true, _) => Request::Merge { who, alias: source.clone() },
                (false, true) => Request::Identify { who, anonymous: source.clone() },
                (false, false) => Request::Alias { who, alias: source.clone() },
            };
            let before = ledger.profile(t).unwrap();
            let processing = if case.off { Processing::Off } else { Processing::On };
            let operation = Operation::new(Timestamp::from_micros(1).unwrap(), request)
                .with_processing(processing)
                .set("a", 1)
                .unwrap();
            let appended = ledger.append(operation).unwrap();
            let refusal = appended.outcome().unwrap().refusal.map(|refusal| refusal.name());
            assert_eq!(refusal, table(case), "{case:?}, identify: {identify}");
            *seen.entry(refusal.unwrap_or("no refusal")).or_default() += 1;
            still_happens(&ledger, case, refusal, before, t);
        }
    }
    let expected = [
        "joins_identified_person",
        "no refusal",
        "processing_off",
        "source_identified",
        "too_many_ids",
        "too_many_ids_of_kind",
        "too_many_moved_ids",
        "too_many_user_ids",
        "unmergeable_id",
    ];
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), expected);
    assert!(cases.len() > 2_000, "{}", cases.len());
}

/// What happens besides: nothing after C7 and D8; else the property changes, and D1 unless it was B2 or no link.
fn still_happens(ledger: &Ledger, case: &Case, refusal: Option<&str>, before: Option<Profile>, t: &str) {
    let after = ledger.profile(t).unwrap();
    if matches!(refusal, Some("processing_off" | "too_many_ids" | "too_many_moved_ids")) {
        assert_eq!(after, before, "{case:?}");
        return;
    }
    let after = after.unwrap_or_else(|| panic!("{case:?}: P(T) is founded"));
    assert!(after.properties.contains_key("a"), "{case:?}: properties count");
    let asserted = !matches!(case.s, S::None | S::IsT) && refusal != Some("unmergeable_id");
    let expected = asserted || case.to == P::Identified;
    assert_eq!(after.is_identified, expected, "{case:?}: D1");
}
