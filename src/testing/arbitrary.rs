//! Feature `arbitrary`: histories, policies and operations as the arguments of a fuzz target.
//!
//! The bytes are read as [`History::from_bytes`] reads them, so that a fuzzer's corpus, a proptest and a seed are one language: each
//! operation is five bytes, every input is a valid one, and a mutation stays where it was made.

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::model::operation::Operation;
use crate::model::policy::Policy;
use crate::testing::history::History;

/// How many bytes of a history are its policy, and how many each operation, as [`History::from_bytes`] says.
const POLICY_BYTES: usize = 3;
const OPERATION_BYTES: usize = 5;

/// What is left of the bytes is the history, all of it, if it is the last argument of a target; else as many operations as the bytes
/// say.
///
/// ```
/// use arbitrary::{Arbitrary, Unstructured};
/// use identity_ledger::testing::history::History;
/// use identity_ledger::testing::laws;
///
/// // As in `fuzz_target!(|history: History| ...)`.
/// let bytes = [0, 0, 0, 2, 8, 0, 0, 1, 0, 1, 3, 0, 2];
/// let history = History::arbitrary_take_rest(Unstructured::new(&bytes))?;
/// assert_eq!(history.operations.len(), 2);
/// laws::engine_is_reference(&history).expect("the law holds");
/// # Ok::<(), arbitrary::Error>(())
/// ```
impl<'a> Arbitrary<'a> for History {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<History> {
        let operations = u.arbitrary_len::<[u8; OPERATION_BYTES]>()?;
        let len = (POLICY_BYTES + operations * OPERATION_BYTES).min(u.len());
        Ok(History::from_bytes(u.bytes(len)?))
    }

    fn arbitrary_take_rest(u: Unstructured<'a>) -> Result<History> {
        Ok(History::from_bytes(u.take_rest()))
    }

    fn size_hint(_: usize) -> (usize, Option<usize>) {
        (0, None) // what is missing is zero
    }
}

/// Any preset and dialect, and limits so small that they are met.
impl<'a> Arbitrary<'a> for Policy {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Policy> {
        let bytes: [u8; POLICY_BYTES] = u.arbitrary()?;
        Ok(History::from_bytes(&bytes).policy)
    }

    fn size_hint(_: usize) -> (usize, Option<usize>) {
        (POLICY_BYTES, Some(POLICY_BYTES))
    }
}

/// One operation over the small alphabet of [`crate::testing::history`]; never a retract, which needs an operation before it.
impl<'a> Arbitrary<'a> for Operation {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Operation> {
        let mut bytes = [0; POLICY_BYTES + OPERATION_BYTES];
        u.fill_buffer(&mut bytes[POLICY_BYTES..])?;
        Ok(History::from_bytes(&bytes).operations.remove(0))
    }

    fn size_hint(_: usize) -> (usize, Option<usize>) {
        (OPERATION_BYTES, Some(OPERATION_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::chance::Chance;

    #[test]
    fn a_fuzzer_reads_the_bytes_as_everybody_does() {
        for seed in 0..200 {
            let mut chance = Chance::new(seed);
            let len = chance.below(100);
            let bytes = chance.bytes(len);
            let all = History::from_bytes(&bytes);
            assert_eq!(History::arbitrary_take_rest(Unstructured::new(&bytes)), Ok(all.clone()));
            let mut u = Unstructured::new(&bytes);
            if bytes.len() >= POLICY_BYTES + OPERATION_BYTES {
                assert_eq!(Policy::arbitrary(&mut u), Ok(all.policy));
                assert_eq!(Operation::arbitrary(&mut u).as_ref(), Ok(&all.operations[0]));
            }
        }
    }

    #[test]
    fn a_history_in_the_middle_leaves_the_rest_to_others() {
        let bytes = Chance::new(1).bytes(200);
        let mut u = Unstructured::new(&bytes);
        let history = History::arbitrary(&mut u).expect("there are bytes");
        let taken = bytes.len() - u.len();
        assert!(!u.is_empty() && taken >= POLICY_BYTES, "{taken} bytes for {history}");
        assert_eq!(History::arbitrary(&mut Unstructured::new(&[])).map(|none| none.operations), Ok(vec![]));
    }
}
