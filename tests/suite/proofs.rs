//! Signed checkpoints and proofs of one answer: what is proven is so, nothing altered passes, and a proof names those alone that were asked
//! about.
#![cfg(all(feature = "testing", feature = "proofs", feature = "encryption"))]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::support::short::{at, id};
use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::explain::Subject;
use identity_ledger::log::IdNo;
use identity_ledger::proof::{Asked, Fact, Note, Proof, ProveError, Proven, Signer, Verifier};
use identity_ledger::storage::{Memory, SeededEntropy, StoredKeys};
use identity_ledger::testing::history::History;
use identity_ledger::*;

fn signer(seed: u64) -> Signer {
    Signer::generate("shop.example/ledger", &mut SeededEntropy::new(seed)).unwrap()
}

fn keys() -> [Verifier; 1] {
    [signer(1).verifier()]
}

/// Texts of the ledger below that no proof asks about.
const OTHERS: [&str; 7] =
    ["bob@example.com", "bobs-phone", "carol-7", "Berlin", "bob-secret", "city", "$other_event"];

fn event(number: u128) -> OperationId {
    OperationId(uuid::Uuid::from_u128(number))
}

/// Ann on two devices and Bob on one; Carol alone.
fn tell(ledger: &mut Ledger) {
    let operations = [
        Operation::capture(at(1), id("phone"), event(1)).with_event(EventName::new("$pageview").unwrap()),
        Operation::identify(at(2), id("ann@example.com"), Some(Source::new("phone"))),
        Operation::identify(at(3), id("bob@example.com"), Some(Source::new("bobs-phone"))),
        Operation::identify(at(4), id("ann@example.com"), Some(Source::new("laptop"))),
        Operation::properties(at(5), id("ann@example.com")).set("plan", "team").unwrap(),
        Operation::properties(at(6), id("bob@example.com"))
            .set("city", "Berlin")
            .unwrap()
            .set("name", "bob-secret")
            .unwrap(),
        Operation::capture(at(7), id("carol-7"), event(2))
            .with_event(EventName::new("$other_event").unwrap()),
        Operation::capture(at(8), id("carol-7"), event(3)).with_event(EventName::new("$pageview").unwrap()),
    ];
    for operation in operations {
        assert!(ledger.append(operation).unwrap().seq().is_some());
    }
}

fn shop() -> Ledger {
    told(3)
}

/// The same at a fixed time, so that no hash happens to look like a text.
fn told(seed: u64) -> Ledger {
    let (memory, options) = (Arc::new(Memory::new()), LedgerOptions::new().seeded(seed).clock(|| at(100)));
    let mut ledger = options.create_in(memory, Tenant::default(), Policy::default()).unwrap();
    tell(&mut ledger);
    ledger
}

fn erase(ledger: &mut Ledger, subject: ErasureSubject) {
    let receipts = ledger.erase(&[ErasureRequest::new(at(9), subject, "asked")]).unwrap();
    assert_eq!(receipts.len(), 1);
}

fn note(ledger: &Ledger) -> Note {
    ledger.reader().prover().unwrap().sign(&signer(1)).unwrap()
}

fn prove(reader: &Reader, asked: Asked<'_>, note: &Note, keys: &[Verifier]) -> Result<Proof, ProveError> {
    reader.prover_as_of(note, keys)?.prove(asked, note, keys)
}

fn proven(proof: &Proof) -> Proven {
    proof.to_string().parse::<Proof>().unwrap().check(&keys()).unwrap()
}

/// One proof of each kind, as texts.
fn proofs(ledger: &Ledger) -> Vec<String> {
    let note = note(ledger);
    let asked = [
        Asked::Same("phone", "laptop"),
        Asked::NotSame("ann@example.com", "bob@example.com"),
        Asked::Event(event(1)),
        Asked::Property("laptop", "plan"),
        Asked::Complete("laptop"),
        Asked::Absent("dora"),
    ];
    asked.iter().map(|asked| prove(ledger.reader(), *asked, &note, &keys()).unwrap().to_string()).collect()
}

