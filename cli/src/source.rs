//! Where answers come from: a ledger's directory, or a file of events folded in memory.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use identity_ledger::import::{Importer, Options, Tally, run};
use identity_ledger::storage::Memory;
use identity_ledger::{
    Checkpoint, Durability, Ledger, LedgerOptions, Policy, ReadOnlyLedger, Reader, Recovery, Seq, Tenant,
    Timestamp,
};
use serde::{Serialize, Serializer};

use crate::answer::Answer;
use crate::args::{CreateArgs, Reading, SourceArgs};
use crate::complaints::Complaints;
use crate::failure::Failure;
use crate::input::{Input, is_stdin};
use crate::key_ring;
use crate::progress::{Progress, log_bytes};
use crate::screen::{Screen, remark, remark_source};
use crate::text::counted;

/// What a question is answered from.
pub(crate) enum Source {
    /// Of a ledger on disk.
    Ledger(Box<ReadOnlyLedger>),
    /// Of a file; and what became of its operations.
    File(Box<Ledger>, Tally),
}

impl Deref for Source {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        match self {
            Source::Ledger(reader) => reader.reader(),
            Source::File(ledger, _) => ledger.reader(),
        }
    }
}

/// What a ledger was answered from.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct AnsweredFrom {
    /// How many records the snapshot covers that it was opened from; `None` if the whole log was folded.
    snapshot: Option<u64>,
    #[serde(serialize_with = "as_text")]
    checkpoint: Checkpoint,
    /// The last record that counts, if a moment was asked about.
    at: Option<Seq>,
}

fn as_text<S: Serializer>(checkpoint: &Checkpoint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(checkpoint)
}

impl AnsweredFrom {
    pub(crate) fn of(reader: &Reader, recovery: &Recovery) -> AnsweredFrom {
        AnsweredFrom { snapshot: recovery.from_snapshot, checkpoint: reader.checkpoint(), at: None }
    }

    /// Of a ledger that is open, since it was opened from a snapshot of this many records or from the whole log.
    #[cfg(feature = "serve")]
    pub(crate) fn open_ledger(snapshot: Option<u64>, checkpoint: Checkpoint) -> AnsweredFrom {
        AnsweredFrom { snapshot, checkpoint, at: None }
    }

    pub(crate) fn log(checkpoint: Checkpoint) -> AnsweredFrom {
        AnsweredFrom { snapshot: None, checkpoint, at: None }
    }

    pub(crate) fn reader(reader: &ReadOnlyLedger) -> AnsweredFrom {
        AnsweredFrom::of(reader.reader(), reader.recovery())
    }

    /// The same as of a record.
    pub(crate) fn at(self, at: Option<Seq>) -> AnsweredFrom {
        AnsweredFrom { at, ..self }
    }

    /// Says it to people, where they asked or a snapshot was believed.
    fn remark(&self, reading: Reading) {
        let AnsweredFrom { snapshot, checkpoint, .. } = self;
        match snapshot {
            Some(records) => {
                let log = match checkpoint.records > *records {
                    true => " and the log after it, up to",
                    false => ", at",
                };
                remark("note", &format!("answered from the snapshot of {records} records{log} {checkpoint}"))
            }
            None if reading.from_log || reading.expect.is_some() => {
                remark("note", &format!("answered from the log, at {checkpoint}"));
            }
            None => {}
        }
    }
}

impl Source {
    /// A directory is a ledger; everything else is an input.
    pub(crate) fn open(
        args: &SourceArgs,
        progress: &mut Progress,
        screen: &Screen,
    ) -> Result<Source, Failure> {
        Source::open_with(args, progress, |place, progress| {
            open_ledger(place, args.reading, progress, screen)
        })
    }

    /// As [`Source::open`], and of a ledger the whole log is read, whether or not that was asked.
    pub(crate) fn open_whole(args: &SourceArgs, progress: &mut Progress) -> Result<Source, Failure> {
        let reading = Reading { from_log: true, ..args.reading };
        Source::open_with(args, progress, |place, progress| read_ledger(place, reading, progress))
    }

