//! Where a command writes what it was asked for: outside every ledger, and never over a key ring.

use std::path::Path;

use identity_ledger::storage::Reserved;

use crate::failure::Failure;
use crate::key_ring;

/// Refuses an output that would change a ledger or a key ring, wherever links lead.
pub(crate) fn expect_free(output: &Path) -> Result<(), Failure> {
    let place = || output.to_owned();
    match Reserved::of(output).map_err(Failure::write(output))? {
        Some(Reserved::Inside(ledger)) => return Err(Failure::InsideLedger { place: place(), ledger }),
        Some(Reserved::File(found)) => return Err(Failure::Reserved { place: place(), found }),
        _ => {}
    }
    // A damaged ring does not look like one.
    let is_ring = |ring: &Path| Some(ring.canonicalize().ok()? == output.canonicalize().ok()?);
    if key_ring::given().and_then(is_ring) == Some(true) {
        return Err(Failure::Reserved { place: place(), found: "the key ring" });
    }
    Ok(())
}
