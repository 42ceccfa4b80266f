//! A log as `ops` lines, which `import` reads back: one line for each operation, in the order of the log.
//!
//! The lines say what was asked, and nothing that the ledger made of it. So a ledger with the same tenant and the same first policy
//! makes the same of them: its content digest is equal. What lines cannot say is counted in [`Losses`].

use std::collections::BTreeMap;
use std::io::{self, Write};

use arrow_schema::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::export::arrow::{Batch, CellTooLarge};
use crate::export::cell::{Cell, Column, Kind as CellKind};
use crate::export::tables::Export;
use crate::export::writer::{WriteError, properties};
use crate::fold::replay::Step;
use crate::fold::{DeviceState, State};
use crate::log::body::{Asked, AskedVerb, DeviceNo, Erasure, Flags, IdNo, LinkSource, Verb};
use crate::log::component::{Node, each_named};
use crate::log::kind::Kind;
use crate::log::record::Record;
use crate::model::id::{OperationId, Seq};
use crate::model::policy::IdClass;
use crate::model::time::Timestamp;
use crate::store::segments::Fault;

/// What an export of `ops` lines could not say as the log does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// Records that set another policy: lines have none. All lines are read under one policy.
    pub policies: u64,
    /// Events without an id. They get one that is made of ledger id and record.
    pub events_without_id: u64,
    /// Ids and devices whose texts were erased. They get a text that is made of their number.
    pub erased_names: u64,
    /// Values that were erased. They are null; relative changes (E9) are left out, for they count as nothing.
    pub erased_values: u64,
    /// Retracts that name no operation of the log. Only another writer records those; they are left out.
    pub retracts_of_nothing: u64,
}

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpsError {
    /// The log cannot be read back.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The output takes no more.
    #[error("the lines cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl From<WriteError> for OpsError {
    fn from(error: WriteError) -> OpsError {
        OpsError::Output(error.into())
    }
}

/// Errors of batches and of Parquet, which [`WriteError`] knows.
macro_rules! outputs {
    ($($error:ty),*) => {
        $(impl From<$error> for OpsError {
            fn from(error: $error) -> OpsError {
                WriteError::from(error).into()
            }
        })*
    };
}

outputs!(CellTooLarge, ArrowError, ParquetError);

/// An operation of a log, as a line of the `ops` format.
#[derive(Clone, Copy, Debug)]
pub struct OperationLine<'a> {
    /// Its record.
    pub seq: Seq,
    /// The first of the records right before it that define an id which it is the first to name, if there are any.
    pub defined_from: Option<Seq>,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The line, without a line feed.
    pub line: &'a str,
    /// Whether it is an erasure: `{"op":"erase","ts":..,"ledger":..,"ids":{..}}`. `import` reads no such line.
    pub is_erasure: bool,
}

/// The columns of a file of operations: what `fold-components` of the program reads.
const COLUMNS: [Column; 5] = [
    Column { name: "tenant", kind: CellKind::Text, nullable: false, meaning: "Tenant of the ledger." },
    Column { name: "seq", kind: CellKind::Int, nullable: false, meaning: "Record of the operation." },
    Column { name: "recorded_at", kind: CellKind::Time, nullable: false, meaning: "When it was recorded." },
    Column {
        name: "defined_from",
        kind: CellKind::Int,
        nullable: true,
        meaning: "First record that defines an id for it.",
    },
    Column { name: "operation", kind: CellKind::Text, nullable: false, meaning: "The operation, as a line." },
];