/// That a ledger continues what an earlier note has; and of one whose people were erased what is proven of them.
fn later_proofs(ledger: &mut Ledger, earlier: &Note) -> Vec<String> {
    erase(ledger, ErasureSubject::PersonOf(id("ann@example.com")));
    let note = note(ledger);
    let asked = [Asked::Erased(IdNo(0)), Asked::CompleteErased(IdNo(0)), Asked::Consistent(earlier)];
    asked.iter().map(|asked| prove(ledger.reader(), *asked, &note, &keys()).unwrap().to_string()).collect()
}

fn holds(text: &str) -> bool {
    text.parse::<Proof>().is_ok_and(|proof| proof.check(&keys()).is_ok())
}

#[test]
fn what_is_made_of_relative_changes_is_refused_by_name() {
    let mut ledger = shop();
    let counted = Operation::properties(at(9), id("phone")).add("visits", 1).unwrap();
    let _ = ledger.append(counted).unwrap();
    let note = note(&ledger);
    let refused = prove(ledger.reader(), Asked::Property("phone", "visits"), &note, &keys()).unwrap_err();
    assert!(refused.to_string().contains("made of relative changes"), "{refused}");
    assert!(prove(ledger.reader(), Asked::Property("phone", "plan"), &note, &keys()).is_ok());
}

#[test]
fn each_kind_of_proof_says_what_is_so() {
    let ledger = shop();
    let note = note(&ledger);
    let fact = |asked| proven(&prove(ledger.reader(), asked, &note, &keys()).unwrap()).fact;
    let ids = |a: &str, b: &str| [a, b].map(str::to_owned);
    let steps = ledger.explain("phone", "laptop").unwrap().unwrap().steps;
    let records = steps.iter().map(|step| step.seq).collect();
    assert_eq!(fact(Asked::Same("laptop", "phone")), Fact::Same { ids: ids("phone", "laptop"), records });
    let [ann, bob] = ["ann@example.com", "bob@example.com"];
    assert_eq!(fact(Asked::NotSame(bob, ann)), Fact::NotSame { ids: ids(ann, bob) });
    match fact(Asked::Event(event(1))) {
        Fact::Event { event_id, event: name, distinct_id, time, .. } => {
            assert_eq!((event_id, name.as_deref(), time), (Some(event(1)), Some("$pageview"), at(1)));
            assert_eq!(distinct_id, "phone");
        }
        other => panic!("{other}"),
    }
    match fact(Asked::Property("phone", "plan")) {
        Fact::Property { distinct_id, key, value, .. } => {
            assert_eq!((distinct_id.as_str(), key.as_str(), value), ("phone", "plan", "team".into()));
        }
        other => panic!("{other}"),
    }
    let refused = |asked| prove(ledger.reader(), asked, &note, &keys()).unwrap_err();
    assert!(matches!(refused(Asked::Same(ann, bob)), ProveError::NotSo { .. }));
    assert!(matches!(refused(Asked::NotSame("phone", "laptop")), ProveError::NotSo { .. }));
    assert!(matches!(refused(Asked::Same(ann, ann)), ProveError::NotSo { .. }));
    assert!(matches!(refused(Asked::Same(ann, "dora")), ProveError::Unknown { .. }));
    assert!(matches!(refused(Asked::Property(ann, "city")), ProveError::NotSo { .. }));
    assert!(matches!(refused(Asked::Property(ann, "none")), ProveError::Unknown { .. }));
    assert!(matches!(refused(Asked::Event(event(9))), ProveError::Unknown { .. }));
    assert!(matches!(refused(Asked::Record(Seq(0))), ProveError::NotSo { .. }));
    assert!(matches!(refused(Asked::Erased(IdNo(0))), ProveError::NotSo { .. }));
    assert!(matches!(refused(Asked::Erased(IdNo(99))), ProveError::Unknown { .. }));
    let dora = "dora".to_owned();
    assert_eq!(fact(Asked::Absent("dora")), Fact::Absent { distinct_id: dora });
    match fact(Asked::Complete(ann)) {
        Fact::Complete { distinct_id, records, .. } => {
            assert_eq!(distinct_id.as_deref(), Some(ann));
            let ops: Vec<&str> = records.iter().map(|record| record.op).collect();
            assert_eq!(ops, ["define_id", "identify", "identify", "set"]);
        }
        other => panic!("{other}"),
    }
    assert!(matches!(refused(Asked::Absent(ann)), ProveError::NotSo { .. }));
    assert!(matches!(refused(Asked::Absent("")), ProveError::NotSo { .. }));
    assert!(matches!(refused(Asked::Complete("dora")), ProveError::Unknown { .. }));
    assert!(matches!(refused(Asked::CompleteErased(IdNo(0))), ProveError::NotSo { .. }));
    let empty = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    let none = empty.reader().prover().unwrap();
    let note = none.sign(&signer(1)).unwrap();
    assert!(holds(&none.prove(Asked::Absent("dora"), &note, &keys()).unwrap().to_string()));
    assert!(none.prove(Asked::Consistent(&note), &note, &keys()).is_ok());
}

