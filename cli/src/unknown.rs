//! Ids that were never written: said in one shape, whichever command was asked about them.

use std::path::Path;

use identity_ledger::log::IdNo;
use identity_ledger::{Reader, Seq};
use serde::Serialize;

use crate::answer::Answer;
use crate::asked::Asked;
use crate::failure::Failure;
use crate::screen::{Screen, remark};

/// The answer of a command that has no other for an id that was never written.
#[derive(Serialize)]
pub(crate) struct Unknown<'a> {
    pub(crate) unknown_ids: &'a [&'a str],
}

/// Those of some ids that were not written, as of the moment asked about.
pub(crate) fn unknown<'a>(reader: &Reader, ids: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    ids.into_iter().filter(|id| reader.id_no(id).is_none()).collect()
}

/// Says to people on standard error which ids were never written, or not yet, and why that may be.
pub(crate) fn remark_unknown(asked: &Asked, place: &Path, ids: &[&str]) {
    for id in ids {
        if let Some(seq) = erased_by(asked.now(), id) {
            remark("note", &format!("`{id}` is how tables show an id whose text is erased (record {seq})"));
            continue;
        }
        match (asked.at(), asked.now().id_no(id)) {
            (Some(at), Some(number)) => {
                let first = asked.now().state().defined_by(number);
                remark(
                    "note",
                    &format!(
                        "`{id}` was not yet written as of record {at}; record {first} is the first that knows it"
                    ),
                );
            }
            _ => {
                remark("note", &format!("`{id}` was never written in {}", place.display()));
                remark(
                    "note",
                    "ids are compared exactly, letter case and blanks included; `persons` lists those there are",
                );
            }
        }
    }
}

/// The record that erased the id which tables show as this text.
fn erased_by(reader: &Reader, shown: &str) -> Option<Seq> {
    let number = shown.strip_prefix("$erased:")?.parse().ok()?;
    reader.state().id_erased_by(IdNo(number))
}

/// The whole answer of a command that can say nothing else of such ids.
pub(crate) fn no_such_id(
    asked: &Asked,
    place: &Path,
    ids: &[&str],
    screen: &mut Screen,
) -> Result<Answer, Failure> {
    if screen.json {
        screen.answer(&Unknown { unknown_ids: ids }, &asked.answered_from())?;
    } else {
        remark_unknown(asked, place, ids);
    }
    Ok(Answer::No)
}
