//! Exports: the tables say what the answers say, as of every record, and hold nothing that was erased.
#![cfg(all(feature = "testing", feature = "import", feature = "export"))]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::export::{
    Cell, ChangeType, Column, Export, Kind, Losses, PersonRow, Row, RowChange, Table, TableChanges,
};
use identity_ledger::import::{Importer, Options};
use identity_ledger::testing::history::{History, IDS, append};
use identity_ledger::*;

/// Made-up histories under every preset, half of which erase persons on the way.
const SEEDS: u64 = 120;

/// A ledger with a history in it; `erase` says whether a person is forgotten after each tenth operation.
fn ledger(seed: u64, erase: bool, mut after_each: impl FnMut(&Ledger)) -> Ledger {
    let preset = [Preset::Posthog, Preset::Strict, Preset::OneUser][seed as usize % 3];
    let policy = Policy { keep_event_properties: true, ..Policy::preset(preset) };
    let history = History::seeded(&policy, seed);
    let mut ledger = Ledger::in_memory(Tenant::default(), policy).unwrap();
    after_each(&ledger);
    for (number, operation) in (0..).zip(&history.operations) {
        let _ = append(&mut ledger, operation).unwrap();
        if erase && number % 10 == 9 {
            let id = IDS[(seed + number) as usize % IDS.len()];
            if ledger.reader().id_no(id).is_some() {
                let who = DistinctId::new(id).unwrap();
                let (subject, keys) = match (seed + number / 10) % 3 {
                    0 => (ErasureSubject::PersonOf(who), None),
                    1 => (ErasureSubject::Ids(BTreeSet::from([who])), None),
                    _ => (ErasureSubject::PersonOf(who), Some(PropertyKey::new("a").unwrap())),
                };
                let request =
                    ErasureRequest::new(Timestamp::from_micros(9).unwrap(), subject, "asked").with_keys(keys);
                drop(ledger.erase(&[request])); // there may be no such value
            }
        }
        after_each(&ledger);
    }
    ledger
}

fn rows(export: &Export<'_>, table: Table) -> Vec<Row> {
    let mut rows = Vec::new();
    export.rows(&[table], |row| rows.push(row)).unwrap();
    rows
}

fn all(export: &Export<'_>) -> Vec<Row> {
    Table::ALL.iter().flat_map(|table| rows(export, *table)).collect()
}

macro_rules! of {
    ($export:expr, $table:ident) => {
        rows($export, Table::$table).into_iter().map(|row| match row {
            Row::$table(row) => row,
            other => panic!("a row of another table: {other:?}"),
        })
    };
}

/// Who filed a checkpoint at any moment finds it in a later export.
#[test]
fn checkpoints_are_those_that_the_ledger_had() {
    for seed in 0..SEEDS / 4 {
        let mut had = BTreeSet::new();
        let ledger = ledger(seed, true, |ledger| {
            had.insert(ledger.reader().checkpoint().to_string());
        });
        let listed: BTreeSet<_> =
            of!(&ledger.reader().export(), Checkpoints).map(|row| row.checkpoint).collect();
        assert!(listed.is_superset(&had), "seed {seed}");
        let last = rows(&ledger.reader().export(), Table::Checkpoints).pop();
        assert!(
            matches!(last, Some(Row::Checkpoints(row)) if row.checkpoint == ledger.reader().checkpoint().to_string())
        );
    }
}

#[test]
fn an_export_as_of_a_record_is_that_of_a_log_that_ends_there() {
    for seed in 0..SEEDS {
        let mut then = BTreeMap::new();
        let ledger = ledger(seed, false, |ledger| {
            let export = ledger.reader().export();
            then.insert(export.as_of(), all(&export));
        });
        for (seq, rows) in then {
            assert_eq!(all(&ledger.reader().export_as_of(seq).unwrap()), rows, "seed {seed}, record {seq}");
        }
    }
}

