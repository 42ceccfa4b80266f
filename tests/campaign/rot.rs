//! Rot: every bit of every file flipped, every file cut to every length, sectors zeroed and swapped.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity_ledger::audit::Audit;
use identity_ledger::log::Digest;
use identity_ledger::storage::Storage;
use identity_ledger::testing::disk::{SECTOR_BYTES, SimulatedDisk, Subset};
use identity_ledger::*;

use crate::history::History;
use crate::oracle::{class, options};

/// How often which verdict was given, for one kind of file and rot.
type Verdicts = BTreeMap<&'static str, u64>;

pub(crate) struct Rot {
    whole: SimulatedDisk,
    content: Digest,
    checkpoint: Checkpoint,
    table: BTreeMap<(&'static str, &'static str), Verdicts>,
    pub(crate) violations: Vec<String>,
}

/// What a file is.
fn kind(file: &str) -> &'static str {
    match file {
        "LEDGER" => "LEDGER",
        "HEAD" => "HEAD",
        _ => "log",
    }
}

impl Rot {
    /// A ledger of several segments, closed.
    pub(crate) fn new(seed: u64) -> Rot {
        let disk = Arc::new(SimulatedDisk::new());
        let created = options().segment_bytes(limits::MIN_SEGMENT_BYTES).create_in(
            disk.clone(),
            Tenant::default(),
            Policy::default(),
        );
        let mut ledger = created.unwrap();
        for batch in History::new(seed, 9, 1, 200).batches {
            drop(ledger.append_batch(&batch).unwrap());
        }
        let (content, checkpoint) = (ledger.reader().content_digest().unwrap(), ledger.checkpoint());
        drop(ledger);
        let whole = disk.crashed(&Subset::all());
        assert!(whole.list("log").unwrap().len() >= 3, "several segments");
        Rot { whole, content, checkpoint, table: BTreeMap::new(), violations: Vec::new() }
    }

    /// All of it, or every `stride`th.
    pub(crate) fn run(&mut self, stride: usize) {
        for (file, bytes) in self.whole.files() {
            for bit in (0..bytes.len() * 8).step_by(stride) {
                let disk = self.whole.killed();
                disk.flip(&file, bit).unwrap();
                self.judge(disk, &file, "bit flipped", &format!("bit {bit}"));
            }
            for len in (0..bytes.len()).step_by(stride.min(7)) {
                let disk = self.whole.killed();
                disk.cut(&file, len).unwrap();
                self.judge(disk, &file, "cut", &format!("cut to {len}"));
            }
            let sectors: Vec<&[u8]> = bytes.chunks(SECTOR_BYTES).collect();
            for (number, sector) in sectors.iter().enumerate() {
                let disk = self.whole.killed();
                disk.write_at(&file, (number * SECTOR_BYTES) as u64, &vec![0; sector.len()]).unwrap();
                self.judge(disk, &file, "sector zeroed", &format!("sector {number}"));
                for (other, replacing) in sectors.iter().enumerate().filter(|(other, _)| *other != number) {
                    let disk = self.whole.killed();
                    let len = sector.len().min(replacing.len());
                    disk.write_at(&file, (number * SECTOR_BYTES) as u64, &replacing[..len]).unwrap();
                    self.judge(
                        disk,
                        &file,
                        "sector misplaced",
                        &format!("sector {other} in place of {number}"),
                    );
                }
            }
        }
    }

    /// Opening refuses, or everything is as it was; a reader likewise; the audit never praises a changed log.
    fn judge(&mut self, disk: SimulatedDisk, file: &str, rot: &'static str, what: &str) {
        let disk = Arc::new(disk.crashed(&Subset::all()));
        let changed = disk.files() != self.whole.files();
        let mut wrong = Vec::new();
        if let Ok(reader) = options().read_in(disk.clone())
            && reader.reader().content_digest().ok() != Some(self.content)
        {
            wrong.push("a reader shows something else");
        }
        let audit = Audit::run_in(disk.clone(), None, &mut |_| {});
        if changed && kind(file) == "log" && audit.is_ok_and(|report| report.is_ok()) {
            wrong.push("the audit finds nothing");
        }
        let verdict = match options().open_in(disk) {
            Err(error) => class(&error),
            Ok(ledger) => {
                if ledger.reader().content_digest().ok() != Some(self.content)
                    || ledger.checkpoint() != self.checkpoint
                {
                    wrong.push("it opens as something else");
                }
                if ledger.recovery().torn.is_some() { "torn" } else { "as before" }
            }
        };
        *self.table.entry((kind(file), rot)).or_default().entry(verdict).or_default() += 1;
        self.violations.extend(wrong.iter().map(|wrong| format!("{file} {rot}, {what}: {wrong}")));
    }

    pub(crate) fn print(&self) {
        const COLUMNS: [&str; 6] = ["identity", "damaged", "rolled back", "untrusted", "torn", "as before"];
        print!("\n{:<26}", "rot");
        COLUMNS.iter().for_each(|column| print!(" {column:>11}"));
        println!();
        for ((file, rot), verdicts) in &self.table {
            print!("{:<26}", format!("{file}: {rot}"));
            COLUMNS.iter().for_each(|column| print!(" {:>11}", verdicts.get(column).unwrap_or(&0)));
            println!();
            let others = verdicts.keys().filter(|verdict| !COLUMNS.contains(verdict)).count();
            assert_eq!(others, 0, "a verdict without a column: {verdicts:?}");
        }
    }
}
