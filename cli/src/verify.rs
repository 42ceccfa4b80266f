//! `verify`: whether anything in a ledger was changed, lost or forged.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use identity_ledger::audit::{AuditFault, AuditRemark, AuditReport, RecordCounts, Unchecked};
use identity_ledger::log::Digest;
use identity_ledger::proof::{Note, ProveError, Signed, TreeCheckpoint, Verifier};
use identity_ledger::storage::IdentityError;
use identity_ledger::{Checkpoint, LedgerOptions, OpenError, Seq};
use serde::Serialize;

use crate::answer::Answer;
use crate::args::Reading;
use crate::checkpoint::note;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::source::{on_log, open_whole};
use crate::text::{count, counted};

/// The long help.
pub(crate) const HELP: &str = "\
Check everything that the files alone can prove: every hash of the chain, every commitment, every class and limit, and that every \
snapshot holds what the log says. Only reads. Exit status 1 if anything is wrong; then file, byte and record are named. A bad \
snapshot may be removed: nothing is lost with it.

  identity-ledger verify shop.ledger
  identity-ledger verify shop.ledger --expect 4711:9f86d0...0a08

A checkpoint, RECORDS:HEAD, is what `verify` prints. Kept somewhere else, it proves later that nothing up to it was changed, \
not even by someone who computed all the hashes again. A note that `checkpoint --sign` made proves the same, and who says so: with --key, who \
must have signed it. Then the trees of the note are computed again from the log too, and it is said how many records continue it.

  identity-ledger verify shop.ledger --expect shop.note --key 'shop.example/ledger+...'

A sealed ledger is checked without its --key-ring as far as the hash chain goes, and what was not checked is said.

--json keys: ok, records (before the first fault), head, digest, first_fault (null, or file, offset, seq, what), faults, tail, \
snapshots, remarks (no faults: behind_head, pending_erasures, head_slot, lock_missing, foreign), intact, damaged, unreadable \
(records that are known, as `salvage` counts them), unchecked (null, or items and snapshots), signed (null, or who signed the note of --expect, and when), note_fault (null, or in what the ledger differs from the note), \
records_since (null, or how many records follow those of the note), index_lacks (null, or how many ids of the note's index of texts were erased since, so that it cannot be compared).";

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    ledger: PathBuf,
    /// A checkpoint seen earlier, or the file of a signed one: the log must pass through it
    #[arg(long, value_name = "RECORDS:HEAD|NOTE")]
    expect: Option<Expected>,
    /// A key that must have signed the note of --expect; several times for several
    #[arg(long, value_name = "VKEY", requires = "expect")]
    key: Vec<Verifier>,
}

/// What `--expect` names.
#[derive(Clone)]
enum Expected {
    Checkpoint(Checkpoint),
    File(PathBuf),
}

impl FromStr for Expected {
    type Err = identity_ledger::log::CheckpointError;

    /// A text with a colon in it is a file only if there is one.
    fn from_str(text: &str) -> Result<Expected, Self::Err> {
        let file = Path::new(text);
        match text.parse() {
            Ok(checkpoint) => Ok(Expected::Checkpoint(checkpoint)),
            Err(_) if file.is_file() => Ok(Expected::File(file.to_owned())),
            Err(error) => Err(error),
        }
    }
}

/// What is expected, and of a note also the note and who signed it.
type Believed = (Option<Checkpoint>, Option<(Note, Vec<Signed>)>);

/// The checkpoint that `--expect` names; nothing in a note is believed before its signatures are checked.
fn believed(expect: Option<Expected>, keys: &[Verifier]) -> Result<Believed, Failure> {
    match expect {
        Some(Expected::File(_)) if keys.is_empty() => Err(Failure::NoteWithoutKey),
        Some(Expected::File(file)) => {
            let note = note(&file)?;
            let signed = note.verify(keys).map_err(ProveError::Note)?;
            let noted: TreeCheckpoint = note.text().parse().map_err(ProveError::Checkpoint)?;
            Ok((Some(noted.checkpoint), Some((note, signed))))
        }
        _ if !keys.is_empty() => Err(Failure::KeyWithoutNote),
        Some(Expected::Checkpoint(checkpoint)) => Ok((Some(checkpoint), None)),
        None => Ok((None, None)),
    }
}

/// A checkpoint that a whole ledger does not pass through.
#[derive(Clone, Copy)]
struct Missed {
    expected: Checkpoint,
    /// Where the ledger is.
    is: Checkpoint,
}

#[derive(Serialize)]
struct Verdict<'a> {
    ok: bool,
    records: u64,
    head: Option<Digest>,
    digest: Option<Digest>,
    first_fault: Option<&'a AuditFault>,
    faults: &'a [AuditFault],
    /// Bytes of a write that was never acknowledged: no fault.
    tail: Option<&'a AuditFault>,
    /// How many records each good snapshot covers.
    snapshots: &'a [u64],
    /// What is not a fault, but good to know.
    remarks: &'a [AuditRemark],
    /// How many records can be read, before and behind a fault; `null` without a `LEDGER`.
    #[serde(flatten)]
    known: Option<RecordCounts>,
    /// What a sealed ledger holds that needs its key ring to be checked; `null` if all was.
    unchecked: Option<Unchecked>,
    /// Who signed the note that was expected.
    signed: Option<&'a [Signed]>,
    /// In what the ledger differs from that note.
    note_fault: Option<String>,
    /// How many records follow those of that note.
    records_since: Option<u64>,
    /// How many ids of that note's index of texts were erased since: without their texts it cannot be computed.
    index_lacks: Option<u32>,
}

