//! Laws of the fold, each in a line, over histories made to collide: few ids, few keys, shared devices, blocked ids,
//! repeated and reordered deliveries. What each law says is in `src/testing/laws/`, where users find them too; here
//! proptest makes up the histories, and makes those that break a law small.
#![cfg(feature = "testing")]

#[path = "laws/exhaustive.rs"]
mod exhaustive;
#[path = "laws/hostile.rs"]
mod hostile;

use std::collections::BTreeSet;
use std::sync::Arc;

use identity_ledger::audit::Audit;
use identity_ledger::model::{Dialect, PersonProfiles, Sdk, Survivor, ValuesBy};
use identity_ledger::storage::Memory;
use identity_ledger::testing::history::{DEVICES, EVENTS, History, IDS, KEYS, append, id_kinds, shared_ids};
use identity_ledger::testing::laws;
use identity_ledger::*;
use proptest::prelude::*;

fn id() -> impl Strategy<Value = DistinctId> {
    prop::sample::select(&IDS[..]).prop_map(|id| DistinctId::new(id).unwrap())
}

fn device() -> impl Strategy<Value = DeviceId> {
    prop::sample::select(&DEVICES[..]).prop_map(|id| DeviceId::new(id).unwrap())
}

/// Mostly ids: device operations chain through one current id and would hide everything else.
fn who() -> impl Strategy<Value = Actor> {
    prop_oneof![4 => id().prop_map(Actor::Id), 1 => device().prop_map(Actor::Device)]
}

fn source() -> impl Strategy<Value = Option<Source>> {
    prop_oneof![
        8 => id().prop_map(|id| Some(Source::Id(id))),
        1 => Just(None),
        1 => Just(Some(Source::Unstorable)),
    ]
}

fn values() -> impl Strategy<Value = Properties> {
    let value = prop_oneof![Just(Value::Null), (0i64..3).prop_map(Value::from)];
    prop::collection::btree_map(prop::sample::select(&KEYS[..]), value, 0..2)
        .prop_map(|map| map.into_iter().map(|(key, value)| (PropertyKey::new(key).unwrap(), value)).collect())
}

fn changes() -> impl Strategy<Value = Changes> {
    let unset = prop::collection::btree_set(prop::sample::select(&KEYS[..]), 0..2)
        .prop_map(|set| set.into_iter().map(|key| PropertyKey::new(key).unwrap()).collect::<BTreeSet<_>>());
    let set = (values(), values(), unset);
    (set, prop::option::weighted(0.3, relative())).prop_map(|((set, set_once, unset), relative)| {
        let mut changes = Changes { set, set_once, unset, ..Changes::default() };
        if let Some((key, verb, operand)) = relative {
            let Changes { set, set_once, unset, add, append, union, remove } = &mut changes;
            set.remove(&key);
            set_once.remove(&key);
            unset.remove(&key);
            [add, append, union, remove][verb].insert(key, operand);
        }
        changes
    })
}

/// A relative change (E9): a key, which of the four verbs, and the operand.
fn relative() -> impl Strategy<Value = (PropertyKey, usize, Value)> {
    let key = prop::sample::select(&KEYS[..]).prop_map(|key| PropertyKey::new(key).unwrap());
    let list = prop::collection::vec((0i64..3).prop_map(Value::from), 0..3).prop_map(Value::List);
    let number = prop_oneof![(-2i64..3).prop_map(Value::from), Just(Value::from(i64::MAX))];
    (key, 0usize..4, number, list)
        .prop_map(|(key, verb, number, list)| (key, verb, if verb == 0 { number } else { list }))
}

/// Links alone, mostly between ids: long chains, and hairballs that have every id. Most of section D needs persons that are
/// there already.
fn link() -> impl Strategy<Value = Request> {
    prop_oneof![
        5 => (who(), source()).prop_map(|(who, anonymous)| Request::Identify { who, anonymous }),
        3 => (who(), source()).prop_map(|(who, alias)| Request::Alias { who, alias }),
        2 => (who(), source()).prop_map(|(who, alias)| Request::Merge { who, alias }),
    ]
}

