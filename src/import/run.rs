//! Imports: an input's operations into a ledger, in batches. Counts what becomes of each, and lets one bad operation spoil
//! nothing but itself.
//!
//! Knows nothing of files and formats: an [`Importer`] reads, a [`Ledger`] records, or what else can [`AppendEach`].

use std::io::Read;

use super::importer::{Importer, Parsed, ReadAs};
use super::options::FutureTimes;
use super::rejection::{ImportError, Rejection};
use crate::ledger::Ledger;
use crate::ledger::appended::{Answers, Appended};
use crate::ledger::error::AppendError;
use crate::ledger::shared::{LedgerGuard, SharedLedger};
use crate::model::id::Seq;
use crate::model::limits::MAX_PERSON_KEYS;
use crate::model::operation::{Operation, Request};
use crate::model::time::Timestamp;

/// Operations recorded together. A replay hashes and decodes frame by frame, the faster the larger they are; reading one
/// value back hashes and decodes a whole frame, the faster the smaller they are. Measured, this loses little on either side.
const BATCH_OPERATIONS: usize = 2_048;

/// Bytes of values recorded together. Keeps a batch of large operations well within a frame, and memory small.
const BATCH_BYTES: usize = 4 * 1_024 * 1_024;

/// What an import did so far: `operations = appended + duplicates + conflicts + rejected`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Lines read, blank ones included.
    pub lines: u64,
    /// Events and operations found, rejected ones included.
    pub operations: u64,
    /// Operations recorded by this import, refused ones included.
    pub appended: u64,
    /// Said before, word for word (G4), and not recorded again; `ignored` ones included.
    pub duplicates: u64,
    /// Those of the duplicates that only repeat what their device said last (F3).
    pub ignored: u64,
    /// Said under an id that another operation has (G4); not recorded.
    pub conflicts: u64,
    /// Not to be read or out of bounds; not recorded.
    pub rejected: u64,
    /// Those of the appended whose link was refused: recorded, with the rule.
    pub refused: u64,
    /// Those of the appended that have a notice.
    pub noticed: u64,
    /// What the operations were taken for.
    #[serde(flatten)]
    pub read_as: ReadAs,
}

/// Something in an input that was not recorded and was not recorded before.
#[derive(Debug)]
pub struct Complaint {
    /// The line it starts on, from 1.
    pub line: u64,
    /// Its position in the array or batch that holds it, from 0.
    pub index: Option<usize>,
    /// Why it was not recorded.
    pub reason: Reason,
}

/// Why something was not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// It is not an operation.
    #[error(transparent)]
    Unreadable(#[from] Rejection),
    /// The ledger does not take it.
    #[error("{}", alone(.0))]
    OutOfBounds(AppendError),
    /// Another operation was recorded under its id (G4).
    #[error("record {seq} has the same id and says something else; nothing was recorded")]
    Conflict {
        /// The earlier record that has the same operation id.
        seq: Seq,
    },
}

impl Reason {
    /// Whether the operation counts as rejected; otherwise it is a conflict.
    pub fn is_rejection(&self) -> bool {
        !matches!(self, Reason::Conflict { .. })
    }
}

/// Why an import stopped. What was recorded before stays recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The input cannot be read any further.
    #[error(transparent)]
    Input(#[from] ImportError),
    /// The ledger records nothing any more.
    #[error(transparent)]
    Ledger(#[from] AppendError),
}

/// What an import records operations in.
pub trait AppendEach {
    /// As [`Ledger::append_each`].
    ///
    /// # Errors
    /// As there.
    fn append_each(
        &mut self,
        operations: &[Operation],
    ) -> Result<Answers<Result<Appended, AppendError>>, AppendError>;
}

impl AppendEach for Ledger {
    fn append_each(
        &mut self,
        operations: &[Operation],
    ) -> Result<Answers<Result<Appended, AppendError>>, AppendError> {
        Ledger::append_each(self, operations)
    }
}

/// No record of another thread comes between the batches, and readers wait until the import ends.
impl AppendEach for LedgerGuard<'_> {
    fn append_each(
        &mut self,
        operations: &[Operation],
    ) -> Result<Answers<Result<Appended, AppendError>>, AppendError> {
        LedgerGuard::append_each(self, operations)
    }
}

