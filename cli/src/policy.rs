//! `policy`: the choices of a ledger's owner, shown and changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use identity_ledger::model::{FirstMention, IdKind};
use identity_ledger::{Policy, Reader, Seq, visible};
use serde::Serialize;

use crate::answer::Answer;
use crate::args::LedgerArgs;
use crate::failure::Failure;
use crate::policy_file;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::source::{open_for_list, open_for_writing};
use crate::table::{Column, Table};
use crate::text::{counted, yes};

/// The long help.
pub(crate) const HELP: &str = "\
Show the policy in force, or change it from here on.

  identity-ledger policy shop.ledger --json > policy.json
  $EDITOR policy.json
  identity-ledger policy shop.ledger --set policy.json

A change is a record in the log: what was recorded before keeps its meaning, and a replay needs nothing else. Ids that were written \
keep their class and kind; `reclassify` gives them another. A policy file \
may name only what differs from its preset: {\"preset\":\"one-user\",\"max_moved_ids\":100}.

`id_kinds` names kinds of ids and says how many of each one person may have (D12): \
[{\"name\": \"login\", \"matches\": [\"github:*\"], \"max_per_person\": 1}, {\"name\": \"email\", \"looks_like\": \"email\", \"max_per_person\": 5}]. `looks_like` is \
email, phone, number, uuid or anonymous. The first kind that fits counts. The list only grows: a kind keeps its name and its place. `report` says how many ids of each there are.

`shared_ids` names devices that people use one after the other (D13): [\"kiosk-*\"]. A user signs in on such an id, which is never merged; events and property changes \
under it are the user's until the next sign-in, or until an identify or alias of the id with itself.

--json keys: the policy's own.";

#[derive(Args)]
pub(crate) struct PolicyArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    /// Record this policy, a JSON file (`-` for standard input)
    #[arg(long, value_name = "FILE")]
    set: Option<PathBuf>,
}

pub(crate) fn policy(args: PolicyArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let PolicyArgs { ledger: LedgerArgs { place, reading }, set } = args;
    let mut progress = Progress::new();
    let Some(file) = set else {
        let reader = open_for_list(&place, reading, &mut progress, screen)?; // its one object is a policy file
        return show(reader.policy(), &format!("The policy of {}", place.display()), screen);
    };
    let policy = policy_file::read(&file)?;
    let mut ledger = open_for_writing(&place, reading, &mut progress, screen)?;
    let mut others = Vec::new();
    let headline = if *ledger.policy() == policy {
        format!("The policy of {} is this one already; nothing was recorded", place.display())
    } else {
        others = classes_kept(ledger.reader(), &policy);
        let Seq(seq) = ledger.set_policy(&policy)?;
        ledger.flush()?;
        format!("The policy of {} from record {seq} on", place.display())
    };
    show(&policy, &headline, screen)?;
    if !screen.json {
        others.iter().try_for_each(|of| screen.line(of))?;
    }
    Ok(Answer::Yes)
}

/// How many ids that were written have another class or kind than `after`, the next policy, gives their texts, as the one in force does not;
/// a line for each class and kind.
fn classes_kept(reader: &Reader, after: &Policy) -> Vec<String> {
    let mut kept = BTreeMap::new();
    let mut keep = |of: String, what, text| {
        let (ids, first, _) = kept.entry(of).or_insert((0_u64, text, what));
        (*ids, *first) = (*ids + 1, *first);
    };
    for id in reader.state().ids() {
        let Some(text) = reader.id_text(id) else { continue };
        let class_by = |policy: &Policy| policy.classify(text, FirstMention::Plain);
        let class = class_by(after);
        if class_by(reader.policy()) != class && reader.state().class(id) != class {
            keep(class.name().to_owned(), "class", text);
        }
        let has = reader.state().class(id);
        let kind_by = |policy: &Policy| policy.kind_of(text, has);
        let kind = kind_by(after);
        if kind_by(reader.policy()) != kind && reader.state().kind(id) != kind {
            let named = kind.and_then(|kind| after.id_kinds.get(usize::from(kind.0)));
            let of = named.map_or("of no kind".to_owned(), |kind| format!("of kind `{}`", kind.name));
            keep(of, "kind", text);
        }
    }
    let line = |(of, (ids, first, what)): (String, (u64, &str, &str))| {
        let (ids, first) = (counted(ids, "id"), visible(first));
        format!(
            "{ids} written before would be {of} by this policy, `{first}` first. They keep their {what}; `reclassify` changes it."
        )
    };
    kept.into_iter().map(line).collect()
}

fn show(policy: &Policy, headline: &str, screen: &mut Screen) -> Result<Answer, Failure> {
    if screen.json {
        screen.object(policy)?;
        return Ok(Answer::Yes);
    }
    const COLUMNS: [Column; 3] =
        [Column::whole("FIELD"), Column::elastic("VALUE"), Column::folded("MEANING")];
    screen.headline(headline)?;
    screen.line(&format!("Preset: {}", policy_file::name_of(policy)))?;
    screen.line("")?;
    let mut table = Table::new(&COLUMNS);
    for (field, value, meaning) in fields(policy) {
        table.row(screen, [field.into(), value.into(), meaning.into()])?;
    }
    table.finish(screen)?;
    Ok(Answer::Yes)
}

fn fields(policy: &Policy) -> [(&'static str, String, &'static str); 17] {
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
        ("id_kinds", kinds(&policy.id_kinds), "kinds of ids, and most of one person (D12)"),
        ("shared_ids", list(&policy.shared_ids), "ids that users sign in on, and that never merge (D13)"),
        ("blocked_ids", list(&policy.blocked_ids), "ids that never merge, beside the known ones (B2)"),
        ("blocked_prefixes", list(&policy.blocked_prefixes), "ids that begin so never merge (B2)"),
        (
            "block_placeholders",
            yes(policy.block_placeholders).to_owned(),
            "whether `N/A`, `(null)`, zeros and the like never merge (B2)",
        ),
        ("dialect", word(&policy.dialect), "what a second identify on a device means (F3)"),
        ("person_profiles", word(&policy.person_profiles), "when devices ask for a profile (F8)"),
        ("values_by", word(&policy.values_by), "which write of a property counts (E8)"),
        ("lift", yes(policy.lift).to_owned(), "whether imports lift event properties (E7)"),
        (
            "keep_event_properties",
            yes(policy.keep_event_properties).to_owned(),
            "whether captures keep their own properties (E7)",
        ),
    ]
}

fn kinds(kinds: &[IdKind]) -> String {
    let one = |kind: &IdKind| match kind.max_per_person {
        Some(limit) => format!("{}: {limit}", kind.name),
        None => format!("{}: no limit", kind.name),
    };
    if kinds.is_empty() { "none".to_owned() } else { kinds.iter().map(one).collect::<Vec<_>>().join(", ") }
}

/// The word that a policy file has for a choice.
fn word(choice: &impl Serialize) -> String {
    match serde_json::to_value(choice) {
        Ok(serde_json::Value::String(word)) => word,
        _ => unreachable!("the choices of a policy are words in JSON"),
    }
}