#[test]
fn rows_ascend_by_their_keys_and_fit_their_columns() {
    for seed in 0..SEEDS {
        let ledger = ledger(seed, seed % 2 == 0, |_| ());
        for table in Table::ALL {
            let rows = rows(&ledger.reader().export(), *table);
            assert!(rows.is_sorted_by(|a, b| a.key() < b.key()), "seed {seed}: {table:?}");
            for row in &rows {
                let mut columns = table.columns().iter();
                row.cells(|cell| {
                    let column = columns.next().expect("a column for each cell");
                    let kind = match cell {
                        Cell::Null => return assert!(column.nullable, "{table:?}.{}", column.name),
                        Cell::Bool(_) => Kind::Bool,
                        Cell::Int(_) => Kind::Int,
                        Cell::Text(_) => Kind::Text,
                        Cell::Uuid(_) => Kind::Uuid,
                        Cell::Time(_) => Kind::Time,
                        Cell::Json(_) => Kind::Json,
                        Cell::Ints(_) => Kind::Ints,
                        Cell::Texts(_) | Cell::Names(_) => Kind::Texts,
                    };
                    assert_eq!(kind, column.kind, "{table:?}.{}", column.name);
                });
                assert_eq!(columns.next(), None);
            }
        }
    }
}

#[test]
fn persons_and_ids_are_those_of_the_answers() {
    for seed in 0..SEEDS {
        let ledger = ledger(seed, seed % 2 == 0, |_| ());
        let (reader, export) = (ledger.reader(), ledger.reader().export());
        let (implied, persons): (Vec<PersonRow>, Vec<_>) =
            of!(&export, Persons).partition(|person| person.is_implied);
        let mut answers: BTreeMap<PersonId, Profile> = BTreeMap::new();
        for profile in reader.persons() {
            let profile = profile.unwrap();
            answers.insert(profile.person_id, profile);
        }
        assert_eq!(persons.len(), answers.len(), "seed {seed}");
        for person in &persons {
            let answer = &answers[&person.person_id];
            let values = answer.properties.iter().map(|(key, answer)| (key.clone(), answer.value.clone()));
            assert_eq!(person.properties, values.collect(), "seed {seed}");
            assert_eq!(person.distinct_id_count as usize, answer.distinct_ids.len());
            assert_eq!(
                (person.event_count, person.identified_event_count),
                (answer.events, answer.identified_events)
            );
            assert_eq!(
                (person.created_at, person.founded_seq),
                (Some(answer.created_at), Some(answer.founded))
            );
            assert_eq!(
                (person.is_identified, person.identified_seq),
                (answer.is_identified, answer.identified_by)
            );
        }
        let ids: Vec<_> = of!(&export, PersonDistinctIds).collect();
        for id in ids.iter().filter_map(|id| Some((id.distinct_id.as_ref()?, id))) {
            let resolution = reader.resolve(id.0).unwrap();
            assert_eq!(
                (id.1.person_id, id.1.is_implied),
                (resolution.person_id, resolution.implied),
                "seed {seed}"
            );
        }
        let counted: u64 = implied.iter().chain(&persons).map(|person| person.event_count).sum();
        assert_eq!(counted, of!(&export, Events).count() as u64, "seed {seed}");
    }
}

#[test]
fn every_person_id_of_every_table_leads_to_a_person() {
    for seed in 0..SEEDS {
        let ledger = ledger(seed, seed % 2 == 0, |_| ());
        let export = ledger.reader().export();
        let persons: Vec<PersonId> = of!(&export, Persons).map(|person| person.person_id).collect();
        let known: BTreeSet<PersonId> = persons.iter().copied().collect();
        assert_eq!(known.len(), persons.len(), "seed {seed}: a public id twice");
        let redirects: Vec<_> = of!(&export, PersonRedirects).collect();
        let old: BTreeSet<PersonId> = redirects.iter().map(|redirect| redirect.old_person_id).collect();
        assert_eq!(old.len(), redirects.len(), "seed {seed}: a public id redirects twice");
        for redirect in &redirects {
            assert!(
                !known.contains(&redirect.old_person_id),
                "seed {seed}: a person redirects: {redirect:?}"
            );
        }
        let leads = |person: PersonId| known.contains(&person) || old.contains(&person);
        for id in of!(&export, PersonDistinctIds) {
            assert!(known.contains(&id.person_id), "seed {seed}: {id:?}");
        }
        for event in of!(&export, Events) {
            assert!(
                known.contains(&event.person_id) && leads(event.person_id_then),
                "seed {seed}: {event:?}"
            );
        }
        for period in of!(&export, PersonDistinctIdsHistory) {
            assert!(leads(period.person_id) || period.is_implied, "seed {seed}: {period:?}");
        }
        for redirect in redirects {
            let became = ledger.reader().survivor_of(redirect.old_person_id);
            let expected = redirect.old_person_no.map(|_| redirect.person_id); // no one ever had an implied person's
            assert_eq!(became, expected, "seed {seed}: {redirect:?}");
        }
    }
}