/// Other threads read and write between the batches.
impl AppendEach for SharedLedger {
    fn append_each(
        &mut self,
        operations: &[Operation],
    ) -> Result<Answers<Result<Appended, AppendError>>, AppendError> {
        SharedLedger::append_each(self, operations)
    }
}

/// Observes an import while it runs.
pub trait Watch {
    /// Something was not recorded.
    fn complaint(&mut self, complaint: Complaint);

    /// The ledger took an operation, and this came of it.
    fn taken(&mut self, appended: &Appended) {
        let _ = appended;
    }

    /// This many bytes of the input have been read; called after each batch.
    fn progress(&mut self, bytes: u64, tally: &Tally);

    /// The time of recording by a clock of the caller's, asked for each batch: times too far ahead of it are dealt with as
    /// [`Options::future_times`](super::Options::future_times) says (G5). `None` is the default: no time is taken for one of the future.
    fn now(&mut self) -> Option<Timestamp> {
        None
    }
}

/// Ignores complaints and progress.
impl Watch for () {
    fn complaint(&mut self, _: Complaint) {}
    fn progress(&mut self, _: u64, _: &Tally) {}
}

/// Records everything that `importer` yields, counting in `tally`, which may count several inputs.
///
/// Operations are recorded in batches, in their order. What cannot be recorded is told to `watch`; the rest is recorded.
/// Call [`Ledger::flush`] afterwards when the ledger is buffered.
///
/// ```
/// use identity_ledger::import::{Importer, Options, Tally, run};
/// use identity_ledger::{Ledger, Policy, Tenant};
///
/// let input = r#"
///     {"op":"identify","ts":"2026-01-01T00:00:00Z","distinct_id":"ann","anon_distinct_id":"a1"}
///     {"op":"identify","distinct_id":"ann"}
/// "#;
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let options = Options::from(ledger.policy());
/// let mut tally = Tally::default();
/// run(&mut ledger, Importer::new(input.as_bytes(), options), &mut tally, &mut ())?;
/// assert_eq!((tally.operations, tally.appended, tally.rejected), (2, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A [`SharedLedger`] imports too. Other threads read and write between the batches; in [`SharedLedger::write`] they wait until
/// the import ends:
///
/// ```
/// use identity_ledger::import::{Importer, Options, RunError, Tally, run};
/// use identity_ledger::{Ledger, Policy, SharedLedger, Tenant};
///
/// let input = r#"{"op":"identify","ts":"2026-01-01T00:00:00Z","distinct_id":"ann","anon_distinct_id":"a1"}"#;
/// let mut ledger = SharedLedger::new(Ledger::in_memory(Tenant::default(), Policy::default())?);
/// let options = ledger.read(|ledger| Options::from(ledger.policy()));
/// let mut tally = Tally::default();
/// run(&mut ledger, Importer::new(input.as_bytes(), options.clone()), &mut tally, &mut ())?;
/// ledger.write(|ledger| -> Result<(), RunError> {
///     run(ledger, Importer::new(input.as_bytes(), options), &mut tally, &mut ())
/// })?;
/// assert_eq!((tally.appended, tally.duplicates), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`RunError`] when the input cannot be read any further (all that was read before is recorded), or when the
/// ledger cannot continue: a failing disk, a full ledger.
pub fn run<R: Read>(
    ledger: &mut dyn AppendEach,
    mut importer: Importer<R>,
    tally: &mut Tally,
    watch: &mut dyn Watch,
) -> Result<(), RunError> {
    let lines_before = tally.lines;
    let mut batch = Batch { operations: Vec::with_capacity(BATCH_OPERATIONS), ..Batch::default() };
    let mut run = Run { ledger, tally, watch, future_times: importer.options().future_times };
    let stopped = loop {
        let parsed = match importer.next() {
            Some(Ok(parsed)) => parsed,
            Some(Err(error)) => break Some(error),
            None => break None,
        };
        run.tally.operations += 1;
        run.tally.lines = lines_before + importer.lines();
        let Parsed { line, index, operation } = parsed;
        match operation {
            Ok(operation) => batch.push(operation, Place { line, index }),
            Err(rejection) => run.reject(Place { line, index }, rejection.into()),
        }
        if batch.is_full() {
            run.record(&mut batch)?;
            run.watch.progress(importer.bytes(), run.tally);
        }
    };
    run.record(&mut batch)?;
    run.tally.lines = lines_before + importer.lines();
    run.tally.read_as += importer.read_as();
    run.watch.progress(importer.bytes(), run.tally);
    stopped.map_or(Ok(()), |error| Err(error.into()))
}

