//! Forged snapshots: whole files with every digest right, as anybody can make them who can write the directory. The layout is that
//! of docs/format.md.
#![allow(dead_code, reason = "each test file uses some of it")]

/// Bytes of a snapshot's header, and of a place in the log.
pub(crate) const HEADER: usize = 232;
pub(crate) const PLACE: usize = 76;
/// Where the header says how many places there are.
pub(crate) const PLACES: usize = 192;
/// Where it holds the digest of the state.
pub(crate) const STATE_DIGEST: std::ops::Range<usize> = 112..144;
/// Where it holds the time at which its last record was recorded, and where a place holds the same of the record before it.
pub(crate) const RECORDED_AT: std::ops::Range<usize> = 72..80;
pub(crate) const RECORDED_BEFORE: std::ops::Range<usize> = 40..48;

/// The same bytes with the digest that they should have.
pub(crate) fn resealed(bytes: &[u8]) -> Vec<u8> {
    let content = &bytes[..bytes.len() - 32];
    let digest = blake3::derive_key("identity-ledger 2026-11-23 v1 snapshot", content);
    [content, &digest[..]].concat()
}

/// The number of `len` bytes at `at`.
fn number(bytes: &[u8], at: usize, len: usize) -> usize {
    bytes[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Where the places end, and where the operation ids begin.
fn parts(bytes: &[u8]) -> [usize; 2] {
    let places_end = HEADER + PLACE * number(bytes, PLACES, 8);
    let counts: usize = (0..4).map(|at| number(bytes, 80 + 4 * at, 4)).sum();
    let texts: usize = (0..4).map(|at| number(bytes, 200 + 8 * at, 8)).sum();
    [places_end, places_end + 2 * counts + texts]
}

/// Where the state begins: behind header, places, dictionaries and operation ids.
pub(crate) fn state_begins(bytes: &[u8]) -> usize {
    parts(bytes)[1] + 8 * number(bytes, 184, 8)
}

/// A snapshot at the place of `genuine` that says what `other` says, which was made of another log of as many records.
pub(crate) fn transplanted(genuine: &[u8], other: &[u8]) -> Vec<u8> {
    let mut header = other[..HEADER].to_vec();
    for of_the_log in [32..80, 96..112, 192..200] {
        header[of_the_log.clone()].copy_from_slice(&genuine[of_the_log]);
    }
    let places = &genuine[HEADER..parts(genuine)[0]];
    resealed(&[&header, places, &other[parts(other)[0]..]].concat())
}

/// The same without any operation id.
pub(crate) fn without_operation_ids(bytes: &[u8]) -> Vec<u8> {
    let mut header = bytes[..HEADER].to_vec();
    header[184..192].fill(0);
    resealed(&[&header, &bytes[HEADER..parts(bytes)[1]], &bytes[state_begins(bytes)..]].concat())
}

/// The same with other bytes in the state, and the digest that such a state has.
pub(crate) fn with_state(bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let (mut bytes, begin) = (bytes.to_vec(), state_begins(bytes));
    let end = bytes.len() - 32;
    change(&mut bytes[begin..end]);
    let digest = blake3::derive_key("identity-ledger 2026-11-23 v1 state digest", &bytes[begin..end]);
    bytes[STATE_DIGEST].copy_from_slice(&digest);
    resealed(&bytes)
}
