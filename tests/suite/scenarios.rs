//! The rules of docs/semantics.md at work, a page each: `tests/scenarios/`. Every rule has one, and the rule links to it.
//!
//! `UPDATE=1` writes what the engine gives into the pages; read the difference before you believe it.
#![cfg(all(feature = "import", feature = "testing"))]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::support::scenario::{self, Asked, Page};
use identity_ledger::import::{Importer, Options, Parsed, RequestOptions};
use identity_ledger::storage::{Memory, OsEntropy};
use identity_ledger::testing::history::History;
use identity_ledger::testing::laws;
use identity_ledger::testing::notation::{self, Teller};
use identity_ledger::*;

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/semantics.md");

fn files() -> BTreeMap<String, PathBuf> {
    let entries = std::fs::read_dir(DIR).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path)).collect()
}

#[test]
fn every_page_is_what_the_engine_gives() {
    let mut wrong = Vec::new();
    for (name, path) in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let told = match scenario::page(&text) {
            Ok(page) => tell(&page),
            Err((line, what)) => {
                wrong.push(format!("tests/scenarios/{name}:{line}: {what}"));
                continue;
            }
        };
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, told).unwrap();
        } else if text != told {
            wrong.push(first_difference(&name, &text, &told));
        }
    }
    assert!(wrong.is_empty(), "UPDATE=1 rewrites the pages on purpose\n{}", wrong.join("\n"));
}

fn first_difference(name: &str, text: &str, told: &str) -> String {
    let (mut expected, mut found) = (text.lines(), told.lines());
    for line in 1.. {
        let (expected, found) = (expected.next(), found.next());
        if expected != found || expected.is_none() {
            let shown = |line: Option<&str>| line.unwrap_or("the end of the page").trim().to_owned();
            let (expected, found) = (shown(expected), shown(found));
            return format!("tests/scenarios/{name}:{line}\n  expected {expected}\n  found    {found}");
        }
    }
    unreachable!("one of the pages ends")
}

