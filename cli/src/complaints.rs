//! What an import could not record: shown on standard error while it runs, and kept for the summary.

use std::path::{Path, PathBuf};

use identity_ledger::Timestamp;
use identity_ledger::import::{Complaint, Reason, Rejection, Tally, Watch};
use serde::Serialize;

use crate::clock::now;
use crate::progress::Progress;

/// How many bad lines are shown: a file with more of them is bad as a whole.
const SHOWN: u64 = 20;
/// Complaints of each kind that the summary keeps.
const KEPT: usize = 100;

/// One thing that was not recorded.
#[derive(Serialize)]
pub(crate) struct Kept {
    file: String,
    line: u64,
    index: Option<usize>,
    reason: String,
}

/// Collects complaints, and moves the progress bar.
pub(crate) struct Complaints<'p> {
    progress: &'p mut Progress,
    file: PathBuf,
    count: u64,
    /// How many say that a text is not JSON.
    pub(crate) not_json: u64,
    pub(crate) rejections: Vec<Kept>,
    pub(crate) conflicting: Vec<Kept>,
}

impl<'p> Complaints<'p> {
    pub(crate) fn new(progress: &'p mut Progress) -> Complaints<'p> {
        Complaints {
            progress,
            file: PathBuf::new(),
            count: 0,
            not_json: 0,
            rejections: Vec::new(),
            conflicting: Vec::new(),
        }
    }

    /// What follows is about this file.
    pub(crate) fn begin(&mut self, file: &Path, bytes: Option<u64>) {
        file.clone_into(&mut self.file);
        self.progress.begin(file.display().to_string(), bytes);
    }

    /// Takes the bar away, and says how many lines were not shown.
    pub(crate) fn finish(&mut self) {
        self.progress.clear();
        if self.count > SHOWN {
            self.progress.line(&format!("... and {} more", self.count - SHOWN));
        }
    }
}

impl Watch for Complaints<'_> {
    fn complaint(&mut self, Complaint { line, index, reason }: Complaint) {
        let file = self.file.display();
        self.count += 1;
        self.not_json +=
            u64::from(matches!(reason, Reason::Unreadable(Rejection::NotJson { .. } | Rejection::Csv)));
        if self.count <= SHOWN {
            let place = match index {
                Some(index) => format!("{file}:{line}:{index}"),
                None => format!("{file}:{line}"),
            };
            self.progress.line(&format!("{place}: {reason}"));
        }
        let kept = if reason.is_rejection() { &mut self.rejections } else { &mut self.conflicting };
        if kept.len() < KEPT {
            kept.push(Kept { file: file.to_string(), line, index, reason: reason.to_string() });
        }
    }

    fn progress(&mut self, bytes: u64, _: &Tally) {
        self.progress.at(bytes);
    }

    fn now(&mut self) -> Option<Timestamp> {
        Some(now())
    }
}
