//! Why a command could not do its work, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use identity_ledger::answer::{MappingError, PageError};
use identity_ledger::backup::BackupError;
use identity_ledger::diff::{PreviewError, WhatIfError};
use identity_ledger::erase::EraseError;
use identity_ledger::explain::ExplanationError;
use identity_ledger::export::{OpsError, WriteError};
use identity_ledger::import::{ImportError, RunError};
use identity_ledger::log::KeysError;
use identity_ledger::proof::{KeyError, NoteError, ProveError};
use identity_ledger::salvage::SalvageError;
use identity_ledger::snapshot::DurabilityEvidence;
use identity_ledger::storage::{Fault, FaultKind, IdentityError};
use identity_ledger::{AppendError, CreateError, OpenError, OperationError, Seq, Timestamp};

use crate::components::error::ComponentsError;

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Open(Box<OpenError>),
    #[error(transparent)]
    Create(Box<CreateError>),
    #[error(transparent)]
    Keys(Box<KeysError>),
    #[error(transparent)]
    Append(Box<AppendError>),
    #[error(transparent)]
    Backup(Box<BackupError>),
    #[error(transparent)]
    Salvage(Box<SalvageError>),
    #[error(transparent)]
    Erase(Box<EraseError>),
    #[error(transparent)]
    Fault(Box<Fault>),
    #[error(transparent)]
    Page(Box<PageError>),
    /// The state says what the records do not.
    #[error("the explanation found does not hold: {0}")]
    Unexplained(Box<ExplanationError>),
    #[error(transparent)]
    Key(Box<KeyError>),
    #[error(transparent)]
    Prove(Box<ProveError>),
    #[error("{}: {source}", .file.display())]
    BadNote { file: PathBuf, source: NoteError },
    #[error("{}: {source}", .file.display())]
    BadSigner { file: PathBuf, source: KeyError },
    #[error("the note of --expect has to be checked with a key; give it with --key")]
    NoteWithoutKey,
    #[error("--key is for a note; --expect is a checkpoint without signatures")]
    KeyWithoutNote,
    #[error(transparent)]
    WhatIf(Box<WhatIfError>),
    #[error(transparent)]
    Preview(Box<PreviewError>),
    /// An import stopped.
    #[error("{}: {source}", .file.display())]
    Import { file: PathBuf, source: Box<RunError> },
    /// A mapping cannot be read to its end.
    #[error("{}: {source}", .file.display())]
    Mapping { file: PathBuf, source: Box<ImportError> },
    #[error("{}: {source}", .file.display())]
    LongMapping { file: PathBuf, source: MappingError },
    #[error(
        "{} says of no id whose it is; expected rows with `person_id` and `distinct_id`, or others that `import --format persons` reads",
        .file.display()
    )]
    EmptyMapping { file: PathBuf },
    /// A file that was to be folded in memory cannot be read to its end.
    #[error("{}: {source}", .file.display())]
    Fold { file: PathBuf, source: Box<RunError> },
    #[error("{} cannot be read: {source}", .file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("{} cannot be written: {source}", .place.display())]
    Write { place: PathBuf, source: io::Error },
    #[error("{} holds {found}; choose an empty or new directory", .place.display())]
    NotEmpty { place: PathBuf, found: String },
    #[error("{} lies in the ledger {}; choose a place outside", .place.display(), .ledger.display())]
    InsideLedger { place: PathBuf, ledger: PathBuf },
    #[error("{} is {found} and would be overwritten; choose another file", .place.display())]
    Reserved { place: PathBuf, found: &'static str },
    #[error("{}: expected a name that ends in .html or .svg; --html and --svg take any", .file.display())]
    NotAPicture { file: PathBuf },
    #[error("{} is a directory; expected a file of events, or `-` for standard input", .file.display())]
    IsDirectory { file: PathBuf },
    #[error("{} is a file of events and has no checkpoint; --expect is for the directory of a ledger", .file.display())]
    NoCheckpoint { file: PathBuf },
    #[error("{} does not exist", .place.display())]
    NoSuchPlace { place: PathBuf },
    #[error("{} is a file; expected the directory of a ledger", .place.display())]
    IsFile { place: PathBuf },
    #[error("{} is empty; expected a policy: `identity-ledger policy LEDGER --json` prints one", .file.display())]
    EmptyPolicy { file: PathBuf },
    #[error("{} is not a valid policy: {source}", .file.display())]
    BadPolicy { file: PathBuf, source: serde_json::Error },
    #[error("{} exists, and its policy is not the one that --preset or --policy choose", .place.display())]
    OtherPolicy { place: PathBuf },
    #[error("{} exists, and its tenant is `{found}`; expected `{expected}`, as --tenant says", .place.display())]
    OtherTenant { place: PathBuf, found: String, expected: String },
    #[error("expected two ids, or one id and --property KEY; found {found}")]
    TwoIds { found: usize },
    #[error(
        "--at is record {at}, and the cursor of --from is as of record {cursor}; leave one of the two out"
    )]
    TwoMoments { at: Seq, cursor: Seq },
    #[error(
        "line {number}: expected two ids with a tab between them, or one if the other is an argument; found `{line}`"
    )]
    NotTwoIds { number: u64, line: String },
    #[error("{command} takes no list of ids from standard input; `resolve` and `explain` do")]
    NoList { command: &'static str },
    #[error("--property asks about one id; `-` reads pairs of ids from standard input")]
    ManyProperties,
    #[error("there is no record {asked}: the last one is {last}")]
    NoSuchRecord { asked: u64, last: u64 },
    #[error("nothing was recorded by {asked}: the ledger was created at {first}")]
    BeforeItsCreation { asked: Timestamp, first: Timestamp },
    #[error("{} is a file of events, and nothing in it says when it was recorded; give --at a record's number", .file.display())]
    NoTimes { file: PathBuf },
    #[error("there is nothing to compare: one ledger, and no --at")]
    NothingToCompare,
    #[error("--at is given {found} times; expected at most two, one for each side")]
    TooManyPlaces { found: usize },
    #[error("--expect is given {found} times; expected at most one for each ledger")]
    TooManyCheckpoints { found: usize },
    #[error("{found} tables do not fit on standard output; expected one, as --tables names it")]
    OneTable { found: usize },
    #[error("--since is for tables of records; an export of operations is of all of them")]
    OpsSince,
    #[error("--tables is for tables; an export of operations has none, so leave it out")]
    OpsTables,
    #[error(
        "parquet and arrow are not for a terminal; write to a directory or a pipe, or choose csv or jsonl"
    )]
    Binary,
    #[error("{option} is record {until}; expected record {since} or a later one, as --since says")]
    BeforeSince { option: &'static str, since: Seq, until: Seq },
    #[error("no key ring was given; name it with --key-ring FILE")]
    NoKeyRing,
    #[cfg(feature = "serve")]
    #[error("the server stopped: {0}")]
    Serve(io::Error),
    #[cfg(feature = "serve")]
    #[error("{address} cannot be listened on: {source}; choose another with --listen ADDRESS")]
    Listen { address: String, source: io::Error },
    #[cfg(feature = "serve")]
    #[error("no token was given; name at least one with --token TOKEN=TENANT or --tokens FILE")]
    NoTokens,
    #[cfg(feature = "serve")]
    #[error("the token `{token}` is given for `{first}` and for `{other}`; expected one tenant")]
    TwoTenants { token: String, first: String, other: String },
    #[cfg(feature = "serve")]
    #[error("{} line {line}: {what}", .file.display())]
    BadToken { file: PathBuf, line: usize, what: String },
    #[cfg(feature = "serve")]
    #[error(
        "--open is for a loopback address, and other machines may reach {address}; leave it out, and use the admin token"
    )]
    OpenToAll { address: String },
    #[cfg(feature = "serve")]
    #[error(
        "serve takes no single key ring, for it has several ledgers; name a directory of rings with --key-rings"
    )]
    SealedServer,
    #[cfg(all(feature = "serve", not(feature = "jetstream")))]
    #[error("this program was built without JetStream; build it with `--features jetstream`")]
    NoJetstream,
    #[cfg(feature = "serve")]
    #[error(
        "{} is the directory of a node; start it with --jetstream, --stream and --node, or choose another directory", .dir.display()
    )]
    IsNode { dir: PathBuf },
    #[cfg(feature = "jetstream")]
    #[error(
        "{} is a ledger of one machine, which cannot begin to follow a stream; choose another directory for the node", .place.display()
    )]
    IsNoNode { place: PathBuf },
    #[cfg(feature = "jetstream")]
    #[error(
        "a stream carries the ledger of one tenant, and the tokens are of `{first}` and `{other}`; start a server for each, on a stream of its own"
    )]
    TenantsOfStream { first: String, other: String },
    #[cfg(feature = "jetstream")]
    #[error(
        "the stream `{stream}` holds the ledger of the tenant `{found}`, and the tokens are of `{expected}`; name the other stream, or write TOKEN={found}"
    )]
    OtherTenantOfStream { stream: String, found: String, expected: String },
    #[cfg(feature = "jetstream")]
    #[error("a node `{node}` is at work on the stream `{stream}` already; choose another --node NAME")]
    NodeName { node: String, stream: String },
    #[cfg(feature = "jetstream")]
    #[error(
        "`{url}` is not the address of a NATS server: {what}; expected nats://HOST:PORT or tls://HOST:PORT"
    )]
    NatsUrl { url: String, what: String },
    #[cfg(feature = "jetstream")]
    #[error("{0}")]
    Stream(String),
    #[cfg(feature = "jetstream")]
    #[error("the node does not start ({}): {stop}", .stop.name())]
    Stop { stop: Box<identity_ledger_jetstream::Stop> },
    #[error(transparent)]
    Components(Box<ComponentsError>),
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
}

