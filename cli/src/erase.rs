//! `erase`: forgets a person, ids or values, in every answer and in every file.

use clap::Args;
use identity_ledger::erase::{ErasurePreview, ErasureRequest, ErasureSubject, Receipt};
use identity_ledger::{DistinctId, PersonId, PropertyKey, Seq};

use crate::answer::Answer;
use crate::args::LedgerArgs;
use crate::clock::now;
use crate::failure::Failure;
use crate::progress::{Progress, log_bytes};
use crate::screen::{Screen, remark, remark_source};
use crate::source::{AnsweredFrom, open_for_writing, open_ledger};
use crate::text::{count, counted};

/// The long help.
pub(crate) const HELP: &str = "\
Forget a person, ids, or the values of some keys. First the erasure is recorded, and from then on no answer contains what \
is erased. Then the texts and values are removed from \
every file: the segments that hold them are rewritten, snapshots and what recovery kept are removed. A command that was cut off \
is finished by the next one that opens the ledger for writing.

  identity-ledger find shop.ledger --property email=ann@example.com
  identity-ledger erase shop.ledger --person-of ann@example.com --dry-run     # what would be gone
  identity-ledger erase shop.ledger --person 5ec1e4d9-6b2c-5f0e-8d53-5b8b8a4a3c07 --reason 'request 2026-117'
  identity-ledger erase shop.ledger --person-of ann@example.com --keys email,phone --reason 'wrong address'

There is no way back. What stays is structure: numbers, links, events and whose they are, counts, times, property keys, and every \
hash and digest so far. The same text seen again is a new id and a new person. Backups made before, exports and the events' \
source are yours to clean; run `backup` again for each copy.

What is shown:
  items                texts and values that are gone
  segments             files of the log that were rewritten
  events               captured under the erased ids; they stay, without the text of their id
  record, done by      the records that say what was erased, and that it is done

With --dry-run nothing is recorded. It shows the ids, the device ids with the same text, how many values of each key would go, overwritten ones \
included, and the events, which stay. It does not look at what only a writer finds, such as the lock or a key ring of another copy.

Exit status: 0 erased, or with --dry-run would be; 1 there is nothing to erase: the id or person is unknown, no value of these keys or no reason is left; 2 it could not be done. If only the files are not done yet, the message says so.

--json keys (one object an erase record): those of `erasures`; with --dry-run ids, events, devices, values (a number by key), reason (whether it is one that \
would go), answered_from.";

/// Ids and keys that a preview names to people.
const MAX_SHOWN: usize = 50;

#[derive(Args)]
pub(crate) struct EraseArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    whom: EraseSubjectArgs,
    /// Only the values of these property keys; the texts of ids stay
    #[arg(long, value_name = "KEY,KEY", value_delimiter = ',', conflicts_with = "reason_of")]
    keys: Vec<PropertyKey>,
    /// Why; it is kept, and can be erased itself
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Record nothing; say what would be erased
    #[arg(long)]
    dry_run: bool,
}

/// Whose texts and values.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct EraseSubjectArgs {
    /// Everything of this person
    #[arg(long, value_name = "PERSON-ID", value_parser = whole_person_id)]
    person: Option<uuid::Uuid>,
    /// Everything of the person that this id belongs to
    #[arg(long, value_name = "ID")]
    person_of: Option<DistinctId>,
    /// This id alone, and what was said for it; may be given several times
    #[arg(long, value_name = "ID")]
    id: Vec<DistinctId>,
    /// The reason that this erase record gave
    #[arg(long, value_name = "SEQ")]
    reason_of: Option<u64>,
}

fn whole_person_id(text: &str) -> Result<uuid::Uuid, String> {
    uuid::Uuid::try_parse(text)
        .map_err(|_| "expected the whole person id; `find --json` or `resolve` shows it".to_owned())
}

pub(crate) fn erase(args: EraseArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let EraseArgs { ledger: LedgerArgs { place, reading }, whom, keys, reason, dry_run } = args;
    let mut progress = Progress::new();
    let request =
        ErasureRequest::new(now(), subject(whom), reason.unwrap_or_default()).with_keys(keys.iter().cloned());
    if dry_run {
        let ledger = open_ledger(&place, reading, &mut progress, screen)?;
        progress.begin_waiting("Reading the log");
        let preview = ledger.reader().preview_erasure(&request)?;
        progress.clear();
        remark_unknown(&keys, |key| preview.values.contains_key(key));
        return match screen.json {
            true => screen.answer(&preview, &AnsweredFrom::reader(&ledger)),
            false => show_preview(&preview, screen),
        }
        .map(|()| Answer::Yes);
    }
    let mut ledger = open_for_writing(&place, reading, &mut progress, screen)?;
    if screen.json {
        remark_source(&AnsweredFrom::of(ledger.reader(), ledger.recovery()));
    }
    progress.begin_waiting("Reading the log");
    ledger.reader().prove_snapshot()?;
    progress.clear();
    let begun = ledger.begin_erasures(&[request])?;
    progress.begin("Taking it out of the log", log_bytes(&place));
    let finished = ledger.finish_erasures(&mut |bytes| progress.at(bytes));
    progress.clear();
    let mut receipts = finished?;
    receipts.retain(|receipt| begun.contains(&receipt.seq));
    remark_unknown(&keys, |key| receipts.iter().any(|receipt| receipt.keys.iter().any(|known| known == key)));
    if screen.json {
        receipts.iter().try_for_each(|receipt| screen.object(receipt))?;
    } else {
        show(&receipts, screen)?;
        let checkpoint = ledger.checkpoint();
        screen.line("")?;
        screen.line(if ledger.reader().is_sealed() {
            "Backups made before hold it under keys that are destroyed now. The new checkpoint:"
        } else {
            "Backups made before still hold it: run `backup` again for each copy. The new checkpoint:"
        })?;
        screen.line(&checkpoint.to_string())?;
    }
    Ok(Answer::Yes)
}