#[test]
fn periods_are_disjoint_and_complete_and_say_who_it_was() {
    for seed in 0..SEEDS {
        let ledger = ledger(seed, false, |_| ());
        let (reader, export) = (ledger.reader(), ledger.reader().export());
        let mut periods: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for period in of!(&export, PersonDistinctIdsHistory) {
            periods.entry(period.distinct_id.clone().unwrap()).or_default().push(period);
        }
        for (id, periods) in &periods {
            for pair in periods.windows(2) {
                assert_eq!(pair[0].to_seq, Some(pair[1].from_seq), "seed {seed}");
                let whose = [&pair[0], &pair[1]].map(|period| (period.is_implied, period.person_id));
                assert_ne!(whose[0], whose[1], "seed {seed}: {pair:?}");
            }
            assert_eq!(periods.last().unwrap().to_seq, None);
            for seq in (0..reader.checkpoint().records).map(Seq) {
                let then = reader.person_as_of(id, seq).map(|then| (then.person_id, then.implied));
                let found = periods
                    .iter()
                    .find(|period| period.from_seq <= seq && period.to_seq.is_none_or(|to| seq < to));
                assert_eq!(
                    found.map(|period| (period.person_id, period.is_implied)),
                    then,
                    "seed {seed}: {id} {seq}"
                );
            }
        }
    }
}

/// Who is together with whom: each id with the first id of its person, by itself where its person is only implied.
fn together(mut whose: impl FnMut(&str) -> Option<PersonId>) -> Vec<&'static str> {
    let persons = IDS.map(&mut whose);
    let first = |person: &PersonId| persons.iter().position(|other| other.as_ref() == Some(person));
    IDS.iter()
        .zip(&persons)
        .map(|(id, person)| person.as_ref().and_then(first).map_or(*id, |at| IDS[at]))
        .collect()
}

#[test]
fn corrected_periods_are_those_of_a_ledger_that_was_never_asked_what_is_retracted() {
    let mut compared = 0;
    for seed in 0..8 * SEEDS {
        let preset = [Preset::Posthog, Preset::Strict][seed as usize % 2];
        let policy = Policy::preset(preset);
        let mut said = BTreeSet::new();
        let mut operations = History::seeded(&policy, seed).operations;
        // For whom a device speaks, and of which class an id is, was decided when it was recorded.
        operations.retain(|operation| {
            let is_asked = match &operation.request {
                Request::Capture { who, .. }
                | Request::Identify { who, .. }
                | Request::Alias { who, .. }
                | Request::Merge { who, .. }
                | Request::Set { who } => matches!(who, Actor::Id(_)),
                request => matches!(request, Request::Retract { .. } | Request::Split { .. }),
            };
            is_asked && operation.id.is_none_or(|id| said.insert(id))
        });
        let [mut ledger, mut other] =
            [(); 2].map(|()| Ledger::in_memory(Tenant::default(), policy.clone()).unwrap());
        let seqs: Vec<Option<Seq>> = operations
            .iter()
            .map(|operation| append(&mut ledger, operation).unwrap().and_then(|appended| appended.seq()))
            .collect();
        let export = ledger.reader().export();
        let retracted: BTreeSet<Seq> =
            of!(&export, Outcomes).filter(|row| row.retracted_by_seq.is_some()).map(|row| row.seq).collect();
        let mut periods: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for period in of!(&export, PersonDistinctIdsCorrected) {
            periods.entry(period.distinct_id.clone().unwrap()).or_default().push(period);
        }
        for (operation, seq) in operations.iter().zip(&seqs) {
            let Some(seq) = seq.filter(|seq| !retracted.contains(seq)) else { continue };
            if matches!(operation.request, Request::Retract { .. }) {
                continue;
            }
            let _ = append(&mut other, operation).unwrap();
            let there = together(|id| {
                let whose = other.reader().resolve(id)?;
                (!whose.implied).then_some(whose.person_id)
            });
            let here = together(|id| {
                let mut of = periods.get(id)?.iter();
                let period =
                    of.find(|period| period.from_seq <= seq && period.to_seq.is_none_or(|to| seq < to))?;
                (!period.is_implied).then_some(period.person_id)
            });
            assert_eq!(here, there, "seed {seed}, record {seq} of\n{operations:#?}");
            compared += usize::from(!retracted.is_empty());
        }
    }
    assert!(compared > 1_000, "{compared} moments of ledgers in which something is retracted");
}