#[test]
fn a_note_of_another_time_ledger_or_signer_is_told() {
    let mut ledger = shop();
    let early = note(&ledger);
    let _ = ledger
        .append(Operation::identify(at(9), id("ann@example.com"), Some(Source::new("tablet"))))
        .unwrap();
    let reader = ledger.reader();
    assert!(reader.prover_as_of(&early, &keys()).is_ok());
    // As of the note there is no tablet.
    assert!(matches!(
        prove(reader, Asked::Same("phone", "tablet"), &early, &keys()),
        Err(ProveError::Unknown { .. })
    ));
    assert!(prove(reader, Asked::Same("phone", "laptop"), &early, &keys()).is_ok());
    assert!(prove(reader, Asked::Same("phone", "tablet"), &note(&ledger), &keys()).is_ok());
    let other = LedgerOptions::new().seeded(3).clock(|| at(100)); // the same ledger, rolled back
    let other = other.create_in(Arc::new(Memory::new()), Tenant::default(), Policy::default()).unwrap();
    assert!(matches!(other.reader().prover_as_of(&early, &keys()), Err(ProveError::Ahead { .. })));
    let other = told(4);
    assert!(matches!(other.reader().prover_as_of(&early, &keys()), Err(ProveError::OtherHistory { .. })));
    assert!(matches!(reader.prover_as_of(&early, &[signer(2).verifier()]), Err(ProveError::Note(_))));
    assert!(matches!(reader.prover_as_of(&early, &[]), Err(ProveError::Note(_))));
    // A signer that signs another tree of ids than the log gives is caught by whoever has the log.
    let text = early.to_string();
    let ids = text.lines().find(|line| line.starts_with("ids ")).unwrap();
    let forged: String = text.replace(ids, &ids.replace("ids 6 ", "ids 5 "));
    assert!(forged.parse::<Note>().unwrap().verify(&keys()).is_err());
}

/// The bytes of a proof, and of everything in it that is written in base64.
fn everything(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for word in text.split_whitespace() {
        bytes.push(b'\n');
        bytes.extend(base64(word));
    }
    bytes
}

fn base64(word: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let bits: Vec<u8> = word.bytes().filter_map(digit).collect();
    let joined = |four: &[u8]| {
        four.iter().fold(0_u32, |all, six| all << 6 | u32::from(*six)) << (6 * (4 - four.len()))
    };
    bits.chunks(4).flat_map(|four| joined(four).to_be_bytes()[1..four.len().max(1)].to_vec()).collect()
}

