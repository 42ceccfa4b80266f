//! Histories and lists, page by page: each is a filter of the whole log, and all pages together are the whole, whatever is
//! appended between them.
#![cfg(feature = "testing")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use identity_ledger::answer::PageError;
use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::explain::Subject;
use identity_ledger::log::{AskedVerb, Body, IdNo, LinkSource};
use identity_ledger::storage::Memory;
use identity_ledger::testing::history::{self, History};
use identity_ledger::*;

fn fold(policy: &Policy, operations: &[Operation]) -> Ledger {
    let options = LedgerOptions::new().seeded(1);
    let mut ledger = options.create_in(Arc::new(Memory::new()), Tenant::default(), policy.clone()).unwrap();
    append(&mut ledger, operations);
    ledger
}

fn append(ledger: &mut Ledger, operations: &[Operation]) {
    for operation in operations {
        history::append(ledger, operation).unwrap();
    }
}

fn policy(seed: u64) -> Policy {
    Policy::preset([Preset::Posthog, Preset::Strict, Preset::OneUser][seed as usize % 3])
}

fn ids(ledger: &Ledger) -> Vec<String> {
    ledger.reader().state().ids().filter_map(|id| ledger.reader().id_text(id)).map(str::to_owned).collect()
}

/// For each id the records that touched it, told by a walk through the whole log: they name it, or whose it is has changed.
fn touched(ledger: &Ledger) -> BTreeMap<String, BTreeSet<Seq>> {
    let mut touched: BTreeMap<IdNo, BTreeSet<Seq>> = BTreeMap::new();
    let mut defined = 0;
    let whose = |id: &str, seq: u64| {
        ledger.reader().person_as_of(id, Seq(seq)).filter(|found| !found.implied).map(|found| found.person_id)
    };
    ledger
        .reader()
        .replay(|step| {
            let (seq, body) = (step.record.seq(), step.record.body());
            let mut named: Vec<IdNo> = body.head().map(|head| head.id).into_iter().collect();
            named.extend(match (&body, body.other()) {
                (_, LinkSource::Id(source)) => Some(source),
                (Body::DefineDevice(id, _), _) => Some(*id),
                (Body::DefineId(..), _) => {
                    defined += 1;
                    Some(IdNo(defined - 1))
                }
                _ => None,
            });
            if let Some(AskedVerb::Split(leavers)) = body.verb() {
                named.extend(&leavers.ids);
            }
            for id in step.state.ids() {
                let text = ledger.reader().id_text(id).unwrap();
                let moved = seq.0 > 0 && whose(text, seq.0 - 1) != whose(text, seq.0);
                if moved || named.contains(&id) {
                    touched.entry(id).or_default().insert(seq);
                }
            }
        })
        .unwrap();
    touched.into_iter().map(|(id, seqs)| (ledger.reader().id_text(id).unwrap().to_owned(), seqs)).collect()
}

/// All pages of a long answer, and how many there were.
fn all<T>(mut page: impl FnMut(PageRequest) -> Page<T>, items: usize) -> Vec<T> {
    let (mut ask, mut all) = (PageRequest::first(items), Vec::new());
    loop {
        let Page { items: some, next } = page(ask);
        assert!(
            some.len() <= items && (next.is_none() || some.len() == items),
            "full pages, but for the last"
        );
        all.extend(some);
        match next {
            // As a program would that keeps the cursor as text.
            Some(next) => ask = PageRequest::next(next.to_string().parse().unwrap(), items),
            None => return all,
        }
    }
}

/// What was said for an id under shared ones (D13).
fn said_for(ledger: &Ledger) -> BTreeMap<String, BTreeSet<Seq>> {
    let (reader, mut said) = (ledger.reader(), BTreeMap::<String, BTreeSet<Seq>>::new());
    let replayed = reader.replay(|step| {
        let (body, seq) = (step.record.body(), step.record.seq());
        let id = body.head().map(|head| (head.id, reader.state().speaks_for(head.id, seq)));
        if let Some((_, whom)) = id.filter(|(own, whom)| own != whom) {
            said.entry(reader.id_text(whom).unwrap().to_owned()).or_default().insert(seq);
        }
    });
    replayed.unwrap();
    said
}

