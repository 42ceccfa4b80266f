//! What an import could not record: shown on standard error while it runs, and kept for the summary. Whom the rest touched.

use std::path::{Path, PathBuf};

use identity_ledger::fold::{PersonNo, State};
use identity_ledger::import::{Complaint, Reason, Rejection, Tally, Watch};
use identity_ledger::{Appended, Timestamp};
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

/// The persons that operations founded, linked or wrote to.
#[derive(Default)]
pub(crate) struct Touched {
    /// By number of a person: whether it is in the list.
    listed: Vec<bool>,
    list: Vec<PersonNo>,
}

impl Touched {
    pub(crate) fn note(&mut self, person: PersonNo) {
        let place = person.0 as usize;
        if place >= self.listed.len() {
            self.listed.resize(place + 1, false);
        }
        if !std::mem::replace(&mut self.listed[place], true) {
            self.list.push(person);
        }
    }

    /// Who these are now, of whom several may have become one, and forgets them. Cost: that of those who were noted.
    pub(crate) fn take(&mut self, state: &State) -> Vec<PersonNo> {
        let noted = std::mem::take(&mut self.list);
        noted.iter().for_each(|person| self.listed[person.0 as usize] = false);
        let now = noted.into_iter().map(|person| state.survivor(person));
        let mut now: Vec<PersonNo> = now.filter(|person| !state.is_retired(*person)).collect();
        now.sort_unstable();
        now.dedup();
        now
    }
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
    /// Whom the operations of this file touched.
    pub(crate) touched: Touched,
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
            touched: Touched::default(),
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

    fn taken(&mut self, appended: &Appended) {
        let Some(outcome) = appended.outcome() else { return };
        let touched = outcome.founded
            || outcome.identified
            || outcome.link.is_some()
            || outcome.written != Default::default();
        outcome.person.filter(|_| touched).into_iter().for_each(|person| self.touched.note(person));
    }

    fn progress(&mut self, bytes: u64, _: &Tally) {
        self.progress.at(bytes);
    }

    fn now(&mut self) -> Option<Timestamp> {
        Some(now())
    }
}
