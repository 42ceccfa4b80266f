//! `backup`: a verified copy of a ledger, also while a writer is at work.

use std::path::Path;

use identity_ledger::Seq;
use identity_ledger::audit::AuditRemark;
use identity_ledger::backup::BackupReport;
use serde::Serialize;

use crate::Answer;
use crate::args::BackupArgs;
use crate::failure::Failure;
use crate::folding::expect_directory;
use crate::keys;
use crate::progress::{Progress, log_bytes};
use crate::screen::Screen;
use crate::text::{count, counted};

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
    expect_directory(&ledger)?;
    let mut progress = Progress::new();
    progress.begin("Copying", log_bytes(&ledger));
    let mut watch = |bytes| progress.at(bytes);
    let done = keys::options()?.progress(&mut watch).backup(&ledger, &dest);
    progress.clear();
    let report = done?;
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