impl Failure {
    pub(crate) fn read(file: &Path) -> impl FnOnce(io::Error) -> Failure {
        let file = file.to_owned();
        move |source| Failure::Read { file, source }
    }

    pub(crate) fn write(place: &Path) -> impl Fn(io::Error) -> Failure + use<> {
        let place = place.to_owned();
        move |source| Failure::Write { place: place.clone(), source }
    }

    /// The id that a change was asked for and that was never written.
    pub(crate) fn unknown_id(&self) -> Option<String> {
        match self {
            Failure::Preview(error) => match &**error {
                PreviewError::Operation(OperationError::UnknownId { id }) => Some(id.to_string()),
                _ => None,
            },
            Failure::Erase(error) => match &**error {
                EraseError::UnknownId { id, .. } => Some(id.clone()),
                EraseError::UnknownPerson { id, .. } => Some(id.to_string()),
                _ => None,
            },
            _ => None,
        }
    }

    /// 1 when the ledger is damaged, an id was never written, what was to be proven is not so, or there is nothing to erase; 2 for everything
    /// else.
    pub(crate) fn code(&self) -> u8 {
        let damaged = match self {
            Failure::Open(error) => is_damage(error),
            Failure::Fault(fault) => !matches!(fault.kind, FaultKind::Io(_)),
            Failure::Backup(error) => is_damage_of_either(error),
            Failure::Erase(error)
                if matches!(
                    **error,
                    EraseError::Unreadable(_)
                        | EraseError::Unproven(_)
                        | EraseError::NoValues { .. }
                        | EraseError::NoReason { .. }
                ) =>
            {
                true
            }
            Failure::Unexplained(_) => true,
            Failure::Prove(error) => match &**error {
                ProveError::Fault(fault) => !matches!(fault.kind, FaultKind::Io(_)),
                ProveError::NotSo { .. }
                | ProveError::Unknown { .. }
                | ProveError::Erased { .. }
                | ProveError::NoIndex { .. }
                | ProveError::OtherHistory { .. }
                | ProveError::Note(_)
                | ProveError::Ahead { .. } => true,
                _ => false,
            },
            _ if self.unknown_id().is_some() => true,
            Failure::Preview(error) => {
                matches!(&**error, PreviewError::Fault(fault) if !matches!(fault.kind, FaultKind::Io(_)))
            }
            Failure::Page(error) => {
                matches!(&**error, PageError::Fault(fault) if !matches!(fault.kind, FaultKind::Io(_)))
            }
            _ => match self.append_error() {
                Some(AppendError::Unreadable(fault)) => !matches!(fault.kind, FaultKind::Io(_)),
                Some(AppendError::Unproven(_)) => true,
                _ => false,
            },
        };
        if damaged { 1 } else { 2 }
    }

