//! Histories: every record that touched an id or a person, with what became of it.

use std::collections::BTreeSet;

use crate::answer::OutcomeAnswer;
use crate::book::Book;
use crate::id::Seq;
use crate::log::Fault;
use crate::record::{Body, DeviceNo, IdNo, Other};
use crate::state::Outcome;

/// A record of one component, and what became of it as things stand now.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) seq: Seq,
    pub(crate) body: Body,
    /// The device it defines.
    pub(crate) defines: Option<DeviceNo>,
    /// What it did when it was recorded; `None` if it is no operation.
    pub(crate) then: Option<OutcomeAnswer>,
    /// What it does as things stand now: without what was taken back. `None` if it was itself, or is no operation.
    pub(crate) now: Option<Outcome>,
    /// Why it is refused as things stand now.
    pub(crate) reason: Option<String>,
}

impl Told {
    /// T and S, if it asks to link two ids.
    pub(crate) fn ends(&self) -> Option<[IdNo; 2]> {
        match (self.body.head(), self.body.other()) {
            (Some(head), Other::Id(source)) if source != head.id => Some([head.id, source]),
            _ => None,
        }
    }

    /// The ids and devices it names.
    pub(crate) fn names(&self) -> (Vec<IdNo>, Vec<DeviceNo>) {
        let (mut ids, mut devices) = (Vec::new(), Vec::from_iter(self.defines));
        if let Some(head) = self.body.head() {
            ids.push(head.id);
            devices.extend(head.device);
        }
        match (&self.body, self.body.other()) {
            (Body::DefineDevice(id, _), _) => ids.push(*id),
            (Body::Reset(_, fresh, _), _) => devices.extend(*fresh),
            (_, Other::Id(source)) => ids.push(source),
            _ => {}
        }
        (ids, devices)
    }
}

impl Book {
    /// The records of the component of `id`, in the order of the log: all that name an id or a device that records connect with
    /// it, refused or not.
    pub(crate) fn told(&self, id: IdNo) -> Result<Vec<Told>, Fault> {
        let mut all: Vec<Told> = Vec::new();
        let mut devices = 0;
        self.replay(|step| {
            let body = step.record.body();
            let answer =
                step.outcome.map(|outcome| self.outcome_in(step.record.seq(), &body, outcome, step.state));
            let defines = matches!(body, Body::DefineDevice(..)).then(|| {
                devices += 1;
                DeviceNo(devices - 1)
            });
            let reason = answer.as_ref().and_then(|answer| answer.reason.clone());
            let now = step.outcome.copied();
            all.push(Told { seq: step.record.seq(), body, defines, then: answer, now, reason });
        })?;
        let (mut ids, mut devices) = (BTreeSet::from([id]), BTreeSet::new());
        loop {
            let before = ids.len() + devices.len();
            for told in &all {
                let (named, spoke) = told.names();
                if named.iter().any(|id| ids.contains(id)) || spoke.iter().any(|d| devices.contains(d)) {
                    ids.extend(named);
                    devices.extend(spoke);
                }
            }
            if ids.len() + devices.len() == before {
                break;
            }
        }
        let belongs = |told: &Told| {
            let (named, spoke) = told.names();
            named.iter().any(|id| ids.contains(id)) || spoke.iter().any(|d| devices.contains(d))
        };
        Ok(all.into_iter().filter(belongs).collect())
    }
}
