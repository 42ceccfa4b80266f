//! Verdicts: what was found at the end of a log, and what it means. A table; it knows no disk.
//!
//! | the walk met | the log begins | all that was acknowledged is before it | a segment follows | verdict |
//! |---|---|---|---|---|
//! | a failing disk | | | | unreadable: no verdict on the log |
//! | a frame other than the one that was seen | | | | forked |
//! | whole records that no writer writes | | | | contradictory |
//! | the end | | yes | | clean |
//! | the end | | no | | rolled back |
//! | anything else | no | | | damaged: a ledger is created whole |
//! | anything else | yes | no | | damaged |
//! | anything else | yes | yes | yes | damaged: a segment begins only after the one before it was synced |
//! | a whole header of another place, ledger or version | yes | yes | no | foreign: no crash writes that |
//! | bytes that are not a frame | yes | yes | no | torn: never acknowledged |

use crate::log::chain::ChainError;
use crate::store::segments::FaultKind;

/// What a walk through the log met at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// The last byte of the last segment, behind a whole frame.
    End,
    /// Bytes that are not a frame, or not the frame that belongs there.
    Broken,
    /// A segment's header, whole, that belongs elsewhere or is of another version.
    Foreign,
    /// Whole frames that say what no writer writes.
    Contradiction,
    /// A whole frame where another was seen.
    Fork,
    /// An error of the disk. It is never taken for the end of the log.
    DiskError,
}

impl From<&FaultKind> for Met {
    fn from(kind: &FaultKind) -> Met {
        match kind {
            FaultKind::Io(_) => Met::DiskError,
            FaultKind::Forked { .. } => Met::Fork,
            FaultKind::Text { .. }
            | FaultKind::PayloadMissing { .. }
            | FaultKind::ComponentTooLarge { .. }
            | FaultKind::ErasureIncomplete { .. }
            | FaultKind::Unproven { .. }
            | FaultKind::Chain(ChainError::LaterKeys { .. }) => Met::Contradiction,
            FaultKind::ForeignSegment { .. }
            | FaultKind::SegmentVersion { .. }
            | FaultKind::WrongSegment { .. }
            | FaultKind::Spliced => Met::Foreign,
            FaultKind::Chain(_) | FaultKind::SegmentHeader | FaultKind::NoSegment => Met::Broken,
        }
    }
}

/// Everything a verdict depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finding {
    pub(crate) met: Met,
    /// Whether there is a good record before it.
    pub(crate) begun: bool,
    /// Whether every record that was seen durable is before it.
    pub(crate) all_there: bool,
    /// Whether another segment follows.
    pub(crate) sealed: bool,
}

/// What it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As a writer leaves it.
    Clean,
    /// A write that was cut off and was never acknowledged.
    TornTail,
    /// Acknowledged records are gone or changed.
    Damaged,
    /// The log ends, whole, before records that were seen.
    RolledBack,
    /// Another history than the one that was seen.
    Forked,
    /// Something of another ledger or another place.
    Foreign,
    /// Whole, chained, and still impossible.
    Contradictory,
    /// The disk could not tell.
    Unreadable,
}

/// The table above.
pub(crate) fn judge(found: Finding) -> Verdict {
    match found.met {
        Met::DiskError => Verdict::Unreadable,
        Met::Fork => Verdict::Forked,
        Met::Contradiction => Verdict::Contradictory,
        Met::End if found.all_there => Verdict::Clean,
        Met::End => Verdict::RolledBack,
        _ if !found.begun || !found.all_there || found.sealed => Verdict::Damaged,
        Met::Foreign => Verdict::Foreign,
        Met::Broken => Verdict::TornTail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of the table: what must hold of a finding (`None`: it does not matter), and the verdict.
    type RowOf = (&'static [Met], [Option<bool>; 3], Verdict);

    const FAULTS: &[Met] = &[Met::Broken, Met::Foreign];

    /// The table once more, row by row, in any order: no row may depend on one before it.
    const TABLE: [RowOf; 10] = [
        (&[Met::DiskError], [None, None, None], Verdict::Unreadable),
        (&[Met::Fork], [None, None, None], Verdict::Forked),
        (&[Met::Contradiction], [None, None, None], Verdict::Contradictory),
        (&[Met::End], [None, Some(true), None], Verdict::Clean),
        (&[Met::End], [None, Some(false), None], Verdict::RolledBack),
        (FAULTS, [Some(false), None, None], Verdict::Damaged),
        (FAULTS, [Some(true), Some(false), None], Verdict::Damaged),
        (FAULTS, [Some(true), Some(true), Some(true)], Verdict::Damaged),
        (&[Met::Foreign], [Some(true), Some(true), Some(false)], Verdict::Foreign),
        (&[Met::Broken], [Some(true), Some(true), Some(false)], Verdict::TornTail),
    ];

    #[test]
    fn each_of_all_findings_has_exactly_one_row_and_its_verdict() {
        let all = [Met::End, Met::Broken, Met::Foreign, Met::Contradiction, Met::Fork, Met::DiskError];
        let mut findings = 0;
        for met in all {
            for bits in 0..8 {
                let [begun, all_there, sealed] = [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0];
                let fits = |(mets, facts, _): &&RowOf| {
                    let holds =
                        |(wanted, is): (&Option<bool>, bool)| wanted.is_none_or(|wanted| wanted == is);
                    mets.contains(&met) && facts.iter().zip([begun, all_there, sealed]).all(holds)
                };
                let rows: Vec<&RowOf> = TABLE.iter().filter(fits).collect();
                assert_eq!(rows.len(), 1, "{met:?} {begun} {all_there} {sealed}");
                let found = Finding { met, begun, all_there, sealed };
                assert_eq!(judge(found), rows[0].2, "{found:?}");
                findings += 1;
            }
        }
        assert_eq!(findings, 48);
    }

    #[test]
    fn only_one_verdict_lets_bytes_be_cut_off() {
        // The one row that leads to Torn needs all of: nothing acknowledged behind it, no segment after it, a log before it.
        let torn: Vec<&RowOf> = TABLE.iter().filter(|row| row.2 == Verdict::TornTail).collect();
        assert_eq!(torn.len(), 1);
        assert_eq!(torn[0].1, [Some(true), Some(true), Some(false)]);
    }
}