pub(crate) fn verify(args: VerifyArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let VerifyArgs { ledger: place, expect, key } = args;
    let (expect, noted) = believed(expect, &key)?;
    let audit = |expect: Option<Checkpoint>| {
        on_log(&place, "Verifying", &mut Progress::new(), |options| {
            Ok::<_, Failure>(expect.into_iter().fold(options, LedgerOptions::expect).audit(&place))
        })
    };
    let is_whole = |audited: &Result<AuditReport, OpenError>| {
        audited.as_ref().is_ok_and(|report| report.faults.is_empty())
    };
    let audited = audit(expect)?;
    // Whether the checkpoint alone is at fault: it may have been mistyped.
    let missed = match expect {
        Some(expected) if audited.is_ok() && !is_whole(&audited) => {
            let alone = audit(None)?.ok().filter(|report| report.faults.is_empty());
            alone.map(|AuditReport { records, head, .. }| Missed {
                expected,
                is: Checkpoint { records, head },
            })
        }
        _ => None,
    };
    let (note_fault, index_lacks) = match (&audited, &noted) {
        (Ok(report), Some((note, _))) => compared(&place, note, &key, report.faults.is_empty())?,
        _ => (None, None),
    };
    let since = |records: &u64| Some(records - expect.filter(|_| noted.is_some())?.records);
    let shown = place.display().to_string();
    let signed = noted.as_ref().map(|(_, signed)| &signed[..]);
    let verdict = match &audited {
        Ok(AuditReport { records, head, digest, faults, tail, snapshots, remarks, known, unchecked }) => {
            Verdict {
                ok: faults.is_empty() && note_fault.is_none(),
                records: *records,
                head: Some(*head),
                digest: Some(*digest),
                first_fault: faults.first(),
                faults,
                tail: tail.as_ref(),
                snapshots,
                remarks,
                known: Some(*known),
                unchecked: *unchecked,
                signed,
                records_since: Some(records)
                    .filter(|_| faults.is_empty() && note_fault.is_none())
                    .and_then(since),
                note_fault,
                index_lacks,
            }
        }
        Err(OpenError::Identity(IdentityError::Damaged { what, .. })) => {
            return nameless(what, &shown, screen);
        }
        Err(_) => return audited.map(|_| Answer::No).map_err(Failure::from),
    };
    say(&verdict, &shown, missed, screen)
}

/// In what a ledger differs from a note: it may be another's, or say something else of the ids than the log. Of one with faults it is only said that
/// it is another. And how many ids the index of texts lacks, if it cannot be compared.
fn compared(
    place: &Path,
    note: &Note,
    keys: &[Verifier],
    whole: bool,
) -> Result<(Option<String>, Option<u32>), Failure> {
    let ledger = match open_whole(place, Reading::default(), &mut Progress::new()) {
        Err(_) if !whole => return Ok((None, None)),
        opened => opened?,
    };
    match ledger.reader().prover_as_of(note, keys) {
        Ok(prover) => Ok((None, Some(prover.lacking()).filter(|ids| *ids > 0))),
        Err(error @ ProveError::OtherHistory { .. }) => Ok((Some(error.to_string()), None)),
        Err(error) if whole => Err(error.into()),
        Err(_) => Ok((None, None)),
    }
}

/// Without the file that says who it is, nothing else of a ledger can be judged.
fn nameless(what: &str, place: &str, screen: &mut Screen) -> Result<Answer, Failure> {
    let fault = AuditFault {
        file: "LEDGER".to_owned(),
        offset: None,
        seq: Seq(0),
        what: what.to_owned(),
        erasure: None,
    };
    let first_fault = Some(&fault);
    let faults = std::slice::from_ref(&fault);
    let (head, digest, tail) = (None, None, None);
    let (snapshots, remarks) = (&[][..], &[][..]);
    let (known, unchecked) = (None, None);
    let verdict = Verdict {
        ok: false,
        records: 0,
        head,
        digest,
        first_fault,
        faults,
        tail,
        snapshots,
        remarks,
        known,
        unchecked,
        signed: None,
        note_fault: None,
        records_since: None,
        index_lacks: None,
    };
    say(&verdict, place, None, screen)
}

fn say(
    verdict: &Verdict<'_>,
    place: &str,
    missed: Option<Missed>,
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    if screen.json {
        screen.object(verdict)?;
    } else {
        show(verdict, place, missed, screen)?;
        if let Some(advice) = advice(verdict.faults, place, missed) {
            screen.line("")?;
            screen.line(&format!("try: {advice}"))?;
        }
    }
    Ok(Answer::yes_if(verdict.ok))
}

