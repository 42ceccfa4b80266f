//! `erase`: forgets a person, ids or values, in every answer and in every file.

use identity_ledger::erase::{ErasureRequest, ErasureSubject, Receipt};
use identity_ledger::{PersonId, Seq};

use crate::Answer;
use crate::args::{EraseArgs, EraseSubjectArgs};
use crate::clock::now;
use crate::failure::Failure;
use crate::folding::{AnsweredFrom, open_for_writing};
use crate::progress::{Progress, log_bytes};
use crate::screen::{Screen, remark, remark_source};
use crate::text::{count, counted};

pub(crate) fn erase(args: EraseArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let EraseArgs { ledger: place, reading, whom, keys, reason } = args;
    let mut progress = Progress::new();
    let mut ledger = open_for_writing(&place, reading, &mut progress, screen)?;
    if screen.json {
        remark_source(&AnsweredFrom::of(ledger.reader(), ledger.recovery()));
    }
    progress.begin("Reading the log", None);
    progress.wait();
    ledger.reader().prove_snapshot()?;
    progress.clear();
    let request = ErasureRequest::new(now(), subject(whom), reason).with_keys(keys.iter().cloned());
    let begun = ledger.begin_erasures(&[request])?;
    progress.begin("Taking it out of the log", log_bytes(&place));
    let finished = ledger.finish_erasures(&mut |bytes| progress.at(bytes));
    progress.clear();
    let mut receipts = finished?;
    receipts.retain(|receipt| begun.contains(&receipt.seq));
    for key in &keys {
        if !receipts.iter().any(|receipt| receipt.keys.iter().any(|known| known == key.as_str())) {
            let key = key.as_str();
            remark(
                "note",
                &format!(
                    "nothing was ever recorded under `{key}`, so no value of it was erased: is it spelled right?"
                ),
            );
        }
    }
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

fn subject(whom: EraseSubjectArgs) -> ErasureSubject {
    let EraseSubjectArgs { person, person_of, id, reason_of } = whom;
    match (person, person_of, reason_of) {
        (Some(person), ..) => ErasureSubject::Person(PersonId(person)),
        (_, Some(id), _) => ErasureSubject::PersonOf(id),
        (.., Some(seq)) => ErasureSubject::ReasonOf(Seq(seq)),
        _ => ErasureSubject::Ids(id.into_iter().collect()),
    }
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
    screen.facts(&[
        ("items", count(sum(|receipt| receipt.items.unwrap_or(0)))),
        (
            "segments",
            format!("{} rewritten, {} bytes less", count(segments.len() as u64), count(before - after)),
        ),
        ("events", format!("{} stay", count(sum(|receipt| receipt.events)))),
        ("record", list(receipts.iter().map(|receipt| receipt.seq).collect())),
        ("done by", list(done)),
    ])?;
    if let Some(reason) = receipts.first().and_then(|receipt| receipt.reason.as_deref()) {
        screen.line(&format!("  because: {reason}"))?;
    }
    Ok(())
}
