//! `fold-components`: parts of a log, folded apart, give together what the whole gives.
#![expect(clippy::disallowed_types, reason = "an export is read back from its file")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::DataType;
use identity_ledger::Timestamp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value as Json, json};

use crate::place::{Place, SMALL, output_of};

const TABLES: &str = "persons,person_distinct_ids,person_distinct_ids_history,person_redirects,events,outcomes,property_writes";

/// A row of operations.
#[derive(Clone, Debug)]
struct Operation {
    tenant: String,
    component: i64,
    seq: i64,
    recorded_at: Option<i64>,
    defined_from: Option<i64>,
    line: String,
}

/// What the command does with an Arrow stream: its status, its output and its complaint.
fn fold(place: &Place, arguments: &str, input: &[u8]) -> (i32, Vec<u8>, String) {
    let mut command = place.command(&format!("fold-components {arguments}"));
    let output = output_of(&mut command, input);
    (
        output.status.code().expect("it ends by itself"),
        output.stdout,
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn batch(operations: &[Operation]) -> RecordBatch {
    let texts = |of: fn(&Operation) -> &str| {
        Arc::new(StringArray::from_iter_values(operations.iter().map(of))) as ArrayRef
    };
    let numbers = |of: fn(&Operation) -> i64| {
        Arc::new(Int64Array::from_iter_values(operations.iter().map(of))) as ArrayRef
    };
    let times = operations.iter().map(|operation| operation.recorded_at);
    let times = TimestampMicrosecondArray::from_iter(times).with_timezone("UTC");
    let definitions = Int64Array::from_iter(operations.iter().map(|operation| operation.defined_from));
    RecordBatch::try_from_iter_with_nullable([
        ("tenant", texts(|operation| &operation.tenant), false),
        ("component", numbers(|operation| operation.component), false),
        ("seq", numbers(|operation| operation.seq), false),
        ("recorded_at", Arc::new(times) as ArrayRef, true),
        ("defined_from", Arc::new(definitions) as ArrayRef, true),
        ("operation", texts(|operation| &operation.line), false),
    ])
    .unwrap()
}

/// An Arrow stream of these batches.
fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

/// The operations of a ledger, from a file of its export.
fn operations(place: &Place, ledger: &str) -> Vec<Operation> {
    let out = format!("{ledger}.operations");
    place.run(&format!("export {ledger} {out} --format ops-parquet")).with_code(0);
    let file = File::open(place.path(&out).join("operations.parquet")).unwrap();
    let mut operations = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let texts = |column: usize| batch.column(column).as_string::<i32>();
        let numbers = |column: usize| batch.column(column).as_primitive::<Int64Type>();
        let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            operations.push(Operation {
                tenant: texts(0).value(row).to_owned(),
                component: 0,
                seq: numbers(1).value(row),
                recorded_at: Some(times.value(row)),
                defined_from: numbers(3).is_valid(row).then(|| numbers(3).value(row)),
                line: texts(4).value(row).to_owned(),
            });
        }
    }
    operations
}

/// Gives each operation its component, by what the command says that it names.
fn with_components(place: &Place, mut operations: Vec<Operation>) -> Vec<Operation> {
    let (code, named, said) = fold(place, "--names", &stream(&[batch(&operations)]));
    assert_eq!((code, said.as_str()), (0, ""));
    let mut pairs = Vec::new();
    let (mut homes, mut ids) = (Vec::new(), Vec::new());
    let mut targets = BTreeSet::new();
    for batch in StreamReader::try_new(&named[..], None).unwrap() {
        let batch = batch.unwrap();
        let column = |name| batch.column_by_name(name).unwrap();
        let home = column("home").as_primitive::<Int64Type>();
        let (nodes, id_nodes) =
            (column("nodes").as_list::<i32>(), column("id_node").as_primitive::<Int64Type>());
        for row in 0..batch.num_rows() {
            let others = nodes.value(row);
            pairs.extend(
                others.as_primitive::<Int64Type>().values().iter().map(|other| (home.value(row), *other)),
            );
            if column("retracts").as_boolean().value(row) {
                targets.insert(home.value(row));
            }
            homes.push(home.value(row));
            ids.push(id_nodes.is_valid(row).then(|| id_nodes.value(row)));
        }
    }
    let mut seen = BTreeMap::new();
    ids.iter().flatten().for_each(|id| *seen.entry(*id).or_insert(0) += 1);
    let of_own_id = homes.iter().zip(&ids).filter_map(|(home, id)| Some((*home, (*id)?)));
    pairs.extend(of_own_id.filter(|(_, id)| seen[id] > 1 || targets.contains(id)));
    let mut least: BTreeMap<i64, i64> = BTreeMap::new();
    let find = |least: &BTreeMap<i64, i64>, mut node: i64| {
        while let Some(next) = least.get(&node) {
            node = *next;
        }
        node
    };
    for (one, other) in pairs {
        let [one, other] = [one, other].map(|node| find(&least, node));
        if one != other {
            least.insert(one.max(other), one.min(other));
        }
    }
    for (operation, home) in operations.iter_mut().zip(homes) {
        operation.component = find(&least, home);
    }
    operations
}