impl Export<'_> {
    /// Writes the operations of these records as `ops` lines, and what they could not say.
    ///
    /// Every line has an `event_id`, so that reading the lines twice records nothing twice. Lines of a device name the device, so that it
    /// speaks for the same ids again.
    ///
    /// # Errors
    /// [`OpsError`].
    pub fn write_ops(&self, out: &mut dyn Write) -> Result<Losses, OpsError> {
        self.operations(|operation| {
            if operation.is_erasure {
                return Ok(());
            }
            out.write_all(operation.line.as_bytes())?;
            Ok(out.write_all(b"\n")?)
        })
    }

    /// Writes the operations as a Parquet file with the columns `tenant`, `seq`, `recorded_at`, `defined_from` and `operation`, the line. Gives how many
    /// there are, what they could not say, and the output, which is flushed. Erasures are among them ([`OperationLine::is_erasure`]).
    ///
    /// # Errors
    /// [`OpsError`].
    pub fn write_ops_parquet<W: Write + Send>(&self, out: W) -> Result<(u64, Losses, W), OpsError> {
        let mut batch = Batch::of(&COLUMNS, []);
        let properties = properties(&COLUMNS, self.metadata());
        let mut writer = ArrowWriter::try_new(out, batch.schema().clone(), Some(properties))?;
        let (tenant, mut rows) = (self.reader.tenant().to_string(), 0);
        let losses = self.operations(|OperationLine { seq, defined_from, recorded_at, line, .. }| {
            let number = |seq: Seq| Cell::Int(i64::try_from(seq.0).expect("MAX_RECORDS bounds it"));
            batch.push_cells([
                Cell::Text(&tenant),
                number(seq),
                Cell::Time(recorded_at),
                defined_from.map_or(Cell::Null, number),
                Cell::Text(line),
            ])?;
            rows += 1;
            if batch.is_full() {
                writer.write(&batch.take()?)?;
            }
            Ok(())
        })?;
        writer.write(&batch.take()?)?;
        let mut out = writer.into_inner()?;
        out.flush()?;
        Ok((rows, losses, out))
    }

    /// Shows the operations and erasures of these records in the order of the log, each with its line, and gives what the lines could not say. It stops
    /// at the first error of `each`.
    ///
    /// # Errors
    /// That of `each`, or [`OpsError`].
    pub fn operations(
        &self,
        mut each: impl FnMut(OperationLine<'_>) -> Result<(), OpsError>,
    ) -> Result<Losses, OpsError> {
        let mut writer = Writer {
            export: self,
            devices: Vec::new(),
            begins: Vec::new(),
            last: Seq(0),
            losses: Losses::default(),
            line: Vec::new(),
        };
        let mut done = Ok(());
        self.reader.replay_first(self.state.records(), |step| {
            if done.is_ok() {
                done = writer.step(step, &mut each);
            }
        })?;
        done.map(|()| writer.losses)
    }
}

struct Writer<'a> {
    export: &'a Export<'a>,
    /// What each device was before the record that is written: what it said depends on that (F3).
    devices: Vec<DeviceState>,
    /// The id that each device began with (F1).
    begins: Vec<IdNo>,
    /// The last record that is not a definition.
    last: Seq,
    losses: Losses,
    line: Vec<u8>,
}