    fn open_with(
        args: &SourceArgs,
        progress: &mut Progress,
        open: impl FnOnce(&Path, &mut Progress) -> Result<ReadOnlyLedger, Failure>,
    ) -> Result<Source, Failure> {
        let SourceArgs { source, reading, choice } = args;
        if source.is_dir() {
            let reader = open(source, progress)?;
            agree(choice, source, reader.reader())?;
            return Ok(Source::Ledger(Box::new(reader)));
        }
        if !is_stdin(source) && !source.exists() {
            return Err(Failure::NoSuchPlace { place: source.clone() });
        }
        if reading.expect.is_some() {
            return Err(Failure::NoCheckpoint { file: source.clone() });
        }
        let policy = choice.policy()?.unwrap_or_default();
        let (ledger, tally) = fold_file(source, choice.tenant_or_default(), policy, progress)?;
        Ok(Source::File(Box::new(ledger), tally))
    }

    /// What the exit status says of the source: no, if it is a file of which not one operation could be taken.
    pub(crate) fn answer(&self) -> Answer {
        match self {
            Source::File(_, tally) if tally.operations > 0 && tally.appended == 0 => Answer::No,
            _ => Answer::Yes,
        }
    }

    /// What it was answered from, if it is a ledger on disk.
    pub(crate) fn answered_from(&self) -> Option<AnsweredFrom> {
        match self {
            Source::Ledger(reader) => Some(AnsweredFrom::reader(reader)),
            Source::File(..) => None,
        }
    }
}

/// Opens a ledger for reading, says what is odd about it, and to people what it is answered from.
pub(crate) fn open_ledger(
    place: &Path,
    reading: Reading,
    progress: &mut Progress,
    screen: &Screen,
) -> Result<ReadOnlyLedger, Failure> {
    let reader = read_ledger(place, reading, progress)?;
    if !screen.json {
        AnsweredFrom::reader(&reader).remark(reading);
    }
    Ok(reader)
}

/// As [`open_ledger`], for a command that prints an object for each item: it says what they are answered from on standard error.
pub(crate) fn open_for_list(
    place: &Path,
    reading: Reading,
    progress: &mut Progress,
    screen: &Screen,
) -> Result<ReadOnlyLedger, Failure> {
    let reader = open_ledger(place, reading, progress, screen)?;
    if screen.json {
        remark_source(&AnsweredFrom::reader(&reader));
    }
    Ok(reader)
}

/// Opens a ledger for reading, and folds the whole log whether or not that was asked.
pub(crate) fn open_whole(
    place: &Path,
    reading: Reading,
    progress: &mut Progress,
) -> Result<ReadOnlyLedger, Failure> {
    read_ledger(place, Reading { from_log: true, ..reading }, progress)
}

fn read_ledger(place: &Path, reading: Reading, progress: &mut Progress) -> Result<ReadOnlyLedger, Failure> {
    let reader = on_log(place, "Reading the log", progress, |options| {
        reading.asked_of(options).open_read_only(place)
    })?;
    remark_on(reader.reader(), reader.recovery());
    Ok(reader)
}

/// Opens a ledger for writing, says what had to be done for that, and to people what it is answered from.
pub(crate) fn open_for_writing(
    place: &Path,
    reading: Reading,
    progress: &mut Progress,
    screen: &Screen,
) -> Result<Ledger, Failure> {
    let ledger = open_to_append(place, reading, progress)?;
    if !screen.json {
        AnsweredFrom::of(ledger.reader(), ledger.recovery()).remark(reading);
    }
    Ok(ledger)
}

/// As [`open_for_writing`], for a command that answers nothing.
pub(crate) fn open_to_append(
    place: &Path,
    reading: Reading,
    progress: &mut Progress,
) -> Result<Ledger, Failure> {
    let ledger = on_log(place, "Reading the log", progress, |options| {
        reading.asked_of(options.durability(Durability::Buffered)).open(place)
    })?;
    remark_on(ledger.reader(), ledger.recovery());
    Ok(ledger)
}