/// The rows of all parts, each as a JSON object without what is null, by table.
fn folded(
    place: &Place,
    operations: &[Operation],
    parts: i64,
    arguments: &str,
) -> BTreeMap<String, Vec<Json>> {
    let mut tables: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for part in 0..parts {
        let mut of_part: Vec<Operation> =
            operations.iter().filter(|one| one.component.rem_euclid(parts) == part).cloned().collect();
        of_part.sort_by(|a, b| (&a.tenant, a.component, a.seq).cmp(&(&b.tenant, b.component, b.seq)));
        let (code, rows, said) = fold(place, arguments, &stream(&[batch(&of_part)]));
        assert_eq!((code, said.as_str()), (0, ""));
        for batch in StreamReader::try_new(&rows[..], None).unwrap() {
            let batch = batch.unwrap();
            for row in 0..batch.num_rows() {
                let schema = batch.schema();
                let cells = schema.fields().iter().zip(batch.columns());
                let cells = cells.filter(|(_, column)| column.is_valid(row));
                let mut object: serde_json::Map<String, Json> = cells
                    .map(|(field, column)| (field.name().clone(), cell(field.metadata(), column, row)))
                    .collect();
                let Some(Json::String(table)) = object.remove("table_name") else {
                    panic!("a row without a table")
                };
                tables.entry(table).or_default().push(object.into());
            }
        }
    }
    tables.values_mut().for_each(|rows| rows.sort_by_key(Json::to_string));
    tables
}

fn cell(metadata: &arrow_schema::Metadata, column: &ArrayRef, row: usize) -> Json {
    match column.data_type() {
        DataType::Utf8 if metadata.get("ARROW:extension:name").is_some_and(|name| name == "arrow.json") => {
            serde_json::from_str(column.as_string::<i32>().value(row)).unwrap()
        }
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::FixedSizeBinary(16) => {
            uuid::Uuid::from_slice(column.as_fixed_size_binary().value(row)).unwrap().to_string().into()
        }
        DataType::Timestamp(..) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            Timestamp::from_micros(micros).unwrap().to_string().into()
        }
        DataType::List(_) => {
            let members = column.as_list::<i32>().value(row);
            (0..members.len())
                .map(|member| cell(&arrow_schema::Metadata::default(), &members, member))
                .collect()
        }
        other => panic!("no column has the type {other}"),
    }
}

/// The same rows as the export of the whole ledger has them.
fn exported(place: &Place, ledger: &str, tenant: &str) -> BTreeMap<String, Vec<Json>> {
    let rows = |table: &str| {
        place.run(&format!("export {ledger} - --format jsonl --tables {table}")).with_code(0).lines("")
    };
    let ids = rows("person_distinct_ids");
    let whose: BTreeMap<u64, &Json> =
        ids.iter().map(|row| (row["id_no"].as_u64().unwrap(), &row["person_id"])).collect();
    let mut tables = BTreeMap::new();
    for table in TABLES.split(',') {
        let mut rows = rows(table);
        for row in &mut rows {
            let row = row.as_object_mut().unwrap();
            let person = row.get("id_no").and_then(|id| whose.get(&id.as_u64()?));
            if let (Some(person), true) = (person, table == "outcomes") {
                row.insert("person_id".to_owned(), (*person).clone());
            }
            row.retain(|key, value| {
                !value.is_null() && key != "reason" && (!key.ends_with("_no") || key == "change_no")
            });
            row.insert("tenant".to_owned(), tenant.into());
        }
        rows.sort_by_key(Json::to_string);
        if !rows.is_empty() {
            tables.insert(table.to_owned(), rows);
        }
    }
    tables
}

