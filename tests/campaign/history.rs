//! What is asked of a ledger, and the digest of its content after each step.

use std::collections::BTreeMap;

use identity_ledger::log::Digest;
use identity_ledger::*;

/// Batches of operations and what a ledger contains after each.
#[derive(Debug)]
pub(crate) struct History {
    /// The last one is spare: nothing but what follows a recovery appends it.
    pub(crate) batches: Vec<Vec<Operation>>,
    after: BTreeMap<Digest, usize>,
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug)]
pub(crate) struct Chance(pub u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Operation `number`, which no other equals, with a value of so many bytes: lengths decide where sectors end.
pub(crate) fn operation(number: u64, bytes: usize) -> Operation {
    let at = Timestamp::from_micros(i64::try_from(number).unwrap()).unwrap();
    let id = |text: &str| DistinctId::new(text).unwrap();
    let name = format!("id-{}", number % 4);
    let operation = match number % 3 {
        0 => Operation::capture(at, id(&name), OperationId(uuid::Uuid::from_u128(number.into()))),
        1 => Operation::identify(at, id("ann"), Some(Source::new(&name))),
        _ => Operation::properties(at, id(&name)),
    };
    let operation = operation.set("n", i64::try_from(number).unwrap()).unwrap();
    if bytes == 0 { operation } else { operation.set("text", "x".repeat(bytes)).unwrap() }
}

impl History {
    /// `batches` batches of `operations` operations, and a spare one; values of up to `bytes` bytes, drawn by `seed`.
    pub(crate) fn new(seed: u64, batches: u64, operations: u64, bytes: u64) -> History {
        let mut chance = Chance(seed);
        let mut draw = |number| operation(number, usize::try_from(chance.below(bytes)).unwrap());
        let batches: Vec<Vec<Operation>> = (0..=batches)
            .map(|batch| (0..operations).map(|n| draw(batch * operations + n)).collect())
            .collect();
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let mut after = BTreeMap::from([(ledger.reader().content_digest().unwrap(), 0)]);
        for (number, batch) in batches.iter().enumerate() {
            drop(ledger.append_batch(batch).unwrap());
            let elder = after.insert(ledger.reader().content_digest().unwrap(), number + 1);
            assert!(elder.is_none(), "each batch changes the content");
        }
        History { batches, after }
    }

    /// How many batches a ledger has that contains just those; `None` if its content is of no prefix of the history.
    pub(crate) fn prefix(&self, book: &Reader) -> Option<usize> {
        self.after.get(&book.content_digest().ok()?).copied()
    }
}