impl Writer<'_> {
    fn step(
        &mut self,
        step: Step<'_>,
        each: &mut impl FnMut(OperationLine<'_>) -> Result<(), OpsError>,
    ) -> Result<(), OpsError> {
        let record = step.record;
        if record.row.kind == Kind::DefineDevice {
            self.begins.push(record.row.id);
        }
        match record.row.kind {
            Kind::SetPolicy => self.losses.policies += 1,
            Kind::DefineId | Kind::DefineDevice if record.item().is_none() => self.losses.erased_names += 1,
            _ => {}
        }
        let line = match record.erasure() {
            Some(erasure) => Some(self.erasure(&erasure)),
            None if record.is_operation() => self.line(record)?,
            None => None,
        };
        if let Some(line) = line {
            self.line.clear();
            serde_json::to_writer(&mut self.line, &line).map_err(io::Error::from)?;
            let line = std::str::from_utf8(&self.line).expect("JSON is UTF-8");
            let defined_from = self.defined_from(record, step.state);
            let is_erasure = record.row.kind == Kind::Erase;
            each(OperationLine {
                seq: record.seq(),
                defined_from,
                recorded_at: step.recorded_at,
                line,
                is_erasure,
            })?;
        }
        if !record.row.kind.defines() {
            self.last = record.seq();
        }
        self.follow(step);
        Ok(())
    }

    /// The first definition of an id that was made for a record.
    fn defined_from(&self, record: Record<'_>, state: &State) -> Option<Seq> {
        let mut first = None;
        each_named(record, |node| {
            let id = match node {
                Node::Id(id) => id,
                Node::Device(device) => self.begins[device.index()],
            };
            let defined = Some(state.defined_by(id)).filter(|defined| *defined > self.last);
            first = first.into_iter().chain(defined).min();
        });
        first
    }

    /// Notes what the devices are after a record.
    fn follow(&mut self, step: Step<'_>) {
        let (row, now) = (step.record.row, step.state.devices());
        self.devices.extend_from_slice(&now[self.devices.len()..]);
        let refolded = if row.refolds() { step.state.devices_refolded() } else { &[] };
        let spoke = [row.device(), row.fresh_device()];
        for device in spoke.iter().flatten().chain(refolded) {
            self.devices[device.index()] = now[device.index()];
        }
    }

    fn line(&mut self, record: Record<'_>) -> Result<Option<Map<String, Json>>, OpsError> {
        let body = record.body();
        let Asked { head, verb, .. } = body.asked().expect("an operation");
        let mut line = Map::new();
        let op = match verb {
            AskedVerb::Switch => "identify",
            other => other.name(),
        };
        let mut put = |key: &str, value: Json| drop(line.insert(key.to_owned(), value));
        put("op", op.into());
        put("ts", head.time().to_string().into());
        put("event_id", self.operation_id(record).to_string().into());
        match verb {
            AskedVerb::Reset(fresh) => {
                let device = head.device.expect("a reset is of a device");
                put("device_id", self.device(device).into());
                put("new_id", self.id(head.id).into());
                put("reset_device", fresh.is_some().into());
            }
            AskedVerb::Retract(target) => {
                let Some(target) = self.target(Seq(*target))? else {
                    self.losses.retracts_of_nothing += 1;
                    return Ok(None);
                };
                put("of", target.to_string().into());
            }
            AskedVerb::Split(leaving) => {
                put("distinct_id", self.id(head.id).into());
                put("ids", leaving.ids.iter().map(|id| self.id(*id)).collect::<Vec<_>>().into());
                put("mode", if leaving.together { "together" } else { "each" }.into());
            }
            AskedVerb::Reclassify(class) => {
                put("distinct_id", self.id(head.id).into());
                put("class", IdClass::from(*class).name().into());
            }
            _ => self.who(verb, record, &mut put),
        }
        if !verb.refolds() && !matches!(verb, AskedVerb::Reset(_)) {
            let processing = match () {
                () if head.flags.has(Flags::INVALID_PROCESSING) => Json::Null, // no boolean: noticed again
                () => (!head.flags.has(Flags::PROCESSING_OFF)).into(),
            };
            put("process_person_profile", processing);
            self.changes(record, &mut put)?;
        }
        if let Some(name) = body.event_name()
            && let Some(name) = self.export.reader.event_name(name)
        {
            put("event", name.into());
        }
        Ok(Some(line))
    }

    /// The ids whose texts are to be forgotten, with their numbers. Values are null in the lines already.
    fn erasure(&self, erasure: &Erasure) -> Map<String, Json> {
        let ids: Map<String, Json> = erasure.ids.iter().map(|id| (self.id(*id), id.0.into())).collect();
        let mut line = Map::new();
        let mut put = |key: &str, value: Json| drop(line.insert(key.to_owned(), value));
        put("op", "erase".into());
        put("ts", erasure.time().to_string().into());
        put("ledger", self.export.reader.ledger_id().to_string().into());
        put("ids", ids.into());
        line
    }

    /// T and S, or the device that spoke.
    fn who(&self, verb: &AskedVerb, record: Record<'_>, put: &mut impl FnMut(&str, Json)) {
        let id = record.row.id;
        let source = match verb.other() {
            LinkSource::Id(source) => Some(self.id(source)),
            LinkSource::Unstorable => Some("\0".to_owned()), // what cannot be stored (B1)
            LinkSource::None => None,
        };
        let Some(device) = record.row.device() else {
            put("distinct_id", self.id(id).into());
            return self.source(verb, source, put);
        };
        put("device_id", self.device(device).into());
        let before = self.devices[device.index()];
        let names_user = match verb {
            AskedVerb::Switch => true,
            // The device is another's now. With S and an id that stays, it merely stood for T.
            AskedVerb::Identify(_) => before.current != id,
            _ => false,
        };
        if !names_user {
            return self.source(verb, source, put);
        }
        put("distinct_id", self.id(id).into());
        if before.identified {
            // Which of the two it was depends on the SDK (F3); a sender may have said so for itself.
            put("dialect", if matches!(verb, AskedVerb::Switch) { "browser" } else { "core" }.into());
        }
    }

    fn source(&self, verb: &AskedVerb, source: Option<String>, put: &mut impl FnMut(&str, Json)) {
        match (verb, source) {
            (AskedVerb::Identify(_), Some(source)) => put("anon_distinct_id", source.into()),
            (AskedVerb::Alias(_) | AskedVerb::Merge(_), source) => {
                put("alias", source.unwrap_or_default().into())
            }
            _ => {}
        }
    }

    /// Property changes, and an event's own properties.
    fn changes(&mut self, record: Record<'_>, put: &mut impl FnMut(&str, Json)) -> Result<(), OpsError> {
        if record.changes().is_empty() {
            return Ok(());
        }
        let read = self.export.reader.values_in(record)?;
        let mut values = read.values.into_iter();
        let mut objects = BTreeMap::<&str, Map<String, Json>>::new();
        let mut unset = Vec::new();
        for change in record.changes() {
            let key = self.export.reader.key_name(change.key);
            if !change.verb.has_value() {
                unset.push(key);
                continue;
            }
            let value = values.next().expect("a value for each change that has one");
            self.losses.erased_values += u64::from(value.is_none());
            if value.is_none() && change.verb.is_relative() {
                continue; // whatever stood for it would say of which kind the value is (E9)
            }
            let value = serde_json::to_value(&value).map_err(io::Error::from)?;
            let name = if change.verb == Verb::KEPT { "properties" } else { change.verb.name() };
            objects.entry(name).or_default().insert(key, value);
        }
        for name in ["set", "set_once", "properties", "add", "append", "union", "remove"] {
            if let Some(object) = objects.remove(name) {
                put(name, object.into());
            }
        }
        if !unset.is_empty() {
            put("unset", unset.into());
        }
        Ok(())
    }

    /// The id of an operation, or one that is made of ledger id and record.
    fn operation_id(&mut self, record: Record<'_>) -> OperationId {
        let capture = record.row.kind == Kind::Capture;
        record.operation_id().unwrap_or_else(|| {
            self.losses.events_without_id += u64::from(capture);
            self.made_id(record.seq())
        })
    }

    fn made_id(&self, seq: Seq) -> OperationId {
        let name = format!("{}:{seq}", self.export.reader.ledger_id());
        OperationId(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()))
    }

    /// The id that the line of an earlier record has; `None` if that record is not an operation.
    fn target(&self, seq: Seq) -> Result<Option<OperationId>, Fault> {
        let reader = self.export.reader;
        let window = reader.log.window(seq, reader.state().erasures())?;
        let record = window.checked(seq)?;
        Ok(record.is_operation().then(|| record.operation_id().unwrap_or_else(|| self.made_id(seq))))
    }

    // -- texts -----------------------------------------------------------------------------------------------------

    /// The text of an id. An erased one gets a text of the same class (B2, D9) that no other id has; a shared one (D13) only if the policy
    /// names such by a prefix, else one that is unmergeable.
    fn id(&self, id: IdNo) -> String {
        let reader = self.export.reader;
        let stand_in = || {
            let mut shared = self.export.state.policy().shared_ids.iter();
            let prefix =
                shared.find_map(|pattern| pattern.strip_suffix('*').filter(|rest| !rest.contains('*')));
            let (mut text, more) = match (self.export.state.class_defined(id).into(), prefix) {
                (IdClass::Named, _) => (format!("$erased:{}", id.0), '_'),
                (IdClass::Anonymous, _) => (format!("$device:erased:{}", id.0), '_'),
                (IdClass::Shared, Some(prefix)) => (format!("{prefix}$erased:{}", id.0), '_'),
                // What is blank may not merge: the number's bits as white space.
                (IdClass::Unmergeable | IdClass::Shared, _) => {
                    (format!("{:032b}", id.0).replace('0', " ").replace('1', "\t"), ' ')
                }
            };
            while reader.id_no(&text).is_some() {
                text.push(more);
            }
            text
        };
        reader.id_text(id).map_or_else(stand_in, str::to_owned)
    }

    /// The text of a device. An erased one has that of the id that it began with, as it had before.
    fn device(&self, device: DeviceNo) -> String {
        let begins = || self.id(self.begins[device.index()]);
        self.export.reader.device_text(device).map_or_else(begins, str::to_owned)
    }
}