/// The lines of --broadcast for a ledger.
fn broadcast(place: &Place, ledger: &str, tenant: &str) -> String {
    let rows = |table: &str| {
        place.run(&format!("export {ledger} - --format jsonl --tables {table}")).with_code(0).lines("seq")
    };
    let mut lines: Vec<Json> = rows("policies")
        .into_iter()
        .map(|row| json!({"tenant": tenant, "seq": row["seq"], "policy": row["policy"]}))
        .collect();
    lines.extend(
        rows("erasures").first().map(|row| json!({"tenant": tenant, "seq": row["seq"], "erases": true})),
    );
    lines.sort_by_key(|line| line["seq"].as_u64());
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[track_caller]
fn assert_same(found: &BTreeMap<String, Vec<Json>>, expected: &BTreeMap<String, Vec<Json>>) {
    for table in TABLES.split(',') {
        let (found, expected) = (found.get(table), expected.get(table));
        if found != expected {
            let rows = |rows: Option<&Vec<Json>>| -> BTreeSet<String> {
                rows.into_iter().flatten().map(Json::to_string).collect()
            };
            let (found, expected) = (rows(found), rows(expected));
            let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
                a.difference(b).take(4).cloned().collect::<Vec<_>>()
            };
            panic!(
                "{table}\n found only {:#?}\n expected only {:#?}",
                only(&found, &expected),
                only(&expected, &found)
            );
        }
    }
}

/// Made-up people, and devices that they share.
fn shop() -> Place {
    let place = Place::new();
    for (shape, people) in [("web", 30), ("shared-devices", 30)] {
        let lines = place.run(&format!("generate --people {people} --shape {shape}")).with_code(0).out;
        place.write("lines.jsonl", lines.replace("user-", &format!("{shape}-")));
        place.run("import shop lines.jsonl --tenant shop").with_code(0);
    }
    place
}

#[test]
fn the_parts_of_a_log_give_together_what_the_whole_gives() {
    let place = shop();
    let operations = with_components(&place, operations(&place, "shop"));
    place.write("broadcast.jsonl", broadcast(&place, "shop", "shop"));
    let components: BTreeSet<i64> = operations.iter().map(|operation| operation.component).collect();
    assert!(components.len() > 20, "{} components", components.len());
    let expected = exported(&place, "shop", "shop");
    for parts in [1, 2, 8] {
        let arguments = format!("--broadcast broadcast.jsonl --tables {TABLES}");
        assert_same(&folded(&place, &operations, parts, &arguments), &expected);
    }
}

