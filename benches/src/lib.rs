//! What the library is measured against: the loop one would write by hand.
//!
//! It keeps who is who and nothing else: no log, no rules, no times, no properties, no counts, no proof. The library's
//! replay does all of that, and reads and checks its bytes first.

use std::collections::HashMap;
use std::ops::Range;

use identity_ledger::testing::workload::{Shape, Workload};
use identity_ledger::{Actor, Durability, Ledger, LedgerOptions, Operation, Policy, Request, Source, Tenant};
use petgraph::unionfind::UnionFind;

/// Whatever went wrong: a benchmark only prints it.
pub type Failure = Box<dyn std::error::Error>;

/// The seed of all workloads.
pub const SEED: u64 = 1;

/// Operations in a batch, and so in a frame: what the importer takes.
pub const BATCH: usize = 2_048;

/// The operations of so many visitors of a web site; about 18 a person.
pub fn workload(people: u64) -> Workload {
    Workload::new(Shape::Web, people, SEED)
}

/// How many people `--people N` asks for; 444,444 unless it is given.
///
/// # Errors
/// Anything else among the arguments.
pub fn people_asked_for() -> Result<u64, Failure> {
    let mut people = 444_444;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match (word.as_str(), words.next()) {
            ("--people", Some(number)) => people = number.parse()?,
            _ => return Err("expected --people N".into()),
        }
    }
    Ok(people)
}

/// A ledger on the disk with the operations of so many people.
pub fn build(dir: &std::path::Path, people: u64) -> Ledger {
    let options = LedgerOptions::new().durability(Durability::Buffered).seeded(SEED);
    let mut ledger = options.create(dir, Tenant::default(), Policy::default()).expect("the place is free");
    append_all(&mut ledger, workload(people));
    ledger
}

/// Appends everything in batches.
pub fn append_all(ledger: &mut Ledger, mut operations: impl Iterator<Item = Operation>) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        batch.extend(operations.by_ref().take(BATCH));
        if batch.is_empty() {
            return;
        }
        drop(ledger.append_batch(&batch).expect("a workload is within all bounds"));
        batch.clear();
    }
}

/// `std::collections::HashMap<String, u32>` and petgraph's union-find.
#[derive(Debug, Default)]
pub struct ByHand {
    numbers: HashMap<String, u32>,
    persons: UnionFind<u32>,
}

impl ByHand {
    fn number(&mut self, id: &str) -> u32 {
        match self.numbers.get(id) {
            Some(number) => *number,
            None => {
                let number = self.persons.new_set();
                self.numbers.insert(id.to_owned(), number);
                number
            }
        }
    }

    fn capture(&mut self, id: &str) -> u32 {
        let number = self.number(id);
        self.persons.find_mut(number)
    }

    fn link(&mut self, id: &str, other: &str) -> u32 {
        let (number, other) = (self.number(id), self.number(other));
        u32::from(self.persons.union(number, other))
    }

    /// Ids seen.
    pub fn ids(&self) -> usize {
        self.numbers.len()
    }

    /// Folds operations that are parsed already; the number keeps the compiler from dropping the work.
    pub fn fold(&mut self, operations: &[Operation]) -> u64 {
        let persons = operations.iter().map(|operation| {
            u64::from(match ids(operation) {
                (id, None) => self.capture(id),
                (id, Some(other)) => self.link(id, other),
            })
        });
        persons.sum()
    }

    /// Folds the same operations from their shortest form in memory.
    pub fn fold_lean(&mut self, lean: &Lean) -> u64 {
        let text = |range: &Range<u32>| &lean.text[range.start as usize..range.end as usize];
        let persons = lean.steps.iter().map(|[id, other]| {
            u64::from(if other.is_empty() {
                self.capture(text(id))
            } else {
                self.link(text(id), text(other))
            })
        });
        persons.sum()
    }
}

/// The ids of an operation: T, and S if it links.
///
/// # Panics
/// For operations that [`Shape::Web`] does not make.
pub fn ids(operation: &Operation) -> (&str, Option<&str>) {
    match &operation.request {
        Request::Capture { who: Actor::Id(id), .. } => (id.as_str(), None),
        Request::Identify { who: Actor::Id(id), anonymous: Some(Source::Id(other)) } => {
            (id.as_str(), Some(other.as_str()))
        }
        other => panic!("not in this workload: {other:?}"),
    }
}

/// Operations without all that the loop by hand does not look at: 16 bytes each, and their texts in one piece.
///
/// An [`Operation`] is made to be given to the ledger; walking over millions of them is itself a good part of the loop by
/// hand. This is the loop by hand at its best.
#[derive(Debug, Default)]
pub struct Lean {
    text: String,
    steps: Vec<[Range<u32>; 2]>,
}

impl Lean {
    /// Leaves out everything but the ids.
    pub fn new(operations: impl Iterator<Item = Operation>) -> Lean {
        let mut lean = Lean::default();
        for operation in operations {
            let (id, other) = ids(&operation);
            let step = [lean.push(id), lean.push(other.unwrap_or_default())];
            lean.steps.push(step);
        }
        lean
    }

    fn push(&mut self, text: &str) -> Range<u32> {
        let length =
            |text: &str| u32::try_from(text.len()).expect("the texts of a workload stay below 4 GiB");
        let begin = length(&self.text);
        self.text.push_str(text);
        begin..length(&self.text)
    }
}
