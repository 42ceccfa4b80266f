//! Previews: what one retract, split or reclassification would do, before anybody asks for it. Its component is folded alone, as it is and as it
//! would be; the ledger stays as it is, to the last number.

use std::borrow::Cow;

use crate::ledger::append::read;
use crate::ledger::dedupe::again;

use crate::fold::{ComponentFold, Outcome, Phase, Refusal, Simulation, State};
use crate::ledger::appended::Appended;
use crate::ledger::draft;
use crate::log::body::{Body, DeviceNo, IdNo};
use crate::log::component::ComponentRecords;
use crate::log::kind::Kind;
use crate::log::record::Record;
use crate::model::id::Seq;
use crate::model::limits::MAX_RECORDS;
use crate::model::operation::{Operation, OperationError};
use crate::query::diff::Diff;
use crate::query::diff::view::{Refused, RefusedAlone, View};
use crate::query::reader::Reader;
use crate::store::segments::Fault;

/// What a retract, split or reclassification would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// What appending the operation would give.
    pub appended: Appended,
    /// From what the log means to what it would mean. Its counts are those of the component, the ids and
    /// devices that records connect with the operation's id: nothing else changes.
    pub diff: Diff,
}

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreviewError {
    /// The operation could not be recorded.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// It is another operation.
    #[error("there is no preview of this operation; expected a retract, a split or a reclassification")]
    NoRefold,
    /// The ledger is full.
    #[error("the ledger holds {MAX_RECORDS} records, which is the limit; begin another")]
    Full,
    /// The log cannot be read back.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Reader {
    /// What a retract, split or reclassification would do if it were appended now, and in what the meaning of the log would differ then. Nothing
    /// is written, and no number given.
    ///
    /// Cost: the records of its component, read once and folded twice. The first question of its kind since the ledger was opened
    /// also reads the log once, for the index from ids to records, unless
    /// [`LedgerOptions`](crate::LedgerOptions) had it kept from the beginning.
    ///
    /// ```
    /// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Target, Tenant, Timestamp};
    ///
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let at = Timestamp::from_micros(0)?;
    /// // One browser, and two people who sign in on it.
    /// let _ = ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("browser"))))?;
    /// let bob = Operation::identify(at, DistinctId::new("bob")?, Some(Source::new("browser")));
    /// let seq = ledger.append(bob)?.seq().ok_or("not recorded")?;
    ///
    /// let retract = Operation::retract(at, Target::Record(seq));
    /// let preview = ledger.reader().preview(&retract)?;
    /// assert!(preview.diff.ids.iter().any(|id| id.distinct_id.to_string() == "bob" && id.after.is_none()));
    /// assert_eq!(ledger.resolve("bob"), ledger.resolve("ann"), "nothing has happened yet");
    /// assert_eq!(ledger.append(retract)?, preview.appended);
    ///
    /// // What could not be recorded has no preview either.
    /// let never = Target::Record(identity_ledger::Seq(seq.0 + 9));
    /// assert!(ledger.reader().preview(&Operation::retract(at, never)).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PreviewError`]: the operation is none of these, or could not be recorded, or the log cannot
    /// be read back.
    pub fn preview(&self, operation: &Operation) -> Result<Preview, PreviewError> {
        operation.check()?;
        self.prove_texts()?;
        let Reader { log, dictionaries, .. } = self;
        let (erasures, next) = (self.state().erasures(), Seq(self.checkpoint().records));
        let aim = draft::aim(
            operation,
            dictionaries,
            next,
            |id| self.recorded(id),
            |seq| read(log, erasures, seq),
        )?;
        let known = operation.id.map_or(Ok(None), |id| self.recorded(id))?;
        if let Some(seq) = known {
            let aim = aim.as_ref().ok().copied().flatten();
            let appended = again(log, erasures, dictionaries, seq, operation, aim)?;
            return Ok(Preview { appended, diff: Diff::default() });
        }
        let body =
            draft::refold_body(operation, aim?, dictionaries, self.policy()).ok_or(PreviewError::NoRefold)?;
        if next.0 >= MAX_RECORDS {
            return Err(PreviewError::Full);
        }
        Ok(self.preview_of(operation, &body, next)?)
    }

    fn preview_of(&self, operation: &Operation, body: &Body, seq: Seq) -> Result<Preview, Fault> {
        let mut asked = ComponentRecords::default();
        asked.push_supposed(seq.0 as u32, body); // MAX_RECORDS bounds it
        let record = asked.records().next().expect("just pushed");
        let told = self.log.component_before(record, seq.0)?;
        self.prove_told(&told)?;
        let refusal = self.state().refuse_refold(record, &told);
        let (outcome, diff) = match refusal {
            Some(refusal) => self.refused(operation, record, &told, refusal)?,
            None => self.refolded(record, &told)?,
        };
        Ok(Preview { appended: Appended::Recorded { seq, outcome }, diff })
    }

    /// Nothing would change, but that one operation more is refused.
    fn refused(
        &self,
        operation: &Operation,
        record: Record<'_>,
        told: &ComponentRecords,
        refusal: Refusal,
    ) -> Result<(Outcome, Diff), Fault> {
        let outcome = Outcome { refusal: Some(refusal), ..Outcome::default() };
        let ComponentFold { state, ids, devices } = self.state().beside(told, |_, _, _| {});
        let view = self.view_alone(&state, (&ids, &devices), Vec::new());
        // A view lists of a component that was folded again what its fold alone says, and that may name an earlier record.
        let mut asked = told.clone();
        asked.push(record);
        let (asked_ids, asked_devices) = asked.named();
        let mut listed = outcome;
        self.state().alone_telling(&asked, |seq, said, _| {
            if seq == record.row.seq {
                listed = said.relabelled(&asked_ids, &asked_devices);
            }
        });
        let refused = Refused::of(record, &listed);
        let refused = refused.map(|refused| Refused { operation_id: operation.id, ..refused });
        let refusals = Diff::of_refused(&self.view(), &refused.into_iter().collect::<Vec<_>>());
        Ok((outcome, Diff { refusals, ..Diff::of_component(&view, &view, [&[], &[]])? }))
    }

    fn refolded(&self, record: Record<'_>, told: &ComponentRecords) -> Result<(Outcome, Diff), Fault> {
        let (ids, devices) = told.named();
        let alone = told.relabelled(&ids, &devices);
        let mut refused = [RefusedAlone::default(), RefusedAlone::default()];
        let foretold = self.state().foretell(record, told, |when, seq, outcome, small| {
            let record = alone.record(seq);
            if let Some(record) = record {
                refused[usize::from(when == Phase::After)].see(record, outcome, small, |id| id);
            }
        });
        let Simulation { before, after, outcome } = &foretold;
        let [was, is] = refused;
        let (was, is) = (was.named(self, told, before)?, is.named(self, told, after)?);
        let views = [(before, was), (after, is)]
            .map(|(state, refused)| self.view_alone(state, (&ids, &devices), refused));
        // Whether a record counted before, the whole says: what is retracted already the fold of the component leaves out.
        let events = alone.records().filter(|record| record.row.kind == Kind::Capture);
        let (mut lost, mut gained) = (Vec::new(), Vec::new());
        for (seq, id) in events.map(|record| (record.seq(), record.row.id)) {
            let goes_with = |state: &State, retracted: bool| (!retracted).then(|| state.speaks_for(id, seq));
            let was = goes_with(before, self.state().is_retracted(seq));
            let is = goes_with(after, after.is_retracted(seq));
            if was != is {
                lost.extend(was.map(|_| seq));
                gained.extend(is.map(|_| seq));
            }
        }
        Ok((*outcome, Diff::of_component(&views[0], &views[1], [&lost, &gained])?))
    }

    fn view_alone<'a>(
        &'a self,
        state: &'a State,
        alone: (&'a [IdNo], &'a [DeviceNo]),
        refused: Vec<Refused>,
    ) -> View<'a> {
        View { reader: self, state: Cow::Borrowed(state), alone: Some(alone), refused: Some(refused) }
    }
}