/// Where an operation stood in its input.
#[derive(Clone, Copy)]
struct Place {
    line: u64,
    index: Option<usize>,
}

/// Operations to be recorded together, each with its place.
#[derive(Default)]
struct Batch {
    operations: Vec<Operation>,
    places: Vec<Place>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, operation: Operation, place: Place) {
        self.bytes += value_bytes(&operation);
        self.operations.push(operation);
        self.places.push(place);
    }

    fn is_full(&self) -> bool {
        self.operations.len() >= BATCH_OPERATIONS || self.bytes >= BATCH_BYTES
    }

    fn clear(&mut self) {
        self.operations.clear();
        self.places.clear();
        self.bytes = 0;
    }
}

/// Size of an operation's values; the importer has checked their bounds.
fn value_bytes(operation: &Operation) -> usize {
    let kept = match &operation.request {
        Request::Capture { properties, .. } => Some(properties),
        _ => None,
    };
    let changes = operation.changes.valued().map(|(_, properties)| properties);
    let values = kept.into_iter().chain(changes).flatten();
    values.map(|(_, value)| value.check().unwrap_or(0)).sum()
}

struct Run<'a> {
    ledger: &'a mut dyn AppendEach,
    tally: &'a mut Tally,
    watch: &'a mut dyn Watch,
    future_times: FutureTimes,
}

impl Run<'_> {
    /// Records a batch and empties it, and tells of the operations that the ledger does not take.
    fn record(&mut self, batch: &mut Batch) -> Result<(), RunError> {
        self.judge_times(batch);
        if batch.operations.is_empty() {
            return Ok(());
        }
        for (answer, place) in self.ledger.append_each(&batch.operations)?.into_iter().zip(&batch.places) {
            match answer {
                Ok(appended) => self.count(appended, *place),
                Err(error) => self.reject(*place, Reason::OutOfBounds(error)),
            }
        }
        batch.clear();
        Ok(())
    }

    /// G5, just before the operations are recorded.
    fn judge_times(&mut self, batch: &mut Batch) {
        let Some(now) = self.watch.now() else { return };
        let mut places = std::mem::take(&mut batch.places).into_iter();
        batch.operations.retain_mut(|operation| {
            let place = places.next().expect("each operation has a place");
            match self.future_times.judge(operation, now) {
                Ok(()) => batch.places.push(place),
                Err(rejection) => {
                    self.reject(place, rejection.into());
                    return false;
                }
            }
            true
        });
    }

    fn count(&mut self, appended: Appended, place: Place) {
        self.watch.taken(&appended);
        match appended {
            Appended::Recorded { outcome, .. } => {
                self.tally.appended += 1;
                self.tally.refused += u64::from(outcome.refusal.is_some());
                self.tally.noticed += u64::from(outcome.notices.names().next().is_some());
            }
            Appended::Duplicate { .. } => self.tally.duplicates += 1,
            Appended::Ignored => {
                self.tally.duplicates += 1;
                self.tally.ignored += 1;
            }
            Appended::Conflict { seq } => {
                self.tally.conflicts += 1;
                self.complain(place, Reason::Conflict { seq });
            }
        }
    }

    fn reject(&mut self, place: Place, reason: Reason) {
        self.tally.rejected += 1;
        self.complain(place, reason);
    }

    fn complain(&mut self, Place { line, index }: Place, reason: Reason) {
        self.watch.complaint(Complaint { line, index, reason });
    }
}