/// What to do next.
fn advice(faults: &[AuditFault], place: &str, missed: Option<Missed>) -> Option<String> {
    Some(match faults {
        [] => return None,
        _ if missed.is_some() => {
            "compare the digits with those that you kept; if they are right, restore the copy that passes through them"
                .to_owned()
        }
        [AuditFault { file, .. }] if file == "LEDGER" => "restore that file from any copy".to_owned(),
        faults if faults.iter().all(|fault| fault.file.ends_with(".snap")) => {
            "remove that snapshot; nothing is lost with it".to_owned()
        }
        _ => format!("restore a backup, or take out what can be proven: `identity-ledger salvage {place} DEST`"),
    })
}

fn show(
    verdict: &Verdict<'_>,
    place: &str,
    missed: Option<Missed>,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let Verdict { records, head, digest, faults, tail, snapshots, remarks, known, unchecked, .. } = *verdict;
    let missed = missed.filter(|_| verdict.note_fault.is_none());
    let found = match faults.len() {
        _ if verdict.note_fault.is_some() => format!("{place} is NOT the ledger of that note"),
        0 => format!("{place} is whole: {}", counted(records, "record")),
        faults => format!("{place} is DAMAGED: {}", counted(faults as u64, "fault")),
    };
    screen.headline(&match known {
        _ if let Some(Missed { expected, .. }) = missed => {
            format!("{place} does not pass through {expected}; its own files are whole")
        }
        Some(known) if !faults.is_empty() && verdict.note_fault.is_none() => {
            format!("{found}; {}", shares(known))
        }
        _ => found,
    })?;
    if let Some(fault) = &verdict.note_fault {
        return screen.line(&format!("  {fault}"));
    }
    if let Some(Missed { is, .. }) = missed {
        screen.facts(&[("records", count(is.records)), ("head", is.head.to_string())])?;
        screen.line("")?;
        return faults.iter().try_for_each(|fault| screen.line(&fault.what));
    }
    let (Some(head), Some(digest)) = (head, digest) else { return show_faults(faults, screen) };
    let checkpoint = Checkpoint { records, head };
    let good = if faults.is_empty() { "records" } else { "records before the first fault" };
    let mut facts = vec![(good, count(records)), ("head", head.to_string()), ("digest", digest.to_string())];
    if !snapshots.is_empty() {
        let covered: Vec<String> = snapshots.iter().map(|records| count(*records)).collect();
        facts.push(("snapshots", format!("good after record counts {}", covered.join(" and "))));
    }
    screen.facts(&facts)?;
    for Signed { name, time } in verdict.signed.filter(|_| faults.is_empty()).into_iter().flatten() {
        screen.line("")?;
        let when = time.map_or_else(String::new, |time| format!(", a witness, at {time}"));
        screen.line(&format!("It is what {name}{when} signed: head and roots were computed again."))?;
    }
    if let Some(ids) = verdict.index_lacks {
        let ids = counted(ids.into(), "id");
        screen.line(&format!("But for the note's index of texts: {ids} in it cannot be read any more."))?;
    }
    if let Some(since) = verdict.records_since.filter(|since| *since > 0) {
        let since = counted(since, "record");
        screen.line(&format!("The log is a continuation of what was signed: {since} came after it."))?;
    }
    if let Some(unchecked) = unchecked {
        screen.line("")?;
        screen.line(&format!("Not all was checked: {unchecked}."))?;
    }
    for remark in remarks {
        screen.line("")?;
        screen.line(&format!("Note: {remark}."))?;
    }
    if !faults.is_empty() {
        return show_faults(faults, screen);
    }
    if let Some(AuditFault { file, offset, .. }) = tail {
        let byte = offset.unwrap_or_default();
        screen.line("")?;
        screen
            .line(&format!("{} continues at byte {byte} with a write that was never acknowledged;", file))?;
        screen.line("a writer is at work, or the next one will keep those bytes aside and cut them off.")?;
    }
    screen.line("")?;
    screen.line(
        "Keep this checkpoint elsewhere; `verify --expect` proves with it that the past stays as it is:",
    )?;
    screen.line(&checkpoint.to_string())
}

/// How much of a damaged ledger can be read.
fn shares(known: RecordCounts) -> String {
    let RecordCounts { intact, damaged, unreadable } = known;
    let [intact, damaged, unreadable] = [intact, damaged, unreadable].map(count);
    let all = counted(known.sum(), "record");
    format!("of {all} {intact} intact, {damaged} damaged, {unreadable} unreadable")
}

/// File, byte, record, and what is wrong there.
fn show_faults(faults: &[AuditFault], screen: &mut Screen) -> Result<(), Failure> {
    for AuditFault { file, offset, seq, what, .. } in faults {
        let byte = offset.map_or(String::new(), |offset| format!(" at byte {offset}"));
        screen.line("")?;
        screen.headline(&format!("{}{byte}, record {seq}", file))?;
        screen.line(&format!("  {}", what))?;
    }
    Ok(())
}