#[test]
fn corrections_erasures_and_policies_count_in_each_part_as_in_the_whole() {
    let place = shop();
    let outcomes = place.run("export shop - --tables outcomes --format jsonl").with_code(0).lines("seq");
    let links = outcomes.iter().filter(|row| row["op"] == "identify");
    for link in links.step_by(5).take(12) {
        place.run(&format!("retract shop {}", link["seq"])).with_code(0);
    }
    place.write("strict.json", r#"{"preset":"one-user"}"#);
    place.run("policy shop --set strict.json").with_code(0);
    let persons = place.run("persons shop --json").with_code(0).lines("distinct_ids");
    let ids = |person: &Json| -> Vec<String> {
        let ids = person["distinct_ids"].as_array().unwrap();
        ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    };
    let several = persons.iter().map(ids).filter(|ids| ids.len() > 2);
    for (number, ids) in several.enumerate().take(9) {
        place.run(&format!("split shop {} --id {}", ids[0], ids[number % 2])).with_code(0);
    }
    for (number, ids) in persons.iter().map(ids).skip(4).step_by(9).enumerate() {
        let whom = if number % 2 == 0 { "--person-of" } else { "--id" };
        place.run(&format!("erase shop {whom} {} --reason asked", ids[0])).with_code(0);
    }
    let more = place.run("generate --people 25 --seed 9 --shape shared-devices").with_code(0).out;
    place.write("more.jsonl", more);
    place.run("import shop more.jsonl").with_code(0);

    let operations = with_components(&place, operations(&place, "shop"));
    let verbs: BTreeSet<String> = operations
        .iter()
        .map(|operation| {
            serde_json::from_str::<Json>(&operation.line).unwrap()["op"].as_str().unwrap().to_owned()
        })
        .collect();
    let all = ["capture", "erase", "identify", "reset", "retract", "split"];
    assert!(all.iter().all(|verb| verbs.contains(*verb)), "{verbs:?}");
    place.write("broadcast.jsonl", broadcast(&place, "shop", "shop"));
    // A correction has no id, and its line was given one.
    let without_ids = |mut tables: BTreeMap<String, Vec<Json>>| {
        let outcomes = tables.get_mut("outcomes").unwrap();
        outcomes.iter_mut().for_each(|row| drop(row.as_object_mut().unwrap().remove("operation_id")));
        outcomes.sort_by_key(Json::to_string);
        tables
    };
    let expected = without_ids(exported(&place, "shop", "shop"));
    for parts in [1, 2, 8] {
        let arguments = format!("--broadcast broadcast.jsonl --tables {TABLES}");
        assert_same(&without_ids(folded(&place, &operations, parts, &arguments)), &expected);
    }
}

/// The operations of [`SMALL`] for a tenant, all of one component, numbered by tens.
fn small(tenant: &str) -> Vec<Operation> {
    let row = |(place, line): (i64, &str)| Operation {
        tenant: tenant.to_owned(),
        component: 1,
        seq: place * 10,
        recorded_at: None,
        defined_from: None,
        line: line.to_owned(),
    };
    (1..).zip(SMALL.lines()).map(row).collect()
}

#[test]
fn tenants_are_folded_apart_though_they_name_the_same_ids() {
    let place = Place::new();
    place.write("policy.json", "{}");
    let both = [small("cafe"), small("shop")].concat();
    let rows = folded(&place, &both, 1, "--policy policy.json --tables persons,outcomes");
    let of = |tenant: &str| rows["persons"].iter().filter(|row| row["tenant"] == tenant).count();
    assert_eq!([of("cafe"), of("shop")], [2, 2]);
    let ids: BTreeSet<String> = rows["persons"].iter().map(|row| row["person_id"].to_string()).collect();
    assert_eq!(ids.len(), 4, "a tenant is part of a person id (D10)");
    let refused: Vec<&Json> = rows["outcomes"].iter().filter(|row| row["rule"] == "B2").collect();
    assert_eq!(refused.len(), 2);
    assert_eq!(refused[0]["blocking_seq"], 30, "the definition is called by its operation");
}

#[test]
fn what_is_not_recorded_is_told() {
    let place = Place::new();
    place.write("policy.json", "{}");
    let mut operations = small("shop");
    let mut again = operations[1].clone();
    again.seq = 50;
    let mut other = operations[1].clone();
    (other.seq, other.line) = (60, other.line.replace("visitor", "another"));
    let unknown = r#"{"op":"split","ts":"2026-01-01T00:00:00Z","distinct_id":"ann","ids":["never"]}"#;
    operations.extend([again, other]);
    operations.push(Operation { seq: 70, line: unknown.to_owned(), ..operations[0].clone() });
    let rows = folded(&place, &operations, 1, "--policy policy.json --tables outcomes");
    assert_eq!(
        rows["not_recorded"],
        [
            json!({"tenant": "shop", "seq": 60, "appended": "conflict", "earlier_seq": 20}),
            json!({"tenant": "shop", "seq": 50, "appended": "duplicate", "earlier_seq": 20}),
            json!({"tenant": "shop", "seq": 70, "appended": "error", "reason": "id `never` was never written; expected an id that was"}),
        ]
    );
    assert_eq!(rows["outcomes"].len(), 4);
}

/// The operations with one change, which must be refused with this sentence.
#[track_caller]
fn refused(place: &Place, arguments: &str, input: &[u8], sentence: &str) {
    let (code, out, said) = fold(place, arguments, input);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(sentence), "{said}");
    assert!(!out.ends_with(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), "the output must not look whole");
}

