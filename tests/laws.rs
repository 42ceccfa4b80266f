//! Laws of the fold, each in a line, over histories made to collide: few ids, few keys, shared devices, blocked ids,
//! repeated deliveries.
#![cfg(feature = "testing")]

#[path = "support/agree.rs"]
mod agree;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agree::{DEVICES, EVENTS, IDS, KEYS, agree};
use identity_ledger::testing::reference::Reference;
use identity_ledger::*;
use proptest::prelude::*;

fn id() -> impl Strategy<Value = DistinctId> {
    prop::sample::select(&IDS[..]).prop_map(|id| DistinctId::new(id).unwrap())
}

fn device() -> impl Strategy<Value = DeviceId> {
    prop::sample::select(&DEVICES[..]).prop_map(|id| DeviceId::new(id).unwrap())
}

/// Mostly ids: device operations chain through one current id and would hide everything else.
fn who() -> impl Strategy<Value = Who> {
    prop_oneof![4 => id().prop_map(Who::Id), 1 => device().prop_map(Who::Device)]
}

fn source() -> impl Strategy<Value = Option<Source>> {
    prop_oneof![
        8 => id().prop_map(|id| Some(Source::Id(id))),
        1 => Just(None),
        1 => Just(Some(Source::Unstorable)),
    ]
}

fn properties() -> impl Strategy<Value = Properties> {
    let value = prop_oneof![Just(Value::Null), (0i64..3).prop_map(Value::from)];
    prop::collection::btree_map(prop::sample::select(&KEYS[..]), value, 0..2)
        .prop_map(|map| map.into_iter().map(|(key, value)| (PropertyKey::new(key).unwrap(), value)).collect())
}

fn changes() -> impl Strategy<Value = Changes> {
    let unset = prop::collection::btree_set(prop::sample::select(&KEYS[..]), 0..2)
        .prop_map(|set| set.into_iter().map(|key| PropertyKey::new(key).unwrap()).collect::<BTreeSet<_>>());
    (properties(), properties(), unset).prop_map(|(set, set_once, unset)| Changes { set, set_once, unset })
}

