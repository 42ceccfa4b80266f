//! Shared ids (D13): what the scenarios do not show. Laws fold histories whose policies have shared ids.

use std::sync::Arc;

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::explain::Subject;
use identity_ledger::graph::{EdgeKind, Graph, NodeKind};
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::*;

fn policy() -> Policy {
    serde_json::from_str(r#"{"shared_ids": ["kiosk-*"]}"#).unwrap()
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn sign_in(user: &str) -> Operation {
    Operation::identify(at(1), id(user), Some(Source::new("kiosk-1")))
}

fn capture(number: u128) -> Operation {
    Operation::capture(at(2), id("kiosk-1"), OperationId(uuid::Uuid::from_u128(number)))
}

fn ask(ledger: &mut Ledger, operation: Operation) -> Seq {
    ledger.append(operation).unwrap().seq().unwrap()
}

/// An event before the first sign-in, one of Ann's with a property, one of Bob's, one behind a logout. With the record of Ann's sign-in.
fn ledger(disk: Arc<Memory>) -> (Ledger, Seq) {
    let mut ledger = LedgerOptions::new().seeded(1).create_in(disk, Tenant::default(), policy()).unwrap();
    ask(&mut ledger, capture(1));
    let ann = ask(&mut ledger, sign_in("ann"));
    ask(&mut ledger, capture(2).set("mail", "ann@example.com").unwrap());
    ask(&mut ledger, sign_in("bob"));
    ask(&mut ledger, capture(3));
    ask(&mut ledger, Operation::alias(at(3), id("kiosk-1"), Source::new("kiosk-1")));
    ask(&mut ledger, capture(4));
    (ledger, ann)
}

fn in_memory() -> (Ledger, Seq) {
    ledger(Arc::new(Memory::new()))
}

fn events_of(ledger: &Ledger, subject: Subject<'_>) -> Vec<EventAnswer> {
    ledger.reader().events_of(subject, PageRequest::first(100)).unwrap().unwrap().items
}

fn numbers(events: &[EventAnswer]) -> Vec<u128> {
    events.iter().map(|event| event.event_id.unwrap().0.as_u128()).collect()
}

#[test]
fn events_of_a_person_are_those_that_go_with_its_ids_d13() {
    let (ledger, _) = in_memory();
    for (person, expected) in [("ann", vec![2]), ("bob", vec![3]), ("kiosk-1", vec![1, 4])] {
        let events = events_of(&ledger, Subject::Person(person));
        assert_eq!(numbers(&events), expected, "{person}");
        let person_id = ledger.resolve(person).unwrap().person_id;
        assert!(events.iter().all(|event| event.person_id == person_id && event.distinct_id == "kiosk-1"));
        assert_eq!(ledger.profile(person).unwrap().unwrap().events, expected.len() as u64, "{person}");
    }
    assert_eq!(numbers(&events_of(&ledger, Subject::Id("kiosk-1"))), [1, 2, 3, 4]);
    assert_eq!(numbers(&events_of(&ledger, Subject::Id("ann"))), [0; 0]);
    let history = ledger.reader().history(Subject::Person("ann"), PageRequest::first(100)).unwrap().unwrap();
    let ops: Vec<_> = history.items.iter().map(|entry| entry.op).collect();
    assert_eq!(ops, ["define_id", "identify", "capture"]);
}

#[test]
fn an_explanation_begins_with_the_sign_in_and_checks_d13() {
    let (ledger, ann) = in_memory();
    let reader = ledger.reader();
    let why = reader.explain_event(OperationId(uuid::Uuid::from_u128(2))).unwrap().unwrap();
    assert_eq!((why.from.text.as_str(), why.to.text.as_str()), ("kiosk-1", "ann"));
    assert_eq!(why.steps.iter().map(|step| step.seq).collect::<Vec<_>>(), [ann]);
    assert_eq!(why.person_id, ledger.resolve("ann").unwrap().person_id);
    why.check(|seq| reader.claim(seq).unwrap()).unwrap();
    assert!(why.check(|seq| reader.claim(seq).unwrap().filter(|_| seq != ann)).is_err());
    let own = reader.explain_event(OperationId(uuid::Uuid::from_u128(4))).unwrap().unwrap();
    assert_eq!((own.steps.len(), own.to.text.as_str()), (0, "kiosk-1"));
    let property = reader.why_property("ann", "mail").unwrap().unwrap();
    assert_eq!((property.writes.len(), property.writes[0].distinct_id.as_str()), (1, "kiosk-1"));
    assert_eq!(reader.why_property("kiosk-1", "mail").unwrap(), None);
}

#[test]
fn why_not_names_what_made_the_id_shared_and_what_would_join_it_d13() {
    let (mut ledger, _) = in_memory();
    let why = ledger.reader().why_not("ann", "kiosk-1").unwrap().unwrap();
    let (_, barrier) = why.barriers().next().unwrap();
    let defined = ledger.reader().state().defined_by(ledger.reader().id_no("kiosk-1").unwrap());
    assert_eq!((barrier.rule, barrier.blocking_seq), ("D13", defined));
    assert_eq!(barrier.remedy.clone().unwrap().to_string(), "a `reclassify` of `kiosk-1` as named");
    ask(&mut ledger, Operation::reclassify(at(9), id("kiosk-1"), IdClass::Named));
    assert_eq!(ledger.resolve("ann"), ledger.resolve("kiosk-1"));
}

#[test]
fn a_picture_shows_for_whom_a_shared_id_spoke_d13() {
    let (ledger, _) = in_memory();
    let graph = Graph::of(ledger.reader(), "ann").unwrap().unwrap();
    let kinds: Vec<_> = graph.nodes.iter().map(|node| (node.text.as_str(), node.kind)).collect();
    assert_eq!(kinds, [("ann", NodeKind::User), ("kiosk-1", NodeKind::Shared)]);
    assert_eq!(graph.edges.iter().map(|edge| edge.kind).collect::<Vec<_>>(), [EdgeKind::Spoke]);
}

/// H3: what was said for a user under a shared id is the user's. The interval ends, and the kiosk's own events stay as they are.
#[test]
fn an_erasure_takes_what_a_shared_id_said_for_the_user_d13() {
    let disk = Arc::new(Memory::new());
    let (mut ledger, _) = ledger(disk.clone());
    ask(&mut ledger, sign_in("ann"));
    ask(&mut ledger, capture(5).set("city", "Ulm-for-Ann").unwrap());
    let ann = ErasureSubject::PersonOf(id("ann"));
    ledger.erase(&[ErasureRequest::new(at(9), ann, "asked")]).unwrap();
    ask(&mut ledger, capture(6).set("city", "Bonn").unwrap());
    for text in ["ann@example.com", "Ulm-for-Ann"] {
        assert!(!files(&disk).iter().any(|bytes| contains(bytes, text)), "{text} is in a file");
    }
    let kiosk = ledger.profile("kiosk-1").unwrap().unwrap();
    assert_eq!(kiosk.properties["city"].value, Some("Bonn".into()));
    assert_eq!(numbers(&events_of(&ledger, Subject::Person("kiosk-1"))), [1, 4, 6]);
    let before = ledger.reader().state().digest();
    ledger.snapshot().unwrap();
    drop(ledger);
    let ledger = LedgerOptions::new().seeded(1).open_in(disk).unwrap();
    assert!(ledger.recovery().from_snapshot.is_some());
    assert_eq!(ledger.reader().state().digest(), before);
}

/// H3: what an erasure of keys left of such a record stands in another one. It goes with the user too.
#[test]
fn an_erasure_takes_what_one_of_keys_left_of_what_a_shared_id_said_d13() {
    let disk = Arc::new(Memory::new());
    let (mut ledger, _) = ledger(disk.clone());
    ask(&mut ledger, sign_in("ann"));
    let said = capture(5).set("city", "Ulm-for-Ann").unwrap().set("plan", "pro-for-Ann").unwrap();
    ask(&mut ledger, said.set("shoe", "42-for-Ann").unwrap());
    let erase = |ledger: &mut Ledger, keys: Option<&str>| {
        let keys = keys.map(|key| PropertyKey::new(key).unwrap());
        let ann = ErasureSubject::PersonOf(id("ann"));
        assert_eq!(
            ledger.erase(&[ErasureRequest::new(at(9), ann, "asked").with_keys(keys)]).unwrap().len(),
            1
        );
    };
    for (keys, left) in [(Some("city"), 2), (Some("plan"), 1), (None, 0)] {
        erase(&mut ledger, keys);
        let texts = ["Ulm-for-Ann", "pro-for-Ann", "42-for-Ann"];
        let files = files(&disk);
        let found = texts.iter().filter(|text| files.iter().any(|bytes| contains(bytes, text)));
        assert_eq!(found.count(), left, "{keys:?}");
    }
    let persons = ledger.reader().persons().map(Result::unwrap);
    let values: Vec<_> = persons.flat_map(|person| person.properties.into_values()).collect();
    assert!(values.len() == 4 && values.iter().all(|property| property.value.is_none()), "{values:?}");
}

/// H3: an item goes with the id that its record names. What the sign-in itself says is of the user.
#[test]
fn an_erasure_of_a_shared_id_takes_what_was_said_under_it_for_users_too_d13() {
    let (mut ledger, _) = in_memory();
    ask(&mut ledger, sign_in("ann").set("plan", "free").unwrap());
    ask(&mut ledger, capture(5).set("city", "Ulm").unwrap());
    let kiosk = ErasureSubject::Ids([id("kiosk-1")].into());
    let [receipt] = &ledger.erase(&[ErasureRequest::new(at(9), kiosk, "gone")]).unwrap()[..] else {
        panic!()
    };
    let ann = ledger.profile("ann").unwrap().unwrap();
    assert_eq!((&ann.properties["city"].value, ann.properties["city"].erased_by), (&None, Some(receipt.seq)));
    assert_eq!(ann.properties["plan"].value, Some("free".into()));
}

fn files(disk: &Memory) -> Vec<Vec<u8>> {
    let read = |dir: &str, name: String| {
        let file = if dir.is_empty() { name } else { format!("{dir}/{name}") };
        let mut bytes = vec![0; disk.len(&file).unwrap()? as usize];
        assert_eq!(disk.read_at(&file, 0, &mut bytes).unwrap(), bytes.len());
        Some(bytes)
    };
    let all = |dir| disk.list(dir).unwrap().into_iter().filter_map(move |name| read(dir, name));
    let files: Vec<Vec<u8>> = ["", "log", "snap"].into_iter().flat_map(all).collect();
    assert!(files.iter().any(|bytes| contains(bytes, "kiosk-1")), "the log is among them");
    files
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Whose an event was thought to be stays, whatever is retracted later; from a snapshot as from the log.
#[test]
fn as_of_a_record_an_event_is_whose_it_was_then_d13() {
    let disk = Arc::new(Memory::new());
    let (mut ledger, ann) = ledger(disk.clone());
    let [of_ann, of_kiosk] = ["ann", "kiosk-1"].map(|who| ledger.resolve(who).unwrap().person_id);
    let before = Seq(ledger.checkpoint().records - 1);
    ask(&mut ledger, Operation::retract(at(9), Target::Record(ann)));
    ledger.snapshot().unwrap();
    drop(ledger);
    let ledger = LedgerOptions::new().seeded(1).open_in(disk).unwrap();
    let event = OperationId(uuid::Uuid::from_u128(2));
    let now = ledger.reader().event(event).unwrap().unwrap();
    assert_eq!((now.person_id, now.person_id_then, now.goes_with), (of_kiosk, of_ann, None));
    let then = ledger.reader().event_as_of(event, before).unwrap().unwrap();
    assert_eq!((then.person_id, then.goes_with.as_deref()), (of_ann, Some("ann")));
    assert!(ledger.reader().prove_snapshot().is_ok());
}

/// The policy can be switched on and off beside the log (H4).
#[test]
fn what_if_gives_intervals_to_an_id_that_was_linked_and_back_d13() {
    let (with, _) = in_memory();
    let plain = with.reader().what_if(&Policy::default()).unwrap();
    let merged: Vec<_> = plain.diff().merged.iter().map(|merged| merged.from.len()).collect();
    assert_eq!(merged, [3], "kiosk, ann and bob are one");
    let mut without = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    for operation in [sign_in("ann"), capture(2), sign_in("bob"), capture(3)] {
        ask(&mut without, operation);
    }
    let what_if = without.reader().what_if(&policy()).unwrap();
    let state = what_if.view().state();
    let [ann, bob] =
        ["ann", "bob"].map(|who| state.events_of_id(without.reader().id_no(who).unwrap()).events);
    assert_eq!((ann, bob), (1, 1));
    assert_eq!(what_if.diff().split.len(), 1);
}

#[test]
fn the_bounds_of_shared_ids_are_those_of_lists() {
    let many = |count: usize| Policy {
        shared_ids: (0..count).map(|number| format!("{number}-*")).collect(),
        ..Policy::default()
    };
    assert!(many(64).check().is_ok());
    assert!(many(65).check().unwrap_err().to_string().contains("`shared_ids` lists 65 texts"));
    let stored: Policy = serde_json::from_str(&serde_json::to_string(&many(3)).unwrap()).unwrap();
    let ledger = Ledger::in_memory(Tenant::default(), many(3)).unwrap();
    assert_eq!((ledger.policy(), &stored), (&many(3), &many(3)));
}
