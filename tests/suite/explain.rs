//! Explanations, held against the records alone: every one that is given checks, and none does once a record it cites is gone,
//! says something else, or a step is left out.
#![cfg(feature = "testing")]

use std::collections::{BTreeMap, BTreeSet};

use crate::support::short::{at, id, new_ledger};
use identity_ledger::explain::{ExplanationError, NamedId, RecordedLink};
use identity_ledger::log::{Asked, AskedVerb, Body, IdNo};
use identity_ledger::testing::history::History;
use identity_ledger::*;

/// What all records say, from a replay of the log: no state, no look-up of the book's.
fn claims(ledger: &Ledger) -> BTreeMap<Seq, RecordedLink> {
    let mut texts = BTreeMap::new();
    let mut bodies = Vec::new();
    ledger
        .reader()
        .replay(|step| {
            let body = step.record.body();
            if let Body::DefineId(..) = body {
                let text = step.record.item().map(|item| String::from_utf8(item.to_vec()).unwrap());
                texts.insert(IdNo(texts.len() as u32), text);
            }
            bodies.push((step.record.seq(), body));
        })
        .unwrap();
    let text = |id: IdNo| texts[&id].clone().unwrap_or_else(|| format!("$erased:{}", id.0));
    // H1, from the end: what takes a record back stands behind it, and may be taken back itself. It speaks for the same id.
    let mut retracted = BTreeSet::new();
    let speaks_for =
        |seq: u64| bodies.get(seq as usize).and_then(|(_, body)| body.head()).map(|head| head.id);
    for (seq, body) in bodies.iter().rev() {
        if let Some(Asked { head, verb: AskedVerb::Retract(target), .. }) = body.asked()
            && !retracted.contains(seq)
            && speaks_for(*target) == Some(head.id)
        {
            retracted.insert(Seq(*target));
        }
    }
    let claim =
        |(seq, body): &(Seq, Body)| Some((*seq, RecordedLink::of(body, retracted.contains(seq), text)?));
    bodies.iter().filter_map(claim).collect()
}

fn fold(history: &History) -> Ledger {
    let mut ledger = Ledger::in_memory(Tenant::default(), history.policy.clone()).unwrap();
    history.append_to(&mut ledger).unwrap();
    ledger
}

/// Every ordered pair of ids that were written.
fn pairs(ledger: &Ledger) -> Vec<[String; 2]> {
    let ids: Vec<String> = ledger
        .reader()
        .state()
        .ids()
        .filter_map(|id| ledger.reader().id_text(id))
        .map(str::to_owned)
        .collect();
    ids.iter().flat_map(|a| ids.iter().map(move |b| [a.clone(), b.clone()])).collect()
}

#[test]
fn two_ids_have_an_explanation_exactly_when_they_are_one_person() {
    let mut steps = 0;
    for seed in 0..300 {
        let ledger = fold(&History::seeded(&Policy::default(), seed));
        let claims = claims(&ledger);
        for [a, b] in pairs(&ledger) {
            let one = a == b
                || ledger.reader().person(&a).is_some()
                    && ledger.reader().person(&a) == ledger.reader().person(&b);
            let Some(why) = ledger.explain(&a, &b).unwrap() else {
                assert!(!one, "seed {seed}: {a} and {b} are one person, unexplained");
                continue;
            };
            assert!(one, "seed {seed}: {a} and {b} are two persons: {why:?}");
            assert_eq!((&why.from.text, &why.to.text), (&a, &b));
            assert_eq!(Some(why.person_id), ledger.resolve(&a).map(|found| found.person_id));
            why.check(|seq| claims.get(&seq).cloned()).unwrap();
            why.check(|seq| ledger.reader().claim(seq).unwrap()).unwrap();
            steps += why.steps.len();
        }
    }
    assert!(steps > 2_000, "{steps}");
}