fn request() -> impl Strategy<Value = Request> {
    // A fresh id may be one that a sender used before it told of the reset, as long as it is anonymous.
    let fresh = prop::sample::select(&["01a208fa-c605-7008-8d6e-36525068c2e7", "$device:x", "$device:y"][..]);
    let fresh = fresh.prop_map(|id| DistinctId::new(id).unwrap());
    prop_oneof![
        4 => (who(), prop::option::of(prop::sample::select(&EVENTS[..]))).prop_map(|(who, event)| {
            let event = event.map(|name| EventName::new(name).unwrap());
            Request::Capture { who, event, properties: Properties::new() }
        }),
        5 => (who(), source()).prop_map(|(who, anonymous)| Request::Identify { who, anonymous }),
        3 => (who(), source()).prop_map(|(who, alias)| Request::Alias { who, alias }),
        1 => (who(), source()).prop_map(|(who, alias)| Request::Merge { who, alias }),
        2 => who().prop_map(|who| Request::Set { who }),
        3 => (device(), id()).prop_map(|(device, user)| Request::DeviceIdentify { device, user }),
        1 => (device(), fresh).prop_map(|(device, fresh)| {
            Request::Reset { device, reset_device: false, new_id: Some(fresh) }
        }),
        1 => (device(), any::<u32>()).prop_map(|(device, fresh)| {
            let new_id = Some(DistinctId::new(format!("fresh-{fresh}")).unwrap());
            Request::Reset { device, reset_device: true, new_id }
        }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let processing = prop_oneof![
        6 => Just(Processing::Unsaid),
        2 => Just(Processing::On),
        2 => Just(Processing::Off),
        1 => Just(Processing::Invalid),
    ];
    // Few operation ids: some deliveries are repeats, some conflict.
    let id = prop::option::of((0u128..40).prop_map(|n| OperationId(uuid::Uuid::from_u128(n))));
    let dialect = prop::option::of(prop_oneof![Just(Dialect::Browser), Just(Dialect::Core)]);
    let profiles = prop::option::weighted(
        0.3,
        prop_oneof![
            Just(PersonProfiles::Always),
            Just(PersonProfiles::Never),
            Just(PersonProfiles::IdentifiedOnly)
        ],
    );
    (0i64..50, request(), changes(), processing, id, (dialect, profiles)).prop_map(
        |(time, request, changes, processing, id, (dialect, person_profiles))| Operation {
            // A device that says who uses it, and an identify spoken through it, leave the same record; the log cannot tell
            // one's repeat from the other (docs/semantics.md, G4), the model can. So they have ids of their own.
            id: id.map(|OperationId(id)| match request {
                Request::DeviceIdentify { .. } => OperationId(uuid::Uuid::from_u128(id.as_u128() + 100)),
                _ => OperationId(id),
            }),
            changes: if matches!(request, Request::Reset { .. }) { Changes::default() } else { changes },
            processing,
            sdk: Sdk { dialect, person_profiles },
            ..Operation::new(Timestamp::from_micros(time).unwrap(), request)
        },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    let preset = prop_oneof![
        Just(Preset::Posthog),
        Just(Preset::Strict),
        Just(Preset::OneUser),
        Just(Preset::Posthog)
    ];
    let limit = || prop::option::weighted(0.3, 1u32..4);
    (preset, limit(), limit(), prop::option::weighted(0.2, 1u32..3), any::<bool>(), any::<bool>()).prop_map(
        |(preset, max_moved_ids, max_ids_per_person, max_user_ids, elder, core)| {
            let base = Policy::preset(preset);
            Policy {
                max_moved_ids,
                max_ids_per_person,
                max_user_ids: max_user_ids.or(base.max_user_ids),
                survivor: if elder { Survivor::Elder } else { Survivor::Target },
                dialect: if core { Dialect::Core } else { Dialect::Browser },
                ..base
            }
        },
    )
}

fn history() -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operation(), 0..40)
}

fn ledger(policy: &Policy) -> Ledger {
    LedgerOptions::new()
        .entropy(SeededEntropy::new(3))
        .create_in(Arc::new(Memory::new()), Tenant::default(), policy.clone())
        .unwrap()
}

fn fold(policy: &Policy, operations: &[Operation]) -> (Ledger, Vec<Appended>) {
    let mut ledger = ledger(policy);
    let appended = operations.iter().map(|operation| ledger.append(operation.clone()).unwrap()).collect();
    (ledger, appended)
}

fn persons(ledger: &Ledger) -> Vec<Profile> {
    ledger.persons().map(|person| person.unwrap()).collect()
}

/// How many histories each law sees: PROPTEST_CASES, or enough for every run of the tests.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn the_engine_agrees_with_the_reference_after_every_operation(policy in policy(), history in history()) {
        let mut engine = ledger(&policy);
        let mut reference = Reference::new(policy);
        let (mut appended, mut told) = (Vec::new(), Vec::new());
        for operation in &history {
            appended.push(engine.append(operation.clone()).unwrap());
            told.push(reference.apply(operation));
            agree(&engine, &appended, &reference, &told);
        }
    }

    #[test]
    fn any_batching_and_any_reopening_give_the_same(policy in policy(), history in history(), size in 1usize..12) {
        let (live, one_by_one) = fold(&policy, &history);
        let storage = Arc::new(Memory::new());
        let options = || LedgerOptions::new().entropy(SeededEntropy::new(9)).segment_bytes(1_024);
        let mut batched = options().create_in(storage, Tenant::default(), policy).unwrap();
        let mut appended = Vec::new();
        for batch in history.chunks(size) {
            appended.extend(batched.append_batch(batch).unwrap());
        }
        prop_assert_eq!(&appended, &one_by_one);
        prop_assert_eq!(batched.state().digest(), live.state().digest());
        prop_assert_eq!(batched.content_digest().unwrap(), live.content_digest().unwrap());
    }

    #[test]
    fn a_reopened_ledger_is_the_same_and_audits_clean(policy in policy(), history in history()) {
        let storage = Arc::new(Memory::new());
        let options = || LedgerOptions::new().entropy(SeededEntropy::new(9)).segment_bytes(2_048);
        let mut live = options().create_in(storage.clone(), Tenant::default(), policy).unwrap();
        let mut operations = 0;
        for operation in &history {
            operations += usize::from(live.append(operation.clone()).unwrap().outcome().is_some());
        }
        live.flush().unwrap();
        let copy = Arc::new(Memory::clone(&storage));
        let report = Audit::run_in(copy.clone(), Some(live.checkpoint()), &mut |_| {}).unwrap();
        prop_assert!(report.is_ok(), "{:?}", report.faults);
        let reopened = options().open_in(copy).unwrap();
        prop_assert_eq!(reopened.checkpoint(), live.checkpoint());
        prop_assert_eq!(reopened.state().digest(), live.state().digest());
        prop_assert_eq!(reopened.content_digest().unwrap(), live.content_digest().unwrap());
        let mut outcomes = 0;
        reopened.outcomes(|_| outcomes += 1).unwrap();
        prop_assert_eq!(outcomes, operations);
        for operation in history.iter().filter(|operation| operation.id.is_some()) {
            prop_assert!(live.append(operation.clone()).unwrap().outcome().is_none(), "seen before");
        }
    }

    #[test]
    fn as_of_is_the_fold_of_the_prefix(policy in policy(), history in history()) {
        let (full, appended) = fold(&policy, &history);
        for (count, appended) in appended.iter().enumerate() {
            let Appended::Recorded { seq, .. } = appended else { continue };
            let (prefix, _) = fold(&policy, &history[..=count]);
            for id in IDS {
                prop_assert_eq!(full.person_as_of(id, *seq), prefix.resolve(id), "{} at {}", id, seq);
            }
        }
    }

    #[test]
    fn every_two_ids_of_a_person_have_a_proof_and_each_step_names_both_ends(policy in policy(), history in history()) {
        let (ledger, _) = fold(&policy, &history);
        let mut named = BTreeMap::new();
        ledger.replay(|step| {
            if let (Some(head), Other::Id(other)) = (step.record.body().head(), step.record.body().other()) {
                named.insert(step.record.seq(), [head.id, other]);
            }
        }).unwrap();
        for person in ledger.state().persons() {
            let ids = ledger.state().ids_of(person.number);
            for (a, b) in ids.iter().flat_map(|a| ids.iter().map(move |b| (*a, *b))) {
                let proof = ledger.state().proof(a, b).unwrap();
                let mut at = a;
                for (from, to, seq) in proof {
                    prop_assert_eq!(from, at);
                    prop_assert!(named[&seq].contains(&from) && named[&seq].contains(&to));
                    at = to;
                }
                prop_assert_eq!(at, b);
            }
        }
    }

    #[test]
    fn folding_two_apart_worlds_in_any_interleaving_gives_both(
        policy in policy(), a in history(), b in history(), turns in prop::collection::vec(any::<bool>(), 80)
    ) {
        let apart = |operations: &[Operation], world: &str| -> Vec<Operation> {
            operations.iter().map(|operation| renamed(operation, world)).collect()
        };
        let (a, b) = (apart(&a, "a"), apart(&b, "b"));
        let (mut x, mut y) = (a.iter(), b.iter());
        let mut mixed = Vec::new();
        for turn in turns {
            mixed.extend(if turn { x.next() } else { y.next() });
        }
        mixed.extend(x.chain(y));
        let mixed: Vec<Operation> = mixed.into_iter().cloned().collect();
        let content = |operations: &[Operation]| {
            let (ledger, _) = fold(&policy, operations);
            let mut persons = persons(&ledger);
            persons.sort_by_key(|person| person.person_id);
            persons.iter().map(|person| {
                let ids: BTreeSet<String> = person.distinct_ids.iter().cloned().collect();
                format!("{} {ids:?} {:?} {} {} {} {}", person.person_id,
                    person.properties.iter().map(|(key, p)| (key, &p.value)).collect::<Vec<_>>(),
                    person.is_identified, person.created_at, person.events, person.identified_events)
            }).collect::<BTreeSet<String>>()
        };
        let both: BTreeSet<String> = content(&a).union(&content(&b)).cloned().collect();
        prop_assert_eq!(content(&mixed), both);
    }
}