    /// Whether an input could not be read, to its end or at all. A ledger that failed is another matter.
    pub(crate) fn is_of_input(&self) -> bool {
        match self {
            Failure::Read { .. } | Failure::IsDirectory { .. } => true,
            Failure::Import { source, .. } => matches!(**source, RunError::Input(_)),
            _ => false,
        }
    }

    fn append_error(&self) -> Option<&AppendError> {
        match self {
            Failure::Append(error) => Some(error),
            Failure::Erase(error) => match &**error {
                EraseError::Append(error) => Some(error),
                _ => None,
            },
            Failure::Import { source, .. } => match &**source {
                RunError::Ledger(error) => Some(error),
                _ => None,
            },
            _ => None,
        }
    }

    /// What to do next, where the message does not say so already.
    pub(crate) fn advice(&self) -> Option<String> {
        Some(match self {
            Failure::NoSuchPlace { place } => {
                let place = place.display();
                format!("is the path right? A ledger is a directory; `init {place}` creates one, and so does `import` of a file")
            }
            Failure::IsFile { place } => {
                let place = place.display();
                format!(
                    "`identity-ledger import NEW.ledger {place}` makes a ledger of it; `replay`, `persons`, `events` and \
                     `outcomes` also take the file itself"
                )
            }
            Failure::OtherPolicy { place } => {
                format!(
                    "leave the option out, or change the policy with `identity-ledger policy {} --set FILE`",
                    place.display()
                )
            }
            Failure::Open(error) => {
                let place = match &**error {
                    OpenError::OlderThanKeys { place, .. }
                    | OpenError::RolledBack { place, by: DurabilityEvidence::KeyRing, .. }
                    | OpenError::Forked { place, by: DurabilityEvidence::KeyRing, .. } => place,
                    _ => return None,
                };
                format!(
                    "if this copy takes the place of another: `identity-ledger keys adopt {place}`; if both stay in use: `keys fork {place} NEW_RING`; each with the same --key-ring"
                )
            }
            #[cfg(feature = "jetstream")]
            Failure::Stop { stop } => stop.remedy(identity_ledger_jetstream::COMMAND),
            Failure::NothingToCompare => {
                "`diff A B` compares two ledgers, `diff A --at SEQ|TIME` then and now".to_owned()
            }
            Failure::OtherTenant { .. } => {
                "leave the option out, or import into another ledger: a tenant stays".to_owned()
            }
            // The error itself says what to do.
            Failure::Import { source, .. } if matches!(**source, RunError::Input(ImportError::Encoding { .. })) => {
                return None;
            }
            Failure::Import { source, .. } if matches!(**source, RunError::Input(_)) => {
                "everything before that place is recorded; importing the whole file again records only the rest"
                    .to_owned()
            }
            Failure::Fold { .. } => {
                "nothing is shown of half a file; `import` records what can be read of it".to_owned()
            }
            Failure::Erase(error) if matches!(**error, EraseError::UnknownId { .. } | EraseError::UnknownPerson { .. }) => {
                "`find` lists persons by a property, `persons` lists all of them".to_owned()
            }
            Failure::Erase(error) if matches!(**error, EraseError::Unreadable(_)) => {
                "`identity-ledger verify` says what is wrong".to_owned()
            }
            Failure::Import { .. } | Failure::Append(_) => return append_advice(self.append_error()?),
            Failure::Preview(error) => match &**error {
                PreviewError::Operation(OperationError::UnknownId { .. }) => {
                    "ids are compared exactly; `resolve` says whose an id is, `persons` lists all of them"
                }
                PreviewError::Operation(
                    OperationError::UnknownOperation { .. }
                    | OperationError::NoSuchRecord { .. }
                    | OperationError::NotAnOperation { .. },
                ) => "`history` lists the records of an id, `outcomes` all operations, each with its number",
                PreviewError::Fault(_) => "`identity-ledger verify` says what is wrong",
                _ => return None,
            }
            .to_owned(),
            Failure::Unexplained(_) => {
                "the snapshot may be forged: `identity-ledger verify` holds it against the log".to_owned()
            }
            Failure::Fault(_) => "`identity-ledger verify` says what is wrong".to_owned(),
            _ => return None,
        })
    }
}