/// Whatever is done to a cited record, or to the list of them, is noticed.
#[test]
fn without_any_cited_record_the_explanation_falls() {
    let (mut tried, mut splits) = (0, 0);
    for seed in 0..400 {
        let ledger = fold(&History::seeded(&Policy::default(), seed));
        let claims = claims(&ledger);
        for [a, b] in pairs(&ledger) {
            let Some(why) = ledger.explain(&a, &b).unwrap() else { continue };
            for (place, step) in why.steps.iter().enumerate() {
                let with = |claim: Option<RecordedLink>| {
                    why.check(|seq| if seq == step.seq { claim.clone() } else { claims.get(&seq).cloned() })
                };
                let claim = claims[&step.seq].clone();
                let stranger = NamedId { number: IdNo(99), text: "stranger".to_owned() };
                assert_eq!(with(None), Err(ExplanationError::Missing { seq: step.seq }));
                let retracted = with(Some(RecordedLink { retracted: true, ..claim.clone() }));
                assert_eq!(retracted, Err(ExplanationError::Retracted { seq: step.seq }));
                if !step.before.is_empty() {
                    let mut unfounded = why.clone();
                    unfounded.steps[place].before.pop();
                    assert!(
                        unfounded.check(|seq| claims.get(&seq).cloned()).is_err(),
                        "a split proves no link"
                    );
                    let leavers = Some((true, vec![step.ids[0].clone()]));
                    assert!(
                        with(Some(RecordedLink { leavers, ..claim.clone() })).is_err(),
                        "one of them leaves"
                    );
                    assert!(with(Some(RecordedLink { leavers: None, ..claim.clone() })).is_err());
                    splits += 1;
                    continue;
                }
                assert!(with(Some(RecordedLink { id: stranger.clone(), ..claim.clone() })).is_err());
                assert!(with(Some(RecordedLink { other: Some(stranger), ..claim.clone() })).is_err());
                assert!(with(Some(RecordedLink { other: None, ..claim.clone() })).is_err());
                assert!(with(Some(RecordedLink { processing: false, ..claim.clone() })).is_err());
                let erased = NamedId { number: claim.id.number, text: "another".to_owned() };
                assert!(with(Some(RecordedLink { id: erased, ..claim })).is_err());

                let mut short = why.clone();
                short.steps.remove(place);
                assert!(short.check(|seq| claims.get(&seq).cloned()).is_err(), "without step {place}");
                let mut twisted = why.clone();
                twisted.steps[place].ids.reverse();
                assert!(twisted.check(|seq| claims.get(&seq).cloned()).is_err(), "step {place} turned round");
                tried += 1;
            }
        }
    }
    assert!(tried > 500 && splits > 20, "{tried} {splits}");
}

#[test]
fn an_event_is_explained_from_its_own_record_to_the_founder_of_its_person() {
    let mut ledger = new_ledger();
    let event = OperationId(uuid::Uuid::from_u128(7));
    let quiet = OperationId(uuid::Uuid::from_u128(8));
    let visit = Operation::capture(at(0), id("phone"), event);
    let visit = ledger.append(visit.with_processing(Processing::Off)).unwrap().seq().unwrap();
    let _ = ledger.append(Operation::identify(at(1), id("ann"), Some(Source::new("laptop")))).unwrap();
    let link = ledger.append(Operation::identify(at(2), id("ann"), Some(Source::new("phone")))).unwrap();
    let lonely = Operation::capture(at(3), id("nobody"), quiet);
    let _ = ledger.append(lonely.with_processing(Processing::Off)).unwrap();

    let why = ledger.reader().explain_event(event).unwrap().unwrap();
    assert_eq!((why.event, &why.from.text[..], &why.to.text[..]), (Some(visit), "phone", "ann"));
    assert_eq!(why.steps.iter().map(|step| step.seq).collect::<Vec<_>>(), [link.seq().unwrap()]);
    assert_eq!(Some(why.person_id), ledger.resolve("ann").map(|found| found.person_id));
    let claims = claims(&ledger);
    why.check(|seq| claims.get(&seq).cloned()).unwrap();
    let without_event = why.check(|seq| claims.get(&seq).filter(|_| seq != visit).cloned());
    assert_eq!(without_event, Err(ExplanationError::Missing { seq: visit }));
    let elsewhere = Explanation { event: link.seq(), ..why };
    assert!(matches!(
        elsewhere.check(|seq| claims.get(&seq).cloned()),
        Err(ExplanationError::NotThisEvent { .. })
    ));

    let why = ledger.reader().explain_event(quiet).unwrap().unwrap();
    assert!(why.implied && why.steps.is_empty() && why.from == why.to);
    assert_eq!(ledger.reader().explain_event(OperationId(uuid::Uuid::from_u128(9))).unwrap(), None);
    assert_eq!(ledger.reader().explain_record(link.seq().unwrap()).unwrap(), None, "no event");
    assert_eq!(ledger.reader().explain_record(Seq(1_000_000)).unwrap(), None, "beyond the end");
}

/// The way through a chain of links is long, and it is the way that is paid for: neighbours far from the root are near.
#[test]
fn a_long_chain_is_explained_link_by_link() {
    let mut ledger = new_ledger();
    for number in 1..=500 {
        let (this, before) = (id(&format!("id-{number}")), Source::new(&format!("id-{}", number - 1)));
        let _ = ledger.append(Operation::merge_dangerously(at(number), this, before)).unwrap();
    }
    let why = ledger.explain("id-0", "id-500").unwrap().unwrap();
    assert_eq!(why.steps.len(), 500);
    assert!(why.steps.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    why.check(|seq| ledger.reader().claim(seq).unwrap()).unwrap();
    assert_eq!(ledger.explain("id-499", "id-500").unwrap().unwrap().steps.len(), 1);
    assert_eq!(ledger.explain("id-7", "id-7").unwrap().unwrap().steps.len(), 0);
    assert_eq!(ledger.explain("id-7", "id-501").unwrap(), None);
}
