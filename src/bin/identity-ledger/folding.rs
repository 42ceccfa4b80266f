//! Where answers come from: a ledger's directory, or a file of events folded in memory. And how inputs are opened.
#![expect(clippy::disallowed_types, reason = "the shell: inputs are files")]

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use identity_ledger::import::{Importer, Options, Tally, run};
use identity_ledger::{
    Book, Durability, Ledger, LedgerOptions, LedgerReader, Memory, Policy, Recovery, Tenant,
};

use crate::Answer;
use crate::args::{Choice, SourceArgs};
use crate::complaints::Complaints;
use crate::failure::Failure;
use crate::keys;
use crate::progress::{Progress, log_bytes};
use crate::screen::remark;
use crate::text::counted;

/// A book to answer from.
pub(crate) enum Folded {
    /// Of a ledger on disk.
    Ledger(Box<LedgerReader>),
    /// Of a file; and what became of its operations.
    File(Box<Ledger>, Tally),
}

impl Deref for Folded {
    type Target = Book;

    fn deref(&self) -> &Book {
        match self {
            Folded::Ledger(reader) => reader,
            Folded::File(ledger, _) => ledger,
        }
    }
}

/// Whether a ledger may be opened from a snapshot.
#[derive(Clone, Copy)]
pub(crate) enum Snapshots {
    Used,
    Ignored,
}

impl Folded {
    /// A directory is a ledger; everything else is an input.
    pub(crate) fn open(args: &SourceArgs, progress: &mut Progress) -> Result<Folded, Failure> {
        Folded::open_with(args, Snapshots::Used, progress)
    }

    /// As [`Folded::open`], and of a ledger the whole log is read: no snapshot is believed.
    pub(crate) fn open_whole(args: &SourceArgs, progress: &mut Progress) -> Result<Folded, Failure> {
        Folded::open_with(args, Snapshots::Ignored, progress)
    }

    fn open_with(
        args: &SourceArgs,
        snapshots: Snapshots,
        progress: &mut Progress,
    ) -> Result<Folded, Failure> {
        let SourceArgs { source, choice } = args;
        if source.is_dir() {
            let reader = open_ledger(source, snapshots, progress)?;
            agree(choice, source, &reader)?;
            return Ok(Folded::Ledger(Box::new(reader)));
        }
        if !is_stdin(source) && !source.exists() {
            return Err(Failure::NoSuchPlace { place: source.clone() });
        }
        let policy = choice.policy()?.unwrap_or_default();
        let (ledger, tally) = fold_file(source, choice.tenant_or_default(), policy, progress)?;
        Ok(Folded::File(Box::new(ledger), tally))
    }

    /// What the exit status says of the source: no, if it is a file of which not one operation could be taken.
    pub(crate) fn answer(&self) -> Answer {
        match self {
            Folded::File(_, tally) if tally.operations > 0 && tally.appended == 0 => Answer::No,
            _ => Answer::Yes,
        }
    }
}

/// Opens a ledger for reading, and says what is odd about it.
pub(crate) fn open_ledger(
    place: &Path,
    snapshots: Snapshots,
    progress: &mut Progress,
) -> Result<LedgerReader, Failure> {
    expect_directory(place)?;
    progress.begin("Reading the log", log_bytes(place));
    let mut watch = |bytes| progress.at(bytes);
    let options = keys::options()?.progress(&mut watch);
    let reader = match snapshots {
        Snapshots::Used => options,
        Snapshots::Ignored => options.without_snapshots(),
    }
    .open_read_only(place)?;
    progress.clear();
    remark_on(&reader, reader.recovery());
    Ok(reader)
}

/// Opens a ledger for writing, and says what had to be done for that.
pub(crate) fn open_for_writing(place: &Path, progress: &mut Progress) -> Result<Ledger, Failure> {
    expect_directory(place)?;
    progress.begin("Reading the log", log_bytes(place));
    let mut watch = |bytes| progress.at(bytes);
    let ledger = keys::options()?.durability(Durability::Buffered).progress(&mut watch).open(place)?;
    progress.clear();
    remark_on(&ledger, ledger.recovery());
    Ok(ledger)
}

fn remark_on(book: &Book, recovery: &Recovery) {
    if keys::given().is_some() && !book.is_sealed() {
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

/// A ledger that exists has made its choice: another one is a mistake.
pub(crate) fn agree(choice: &Choice, place: &Path, book: &Book) -> Result<(), Failure> {
    if let Some(tenant) = choice.tenant.as_ref().filter(|tenant| *tenant != book.tenant()) {
        return Err(Failure::OtherTenant {
            place: place.to_owned(),
            found: book.tenant().to_string(),
            expected: tenant.to_string(),
        });
    }
    if choice.policy()?.is_some_and(|policy| policy != *book.policy()) {
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
    let mut ledger =
        LedgerOptions::new().durability(Durability::Buffered).create_in(memory, tenant, policy)?;
    let mut complaints = Complaints::new(progress);
    complaints.begin(file, bytes);
    let mut tally = Tally::default();
    let done = run(&mut ledger, Importer::new(reader, options), &mut tally, &mut complaints);
    complaints.finish();
    done.map_err(|source| Failure::Fold { file: file.to_owned(), source: Box::new(source) })?;
    Ok((ledger, tally))
}

/// An input, open.
pub(crate) struct Input {
    pub(crate) reader: Box<dyn Read>,
    /// Its size, if it has one.
    pub(crate) bytes: Option<u64>,
}

impl Input {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(file: &Path) -> Result<Input, Failure> {
        if is_stdin(file) {
            return Ok(Input { reader: Box::new(io::stdin().lock()), bytes: None });
        }
        let opened = File::open(file).map_err(Failure::read(file))?;
        let metadata = opened.metadata().map_err(Failure::read(file))?;
        if metadata.is_dir() {
            return Err(Failure::IsDirectory { file: file.to_owned() });
        }
        let bytes = metadata.is_file().then_some(metadata.len());
        Ok(Input { reader: Box::new(opened), bytes })
    }

    /// Whether [`Input::open`] would work. A pipe is left alone: once opened, it has to be read.
    pub(crate) fn check(file: &Path) -> Result<(), Failure> {
        if is_stdin(file) {
            return Ok(());
        }
        let metadata = fs::metadata(file).map_err(Failure::read(file))?;
        if metadata.is_file() || metadata.is_dir() { Input::open(file).map(drop) } else { Ok(()) }
    }
}

pub(crate) fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}