/// Also where classes were mended, devices spoke, and something was erased.
#[test]
fn corrected_periods_are_disjoint_and_lead_to_whose_each_id_is() {
    for seed in 0..SEEDS {
        let ledger = ledger(seed, seed % 2 == 0, |_| ());
        let export = ledger.reader().export();
        let mut last = BTreeMap::new();
        for period in of!(&export, PersonDistinctIdsCorrected) {
            if let Some(before) = last.insert(period.id_no, period.clone()) {
                assert_eq!(before.to_seq, Some(period.from_seq), "seed {seed}");
                assert_ne!((before.is_implied, before.person_id), (period.is_implied, period.person_id));
            }
        }
        for id in of!(&export, PersonDistinctIds) {
            let last = last.remove(&id.id_no).unwrap();
            let whose = (last.person_no, last.person_id, last.is_implied, last.to_seq);
            assert_eq!(whose, (id.person_no, id.person_id, id.is_implied, None), "seed {seed}: {last:?}");
        }
        assert_eq!(last, BTreeMap::new());
    }
}

/// Users who sign in and out on two kiosks; records are retracted and users erased on the way.
fn kiosks(seed: u64, mut after_each: impl FnMut(&Ledger)) -> Ledger {
    let policy = Policy { shared_ids: ["kiosk-*".to_owned()].into(), ..Policy::default() };
    let mut ledger = Ledger::in_memory(Tenant::default(), policy).unwrap();
    let mut chance = seed;
    let mut next = |below: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % below
    };
    for step in 0..60 {
        after_each(&ledger);
        let at = Timestamp::from_micros(next(9) as i64).unwrap();
        let kiosk = format!("kiosk-{}", next(2));
        let (user, target) =
            (format!("user-{}", next(3)), Target::Record(Seq(next(ledger.checkpoint().records))));
        let [user, shared] = [&user, &kiosk].map(|text| DistinctId::new(text.as_str()).unwrap());
        let operation = match next(16) {
            0..3 => Operation::identify(at, user, Some(Source::new(&kiosk))),
            3 => Operation::alias(at, shared, Source::new(&kiosk)),
            4 => Operation::retract(at, target),
            5 => {
                let subject = ErasureSubject::PersonOf(user);
                drop(ledger.erase(&[ErasureRequest::new(at, subject, "asked")])); // it may have no person
                continue;
            }
            _ => Operation::capture(at, shared, OperationId(uuid::Uuid::from_u128(step))),
        };
        drop(ledger.append(operation)); // the record may be none that can be retracted
    }
    ledger
}