/// What is wrong with an operation that was offered alone: its place in a batch says nothing then.
fn alone(error: &AppendError) -> String {
    match error {
        AppendError::Operation { source, .. } => source.to_string(),
        AppendError::TooManyPersonKeys { found, .. } => {
            format!("the person could have {found} property keys; expected at most {MAX_PERSON_KEYS}")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::import::Options;
    use crate::model::id::Tenant;
    use crate::model::limits::MAX_OPERATION_KEYS;
    use crate::model::policy::Policy;

    #[derive(Default)]
    struct Complaints(Vec<(u64, String)>);

    impl Watch for Complaints {
        fn complaint(&mut self, complaint: Complaint) {
            self.0.push((complaint.line, complaint.reason.to_string()));
        }
        fn progress(&mut self, _: u64, _: &Tally) {}
    }

    fn import(input: &str) -> (Ledger, Tally, Complaints) {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let (mut tally, mut complaints) = (Tally::default(), Complaints::default());
        let importer = Importer::new(input.as_bytes(), Options::from(ledger.policy()));
        run(&mut ledger, importer, &mut tally, &mut complaints).unwrap();
        let Tally { operations, appended, duplicates, conflicts, rejected, .. } = tally;
        assert_eq!(operations, appended + duplicates + conflicts + rejected);
        (ledger, tally, complaints)
    }

    /// A `set` of `keys` keys of one person, none of which another `number` has.
    fn set(number: usize, keys: usize) -> String {
        let keys: Vec<String> = (0..keys).map(|key| format!("\"k{number}-{key}\":1")).collect();
        let keys = keys.join(",");
        format!(
            "{{\"op\":\"set\",\"ts\":\"2026-01-01T00:00:00Z\",\"distinct_id\":\"ann\",\"set\":{{{keys}}}}}\n"
        )
    }

    #[test]
    fn one_operation_too_much_is_rejected_alone_and_its_neighbours_are_recorded() {
        let full = MAX_PERSON_KEYS / MAX_OPERATION_KEYS;
        let rest = MAX_PERSON_KEYS % MAX_OPERATION_KEYS;
        let mut input: String = (0..full).map(|number| set(number, MAX_OPERATION_KEYS)).collect();
        input += &set(full, rest + 1);
        input += &set(full, rest);
        let (ledger, tally, complaints) = import(&input);
        assert_eq!((tally.appended, tally.rejected), (full as u64 + 1, 1));
        assert_eq!(complaints.0.len(), 1);
        assert_eq!(complaints.0[0].0, full as u64 + 1);
        assert!(complaints.0[0].1.starts_with("the person could have "), "{:?}", complaints.0[0]);
        assert_eq!(ledger.profile("ann").unwrap().unwrap().properties.len(), MAX_PERSON_KEYS);
    }

    #[test]
    fn a_batch_beyond_a_frame_is_recorded_in_parts() {
        let text = "x".repeat(200 * 1_024);
        let mut input = String::new();
        for number in 0..120 {
            writeln!(
                input,
                "{{\"op\":\"set\",\"ts\":\"2026-01-01T00:00:00Z\",\"distinct_id\":\"p{number}\",\"set\":{{\"k\":\"{text}\"}}}}"
            )
            .unwrap();
        }
        let (_, tally, _) = import(&input);
        assert_eq!((tally.lines, tally.appended), (120, 120));
    }

    #[test]
    fn a_client_that_tries_again_is_no_contradiction() {
        let event = |name: &str, more: &str| {
            format!(
                r#"{{"event":"{name}","uuid":"01890a5d-ac96-774b-bcce-b302099a8057","distinct_id":"a"{more}}}"#
            )
        };
        let request = |received: u64, query: u64, event: &str| {
            format!("{{\"path\":\"/e/?_={query}\",\"received_ms\":{received},\"body\":{event}}}\n")
        };
        let timed = event("x", r#","timestamp":"2026-01-01T00:00:05Z""#);
        let other = event("y", r#","timestamp":"2026-01-01T00:00:05Z""#);
        let input = [
            request(1_767_225_630_050, 1_767_225_630_000, &timed),
            request(1_767_225_633_051, 1_767_225_633_000, &timed), // the network took a millisecond more
            request(1_767_225_640_000, 0, &event("x", r#","offset":4000"#)),
            timed.clone() + "\n",
            request(1_767_225_633_051, 1_767_225_633_000, &other),
        ];
        let (_, tally, _) = import(&input.concat());
        assert_eq!((tally.appended, tally.duplicates, tally.conflicts), (1, 3, 1));
    }

    #[test]
    fn repeats_and_contradictions_are_counted_apart() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let line = |event: &str| {
            format!(
                "{{\"op\":\"capture\",\"ts\":\"2026-01-01T00:00:00Z\",\"event_id\":\"{id}\",\"event\":\"{event}\",\"distinct_id\":\"a\"}}\n"
            )
        };
        let (_, tally, complaints) = import(&[line("a"), line("a"), line("b")].concat());
        assert_eq!((tally.appended, tally.duplicates, tally.conflicts), (1, 1, 1));
        assert!(complaints.0[0].1.contains("same id"), "{:?}", complaints.0);
    }

    /// A clock that stands, and complaints.
    struct At(Timestamp, Complaints);

    impl Watch for At {
        fn complaint(&mut self, complaint: Complaint) {
            self.1.complaint(complaint);
        }
        fn progress(&mut self, _: u64, _: &Tally) {}
        fn now(&mut self) -> Option<Timestamp> {
            Some(self.0)
        }
    }

    #[test]
    fn a_time_from_the_future_is_clamped_rejected_or_kept_g5() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let set =
            |id: &str, ts: &str| format!("{{\"op\":\"set\",\"ts\":\"{ts}\",\"distinct_id\":\"{id}\"}}\n");
        let input = set("edge", "2026-01-01T23:00:00Z")
            + &set("beyond", "2026-01-01T23:00:00.000001Z")
            + &set("far", "9999-01-01T00:00:00Z");
        let said = "the time 9999-01-01T00:00:00Z lies more than 23 hours ahead of 2026-01-01T00:00:00Z; expected one at most 23 hours ahead";
        #[rustfmt::skip]
        let table = [
            // what becomes of the three, how many are recorded and noticed, what is said of the last
            (FutureTimes::Clamp, ["2026-01-01T23:00:00Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"], (3, 2), None),
            (FutureTimes::Reject, ["2026-01-01T23:00:00Z", "", ""], (1, 0), Some(said)),
            (FutureTimes::Keep, ["2026-01-01T23:00:00Z", "2026-01-01T23:00:00.000001Z", "9999-01-01T00:00:00Z"], (3, 0), None),
        ];
        for (future_times, expected, counts, complaint) in table {
            let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
            let mut import = |now: &str| {
                let mut watch = At(at(now), Complaints::default());
                let mut tally = Tally::default();
                let options = Options { future_times, ..Options::from(ledger.policy()) };
                run(&mut ledger, Importer::new(input.as_bytes(), options), &mut tally, &mut watch).unwrap();
                (tally, watch.1.0.pop())
            };
            let (tally, last) = import("2026-01-01T00:00:00Z");
            assert_eq!((tally.appended, tally.noticed), counts, "{future_times:?}");
            assert_eq!(last.map(|(_, last)| last).as_deref(), complaint);
            // When they come again, time has passed. What was recorded is a duplicate all the same.
            let (again, _) = import("2026-01-02T00:00:00Z");
            let recorded = if future_times == FutureTimes::Reject { (1, 1, 1) } else { (0, 3, 0) };
            assert_eq!((again.appended, again.duplicates, again.rejected), recorded, "{future_times:?}");
            for (id, time) in
                ["edge", "beyond", "far"].into_iter().zip(expected).filter(|(_, time)| !time.is_empty())
            {
                assert_eq!(
                    ledger.profile(id).unwrap().unwrap().created_at,
                    at(time),
                    "{future_times:?} {id}"
                );
            }
        }
    }
}