/// What a page shows is not the engine's word alone.
#[test]
fn the_reference_model_agrees_with_every_page_of_operations() {
    for (name, path) in files() {
        let page = scenario::page(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut ledger = LedgerOptions::new()
            .seeded(1)
            .create_in(Arc::new(Memory::new()), Tenant::default(), page.policy.clone())
            .unwrap();
        let recorded = page.requests.into_iter().filter_map(|line| match line.request {
            // The model knows no record numbers.
            Asked::Operation(operation)
                if !matches!(operation.request, Request::Retract { target: Target::Record(_) }) =>
            {
                ledger.append((*operation).clone()).is_ok().then_some(*operation)
            }
            _ => None,
        });
        let history = History { operations: recorded.collect(), policy: page.policy };
        for law in [laws::engine_is_reference, laws::log_tells_all] {
            if let Err(what) = law(&history) {
                panic!("tests/scenarios/{name}: {what}");
            }
        }
    }
}

/// The page with what the engine makes of its requests.
fn tell(page: &Page) -> String {
    let storage = Arc::new(Memory::new());
    let seeded = || LedgerOptions::new().seeded(1);
    let ledger = seeded().create_in(storage.clone(), Tenant::default(), page.policy.clone()).unwrap();
    let (mut ledger, mut storage) = (Some(ledger), storage);
    let mut teller = Teller::default();
    let mut out = page.head.clone();
    for (number, line) in (1..).zip(&page.requests) {
        let open = ledger.as_mut().unwrap();
        let told = match &line.request {
            Asked::Operation(operation) => {
                let appended = open.append((**operation).clone());
                teller.answer(open.reader(), number, &appended)
            }
            Asked::Barred(error) => format!("error: {error}"),
            Asked::WhoIs(id) => match open.resolve(id) {
                None => "nobody".to_owned(),
                Some(who) => format!("{}{}", who.person_id, if who.implied { ", implied" } else { "" }),
            },
            Asked::Policy(policy) => {
                open.set_policy(policy).unwrap();
                "in force".to_owned()
            }
            Asked::Erase(request) => match open.erase(std::slice::from_ref(request)) {
                Ok(receipts) => {
                    let [receipt] = &receipts[..] else { panic!("a page has no person that large") };
                    let (ids, devices, records) =
                        (receipt.ids.len(), receipt.devices.len(), receipt.records.len());
                    let items = receipt.items.unwrap_or_default();
                    format!(
                        "{ids} ids, {devices} devices, {records} records rectified; {items} items are gone"
                    )
                }
                Err(error) => format!("error: {error}"),
            },
            Asked::WhatIf(policy) => {
                teller.difference(open.reader(), open.reader().what_if(policy).unwrap().diff())
            }
            Asked::Preview(operation) => match open.reader().preview(operation) {
                Ok(preview) => teller.difference(open.reader(), &preview.diff),
                Err(error) => format!("error: {error}"),
            },
            Asked::Reopen => {
                let digests = (open.reader().state().digest(), open.reader().content_digest().unwrap());
                drop(ledger.take());
                storage = Arc::new(Memory::clone(&storage));
                let again = seeded().open_in(storage.clone()).unwrap();
                assert_eq!(
                    (again.reader().state().digest(), again.reader().content_digest().unwrap()),
                    digests
                );
                ledger = Some(again);
                "the same".to_owned()
            }
            Asked::Receive(received, stamped, body) => {
                let options = RequestOptions::from(open.policy());
                let mut request = identity_ledger::import::Request::new("/batch/", *received);
                if let Some(stamped) = stamped {
                    request = request.header("PostHog-Request-Timestamp", stamped.as_bytes());
                }
                let received = request.read(body.as_bytes(), &options, &mut OsEntropy::default()).unwrap();
                let [operation] = &received.operations[..] else { panic!("one operation a request: {body}") };
                let appended = open.append(operation.clone());
                let read = notation::request(number, &Operation { id: None, ..operation.clone() });
                format!("read as {read}\n   => {}", teller.answer(open.reader(), number, &appended))
            }
            Asked::Import(sent) => {
                let options = Options::from(open.policy());
                let parsed: Vec<_> = Importer::new(sent.as_bytes(), options).map(Result::unwrap).collect();
                let [Parsed { operation, .. }] = &parsed[..] else { panic!("one operation a line: {sent}") };
                match operation {
                    Err(rejection) => format!("rejected: {rejection}"),
                    Ok(operation) => {
                        let appended = open.append(operation.clone());
                        let bare = Operation { id: None, time: at(number), ..operation.clone() };
                        let read = notation::request(number, &bare);
                        format!("read as {read}\n   => {}", teller.answer(open.reader(), number, &appended))
                    }
                }
            }
        };
        writeln!(out, "{number}. {}\n   => {told}", line.text).unwrap();
    }
    writeln!(out, "finally").unwrap();
    for line in teller.ending(ledger.as_ref().unwrap().reader()).unwrap() {
        writeln!(out, "   {line}").unwrap();
    }
    out
}

fn at(number: usize) -> Timestamp {
    Timestamp::from_micros(i64::try_from(number).unwrap()).unwrap()
}

/// The rules with their paragraphs, in the order of the document; reserved ones are none yet.
fn rules(document: &str) -> Vec<(&str, &str)> {
    let rule_at = |at: usize| {
        let (rule, _) = document[at..].split_once('.')?;
        let (letter, number) = rule.split_at_checked(1)?;
        let numbered = letter.chars().all(|c| c.is_ascii_uppercase()) && number.parse::<u32>().is_ok();
        numbered.then_some((rule, at))
    };
    let starts: Vec<(&str, usize)> =
        document.match_indices("\n**").filter_map(|(at, found)| rule_at(at + found.len())).collect();
    let ends = starts.iter().skip(1).map(|(_, start)| *start).chain([document.len()]);
    let paragraphs = starts.iter().zip(ends).map(|((rule, start), end)| (*rule, &document[*start..end]));
    paragraphs.filter(|(_, text)| !text.contains("** Reserved")).collect()
}

#[test]
fn every_rule_has_a_page_and_links_to_it() {
    let document = std::fs::read_to_string(RULES).unwrap();
    let rules = rules(&document);
    assert_eq!(rules.len(), 58, "{:?}", rules.iter().map(|(rule, _)| rule).collect::<Vec<_>>());
    let files = files();
    let rule_of = |name: &str| name.split_once('-').unwrap().0.to_owned();
    for (rule, paragraph) in &rules {
        let pages: Vec<&String> = files.keys().filter(|name| rule_of(name) == *rule).collect();
        assert!(!pages.is_empty(), "{rule} has no page");
        let linked = format!("(../tests/scenarios/{rule}-");
        assert!(paragraph.contains(&linked), "{rule} does not link to its page {}", pages[0]);
    }
    let known: BTreeSet<&str> = rules.iter().map(|(rule, _)| *rule).collect();
    for name in files.keys() {
        assert!(known.contains(&rule_of(name)[..]), "{name} is about no rule");
    }
    for (_, link) in
        document.match_indices("(../tests/scenarios/").map(|(at, found)| (at, &document[at + found.len()..]))
    {
        let name = link.split_once(')').unwrap().0;
        assert!(files.contains_key(name), "docs/semantics.md links to {name}, which is not there");
    }
}

#[test]
fn what_the_notation_writes_the_tests_read() {
    for (name, path) in files() {
        let text = std::fs::read_to_string(path).unwrap();
        let page = scenario::page(&text).unwrap_or_else(|(line, what)| panic!("{name}:{line}: {what}"));
        for (number, line) in (1..).zip(&page.requests) {
            if let Asked::Operation(operation) = &line.request {
                let written = notation::request(number, operation);
                let again = scenario::operation(number, &written).unwrap();
                assert_eq!(again, **operation, "{name}: {written}");
            }
        }
    }
}

#[test]
fn a_page_that_cannot_be_read_says_where() {
    for (text, line, what) in [
        ("D1. A rule.\n1. identfy ann", 2, "`identfy` is no request"),
        ("D1. A rule.\n\n1. set ann {a 1}", 3, "expected `:` after `a`"),
        ("D1. A rule.\n1. set ann [off]", 2, "`off` is no option"),
        (
            "D1. A rule.\n1. set ann\n3. set ann",
            3,
            "expected `2. ` and a request, three spaces, or `finally`",
        ),
        ("D1. A rule.\n1. set ann bob", 2, "nobody knows `bob`"),
    ] {
        let Err(found) = scenario::page(text) else { panic!("{text}") };
        assert_eq!(found, (line, what.to_owned()));
    }
}