/// Every event goes with the id that the period says, also after sign-outs, retracts and erasures.
#[test]
fn periods_of_shared_ids_are_complete_and_say_with_whom_events_go_d13() {
    let mut signed_in = 0;
    for seed in 0..SEEDS {
        let ledger = kiosks(seed, |_| ());
        let export = ledger.reader().export();
        let mut periods: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        for period in of!(&export, SharedIdPeriods) {
            periods.entry(period.id_no.0).or_default().push(period);
        }
        for pair in periods.values().flat_map(|periods| periods.windows(2)) {
            assert_eq!(pair[0].to_seq, Some(pair[1].from_seq), "seed {seed}");
            assert_ne!(pair[0].goes_with_id_no, pair[1].goes_with_id_no, "seed {seed}");
        }
        for id in of!(&export, PersonDistinctIds) {
            assert_eq!(id.id_type == "shared", periods.contains_key(&id.id_no.0), "seed {seed}: {id:?}");
        }
        for event in of!(&export, Events) {
            let mut of_id = periods.get(&event.id_no.0).into_iter().flatten();
            let there = of_id.rfind(|period| period.from_seq <= event.seq);
            let expected = there.map_or(event.id_no, |period| period.goes_with_id_no);
            assert_eq!(event.goes_with_id_no, expected, "seed {seed}: {event:?}");
            signed_in += u32::from(expected != event.id_no);
        }
    }
    assert!(signed_in > 1_000, "{signed_in} events of users who were signed in");
}

#[test]
fn what_is_erased_is_in_no_row() {
    let mut ledger =
        Ledger::in_memory(Tenant::default(), Policy { keep_event_properties: true, ..Policy::default() })
            .unwrap();
    let at = Timestamp::from_micros(0).unwrap();
    let id = |text: &str| DistinctId::new(text).unwrap();
    let event = Request::Capture {
        who: Actor::Id(id("ann@secret")),
        event: Some(EventName::new("order").unwrap()),
        properties: Properties::from([(PropertyKey::new("note").unwrap(), "secret note".into())]),
    };
    let _ = ledger.append(Operation::new(at, event)).unwrap();
    let _ =
        ledger.append(Operation::identify(at, id("ann@secret"), Some(Source::new("secret phone")))).unwrap();
    let _ = ledger
        .append(Operation::properties(at, id("ann@secret")).set("name", "secret name").unwrap())
        .unwrap();
    let before: Vec<Row> = all(&ledger.reader().export());
    assert!(format!("{before:?}").contains("secret"));
    let founded = ledger.resolve("ann@secret").unwrap().person_id;
    let request = ErasureRequest::new(at, ErasureSubject::PersonOf(id("ann@secret")), "she is secret");
    drop(ledger.erase(&[request]).unwrap());
    for export in [ledger.reader().export(), ledger.reader().export_as_of(Seq(8)).unwrap()] {
        let rows = format!("{:?}", all(&export));
        assert!(!rows.contains("secret"), "{rows}");
        assert!(
            !rows.contains(&founded.to_string()),
            "a public id can be guessed from the text it is made of"
        );
    }
    let (_, losses, lines) = read_back(&ledger);
    assert!(!lines.contains("secret"), "{lines}");
    assert_eq!((losses.erased_names, losses.erased_values), (2, 2));
    let erasures: Vec<_> = of!(&ledger.reader().export(), Erasures).collect();
    assert_eq!((&erasures[0].id_nos[..], &erasures[0].person_nos[..]), (&[0, 1][..], &[0][..]));
    assert!(erasures[0].done_seq.is_some());
}

/// The tables of docs/export.md are those of the code. `UPDATE=1` rewrites them.
#[test]
fn the_page_shows_every_column() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/export.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut shown = String::new();
    for table in Table::ALL {
        let _ = writeln!(shown, "### {}\n\n{}\n", table.name(), table.meaning());
        shown.push_str("| column | type | null | meaning |\n|---|---|---|---|\n");
        for Column { name, kind, nullable, meaning } in table.columns() {
            let null = if *nullable { "yes" } else { "" };
            let _ = writeln!(shown, "| `{name}` | {} | {null} | {meaning} |", kind.name());
        }
        shown.push('\n');
    }
    let (before, rest) = page.split_once(", from the code -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of tables -->").unwrap();
    let now = format!("{before}, from the code -->\n\n{shown}<!-- end of tables -->{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, now).unwrap();
    } else {
        assert!(page == now, "docs/export.md differs from the code; UPDATE=1 rewrites its tables");
    }
}

