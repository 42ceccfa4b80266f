//! `policy`: the choices of a ledger's owner, shown and changed; and policy files.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use identity_ledger::{Policy, Preset, Seq};
use serde::Serialize;

use crate::Answer;
use crate::args::PolicyArgs;
use crate::failure::Failure;
use crate::folding::{AnsweredFrom, Input, open_for_writing, open_ledger};
use crate::progress::Progress;
use crate::screen::{Screen, remark_source};
use crate::table::{Column, Table};
use crate::text::yes;

/// Longest policy file, in bytes; the largest policy is a quarter of it.
const MAX_POLICY_BYTES: u64 = 1_024 * 1_024;

pub(crate) fn policy(args: PolicyArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let PolicyArgs { ledger: place, reading, set } = args;
    let mut progress = Progress::new();
    let Some(file) = set else {
        let reader = open_ledger(&place, reading, &mut progress, screen)?;
        if screen.json {
            remark_source(&AnsweredFrom::reader(&reader)); // the object is a policy file
        }
        return show(reader.policy(), &format!("The policy of {}", place.display()), screen);
    };
    let policy = read(&file)?;
    let mut ledger = open_for_writing(&place, reading, &mut progress, screen)?;
    let headline = if *ledger.policy() == policy {
        format!("The policy of {} is this one already; nothing was recorded", place.display())
    } else {
        let Seq(seq) = ledger.set_policy(&policy)?;
        ledger.flush()?;
        format!("The policy of {} from record {seq} on", place.display())
    };
    show(&policy, &headline, screen)
}

/// Reads a policy file.
pub(crate) fn read(file: &Path) -> Result<Policy, Failure> {
    let mut text = Vec::new();
    let Input { reader, .. } = Input::open(file)?;
    reader.take(MAX_POLICY_BYTES).read_to_end(&mut text).map_err(Failure::read(file))?;
    serde_json::from_slice(&text).map_err(|source| Failure::BadPolicy { file: file.to_owned(), source })
}

/// The preset that a policy is, or that it is none.
pub(crate) fn name_of(policy: &Policy) -> &'static str {
    let preset = Preset::ALL.iter().find(|(_, preset)| Policy::preset(*preset) == *policy);
    preset.map_or("its own (see `policy`)", |(name, _)| name)
}

fn show(policy: &Policy, headline: &str, screen: &mut Screen) -> Result<Answer, Failure> {
    if screen.json {
        screen.object(policy)?;
        return Ok(Answer::Yes);
    }
    const COLUMNS: [Column; 3] =
        [Column::whole("FIELD"), Column::elastic("VALUE"), Column::elastic("MEANING")];
    screen.headline(headline)?;
    screen.line(&format!("Preset: {}", name_of(policy)))?;
    screen.line("")?;
    let mut table = Table::new(&COLUMNS);
    for (field, value, meaning) in fields(policy) {
        table.row(screen, [field.into(), value.into(), meaning.into()])?;
    }
    table.finish(screen)?;
    Ok(Answer::Yes)
}

fn fields(policy: &Policy) -> [(&'static str, String, &'static str); 13] {
    let limit = |limit: Option<u32>| limit.map_or("no limit".to_owned(), |limit| limit.to_string());
    let list = |texts: &BTreeSet<String>| match texts.is_empty() {
        true => "none".to_owned(),
        false => texts.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    };
    [
        (
            "refuse_joining_identified",
            yes(policy.refuse_joining_identified).to_owned(),
            "whether a new id may not join an identified person (D3)",
        ),
        ("survivor", word(&policy.survivor), "whose person id a merge keeps (D7)"),
        ("max_moved_ids", limit(policy.max_moved_ids), "ids an absorbed person may bring (D8)"),
        ("max_ids_per_person", limit(policy.max_ids_per_person), "ids of one person (D8)"),
        ("max_user_ids", limit(policy.max_user_ids), "user ids of one person (D9)"),
        ("uuid_ids", word(&policy.uuid_ids), "which UUIDs count as anonymous ids (D9)"),
        ("anonymous_prefixes", list(&policy.anonymous_prefixes), "ids that begin so are anonymous (D9)"),
        ("blocked_ids", list(&policy.blocked_ids), "ids that never merge, beside the known ones (B2)"),
        ("blocked_prefixes", list(&policy.blocked_prefixes), "ids that begin so never merge (B2)"),
        ("dialect", word(&policy.dialect), "what a second identify on a device means (F3)"),
        ("person_profiles", word(&policy.person_profiles), "when devices ask for a profile (F8)"),
        ("lift", yes(policy.lift).to_owned(), "whether imports lift event properties (E7)"),
        (
            "keep_event_properties",
            yes(policy.keep_event_properties).to_owned(),
            "whether captures keep their own properties (E7)",
        ),
    ]
}

/// The word that a policy file has for a choice.
fn word(choice: &impl Serialize) -> String {
    match serde_json::to_value(choice) {
        Ok(serde_json::Value::String(word)) => word,
        _ => unreachable!("the choices of a policy are words in JSON"),
    }
}