/// Remarks on keys of which there was no value.
fn remark_unknown(keys: &[PropertyKey], is_known: impl Fn(&str) -> bool) {
    for key in keys.iter().map(PropertyKey::as_str).filter(|key| !is_known(key)) {
        let text = format!(
            "nothing was ever recorded under `{key}`, so no value of it is erased: is it spelled right?"
        );
        remark("note", &text);
    }
}

fn subject(whom: EraseSubjectArgs) -> ErasureSubject {
    let EraseSubjectArgs { person, person_of, id, reason_of } = whom;
    match (person, person_of, reason_of) {
        (Some(person), ..) => ErasureSubject::Person(PersonId(person)),
        (_, Some(id), _) => ErasureSubject::PersonOf(id),
        (.., Some(seq)) => ErasureSubject::ReasonOf(Seq(seq)),
        _ => ErasureSubject::Ids(id.into_iter().collect()),
    }
}

fn show_preview(preview: &ErasurePreview, screen: &mut Screen) -> Result<(), Failure> {
    let ErasurePreview { ids, events, devices, values, reason } = preview;
    screen.headline(&match ids.len() as u64 {
        0 if *reason => "Would be erased: the reason".to_owned(),
        0 => format!("Would be erased: {}", counted(values.values().sum(), "value")),
        ids => format!("Would be erased: {} and everything said for them", counted(ids, "id")),
    })?;
    let list = |texts: &[String]| {
        let shown = texts.iter().take(MAX_SHOWN).cloned().collect::<Vec<_>>().join(", ");
        match texts.len().saturating_sub(MAX_SHOWN) {
            0 => shown,
            more => format!("{shown}, and {} more (--json has all)", count(more as u64)),
        }
    };
    let values: Vec<String> =
        values.iter().map(|(key, values)| format!("{key} ({})", count(*values))).collect();
    let facts = [
        ("ids", list(ids)),
        ("device ids", list(devices)),
        ("values", list(&values)),
        ("events, which stay", if ids.is_empty() { String::new() } else { count(*events) }),
    ];
    screen.facts(&facts.into_iter().filter(|(_, text)| !text.is_empty()).collect::<Vec<_>>())?;
    screen.line("")?;
    screen.line("Nothing was recorded; without --dry-run it is, and it cannot be undone.")
}

fn show(receipts: &[Receipt], screen: &mut Screen) -> Result<(), Failure> {
    let sum = |of: fn(&Receipt) -> u64| receipts.iter().map(of).sum::<u64>();
    let ids = sum(|receipt| receipt.ids.len() as u64);
    let rectified = sum(|receipt| receipt.records.len() as u64);
    let of_keys = receipts.iter().any(|receipt| !receipt.keys.is_empty());
    screen.headline(&match ids {
        0 if of_keys => format!("Erased: values in {}", counted(rectified, "record")),
        0 => format!("Erased: the reason in {}", counted(rectified, "record")),
        ids => format!("Erased: {} and everything said for them", counted(ids, "id")),
    })?;
    let list = |seqs: Vec<Seq>| seqs.iter().map(Seq::to_string).collect::<Vec<_>>().join(", ");
    // All receipts tell of the same segments, for they were finished together.
    let segments = receipts.first().map_or(&[][..], |receipt| &receipt.segments);
    let (before, after) = segments.iter().fold((0, 0), |(before, after), segment| {
        (before + segment.bytes_before, after + segment.bytes_after)
    });
    let mut done: Vec<Seq> = receipts.iter().filter_map(|receipt| receipt.done_seq).collect();
    done.dedup();
    let mut facts = vec![
        ("items", count(sum(|receipt| receipt.items.unwrap_or(0)))),
        (
            "segments",
            format!("{} rewritten, {} bytes less", count(segments.len() as u64), count(before - after)),
        ),
        ("events", format!("{} stay", count(sum(|receipt| receipt.events)))),
        ("record", list(receipts.iter().map(|receipt| receipt.seq).collect())),
        ("done by", list(done)),
    ];
    if let Some(reason) = receipts.first().and_then(|receipt| receipt.reason.as_deref()) {
        facts.push(("because", reason.to_owned()));
    }
    screen.facts(&facts)
}
