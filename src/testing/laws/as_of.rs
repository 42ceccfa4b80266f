//! The law of answers as of a record: they are those of a ledger that holds nothing but the records up to it.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::kit::*;
use crate::ledger::Ledger;
use crate::ledger::appended::Appended;
use crate::model::id::PropertyKey;
use crate::model::operation::Operation;
use crate::query::graph::Graph;
use crate::query::history::Subject;
use crate::query::page::{Cursor, PageRequest};
use crate::query::reader::{MemoryUse, Reader};
use crate::query::stats::Stats;
use crate::testing::history::History;

/// Operations of a batch: so most of the records asked about stand within a frame.
const BATCH: usize = 3;
/// How many records of a history are asked about. Every question is asked about each.
const PLACES: usize = 2;

/// Every question as of a record has the answer of a ledger in which nothing was recorded behind it.
pub fn as_of(history: &History) -> Result<(), String> {
    let Folded { appended, .. } = all(history)?;
    let taken = history.operations.iter().zip(&appended).filter(|(_, appended)| appended.is_some());
    let operations: Vec<Operation> = taken.map(|(operation, _)| operation.clone()).collect();
    let (full, answers) = batched(history, &operations)?;
    let names = Names::of(full.reader());
    let step = operations.len().div_ceil(PLACES).max(1);
    for end in (1..=operations.len()).step_by(step) {
        let Appended::Recorded { seq, .. } = answers[end - 1] else { continue };
        let (prefix, _) = batched(history, &operations[..end])?;
        let then = full.reader().as_of(seq, &mut |_| {}).map_err(|fault| fault.to_string())?;
        let (found, expected) = (names.ask(&then)?, names.ask(prefix.reader())?);
        for ((question, found), (_, expected)) in found.iter().zip(&expected) {
            same(&format!("{question} as of record {seq}"), found, expected)?;
        }
        same("how many questions were answered", &found.len(), &expected.len())?;
        // The same pages from a cursor, of which only what a page needs is folded.
        let (all, cursor) = (PageRequest::first(usize::MAX), Cursor::beginning(seq));
        let (reader, from) = (full.reader(), PageRequest::next(cursor, usize::MAX));
        let page = |found, expected, what: &str| same(&format!("{what} from {cursor}"), &found, &expected);
        let persons = |reader: &Reader, ask| format!("{:?}", shown(reader.persons_page(ask)));
        page(persons(reader, from), persons(prefix.reader(), all), "persons")?;
        for subject in names.ids.iter().flat_map(|id| [Subject::Id(id), Subject::Person(id)]) {
            let pages = |reader: &Reader, ask| {
                format!(
                    "{:?} {:?}",
                    shown(reader.history(subject, ask)),
                    shown(reader.events_of(subject, ask))
                )
            };
            page(pages(reader, from), pages(prefix.reader(), all), &format!("{subject:?}"))?;
        }
    }
    Ok(())
}

fn batched(history: &History, operations: &[Operation]) -> Result<(Ledger, Vec<Appended>), String> {
    let (mut ledger, _) = new_ledger(&history.policy)?;
    let mut answers = Vec::new();
    for batch in operations.chunks(BATCH) {
        answers.extend(append_all(&mut ledger, batch)?);
    }
    Ok((ledger, answers))
}

/// What questions can be about: everything that the whole history names, also where it was not yet written.
struct Names {
    ids: Vec<String>,
    keys: BTreeSet<String>,
}

/// What was asked, and the answer as it is printed.
type Asked = Vec<(String, String)>;

impl Names {
    fn of(reader: &Reader) -> Names {
        let ids = reader.state().ids().filter_map(|id| reader.id_text(id)).map(str::to_owned).collect();
        let keys = &reader.dictionaries.keys;
        let keys = (0..keys.len()).filter_map(|key| keys.text(key)).map(str::to_owned).collect();
        Names { ids, keys }
    }

    /// Every question of a reader, about every name.
    fn ask(&self, reader: &Reader) -> Result<Asked, String> {
        let mut asked = Vec::new();
        let mut note = |question: String, answer: &dyn Debug| asked.push((question, format!("{answer:?}")));
        let last = PageRequest::first(usize::MAX);
        let (mut events, mut outcomes) = (Vec::new(), Vec::new());
        reader.events(|event| events.push(event)).map_err(|fault| fault.to_string())?;
        reader.outcomes(|outcome| outcomes.push(outcome)).map_err(|fault| fault.to_string())?;
        note("records".to_owned(), &reader.state().records());
        note("state".to_owned(), &reader.state().digest());
        note("content".to_owned(), &shown(reader.content_digest()));
        note("policy".to_owned(), reader.policy());
        note("events".to_owned(), &events);
        note("outcomes".to_owned(), &outcomes);
        note("persons".to_owned(), &reader.persons().map(shown).collect::<Vec<_>>());
        note("persons_page".to_owned(), &shown(reader.persons_page(last)));
        note("report".to_owned(), &shown(reader.report(10)));
        note(
            "stats".to_owned(),
            &shown(reader.stats().map(|stats| {
                // What files and memory take is of the moment.
                let (files, memory) = (Default::default(), MemoryUse::default());
                Stats { files, memory, ..stats }
            })),
        );
        for event in &events {
            let seq = event.seq;
            note(format!("explain_record {seq}"), &shown(reader.explain_record(seq)));
            note(format!("recorded_at {seq}"), &shown(reader.recorded_at(seq)));
            if let Some(id) = event.event_id {
                note(format!("event {id:?}"), &shown(reader.event(id)));
                note(format!("explain_event {id:?}"), &shown(reader.explain_event(id)));
            }
        }
        for key in self.keys.iter().filter_map(|key| PropertyKey::new(key.as_str()).ok()) {
            note(format!("find {key:?}"), &shown(reader.find(&key, |_| true)));
        }
        for (at, id) in self.ids.iter().enumerate() {
            note(format!("resolve {id}"), &reader.resolve(id));
            note(format!("profile {id}"), &shown(reader.profile(id)));
            note(format!("graph {id}"), &shown(Graph::of(reader, id)));
            for subject in [Subject::Id(id), Subject::Person(id)] {
                note(format!("history {subject:?}"), &shown(reader.history(subject, last)));
                note(format!("events_of {subject:?}"), &shown(reader.events_of(subject, last)));
            }
            for key in &self.keys {
                note(format!("why_property {id} {key}"), &shown(reader.why_property(id, key)));
            }
            for other in &self.ids[at + 1..] {
                note(format!("explain {id} {other}"), &shown(reader.explain(id, other)));
                note(format!("why_not {id} {other}"), &shown(reader.why_not(id, other)));
            }
        }
        Ok(asked)
    }
}

/// An answer, or why there is none.
fn shown<T: Debug, E: std::fmt::Display>(answer: Result<T, E>) -> Result<T, String> {
    answer.map_err(|error| error.to_string())
}