/// Does work that goes through the log of a ledger, and shows how far it is.
pub(crate) fn on_log<T, E>(
    place: &Path,
    what: &str,
    progress: &mut Progress,
    work: impl FnOnce(LedgerOptions<'_>) -> Result<T, E>,
) -> Result<T, Failure>
where
    Failure: From<E>,
{
    expect_directory(place)?;
    progress.begin(what, log_bytes(place));
    let mut watch = |bytes| progress.at(bytes);
    let done = work(key_ring::options()?.progress(&mut watch));
    progress.clear();
    Ok(done?)
}

/// Says what is odd about a ledger that was opened.
pub(crate) fn remark_on(reader: &Reader, recovery: &Recovery) {
    if key_ring::given().is_some() && !reader.is_sealed() {
        remark("note", "it is not sealed, so --key-ring means nothing for it: everything in it lies open");
    }
    if let Some(torn) = &recovery.torn {
        let bytes = counted(torn.bytes, "byte");
        remark(
            "note",
            &format!(
                "the last {bytes} of {} were never acknowledged and do not count: {}",
                torn.file, torn.why
            ),
        );
    }
    for ignored in &recovery.snapshots_ignored {
        remark("note", &format!("snapshot {ignored}; it was not used"));
    }
    if recovery.erased_since > 0 {
        let records = counted(recovery.erased_since as u64, "record");
        remark(
            "note",
            &format!(
                "this copy is older than its keys: texts or values of {records} were erased since, and are erased here now"
            ),
        );
    }
    if let Some(why) = &recovery.keys_not_stored {
        remark("note", &format!("{why}. Until then records are appended as ever, and nothing can be erased"));
    }
    if recovery.head_missing {
        remark("note", "HEAD is missing or damaged; what was durable is known from the log alone");
    }
}

/// Says clearly what is wrong with a place that can be no ledger.
pub(crate) fn expect_directory(place: &Path) -> Result<(), Failure> {
    match fs::metadata(place) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Failure::IsFile { place: place.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::NoSuchPlace { place: place.to_owned() })
        }
        Err(error) => Err(Failure::read(place)(error)),
    }
}

/// The record of this number, if there is one.
pub(crate) fn expect_record(reader: &Reader, asked: u64) -> Result<Seq, Failure> {
    let last = reader.checkpoint().records - 1; // there is always the genesis record
    if asked > last { Err(Failure::NoSuchRecord { asked, last }) } else { Ok(Seq(asked)) }
}

/// A ledger that exists has made its choice: another one is a mistake.
pub(crate) fn agree(choice: &CreateArgs, place: &Path, reader: &Reader) -> Result<(), Failure> {
    if let Some(tenant) = choice.tenant.as_ref().filter(|tenant| *tenant != reader.tenant()) {
        return Err(Failure::OtherTenant {
            place: place.to_owned(),
            found: reader.tenant().to_string(),
            expected: tenant.to_string(),
        });
    }
    if choice.policy()?.is_some_and(|policy| policy != *reader.policy()) {
        return Err(Failure::OtherPolicy { place: place.to_owned() });
    }
    Ok(())
}

fn fold_file(
    file: &Path,
    tenant: Tenant,
    policy: Policy,
    progress: &mut Progress,
) -> Result<(Ledger, Tally), Failure> {
    let options = Options::from(&policy);
    let Input { reader, bytes } = Input::open(file)?;
    let memory = Arc::new(Memory::new());
    // Nothing of it is recorded, and the same file gives the same answer.
    let epoch = Timestamp::from_micros(0).expect("1970 is in range");
    let unrecorded = LedgerOptions::new().durability(Durability::Buffered).clock(move || epoch);
    let mut ledger = unrecorded.create_in(memory, tenant, policy)?;
    let mut complaints = Complaints::new(progress);
    complaints.begin(file, bytes);
    let mut tally = Tally::default();
    let done = run(&mut ledger, Importer::new(reader, options), &mut tally, &mut complaints);
    complaints.finish();
    done.map_err(|source| Failure::Fold { file: file.to_owned(), source: Box::new(source) })?;
    Ok((ledger, tally))
}