#[test]
fn a_proof_names_those_alone_that_were_asked_about() {
    let ledger = shop();
    let texts = proofs(&ledger);
    let asked: [&[&str]; 6] = [
        &["phone", "laptop"],
        &["ann@example.com", "bob@example.com"],
        &["phone", "$pageview"],
        &["laptop", "plan", "team"],
        &["laptop"],
        &[],
    ];
    let all: BTreeSet<&str> = ["phone", "laptop", "ann@example.com", "$pageview", "plan", "team"]
        .into_iter()
        .chain(OTHERS)
        .collect();
    for (text, asked) in texts.iter().zip(asked) {
        let bytes = everything(text);
        for name in &all {
            let found = bytes.windows(name.len()).any(|window| window == name.as_bytes());
            // "phone" stands in nobody else's text here but in Bob's, which is looked for by itself.
            assert_eq!(found, asked.contains(name), "{name} in the proof of {asked:?}");
        }
        assert!(text.len() < 8_000, "{}", text.len());
    }
}

/// Tries altered texts, and says how many.
#[derive(Default)]
struct Forger {
    tried: u64,
    originals: Vec<String>,
}

/// How many altered proofs there are of each, at least.
const ALTERED: u64 = 10_500;
/// Of how many lines of other proofs one is tried in each place.
const FOREIGN: usize = 7;

impl Forger {
    fn tries(&mut self, text: &[u8]) {
        let Ok(text) = std::str::from_utf8(text) else {
            self.tried += 1; // a reader of texts takes none
            return;
        };
        if self.originals.iter().any(|original| original == text) {
            return;
        }
        self.tried += 1;
        assert!(!holds(text), "an altered proof holds:\n{text}");
    }

    fn tries_lines(&mut self, lines: &[&str]) {
        self.tries(format!("{}\n", lines.join("\n")).as_bytes());
    }
}

#[test]
fn of_ten_thousand_altered_proofs_of_each_kind_none_holds() {
    let (mut ledger, mut other) = (shop(), told(4));
    let earlier = [&ledger, &other].map(note);
    let mut originals = proofs(&ledger);
    originals.extend(proofs(&other));
    originals.extend(later_proofs(&mut ledger, &earlier[0]));
    originals.extend(later_proofs(&mut other, &earlier[1]));
    assert!(originals.iter().all(|text| holds(text)));
    let mut forger = Forger { originals: originals.clone(), ..Forger::default() };
    let lines: Vec<Vec<&str>> = originals.iter().map(|text| text.lines().collect()).collect();
    let foreign = other.reader().ledger_id().to_string(); // its proofs are material
    for (text, own) in originals.iter().zip(&lines).filter(|(text, _)| !text.contains(&foreign)) {
        let before = forger.tried;
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes.truncate(place);
            forger.tries(&bytes);
        }
        for place in 0..own.len() {
            let mut dropped = own.clone();
            dropped.remove(place);
            forger.tries_lines(&dropped);
            for other in place + 1..own.len() {
                let mut swapped = own.clone();
                swapped.swap(place, other);
                forger.tries_lines(&swapped);
            }
            for foreign in lines.iter().flatten().skip(place % FOREIGN).step_by(FOREIGN) {
                let mut exchanged = own.clone();
                exchanged[place] = foreign;
                forger.tries_lines(&exchanged);
                let mut added = own.clone();
                added.insert(place, foreign);
                forger.tries_lines(&added);
            }
        }
        // Each byte changed once, and again in other ways as often as it takes.
        for (round, place) in (1..=u8::MAX).flat_map(|round| (0..text.len()).map(move |place| (round, place)))
        {
            if round > 1 && forger.tried - before >= ALTERED {
                break;
            }
            let mut bytes = text.clone().into_bytes();
            bytes[place] ^= round;
            forger.tries(&bytes);
        }
        assert!(forger.tried - before >= ALTERED, "{} of {}", forger.tried - before, own[1]);
    }
    println!("{} altered proofs, none holds", forger.tried);
}