/// One device and whoever takes it up: F3 and F4 need a device that speaks several times.
fn shared_device() -> impl Strategy<Value = Request> {
    let device = || Just(DeviceId::new(DEVICES[0]).unwrap());
    prop_oneof![
        4 => (device(), id()).prop_map(|(device, user)| Request::DeviceIdentify { device, user }),
        2 => device().prop_map(|device| Request::Capture {
            who: Actor::Device(device), event: None, properties: Properties::new()
        }),
        2 => (device(), source()).prop_map(|(device, alias)| Request::Alias { who: Actor::Device(device), alias }),
        1 => (device(), any::<bool>(), any::<u32>()).prop_map(|(device, reset_device, fresh)| {
            let new_id = Some(DistinctId::new(format!("fresh-{fresh}")).unwrap());
            Request::Reset { device, reset_device, new_id }
        }),
    ]
}

/// Everything there is.
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
        1 => undoing(),
    ]
}

/// Minds changed: what is taken back is mostly there, and so is what took something back.
fn undoing() -> impl Strategy<Value = Request> {
    let mode = prop_oneof![Just(SplitMode::Each), Just(SplitMode::Together)];
    prop_oneof![
        3 => operation_id().prop_map(|id| Request::Retract { target: Target::Operation(id) }),
        2 => (id(), prop::collection::btree_set(id(), 1..4), mode)
            .prop_map(|(id, ids, mode)| Request::Split { id, ids, mode }),
        2 => (id(), class()).prop_map(|(id, class)| Request::Reclassify { id, class }),
    ]
}

fn class() -> impl Strategy<Value = IdClass> {
    prop_oneof![Just(IdClass::Named), Just(IdClass::Anonymous), Just(IdClass::Unmergeable)]
}

/// Few operation ids: some deliveries are repeats, some conflict.
fn operation_id() -> impl Strategy<Value = OperationId> {
    (0u128..40).prop_map(|n| OperationId(uuid::Uuid::from_u128(n)))
}

fn operation(request: impl Strategy<Value = Request>) -> impl Strategy<Value = Operation> {
    // Mostly unsaid, as senders leave it: processing off hides all other checks (A6).
    let processing = prop_oneof![
        6 => Just(Processing::Unsaid),
        2 => Just(Processing::On),
        2 => Just(Processing::Off),
        1 => Just(Processing::Invalid),
    ];
    let id = prop::option::of(operation_id());
    let dialect = prop::option::of(prop_oneof![Just(Dialect::Browser), Just(Dialect::Core)]);
    let profiles = prop::option::weighted(
        0.3,
        prop_oneof![
            Just(PersonProfiles::Always),
            Just(PersonProfiles::Never),
            Just(PersonProfiles::IdentifiedOnly)
        ],
    );
    (0i64..50, request, changes(), processing, id, (dialect, profiles)).prop_map(
        |(time, request, changes, processing, id, (dialect, person_profiles))| Operation {
            // A device that says who uses it, and an identify spoken through it, leave the same record; the log cannot tell
            // one's repeat from the other (docs/semantics.md, G4), the model can. So they have ids of their own.
            id: id.map(|OperationId(id)| match request {
                Request::DeviceIdentify { .. } => OperationId(uuid::Uuid::from_u128(id.as_u128() + 100)),
                _ => OperationId(id),
            }),
            changes: match request {
                Request::Reset { .. }
                | Request::Retract { .. }
                | Request::Split { .. }
                | Request::Reclassify { .. } => Changes::default(),
                _ => changes,
            },
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
    let lists = (prop_oneof![2 => Just(0u8), 1 => 1u8..4], prop_oneof![2 => Just(0u8), 1 => 2u8..4]);
    let switches = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.3));
    (preset, limit(), limit(), prop::option::weighted(0.2, 1u32..3), lists, switches).prop_map(
        |(
            preset,
            max_moved_ids,
            max_ids_per_person,
            max_user_ids,
            (kinds, shared),
            (elder, core, by_time),
        )| {
            let base = Policy::preset(preset);
            Policy {
                max_moved_ids,
                max_ids_per_person,
                max_user_ids: max_user_ids.or(base.max_user_ids),
                id_kinds: id_kinds(kinds),
                shared_ids: shared_ids(shared),
                values_by: if by_time { ValuesBy::EventTime } else { ValuesBy::Record },
                survivor: if elder { Survivor::Elder } else { Survivor::Target },
                dialect: if core { Dialect::Core } else { Dialect::Browser },
                ..base
            }
        },
    )
}

