//! Erasures (H3): what they cover is gone, and nothing else is.

use crate::fold::replay::Step;
use crate::log::body::{Body, ErasedDevice, ErasureCompletion};
use crate::log::item::read_value;
use crate::log::record::Row;
use crate::maintenance::audit::{Audit, NONE};
use crate::maintenance::finding::ErasureFault;
use crate::model::id::Seq;
use crate::model::limits::MAX_REASON_BYTES;
use crate::query::reader::Reader;
use crate::store::layout::LOG;
use crate::store::segments::FaultKind;

impl Audit {
    // -- erasures, H3 ----------------------------------------------------------------------------------------------

    pub(super) fn note_item(&mut self, step: Step<'_>) {
        let row = step.record.row;
        if row.is_destroyed() {
            self.destroyed.push(*row);
        }
        if row.is_erased() && !row.is_destroyed() {
            self.absences.see(row, step.state.erasures());
            self.absent.push(row.seq);
        } else if row.has_item() && row.speaks_for_id() {
            let place = row.id.index();
            if self.present.len() <= place {
                self.present.resize(place + 1, NONE);
            }
            self.present[place] = self.present[place].min(row.seq);
        }
    }

    /// A record of an erasure: that it names what it may, and what it covers that is still there.
    pub(super) fn erasure(&mut self, seq: Seq, step: Step<'_>) {
        if !step.record.row.is_erasure() {
            return;
        }
        match &step.record.body() {
            Body::Erase(erasure) => {
                let definition = |device: &ErasedDevice| self.device_definitions.get(device.device.index());
                if erasure.devices.iter().any(|device| definition(device) != Some(&device.defined)) {
                    self.wrong(seq, "it names another record than the one that defines its device (H3)");
                }
                let reason = step.record.item().map(|item| std::str::from_utf8(item).map(str::len));
                if reason.is_some_and(|reason| reason.map_or(true, |len| len == 0 || len > MAX_REASON_BYTES))
                {
                    self.wrong(seq, "its reason is not a text, or exceeds a limit (H3)");
                }
                let spoken = erasure.ids.iter().filter_map(|id| self.present.get(id.index())).copied();
                let defined = erasure.ids.iter().map(|id| step.state.defined_by(*id).0 as u32);
                let devices = erasure.devices.iter().map(|device| device.defined);
                let named = defined.chain(devices).chain(erasure.records.iter().copied());
                let present = named.filter(|record| self.absent.binary_search(record).is_err());
                let first = spoken.filter(|record| *record != NONE).chain(present).min();
                self.incomplete.extend(first.map(|record| (step.record.row.seq, record)));
            }
            Body::EraseDone(removal) => {
                let list = step.state.erasures();
                let done =
                    |removed: &ErasureCompletion| list.done_by(removed.erase) == Some(step.record.row.seq);
                if !removal.erasures.iter().all(done) {
                    self.wrong(
                        seq,
                        "it completes an erasure that does not exist, or was complete before (H3)",
                    );
                }
            }
            Body::Restate(restated) => {
                let item = step.record.item().map(<[u8]>::to_vec);
                self.restated.push((seq, (**restated).clone(), item));
            }
            _ => {}
        }
    }

    /// What is left of a record speaks for the same id, and has the values that are not erased.
    pub(super) fn confirm_restated(&mut self, reader: &Reader) {
        let erasures = reader.state().erasures();
        for (seq, restated, item) in std::mem::take(&mut self.restated) {
            let record = Seq(restated.record.into());
            let Ok(window) = reader.log.window(record, erasures) else { continue }; // the walk has listed what is unreadable
            let Some(record) = window.record(record) else { continue };
            let count = record.changes().iter().filter(|change| change.verb.has_value()).count();
            let places = restated.erased.iter().all(|place| usize::from(*place) < count);
            let same = record.is_operation() && record.row.id == restated.id && places;
            if !same || !record.is_erased() {
                self.wrong(seq, "it is not what is left of the record it names (H3)");
                continue;
            }
            let left = item.map(|item| {
                let mut at = 0;
                let values = (0..count - restated.erased.len()).map(|_| read_value(&item, &mut at));
                values.filter(Result::is_ok).count() == count - restated.erased.len() && at == item.len()
            });
            if left == Some(false)
                || left.is_none() && restated.item.is_none() && restated.erased.len() != count
            {
                self.wrong(seq, "its values are not those that are left of the record it names (H3)");
            }
        }
    }

    /// The rule: an item is absent if and only if an erasure covers it. Of a log that is broken before its end it cannot be
    /// said what a later record erases.
    pub(super) fn judge_erasures(&mut self, reader: &Reader, broken: bool, snapshots: &[u64]) {
        let erasures = reader.state().erasures();
        if !broken && let Some(seq) = self.absences.unlicensed(erasures) {
            let what = FaultKind::PayloadMissing { seq }.to_string();
            self.erasure_fault(LOG, Seq(seq), what, ErasureFault::PayloadMissing);
        }
        let older = |row: &&Row| !broken && erasures.of(row).is_none();
        if let Some(seq) = self.destroyed.iter().find(older).map(|row| Seq(row.seq.into())) {
            let what =
                "its key is destroyed, and no record erased it: this copy is older than its keys".to_owned();
            self.erasure_fault(LOG, seq, what, ErasureFault::OlderThanKeys);
        }
        for (erase, seq) in std::mem::take(&mut self.incomplete) {
            if erasures.is_done(erase) {
                let (seq, erase) = (u64::from(seq), u64::from(erase));
                let what = FaultKind::ErasureIncomplete { seq, erase }.to_string();
                self.erasure_fault(
                    LOG,
                    Seq(seq),
                    what,
                    ErasureFault::ErasureIncomplete { erase: Seq(erase) },
                );
            }
        }
        let done = erasures.last_done().map(u64::from);
        for records in snapshots {
            if let Some(erase) = done.filter(|erase| records <= erase) {
                let file = crate::store::layout::snapshot_name(*records);
                let what =
                    format!("it was made before record {erase}, and may hold what that erased: remove it");
                let stale = ErasureFault::StaleSnapshot { erase: Seq(erase) };
                self.erasure_fault(&file, Seq(*records), what, stale);
            }
        }
    }
}