/// The records that are proven to be all that touch an id are those of its history that name it, in histories with refusals, retracts and
/// splits.
#[test]
fn what_touches_an_id_is_what_names_it() {
    let (mut retracted, mut touched) = (0, 0);
    for seed in 0..90 {
        let history = History::seeded(&Policy::default(), seed);
        let mut ledger = Ledger::in_memory(Tenant::default(), history.policy.clone()).unwrap();
        history.append_to(&mut ledger).unwrap();
        let (reader, prover) = (ledger.reader(), ledger.reader().prover().unwrap());
        let note = prover.sign(&signer(1)).unwrap();
        for text in reader.state().ids().filter_map(|id| reader.id_text(id)) {
            let proof = prover.prove(Asked::Complete(text), &note, &keys()).unwrap();
            let Fact::Complete { records, .. } = proven(&proof).fact else { panic!("another fact") };
            let found: BTreeMap<Seq, Option<Seq>> =
                records.iter().map(|record| (record.seq, record.retracted_by)).collect();
            let ask = PageRequest::first(usize::MAX);
            let all = reader.history(Subject::Id(text), ask).unwrap().unwrap();
            assert!(all.next.is_none());
            let listed: BTreeMap<Seq, Option<Seq>> =
                all.items.iter().map(|entry| (entry.seq, entry.retracted_by)).collect();
            for (seq, by) in &found {
                assert_eq!(listed.get(seq), Some(by), "record {seq} of {text}, seed {seed}");
                (touched, retracted) = (touched + 1, retracted + u64::from(by.is_some()));
            }
            // Any other moved the id and does not name it.
            for seq in listed.keys().filter(|seq| !found.contains_key(seq)) {
                let claim = reader.claim(*seq).unwrap().unwrap();
                let leavers = claim.leavers.into_iter().flat_map(|(_, ids)| ids);
                let mut named = [claim.id].into_iter().chain(claim.other).chain(leavers);
                assert!(named.all(|named| named.text != text), "record {seq} of {text}, seed {seed}");
            }
        }
    }
    assert!(retracted > 20 && touched > 500, "{retracted} of {touched}");
}

/// That all records that touch an id are shown, of one whose values are erased in part.
fn rectified() -> Proof {
    let mut ledger = shop();
    let subject = ErasureSubject::PersonOf(id("bob@example.com"));
    let request = ErasureRequest::new(at(9), subject, "wrong").with_keys([PropertyKey::new("name").unwrap()]);
    assert_eq!(ledger.erase(&[request]).unwrap().len(), 1);
    prove(ledger.reader(), Asked::Complete("bob@example.com"), &note(&ledger), &keys()).unwrap()
}