/// Up to forty operations on one topic or on all; then some are delivered again, and late (A1, G4).
fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operations = prop_oneof![
        3 => prop::collection::vec(operation(request()), 0..36),
        1 => prop::collection::vec(operation(link()), 0..36),
        1 => prop::collection::vec(operation(shared_device()), 0..36),
        2 => prop::collection::vec(prop_oneof![operation(link()), operation(undoing())], 0..36),
        1 => prop::collection::vec(prop_oneof![2 => operation(request()), 1 => operation(undoing())], 0..36),
    ];
    let again = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4);
    (operations, again).prop_map(|(mut operations, again)| {
        for (which, to) in again {
            if !operations.is_empty() {
                let again = operations[which.index(operations.len())].clone();
                operations.insert(to.index(operations.len() + 1), again);
            }
        }
        operations
    })
}

fn history() -> impl Strategy<Value = History> {
    (policy(), operations()).prop_map(|(policy, operations)| History { policy, operations })
}

fn fold(policy: &Policy, operations: &[Operation]) -> Ledger {
    let options = LedgerOptions::new().seeded(3);
    let storage = Arc::new(Memory::new());
    let mut ledger = options.create_in(storage, Tenant::default(), policy.clone()).unwrap();
    for operation in operations {
        if let Err(error) = append(&mut ledger, operation) {
            panic!("{operation:?}: {error}");
        }
    }
    ledger
}

fn persons(ledger: &Ledger) -> Vec<Profile> {
    ledger.persons().map(|person| person.unwrap()).collect()
}

/// How many histories each law sees: PROPTEST_CASES, or enough for every run of the tests.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

fn held(law: laws::Law, history: &History) {
    if let Err(what) = law(history) {
        panic!("{what}\n\n{history}");
    }
}