macro_rules! from {
    ($($error:ident: $variant:ident),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::$variant(Box::new(error)) // errors with a place in the log are large, results should not be
            }
        })*
    };
}

from!(OpenError: Open, CreateError: Create, KeysError: Keys, AppendError: Append, BackupError: Backup, SalvageError: Salvage, EraseError: Erase, Fault: Fault, ExplanationError: Unexplained, PageError: Page, PreviewError: Preview, KeyError: Key, ProveError: Prove, ComponentsError: Components);

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Failure {
        Failure::Output(error.into())
    }
}

impl From<OpsError> for Failure {
    fn from(error: OpsError) -> Failure {
        match error {
            OpsError::Fault(fault) => fault.into(),
            OpsError::Output(error) => Failure::Output(error),
            other => Failure::Output(io::Error::other(other)),
        }
    }
}

/// Whether records are gone, changed or forged.
fn is_damage(error: &OpenError) -> bool {
    match error {
        OpenError::Damaged { .. }
        | OpenError::RolledBack { .. }
        | OpenError::Forked { .. }
        | OpenError::Foreign { .. }
        | OpenError::Untrusted { .. } => true,
        OpenError::Identity(error) => matches!(error, IdentityError::Damaged { .. }),
        _ => false,
    }
}

/// Whether a backup found the ledger or its copy damaged, or of two histories.
fn is_damage_of_either(error: &BackupError) -> bool {
    match error {
        BackupError::Identity(error) => matches!(error, IdentityError::Damaged { .. }),
        BackupError::Damaged { .. }
        | BackupError::RolledBack { .. }
        | BackupError::DamagedCopy { .. }
        | BackupError::Forked { .. }
        | BackupError::Ahead { .. } => true,
        _ => false,
    }
}

fn append_advice(error: &AppendError) -> Option<String> {
    match error {
        AppendError::Indeterminate { source, .. } if source.kind() == io::ErrorKind::StorageFull => Some(
            "the disk is full: make room and do the same again; what was recorded counts as duplicates then"
                .to_owned(),
        ),
        AppendError::Indeterminate { .. } | AppendError::Poisoned { .. } => {
            Some("do the same again; what was recorded counts as duplicates then".to_owned())
        }
        _ => None,
    }
}