// -- changes -------------------------------------------------------------------------------------------------------

/// Rows by table and key.
type Tables = BTreeMap<(Table, (u64, u64)), Row>;

fn tables(export: &Export<'_>) -> Tables {
    all(export).into_iter().map(|row| ((row.table(), row.key()), row)).collect()
}

/// What the documentation says: put or remove rows by their keys, then let events and property writes follow their ids.
fn apply(tables: &mut Tables, changes: &TableChanges<'_>) {
    changes
        .rows(Table::ALL, |RowChange { change, row }| {
            let key = (row.table(), row.key());
            match change {
                ChangeType::Insert => {
                    assert!(tables.insert(key, row).is_none(), "what is inserted was not there")
                }
                ChangeType::UpdatePreimage => assert!(tables.contains_key(&key), "what is updated was there"),
                ChangeType::UpdatePostimage => assert!(tables.insert(key, row).is_some()),
                ChangeType::Delete => assert!(tables.remove(&key).is_some(), "what is deleted was there"),
            }
        })
        .unwrap();
    let whose: BTreeMap<_, _> = tables
        .values()
        .filter_map(|row| match row {
            Row::PersonDistinctIds(id) => Some((id.id_no, (id.person_no, id.person_id, id.is_implied))),
            _ => None,
        })
        .collect();
    for row in tables.values_mut() {
        match row {
            Row::Events(event) => {
                (event.person_no, event.person_id, event.is_implied) = whose[&event.goes_with_id_no];
            }
            Row::PropertyWrites(write) => {
                write.person_no = whose.get(&write.goes_with_id_no).and_then(|whose| whose.0);
            }
            _ => {}
        }
    }
}

/// The law of the feed. The earlier export is the one that was made then: it holds texts that were erased later.
#[test]
fn an_export_with_the_changes_applied_is_the_later_export() {
    for seed in 0..SEEDS {
        let mut then = Vec::new();
        let after_each = |ledger: &Ledger| {
            let export = ledger.reader().export();
            then.push((export.as_of(), tables(&export), ledger.reader().detached()));
        };
        let ledger = match seed % 6 {
            5 => kiosks(seed, after_each),
            _ => ledger(seed, seed % 4 != 0, after_each),
        };
        let now = tables(&ledger.reader().export());
        let middle = then.len() / 2;
        for (place, (since, before, detached)) in then.iter().enumerate().step_by(3) {
            let mut tables = before.clone();
            apply(&mut tables, &ledger.reader().changes(*since, None).unwrap());
            assert_eq!(tables, now, "seed {seed}, since {since}");
            let mut tables = before.clone();
            apply(&mut tables, &ledger.reader().changes_from(detached).unwrap());
            assert_eq!(tables, now, "seed {seed}, from the reader of {since}");
            assert!(*since == then[then.len() - 1].0 || detached.changes_from(ledger.reader()).is_err());
            if place == 0 && middle > 0 {
                let until = then[middle].0;
                let mut tables = before.clone();
                apply(&mut tables, &ledger.reader().changes(*since, Some(until)).unwrap());
                assert_eq!(
                    tables,
                    self::tables(&ledger.reader().export_as_of(until).unwrap()),
                    "seed {seed}"
                );
                apply(&mut tables, &ledger.reader().changes(until, None).unwrap());
                assert_eq!(tables, now, "seed {seed}, continued at {until}");
            }
        }
        ledger
            .reader()
            .changes(ledger.reader().export().as_of(), None)
            .unwrap()
            .rows(Table::ALL, |change| panic!("{change:?}"))
            .unwrap();
    }
}

// -- ops -----------------------------------------------------------------------------------------------------------

