//! `backup`: a verified copy of a ledger, also while a writer is at work.

use std::path::{Path, PathBuf};

use clap::Args;
use identity_ledger::Seq;
use identity_ledger::audit::AuditRemark;
use identity_ledger::backup::BackupReport;
use serde::Serialize;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::source::on_log;
use crate::text::{count, counted};

/// The long help.
pub(crate) const HELP: &str = "\
Copy a ledger. A writer may be at work meanwhile: the copy ends at what was durable when the backup began, every hash and \
commitment is checked on the way, and the ledger itself is only read.

  identity-ledger backup shop.ledger /mnt/backup/shop.ledger    # the whole log
  identity-ledger backup shop.ledger /mnt/backup/shop.ledger    # later: only what is new
  identity-ledger verify /mnt/backup/shop.ledger --expect 4711:9f86d0...0a08

DEST must be new, empty, or an earlier copy of the same ledger. A backup that was cut off continues when it is run again; until \
its first run is complete DEST does not open. To restore, open the copy or copy it back. Do not write to a copy that is \
to be updated later: the two histories would differ, and the next backup would say so and stop.

What is shown:
  bytes copied         of log, now
  bytes there already  of log, from earlier runs, compared byte by byte
  sealed items not opened  of a sealed ledger, without --key-ring
  the checkpoint       RECORDS:HEAD, where the copy ends

A sealed ledger is copied without its keys. With --key-ring each item is opened too, and one that does not open stops the backup, as \
all damage does. No copy holds the ring; to write to a restored one, see `keys`.

--json keys: checkpoint (RECORDS:HEAD), records, kept_bytes, copied_bytes, unopened_items (sealed ones, without --key-ring), \
pending_erasures (records of erasures that are not finished in the copy).";

#[derive(Args)]
pub(crate) struct BackupArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    ledger: PathBuf,
    /// The directory of the copy; created if it does not exist
    #[arg(value_name = "DEST")]
    dest: PathBuf,
}

#[derive(Serialize)]
struct Copied {
    /// RECORDS:HEAD, as `verify --expect` takes it.
    checkpoint: String,
    records: u64,
    kept_bytes: u64,
    copied_bytes: u64,
    unopened_items: u64,
    pending_erasures: Vec<Seq>,
}

pub(crate) fn backup(args: BackupArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let BackupArgs { ledger, dest } = args;
    let report = on_log(&ledger, "Copying", &mut Progress::new(), |options| options.backup(&ledger, &dest))?;
    if screen.json {
        let BackupReport { checkpoint, kept_bytes, copied_bytes, unopened_items, pending_erasures } = report;
        let (records, checkpoint) = (checkpoint.records, checkpoint.to_string());
        screen.object(&Copied {
            checkpoint,
            records,
            kept_bytes,
            copied_bytes,
            unopened_items,
            pending_erasures,
        })?;
    } else {
        show(&ledger, &dest, &report, screen)?;
    }
    Ok(Answer::Yes)
}

fn show(ledger: &Path, dest: &Path, report: &BackupReport, screen: &mut Screen) -> Result<(), Failure> {
    let BackupReport { checkpoint, kept_bytes, copied_bytes, unopened_items, ref pending_erasures } = *report;
    let (ledger, dest) = (ledger.display().to_string(), dest.display().to_string());
    let records = counted(checkpoint.records, "record");
    screen.headline(&format!("{dest} is a whole copy of {ledger}: {records}"))?;
    let mut facts = vec![("bytes copied", count(copied_bytes)), ("bytes there already", count(kept_bytes))];
    if unopened_items > 0 {
        let items = format!("{}; give --key-ring to check that each opens", count(unopened_items));
        facts.push(("sealed items not opened", items));
    }
    screen.facts(&facts)?;
    if !pending_erasures.is_empty() {
        let pending = AuditRemark::PendingErasures(pending_erasures.clone());
        screen.line("")?;
        screen.line(&format!("Note: {pending}. So does a later backup."))?;
    }
    screen.line("")?;
    screen
        .line("Keep this checkpoint elsewhere; `verify --expect` proves with it that the copy is whole:")?;
    screen.line(&checkpoint.to_string())
}