/// An erasure that names records, and no id, touches those for whom they speak.
#[test]
fn a_rectification_touches_whom_it_is_about() {
    match proven(&rectified()).fact {
        Fact::Complete { distinct_id, records, .. } => {
            let ops: Vec<&str> = records.iter().map(|record| record.op).collect();
            assert_eq!(ops, ["define_id", "identify", "set", "erase", "restate"]);
            assert_eq!(distinct_id.as_deref(), Some("bob@example.com"));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_retracted_record_is_not_cited() {
    let mut ledger = shop();
    let before = note(&ledger);
    let seqs = ledger.explain("phone", "laptop").unwrap().unwrap().steps[0].seq;
    let again = Operation::merge_dangerously(at(9), id("laptop"), Source::new("phone"));
    let _ = ledger.append(again).unwrap();
    let retract = Operation::retract(at(10), Target::Record(seqs));
    let by = ledger.append(retract).unwrap().seq().unwrap();
    let reader = ledger.reader();
    let cited =
        |note: &Note| match proven(&prove(reader, Asked::Same("phone", "laptop"), note, &keys()).unwrap())
            .fact
        {
            Fact::Same { records, .. } => records,
            other => panic!("{other}"),
        };
    assert!(cited(&before).contains(&seqs)); // as of that note it counted
    assert!(!cited(&note(&ledger)).contains(&seqs));
    match proven(&prove(reader, Asked::Complete("phone"), &note(&ledger), &keys()).unwrap()).fact {
        Fact::Complete { records, .. } => {
            let touch = records.iter().find(|record| record.seq == seqs).unwrap();
            assert_eq!(touch.retracted_by, Some(by));
        }
        other => panic!("{other}"),
    }
}

/// A note of each length, against each later one.
#[test]
fn a_log_is_proven_to_continue_its_earlier_notes() {
    let (memory, options) = (Arc::new(Memory::new()), LedgerOptions::new().seeded(3).clock(|| at(100)));
    let mut ledger = options.create_in(memory, Tenant::default(), Policy::default()).unwrap();
    let mut notes = vec![note(&ledger)];
    for number in 0..12 {
        let _ = ledger.append(Operation::properties(at(number), id(&format!("id {number}")))).unwrap();
        notes.push(note(&ledger));
    }
    for (later, now) in notes.iter().enumerate() {
        let prover = ledger.reader().prover_as_of(now, &keys()).unwrap();
        for (place, then) in notes.iter().enumerate() {
            match prover.prove(Asked::Consistent(then), now, &keys()) {
                Ok(proof) => {
                    assert!(place <= later && matches!(proven(&proof).fact, Fact::Consistent { .. }))
                }
                Err(ProveError::Ahead { .. }) => assert!(place > later),
                Err(other) => panic!("{other}"),
            }
        }
    }
    let other = told(4);
    let foreign = prove(ledger.reader(), Asked::Consistent(&note(&other)), &notes[12], &keys());
    assert!(matches!(foreign, Err(ProveError::OtherHistory { .. })));
    let unsigned = ledger.reader().prover().unwrap().sign(&signer(2)).unwrap();
    let unsigned = prove(ledger.reader(), Asked::Consistent(&unsigned), &notes[12], &keys());
    assert!(matches!(unsigned, Err(ProveError::Note(_))));
}

#[test]
fn a_witness_is_asked_and_its_signature_is_kept() {
    let mut ledger = shop();
    let (owner, witness) =
        (signer(1), Signer::generate("witness.example", &mut SeededEntropy::new(9)).unwrap());
    let (earlier, both) = (note(&ledger), [owner.verifier(), witness.witness()]);
    let _ = ledger.append(Operation::properties(at(9), id("dora"))).unwrap();
    let (reader, now) = (ledger.reader(), note(&ledger));
    let proof = prove(reader, Asked::Consistent(&earlier), &now, &keys()).unwrap();
    let request = proof.add_checkpoint().unwrap();
    let (old, rest) = request.split_once('\n').unwrap();
    assert_eq!(old, format!("old {}", ledger.checkpoint().records - 2));
    let (path, asked) = rest.split_once("\n\n").unwrap();
    assert!(path.lines().all(|line| base64(line).len() == 32) && asked == now.to_string());

    // What it answers is added to the note.
    let cosigned = witness.cosign(&now, at(10)).to_string();
    let answer = cosigned.strip_prefix(asked).unwrap();
    let cosigned: Note = [asked, answer].concat().parse().unwrap();
    let proof = prove(reader, Asked::Same("phone", "laptop"), &cosigned, &both).unwrap();
    let names: Vec<String> =
        proof.check(&both).unwrap().signed.into_iter().map(|signed| signed.name).collect();
    assert_eq!(names, ["shop.example/ledger", "witness.example"]);
    assert!(proof.check(&keys()).is_err());
    assert!(prove(reader, Asked::Same("phone", "laptop"), &now, &both).is_err());
    assert!(
        prove(reader, Asked::Same("phone", "laptop"), &cosigned, &keys()).unwrap().check(&keys()).is_ok()
    );
    assert!(proof.add_checkpoint().is_none());
}

/// What a proof says of each pair of ids is what the ledger says, in histories with refusals, retracts and splits.
#[test]
fn every_pair_is_proven_to_be_what_it_is() {
    let mut told: BTreeMap<bool, u64> = BTreeMap::new();
    for seed in 0..30 {
        let history = History::seeded(&Policy::default(), seed);
        let mut ledger = Ledger::in_memory(Tenant::default(), history.policy.clone()).unwrap();
        history.append_to(&mut ledger).unwrap();
        let reader = ledger.reader();
        let note = note(&ledger);
        let ids: Vec<&str> = reader.state().ids().filter_map(|id| reader.id_text(id)).take(6).collect();
        for (a, b) in ids.iter().flat_map(|a| ids.iter().map(move |b| (*a, *b))).filter(|(a, b)| a < b) {
            let same = reader.person(a).is_some() && reader.person(a) == reader.person(b);
            let asked = if same {
                [Asked::Same(a, b), Asked::NotSame(a, b)]
            } else {
                [Asked::NotSame(a, b), Asked::Same(a, b)]
            };
            let proof = prove(reader, asked[0], &note, &keys()).unwrap();
            assert_eq!(matches!(proven(&proof).fact, Fact::Same { .. }), same, "{a} and {b}, seed {seed}");
            assert!(matches!(prove(reader, asked[1], &note, &keys()), Err(ProveError::NotSo { .. })));
            *told.entry(same).or_default() += 1;
        }
    }
    assert!(told[&true] > 20 && told[&false] > 20, "{told:?}");
}

#[test]
fn proofs_from_before_an_erasure_hold_and_none_is_made_of_what_is_gone() {
    let mut ledger = shop();
    let before = (note(&ledger), proofs(&ledger));
    erase(&mut ledger, ErasureSubject::Ids([id("ann@example.com")].into()));
    let reader = ledger.reader();
    // No hash changed: the note holds, and so do the proofs that were given away, with the texts in them.
    assert!(reader.prover_as_of(&before.0, &keys()).is_ok());
    assert!(before.1.iter().all(|text| holds(text)));
    for note in [&before.0, &note(&ledger)] {
        let prove = |asked| prove(reader, asked, note, &keys());
        // The way leads over an id that is erased; a step needs its number alone.
        assert!(matches!(proven(&prove(Asked::Same("phone", "laptop")).unwrap()).fact, Fact::Same { .. }));
        assert!(matches!(prove(Asked::Same("phone", "ann@example.com")), Err(ProveError::Unknown { .. })));
        assert!(matches!(prove(Asked::Property("phone", "plan")), Err(ProveError::Erased { .. })));
    }
    // The index of an earlier note has the text that is gone; no text can be looked up in it any more.
    let earlier = reader.prover_as_of(&before.0, &keys()).unwrap();
    assert_eq!(earlier.lacking(), 1);
    for asked in [Asked::Complete("phone"), Asked::Absent("dora")] {
        assert!(matches!(earlier.prove(asked, &before.0, &keys()), Err(ProveError::NoIndex { ids: 1 })));
    }
    let now = note(&ledger);
    assert_eq!(reader.prover_as_of(&now, &keys()).unwrap().lacking(), 0);
    for asked in [Asked::Complete("phone"), Asked::Absent("dora"), Asked::Absent("ann@example.com")] {
        assert!(holds(&prove(reader, asked, &now, &keys()).unwrap().to_string()));
    }
    let gone = reader.state().ids().find(|id| reader.id_text(*id).is_none()).unwrap();
    assert!(matches!(prove(reader, Asked::Erased(gone), &before.0, &keys()), Err(ProveError::NotSo { .. })));
    let proof = prove(reader, Asked::Erased(gone), &note(&ledger), &keys()).unwrap();
    match proven(&proof).fact {
        Fact::Erased { id, defined, erased_by, done, .. } => {
            assert_eq!(id, gone.0);
            assert!(defined < erased_by && erased_by < done);
        }
        other => panic!("{other}"),
    }
    let proof = prove(reader, Asked::CompleteErased(gone), &now, &keys()).unwrap();
    match proven(&proof).fact {
        Fact::Complete { distinct_id, records, .. } => {
            let ops: Vec<&str> = records.iter().map(|record| record.op).collect();
            assert_eq!((distinct_id, ops), (None, vec!["define_id", "identify", "identify", "set", "erase"]));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn of_a_sealed_ledger_a_proof_is_made_with_its_keys_only() {
    let (disk, ring) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
    let keyed = || LedgerOptions::new().seeded(5).keys(Arc::new(StoredKeys::new(ring.clone(), "ring")));
    let mut ledger = keyed().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
    tell(&mut ledger);
    assert!(proofs(&ledger).iter().all(|text| holds(text)));
    drop(ledger);
    let without = LedgerOptions::new().read_in(disk);
    let said = without.map(drop).unwrap_err().to_string();
    assert!(said.contains("sealed") && said.contains("key"), "{said}");
}

/// Of made-up histories, what is proven of each id and of some pairs.
fn made_up_proofs(seeds: std::ops::Range<u64>) -> Vec<String> {
    let mut made = Vec::new();
    for seed in seeds {
        let history = History::seeded(&Policy::default(), seed);
        let mut ledger = LedgerOptions::new()
            .seeded(1)
            .create_in(Arc::new(Memory::new()), Tenant::default(), history.policy.clone())
            .unwrap();
        history.append_to(&mut ledger).unwrap();
        let (reader, prover) = (ledger.reader(), ledger.reader().prover().unwrap());
        let note = prover.sign(&signer(1)).unwrap();
        let texts: Vec<&str> = reader.state().ids().filter_map(|id| reader.id_text(id)).collect();
        let alone = texts.iter().map(|text| Asked::Complete(text));
        let pairs =
            texts.windows(2).flat_map(|two| [Asked::Same(two[0], two[1]), Asked::NotSame(two[0], two[1])]);
        let proofs = alone.chain(pairs).filter_map(|asked| prover.prove(asked, &note, &keys()).ok());
        made.extend(proofs.map(|proof| proof.to_string()));
    }
    made
}

/// The second checker, in Python, says of every proof what the first says, and of every altered one no.
#[test]
fn another_program_in_another_language_agrees() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/check_proof.py");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there = Command::new(&python).args(["-c", "import blake3, cryptography"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED, NOTHING WAS CHECKED: {python} with the packages blake3 and cryptography is needed; set PYTHON to one that has them"
        );
        return;
    }
    let mut ledger = shop();
    let (mut good, earlier) = (proofs(&ledger), note(&ledger));
    good.extend(later_proofs(&mut ledger, &earlier));
    good.push(rectified().to_string());
    let altered = good.len();
    good.extend(made_up_proofs(0..12));
    let key = keys()[0].to_string();
    let place = tempfile::tempdir().unwrap();
    let (mut files, mut expected) = (Vec::new(), Vec::new());
    let mut add = |text: &[u8], holds: bool| {
        let file = place.path().join(format!("{}.proof", files.len()));
        std::fs::write(&file, text).unwrap();
        files.push(file);
        expected.push(holds);
    };
    for (place, text) in good.iter().enumerate() {
        add(text.as_bytes(), true);
        if place >= altered {
            continue;
        }
        for altered in (0..text.len()).step_by(37) {
            let mut bytes = text.clone().into_bytes();
            bytes[altered] ^= 1;
            add(&bytes, false);
        }
        let lines: Vec<&str> = text.lines().collect();
        for dropped in 0..lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(dropped);
            add(format!("{}\n", fewer.join("\n")).as_bytes(), false);
        }
    }
    let output = Command::new(&python).arg(script).args(["--key", &key]).args(&files).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let found: Vec<bool> = said.lines().map(|line| line.contains(" holds: ")).collect();
    assert_eq!(found, expected, "{}", String::from_utf8_lossy(&output.stderr));
}