#[test]
fn a_reset_takes_over_no_other_device_and_no_user() {
    let at = Timestamp::from_micros(0).unwrap();
    let mut ledger = ledger(&Policy::default());
    for (device, user) in [("a", "ann"), ("b", "bob")] {
        let mut device = ledger.device(DeviceId::new(device).unwrap());
        assert!(device.identify(at, DistinctId::new(user).unwrap(), Changes::default()).is_ok());
    }
    let reset = |new_id: &str, reset_device| {
        let new_id = Some(DistinctId::new(new_id).unwrap());
        Operation::new(at, Request::Reset { device: DeviceId::new("a").unwrap(), reset_device, new_id })
    };
    let before = ledger.state().digest();
    for (new_id, reset_device) in [("b", true), ("ann", false), ("bob", true)] {
        let error = ledger.append(reset(new_id, reset_device)).unwrap_err();
        assert!(
            matches!(error, AppendError::Operation { source: OperationError::NotFresh { .. }, .. }),
            "{error}"
        );
    }
    assert_eq!(ledger.state().digest(), before);
    assert!(ledger.append(reset("a2", true)).is_ok());
}

/// The operation as it would be among other people: every id, device and operation id belongs to `world`. A UUID
/// stays a UUID; the class of another id may change with its text, and does so for both ways of folding.
fn renamed(operation: &Operation, world: &str) -> Operation {
    let mut operation = operation.clone();
    let id = |id: &DistinctId| {
        let text = id.as_str();
        let uuid = uuid::Uuid::try_parse(text).is_ok();
        let text = if uuid { format!("{}{world}", &text[..35]) } else { format!("{text}-{world}") };
        DistinctId::new(text).unwrap()
    };
    let device = |device: &DeviceId| DeviceId::new(format!("{device}-{world}")).unwrap();
    let who = |who: &Who| match who {
        Who::Id(text) => Who::Id(id(text)),
        Who::Device(text) => Who::Device(device(text)),
    };
    let source = |source: &Option<Source>| match source {
        Some(Source::Id(text)) => Some(Source::Id(id(text))),
        other => other.clone(),
    };
    operation.request = match &operation.request {
        Request::Capture { who: t, event, properties } => {
            Request::Capture { who: who(t), event: event.clone(), properties: properties.clone() }
        }
        Request::Identify { who: t, anonymous } => {
            Request::Identify { who: who(t), anonymous: source(anonymous) }
        }
        Request::Alias { who: t, alias } => Request::Alias { who: who(t), alias: source(alias) },
        Request::Merge { who: t, alias } => Request::Merge { who: who(t), alias: source(alias) },
        Request::Set { who: t } => Request::Set { who: who(t) },
        Request::DeviceIdentify { device: d, user } => {
            Request::DeviceIdentify { device: device(d), user: id(user) }
        }
        Request::Reset { device: d, reset_device, new_id } => {
            Request::Reset { device: device(d), reset_device: *reset_device, new_id: new_id.as_ref().map(id) }
        }
        other => other.clone(),
    };
    let offset = if world == "a" { 0 } else { 1 << 64 };
    operation.id = operation.id.map(|id| OperationId(uuid::Uuid::from_u128(id.0.as_u128() + offset)));
    operation
}