/// A ledger that holds what the lines of another say.
fn read_back(ledger: &Ledger) -> (Ledger, Losses, String) {
    let mut lines = Vec::new();
    let losses = ledger.reader().export().write_ops(&mut lines).unwrap();
    let policy = of!(&ledger.reader().export(), Policies).next().unwrap().policy;
    let options = Options::from(&policy);
    let mut copy = Ledger::in_memory(ledger.tenant().clone(), policy).unwrap();
    for parsed in Importer::new(&lines[..], options) {
        let operation = parsed.unwrap().operation.unwrap();
        let appended = copy.append(operation).unwrap();
        assert!(appended.seq().is_some(), "each line is recorded: {appended:?}");
    }
    (copy, losses, String::from_utf8(lines).unwrap())
}

#[test]
fn import_reads_the_lines_of_an_export_into_an_equal_content() {
    for seed in 0..2 * SEEDS {
        let ledger = ledger(seed, false, |_| ());
        let (copy, losses, lines) = read_back(&ledger);
        assert_eq!(losses, Losses { events_without_id: losses.events_without_id, ..Losses::default() });
        let equal = copy.reader().content_digest().unwrap() == ledger.reader().content_digest().unwrap();
        assert_eq!(equal, losses.events_without_id == 0, "seed {seed}:\n{lines}");
    }
}

#[test]
fn what_lines_cannot_say_is_counted() {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    let at = Timestamp::from_micros(0).unwrap();
    let who = Actor::Id(DistinctId::new("ann").unwrap());
    let event = Request::Capture { who, event: None, properties: Properties::new() };
    let _ = ledger.append(Operation::new(at, event)).unwrap();
    let _ = ledger.set_policy(&Policy::preset(Preset::Strict)).unwrap();
    let (_, losses, _) = read_back(&ledger);
    assert_eq!(losses, Losses { policies: 1, events_without_id: 1, ..Losses::default() });
}

/// What is erased cannot be said. Everything else is: as many persons, ids and events, and who is with whom.
/// Whatever stood for it would say of which kind the value is, and what the other id said would not fit any more.
#[test]
fn an_erased_relative_change_is_left_out_of_the_lines_e9() {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    let at = Timestamp::from_micros(9).unwrap();
    let [ann, phone] = ["ann", "phone"].map(|text| DistinctId::new(text).unwrap());
    let operations = [
        Operation::merge_dangerously(at, ann.clone(), Source::new("phone")),
        Operation::properties(at, phone.clone()).add("k", 5).unwrap(),
        Operation::properties(at, ann).append("k", ["x"]).unwrap(),
    ];
    for operation in operations {
        let _ = ledger.append(operation).unwrap();
    }
    let request = ErasureRequest::new(at, ErasureSubject::Ids(BTreeSet::from([phone])), "asked");
    assert_eq!(ledger.erase(&[request]).unwrap().len(), 1);
    let (copy, losses, _) = read_back(&ledger);
    let value = |ledger: &Ledger| ledger.profile("ann").unwrap().unwrap().properties["k"].value.clone();
    assert_eq!((value(&copy), losses.erased_values), (value(&ledger), 1));
    assert_eq!(value(&copy), Some(Value::List(vec![Value::from("x")])));
}

#[test]
fn lines_of_erased_texts_keep_the_structure() {
    for seed in 0..SEEDS {
        let ledger = ledger(seed, true, |_| ());
        let (copy, losses, _) = read_back(&ledger);
        let ids = |ledger: &Ledger| -> Vec<_> {
            let ids = of!(&ledger.reader().export(), PersonDistinctIds);
            ids.map(|id| (id.id_no, id.person_no.is_some())).collect()
        };
        let first_erased = of!(&ledger.reader().export(), Erasures).next();
        if first_erased.is_none() {
            assert_eq!(losses.erased_names + losses.erased_values, 0, "seed {seed}");
            continue;
        }
        let live = |ledger: &Ledger| {
            of!(&ledger.reader().export(), Persons).map(|person| person.event_count).sum::<u64>()
        };
        assert_eq!(live(&copy), live(&ledger), "seed {seed}");
        assert_eq!(ids(&copy).len(), ids(&ledger).len(), "seed {seed}");
    }
}