#[test]
fn a_history_is_a_filter_of_the_whole_log() {
    let (mut entries, mut moved, mut undone) = (0, 0, 0);
    for seed in 0..150 {
        let history = History::seeded(&policy(seed), seed);
        let ledger = fold(&history.policy, &history.operations);
        let mut outcomes = BTreeMap::new();
        ledger.reader().outcomes(|outcome| drop(outcomes.insert(outcome.seq, outcome))).unwrap();
        let (touched, said) = (touched(&ledger), said_for(&ledger));
        for id in ids(&ledger) {
            let found = all(|ask| ledger.reader().history(Subject::Id(&id), ask).unwrap().unwrap(), 7);
            let seqs: Vec<Seq> = found.iter().map(|entry| entry.seq).collect();
            assert_eq!(
                seqs,
                touched[&id].iter().copied().collect::<Vec<_>>(),
                "`{id}` of seed {seed}\n{history}"
            );
            for entry in &found {
                assert_eq!(entry.outcome.as_ref(), outcomes.get(&entry.seq), "seed {seed}\n{history}");
                assert_eq!(
                    entry.retracted_by.is_some(),
                    ledger.reader().state().is_retracted(entry.seq),
                    "{history}"
                );
                undone += usize::from(entry.retracted_by.is_some());
                let named = entry.outcome.as_ref().is_none_or(|outcome| {
                    outcome.distinct_id == id || outcome.other_id.as_deref() == Some(&id)
                });
                moved += usize::from(!named);
            }
            entries += found.len();

            let person = ledger.reader().person(&id);
            let of_person =
                all(|ask| ledger.reader().history(Subject::Person(&id), ask).unwrap().unwrap(), 1_000);
            let mine = |other: &&String| {
                **other == id || person.is_some() && ledger.reader().person(other) == person
            };
            let expected: BTreeSet<Seq> = { ids(&ledger).into_iter().filter(|other| mine(&other)) }
                .flat_map(|other| {
                    let touched = touched[&other].iter();
                    touched.chain(said.get(&other).into_iter().flatten()).copied().collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(of_person.iter().map(|entry| entry.seq).collect::<BTreeSet<_>>(), expected);
        }
        assert!(
            ledger.reader().history(Subject::Id("never written"), PageRequest::first(1)).unwrap().is_none()
        );
    }
    assert!(entries > 3_000 && moved > 10 && undone > 20, "{entries} {moved} {undone}");
}

#[test]
fn events_of_a_person_are_a_filter_of_all_events() {
    let mut found_in_all = 0;
    for seed in 0..150 {
        let history = History::seeded(&policy(seed), seed);
        let ledger = fold(&history.policy, &history.operations);
        let mut events = Vec::new();
        ledger.reader().events(|event| events.push(event)).unwrap();
        for id in ids(&ledger) {
            let person = ledger.reader().person(&id);
            let own =
                |other: &str| other == id || person.is_some() && ledger.reader().person(other) == person;
            let expected: Vec<&EventAnswer> = events.iter().filter(|event| own(&event.distinct_id)).collect();
            let found = all(|ask| ledger.reader().events_of(Subject::Person(&id), ask).unwrap().unwrap(), 3);
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "seed {seed}\n{history}");
            let expected: Vec<&EventAnswer> = events.iter().filter(|event| event.distinct_id == id).collect();
            let found = all(|ask| ledger.reader().events_of(Subject::Id(&id), ask).unwrap().unwrap(), 2);
            assert_eq!(found.iter().collect::<Vec<_>>(), expected);
            found_in_all += found.len();
        }
    }
    assert!(found_in_all > 500, "{found_in_all}");
}

/// The rest of a made-up history is appended operation by operation while pages are turned.
#[test]
fn pages_together_are_the_whole_whatever_is_appended_between_them() {
    let mut turned = 0;
    for seed in 0..150 {
        let history = History::seeded(&policy(seed), seed);
        let (first, rest) = history.operations.split_at(history.operations.len() / 2);
        let before = fold(&history.policy, first);
        for id in ids(&before) {
            let mut ledger = fold(&history.policy, first);
            let mut rest = rest.iter();
            let mut appended = |ledger: &mut Ledger| {
                turned += 1;
                append(ledger, rest.next().map(std::slice::from_ref).unwrap_or_default());
            };
            for subject in [Subject::Id(&id), Subject::Person(&id)] {
                let whole =
                    before.reader().history(subject, PageRequest::first(10_000)).unwrap().unwrap().items;
                let ask = PageRequest { from: before_cursor(&before), items: 2 };
                let page = |ledger: &Ledger, ask| ledger.reader().history(subject, ask).unwrap().unwrap();
                let joined = turning(&mut ledger, ask, page, &mut appended);
                assert_eq!(joined, whole, "seed {seed}, {subject:?}\n{history}");

                let whole =
                    before.reader().events_of(subject, PageRequest::first(10_000)).unwrap().unwrap().items;
                let ask = PageRequest { from: before_cursor(&before), items: 1 };
                let page = |ledger: &Ledger, ask| ledger.reader().events_of(subject, ask).unwrap().unwrap();
                let joined = turning(&mut ledger, ask, page, &mut appended);
                assert_eq!(joined, whole, "seed {seed}, events of {subject:?}\n{history}");
            }
        }
    }
    assert!(turned > 2_000, "{turned}");
}

#[test]
fn pages_of_persons_are_those_of_when_the_first_was_asked_for() {
    let mut paged = 0;
    for seed in 0..150 {
        let history = History::seeded(&policy(seed), seed);
        let half = history.operations.len() / 2;
        let (first, rest) = history.operations.split_at(half);
        for items in [1, 2, 1_000] {
            let mut ledger = fold(&history.policy, first);
            let whole: Vec<Profile> = ledger.persons().map(Result::unwrap).collect();
            let mut rest = rest.iter();
            let mut appended = |ledger: &mut Ledger| {
                paged += 1;
                append(ledger, rest.next().map(std::slice::from_ref).unwrap_or_default());
            };
            let page = |ledger: &Ledger, ask| ledger.reader().persons_page(ask).unwrap();
            let joined = turning(&mut ledger, PageRequest::first(items), page, &mut appended);
            assert_eq!(joined, whole, "seed {seed}, pages of {items}\n{history}");
        }
    }
    assert!(paged > 650, "{paged}");
}

/// All pages of an answer, full but for the last one, while `between` two of them something happens to the ledger.
fn turning<T>(
    ledger: &mut Ledger,
    mut ask: PageRequest,
    page: impl Fn(&Ledger, PageRequest) -> Page<T>,
    between: &mut impl FnMut(&mut Ledger),
) -> Vec<T> {
    let mut joined = Vec::new();
    loop {
        let page = page(ledger, ask);
        assert!(page.items.len() == ask.items || page.next.is_none());
        joined.extend(page.items);
        between(ledger);
        let Some(next) = page.next else { return joined };
        ask = PageRequest::next(next, ask.items);
    }
}

/// A cursor at the beginning, as of the last record of this ledger.
fn before_cursor(ledger: &Ledger) -> Option<Cursor> {
    Some(format!("{}.0", ledger.checkpoint().records - 1).parse().unwrap())
}

#[test]
fn a_cursor_of_a_longer_log_is_refused() {
    let at = Timestamp::from_micros(0).unwrap();
    let ann = DistinctId::new("ann").unwrap();
    let ledger = fold(&Policy::default(), &[Operation::properties(at, ann)]);
    let last = ledger.checkpoint().records - 1;
    let ask = |as_of: u64| PageRequest::next(format!("{as_of}.0").parse().unwrap(), 1);
    assert!(ledger.reader().history(Subject::Id("ann"), ask(last)).is_ok());
    for refused in [
        ledger.reader().history(Subject::Id("ann"), ask(last + 1)).map(drop),
        ledger.reader().events_of(Subject::Person("ann"), ask(last + 1)).map(drop),
        ledger.reader().persons_page(ask(last + 1)).map(Some).map(drop),
    ] {
        assert!(matches!(refused, Err(PageError::Beyond { .. })), "{refused:?}");
    }
    // As of a record before the id was written there is nothing to say.
    assert!(ledger.reader().history(Subject::Id("ann"), ask(0)).unwrap().is_none());
}

/// An erasure touches those it names, and what is left of a rectified record touches whom that speaks for.
#[test]
fn an_erasure_is_part_of_the_history_of_whom_it_touches() {
    let at = Timestamp::from_micros(0).unwrap();
    let id = |text: &str| DistinctId::new(text).unwrap();
    let mut ledger = fold(
        &Policy::default(),
        &[
            Operation::identify(at, id("ann"), Some(Source::new("phone"))),
            Operation::properties(at, id("ann"))
                .set("email", "a@example.com")
                .unwrap()
                .set("plan", 1)
                .unwrap(),
            Operation::identify(at, id("bob"), Some(Source::new("laptop"))),
        ],
    );
    let ids = |ids: &[&str]| ErasureSubject::Ids(ids.iter().copied().map(id).collect());
    let email = PropertyKey::new("email").unwrap();
    ledger.erase(&[ErasureRequest::new(at, ids(&["ann"]), "").with_keys([email])]).unwrap();
    ledger.erase(&[ErasureRequest::new(at, ids(&["phone"]), "")]).unwrap();
    let ops = |of| -> Vec<&str> {
        let page = ledger.reader().history(of, PageRequest::first(100)).unwrap().unwrap();
        assert!(page.items.iter().all(|entry| entry.outcome.is_some() == entry.time.is_some()));
        page.items.iter().map(|entry| entry.op).collect()
    };
    assert_eq!(ops(Subject::Id("ann")), ["define_id", "identify", "set", "restate"]);
    let person = ops(Subject::Person("ann"));
    assert_eq!(person, ["define_id", "define_id", "identify", "set", "restate", "erase"]);
    assert_eq!(ops(Subject::Person("bob")), ["define_id", "define_id", "identify"], "it touches nobody else");
    assert_eq!(
        ledger.reader().history(Subject::Id("phone"), PageRequest::first(1)).unwrap(),
        None,
        "it has no text to be asked by"
    );
}