#[test]
fn bad_input_is_refused_by_name_and_leaves_no_whole_output() {
    let place = Place::new();
    place.write("policy.json", "{}");
    place.write("late.jsonl", "{\"tenant\":\"shop\",\"seq\":15,\"policy\":{}}\n");
    place.write("twice.jsonl", "{\"tenant\":\"shop\",\"seq\":1,\"policy\":{}}\n".repeat(2));
    place.write("kinds.jsonl", "{\"tenant\":\"shop\",\"seq\":1,\"policy\":{\"id_kinds\":[{\"name\":\"a\"}]}}\n{\"tenant\":\"shop\",\"seq\":15,\"policy\":{}}\n");
    let policy = "--policy policy.json";
    let rows = small("shop");
    let of = |rows: &[Operation]| stream(&[batch(rows)]);
    let changed = |change: fn(&mut Vec<Operation>)| {
        let mut rows = rows.clone();
        change(&mut rows);
        of(&rows)
    };
    refused(&place, policy, b"", "is not an Arrow IPC stream");
    refused(&place, policy, b"{\"op\":\"set\"}\n", "is not an Arrow IPC stream");
    let whole = of(&rows);
    refused(&place, policy, &whole[..whole.len() - 8], "ends behind row 4 without the mark");
    refused(&place, policy, &whole[..whole.len() - 40], "breaks off behind row 0");
    refused(&place, policy, &[&whole[..], b"more"].concat(), "has more behind the end");
    let without = batch(&rows).project(&[0, 1, 2, 3, 4]).unwrap();
    refused(
        &place,
        policy,
        &stream(&[without]),
        "column `operation` is missing; found tenant, component, seq, recorded_at, defined_from",
    );
    let mut columns = batch(&rows).columns().to_vec();
    columns[2] = Arc::new(Int32Array::from(vec![1, 2, 3, 4]));
    let names = ["tenant", "component", "seq", "recorded_at", "defined_from", "operation"];
    let typed = RecordBatch::try_from_iter(names.into_iter().zip(columns.clone())).unwrap();
    refused(&place, policy, &stream(&[typed]), "column `seq` has the type Int32; expected int64");
    columns[2] = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)]));
    let null = RecordBatch::try_from_iter_with_nullable(
        names.into_iter().zip(columns).map(|(name, column)| (name, column, true)),
    );
    refused(&place, policy, &stream(&[null.unwrap()]), "row 1: `seq` is null");
    refused(&place, policy, &changed(|rows| rows[0].seq = -1), "row 0: `seq` is -1; expected 0 or more");
    refused(
        &place,
        policy,
        &changed(|rows| rows.swap(1, 2)),
        "row 2: tenant `shop`, component 1, seq 20 stands behind tenant `shop`, component 1, seq 30",
    );
    refused(
        &place,
        policy,
        &changed(|rows| rows[2].seq = 20),
        "expected rows sorted by tenant, component and seq, each once",
    );
    refused(&place, policy, &changed(|rows| rows[3].component = 0), "component 0, seq 40 stands behind");
    refused(
        &place,
        policy,
        &changed(|rows| (rows[3].component, rows[3].seq) = (2, 20)),
        "tenant `shop`, seq 20 is in two components",
    );
    refused(&place, policy, &changed(|rows| rows[1].tenant = "a\u{7}".to_owned()), "seq 20 stands behind");
    refused(&place, policy, &changed(|rows| rows[0].tenant = String::new()), "row 0: tenant ``");
    refused(&place, policy, &changed(|rows| rows[2].line.truncate(30)), "tenant `shop`, operation 30: ");
    refused(
        &place,
        policy,
        &changed(|rows| rows[2].line = "{\"op\":\"erase\",\"ids\":[]}".to_owned()),
        "operation 30: ",
    );
    let reset = r#"{"op":"reset","ts":"2026-01-01T00:00:00Z","device_id":"d"}"#;
    let mut unnamed = rows.clone();
    unnamed[3].line = reset.to_owned();
    refused(&place, "--names", &of(&unnamed), "operation 40: the reset does not say its `new_id`");
    refused(
        &place,
        "--policy policy.json --max-component 3",
        &whole,
        "component 1 has more than 3 operations",
    );
    assert_eq!(fold(&place, "--policy policy.json --max-component 4", &whole).0, 0);
    refused(
        &place,
        "--broadcast late.jsonl",
        &whole,
        "operation 10 stands before its first policy, which is record 15",
    );
    refused(
        &place,
        "--broadcast late.jsonl",
        &changed(|rows| rows.iter_mut().for_each(|row| row.tenant = "other".to_owned())),
        "tenant `other` has no policy",
    );
    refused(&place, "--broadcast twice.jsonl", &whole, "twice.jsonl line 2: record 1 stands behind record 1");
    refused(&place, "--broadcast kinds.jsonl", &whole, "tenant `shop`, policy of record 15: ");
    refused(
        &place,
        "--policy policy.json --tables policies",
        &whole,
        "the table policies is about a whole ledger",
    );
}