/// A test for each law, and one that no law was forgotten.
macro_rules! laws {
    ($($law:ident),+ $(,)?) => {
        proptest! {
            #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
            $(#[test] fn $law(history in history()) { held(laws::$law, &history); })+
        }

        #[test]
        fn every_law_has_its_test() {
            let tested = [$(laws::$law as laws::Law as usize),+];
            assert_eq!(tested, laws::LAWS.map(|(_, law)| law as usize));
        }
    };
}

laws! {
    engine_is_reference,
    log_tells_all,
    persons_partition,
    any_batching,
    any_reopening,
    prefixes,
    as_of,
    refusals_change_no_link,
    refusals_name_their_record,
    outcomes_name_the_ids_they_moved,
    repeats_change_nothing,
    identified_grows,
    redirects,
    created_at,
    retract_takes_back,
    identified_join_by_merge,
    no_event_crosses_a_reset,
    properties,
    components,
    attribution,
    digests,
    proofs,
    erasing,
    differences_lead,
    what_if_is_the_fold,
    previews_come_true,
    splits_commute,
    reclassified_is_so_from_the_definition_on,
    second_thoughts_commute,
    values_come_in_any_order,
    counters_add_up,
    said_under_shared_ids_is_said_for_users,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn snapshot_and_tail_are_a_replay_at_every_point(policy in policy(), history in operations(), every in 1usize..8) {
        let storage = Arc::new(Memory::new());
        let options = || LedgerOptions::new().seeded(9).segment_bytes(2_048);
        let mut live = options().create_in(storage.clone(), Tenant::default(), policy).unwrap();
        let mut covered = None;
        for (count, operation) in history.iter().enumerate() {
            if let Err(error) = append(&mut live, operation) {
                prop_assert!(false, "{}", error);
            }
            if count % every == 0 {
                covered = Some(live.snapshot().unwrap().records);
            }
            live.flush().unwrap();
            let copy = || Arc::new(Memory::clone(&storage));
            let mut resumed = options().open_in(copy()).unwrap();
            prop_assert!(resumed.recovery().is_clean(), "{:?}", resumed.recovery());
            prop_assert_eq!(resumed.recovery().from_snapshot, covered);
            let mut replayed = options().without_snapshots().open_in(copy()).unwrap();
            prop_assert_eq!(replayed.recovery().from_snapshot, None);
            for ledger in [&resumed, &replayed] {
                prop_assert_eq!(ledger.checkpoint(), live.checkpoint());
                prop_assert_eq!(ledger.reader().state().digest(), live.reader().state().digest());
            }
            if count % 8 != 0 && count + 1 != history.len() {
                continue;
            }
            prop_assert_eq!(resumed.reader().content_digest().unwrap(), replayed.reader().content_digest().unwrap());
            // What was said is known to both (G4), and what is said now does the same in both.
            for operation in history.iter().chain(&[Operation::properties(Timestamp::from_micros(7).unwrap(), DistinctId::new("new").unwrap())]) {
                let said = [&mut resumed, &mut replayed].map(|ledger| {
                    ledger.append(operation.clone()).map_err(|error| error.to_string())
                });
                prop_assert_eq!(&said[0], &said[1]);
            }
            prop_assert_eq!(resumed.checkpoint(), replayed.checkpoint(), "not even salts depend on snapshots");
            prop_assert_eq!(resumed.reader().state().digest(), replayed.reader().state().digest());
            resumed.snapshot().unwrap();
        }
        live.flush().unwrap();
        let report = Audit::run_in(Arc::new(Memory::clone(&storage)), None, &mut |_| {}).unwrap();
        prop_assert!(report.is_ok(), "{:?}", report.faults);
        prop_assert_eq!(report.snapshots.first().copied(), covered);
    }

    #[test]
    fn folding_two_apart_worlds_in_any_interleaving_gives_both(
        policy in policy(), a in operations(), b in operations(), turns in prop::collection::vec(any::<bool>(), 80)
    ) {
        // Not splits: the id of a person that one founds has a record's number in it (D11).
        let splits = |operation: &&Operation| matches!(operation.request, Request::Split { .. });
        let apart = |operations: &[Operation], world: &str| -> Vec<Operation> {
            operations.iter().filter(|operation| !splits(operation)).map(|operation| renamed(operation, world)).collect()
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
            let ledger = fold(&policy, operations);
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
    let mut ledger = fold(&Policy::default(), &[]);
    for (device, user) in [("a", "ann"), ("b", "bob")] {
        let mut device = ledger.device(DeviceId::new(device).unwrap());
        assert!(device.identify(at, DistinctId::new(user).unwrap(), Changes::default()).is_ok());
    }
    let reset = |new_id: &str, reset_device| {
        let new_id = Some(DistinctId::new(new_id).unwrap());
        Operation::new(at, Request::Reset { device: DeviceId::new("a").unwrap(), reset_device, new_id })
    };
    let before = ledger.reader().state().digest();
    for (new_id, reset_device) in [("b", true), ("ann", false), ("bob", true)] {
        let error = ledger.append(reset(new_id, reset_device)).unwrap_err();
        assert!(
            matches!(error, AppendError::Operation { source: OperationError::NotFresh { .. }, .. }),
            "{error}"
        );
    }
    assert_eq!(ledger.reader().state().digest(), before);
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
    let offset = if world == "a" { 0 } else { 1 << 64 };
    let operation_id = |id: &OperationId| OperationId(uuid::Uuid::from_u128(id.0.as_u128() + offset));
    let device = |device: &DeviceId| DeviceId::new(format!("{device}-{world}")).unwrap();
    let who = |who: &Actor| match who {
        Actor::Id(text) => Actor::Id(id(text)),
        Actor::Device(text) => Actor::Device(device(text)),
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
        Request::Retract { target: Target::Operation(of) } => {
            Request::Retract { target: Target::Operation(operation_id(of)) }
        }
        Request::Reclassify { id: t, class } => Request::Reclassify { id: id(t), class: *class },
        Request::Split { id: t, ids, mode } => {
            Request::Split { id: id(t), ids: ids.iter().map(id).collect(), mode: *mode }
        }
        other => other.clone(),
    };
    operation.id = operation.id.as_ref().map(operation_id);
    operation
}
