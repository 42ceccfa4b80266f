"""Reads exports back with DuckDB, pyarrow, Polars and pandas: types, hostile texts, joins, erasures, the queries of docs/export.md.

Not part of `cargo test`, for it needs packages of Python:

    python3 -m venv /tmp/readers && /tmp/readers/bin/pip install duckdb pandas polars pyarrow
    cargo build -p identity-ledger-cli && /tmp/readers/bin/python tests/readers.py target/debug/identity-ledger

Exit status: 0 all held, 1 something did not, 77 skipped, for a package is missing.
"""

import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import uuid

try:
    import duckdb
    import pandas
    import polars
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet
except ImportError as error:
    print(f"SKIPPED, NOTHING WAS CHECKED: {error}. The first lines of this file say how to install what is needed.", file=sys.stderr)
    sys.exit(77)

PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/debug/identity-ledger")
VIEWS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "views.sql")
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "export.md")

# Two ids that are one UUID and two texts, and texts that a format may trip over.
LOWER = "a208fa00-c605-4008-8d6e-36525068c2e7"
IDS = [LOWER, LOWER.upper(), "=cmd|' /C calc'!A0", 'comma, "quote"', "line\nbreak", "carriage\rreturn", "\u202eevil\u200b", "😀", " ", "null", "\\N", "NaN"]


def run(*arguments, text=None):
    done = subprocess.run([PROGRAM, *arguments], input=text, capture_output=True, text=True)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def ledger():
    """A ledger in `shop`: hostile ids with an event and a property each, an implied person, a merge, a retract."""
    lines = []
    for number, text in enumerate(IDS):
        time = f"2026-01-{number + 1:02}T00:00:00.123456Z"
        event = str(uuid.UUID(int=number + 1, version=4))
        lines.append({"op": "capture", "ts": time, "event_id": event, "event": f"event {number}", "distinct_id": text,
                      "set": {"text": text, "number": 18446744073709551615, "float": 1.0, "nothing": None}})
    lines.append({"op": "capture", "ts": "2026-02-01T00:00:00Z", "event": "seen", "distinct_id": "implied", "process_person_profile": False})
    lines.append({"op": "identify", "ts": "2026-02-02T00:00:00Z", "distinct_id": LOWER, "anon_distinct_id": "😀"})
    lines.append({"op": "alias", "ts": "2026-02-02T00:00:00Z", "distinct_id": LOWER, "alias": "null"})
    wrong = str(uuid.UUID(int=99, version=4))
    lines.append({"op": "merge_dangerously", "ts": "2026-02-03T00:00:00Z", "event_id": wrong, "distinct_id": LOWER, "alias": LOWER.upper()})
    lines.append({"op": "retract", "ts": "2026-02-04T00:00:00Z", "of": wrong})
    run("import", "shop", "-", "--strict", text="\n".join(map(json.dumps, lines)))


def check_types(manifest):
    """Every column has the type that the manifest says, in pyarrow, DuckDB and Polars."""
    arrow = {"bool": "bool", "int64": "int64", "utf8": "string", "uuid": "extension<arrow.uuid>", "json": "extension<arrow.json>",
             "timestamp(us, UTC)": "timestamp[us, tz=UTC]", "list<int64>": "list<item: int64 not null>", "list<utf8>": "list<item: string not null>"}
    duck = {"bool": "BOOLEAN", "int64": "BIGINT", "utf8": "VARCHAR", "uuid": "UUID", "json": "JSON",
            "timestamp(us, UTC)": "TIMESTAMP WITH TIME ZONE", "list<int64>": "BIGINT[]", "list<utf8>": "VARCHAR[]"}
    for file in manifest["files"]:
        table = pyarrow.parquet.read_table(file["file"])
        described = {name: kind for name, kind, *_ in duckdb.sql(f"DESCRIBE SELECT * FROM '{file['file']}'").fetchall()}
        assert table.num_rows == file["rows"] == polars.read_parquet(file["file"]).height, file
        for column in file["columns"]:
            found = table.schema.field(column["name"])
            name = str(found.type)
            name = name if name.startswith("extension") is arrow[column["type"]].startswith("extension") else name
            expected = arrow[column["type"]]
            assert name.startswith(expected.rstrip(">")) and found.nullable == column["nullable"], (file["table"], column, name)
            assert described[column["name"]] == duck[column["type"]], (file["table"], column, described[column["name"]])
        facts = pyarrow.parquet.read_metadata(file["file"])
        assert facts.metadata[b"identity_ledger.head"].decode() == manifest["head"]
        if file["rows"]:
            assert facts.row_group(0).column(0).statistics is not None and facts.row_group(0).column(0).compression == "ZSTD"


def check_texts():
    """Hostile texts come back as they were, from every format; ids that differ only in case stay two."""
    for format in ["parquet", "arrow", "csv", "jsonl"]:
        run("export", "shop", format, "--format", format)
    expected = sorted([*IDS, "implied"])
    found = {
        "duckdb parquet": [row[0] for row in duckdb.sql("SELECT distinct_id FROM 'parquet/person_distinct_ids.parquet'").fetchall()],
        "duckdb csv": [row[0] for row in duckdb.sql("SELECT distinct_id FROM read_csv('csv/person_distinct_ids.csv', header=true, all_varchar=true, delim=',', quote='\"', escape='\"', new_line='\\n', strict_mode=true)").fetchall()],
        "polars": polars.read_parquet("parquet/person_distinct_ids.parquet")["distinct_id"].to_list(),
        "pandas": pandas.read_parquet("parquet/person_distinct_ids.parquet")["distinct_id"].tolist(),
        "pandas csv": pandas.read_csv("csv/person_distinct_ids.csv", keep_default_na=False, lineterminator="\n")["distinct_id"].tolist(),
        "arrow": pyarrow.ipc.open_stream("arrow/person_distinct_ids.arrow").read_all()["distinct_id"].to_pylist(),
        "polars arrow": polars.read_ipc_stream("arrow/person_distinct_ids.arrow")["distinct_id"].to_list(),
        "jsonl": [json.loads(line)["distinct_id"] for line in open("jsonl/person_distinct_ids.jsonl", newline="\n", encoding="utf-8")],
    }
    for reader, texts in found.items():
        assert sorted(texts) == expected, (reader, texts)
    for name, properties in duckdb.sql("SELECT distinct_id, properties FROM 'parquet/person_distinct_ids.parquet' JOIN 'parquet/persons.parquet' USING (person_id) WHERE NOT persons.is_implied").fetchall():
        properties = json.loads(properties)
        assert properties["text"] in IDS and properties["number"] == 18446744073709551615 and isinstance(properties["float"], float) and properties["nothing"] is None
    times = duckdb.sql("SELECT timestamp FROM 'parquet/events.parquet' ORDER BY seq LIMIT 1").fetchall()[0][0]
    assert times.astimezone(datetime.timezone.utc) == datetime.datetime(2026, 1, 1, 0, 0, 0, 123456, datetime.timezone.utc)
    uuids = pyarrow.parquet.read_table("parquet/events.parquet")["event_id"].to_pylist()
    assert uuid.UUID(int=1, version=4) in uuids


def check_joins():
    """No join loses an event or an implied person, now and then."""
    events = duckdb.sql("SELECT count(*) FROM 'events.parquet'").fetchall()[0][0]
    for query in ["SELECT count(*) FROM 'events.parquet' JOIN 'persons.parquet' USING (person_id)",
                  "SELECT count(*) FROM 'events.parquet' JOIN 'person_distinct_ids.parquet' USING (id_no)",
                  "SELECT count(*) FROM 'events.parquet' AS events JOIN 'person_distinct_ids_history.parquet' AS history ON events.id_no = history.id_no AND seq >= from_seq AND (to_seq IS NULL OR seq < to_seq)"]:
        assert duckdb.sql(query).fetchall()[0][0] == events, query
    assert duckdb.sql("SELECT count(*) FROM 'persons.parquet' WHERE is_implied").fetchall()[0][0] == 1


def check_page():
    """Every query of the page runs and gives rows."""
    queries = re.findall(r"```sql\n(.*?)```", open(PAGE, encoding="utf-8").read(), re.S)
    assert len(queries) >= 6
    for query in queries:
        for statement in filter(str.strip, query.split(";")):
            result = duckdb.sql(statement)
            assert result is None or result.fetchall(), statement
    return len(queries)


def check_views():
    """The views of docs/views.sql have the rows of the tables that they are of."""
    with duckdb.connect() as database:
        database.execute(open(VIEWS, encoding="utf-8").read())
        rows = lambda query: database.sql(query).fetchall()
        count = lambda name: rows(f"SELECT count(*) FROM {name}")[0][0]
        ids, persons = count("person_distinct_ids WHERE distinct_id IS NOT NULL"), count("persons")
        for view in ["mixpanel_identity_mappings", "snowplow_identities_identifier_mapping"]:
            assert count(view) == ids, view
        placeholders = count("person_distinct_ids WHERE distinct_id IS NOT NULL AND id_type = 'unmergeable'")
        assert placeholders and count("segment_external_id_mapping") == ids - placeholders
        assert count("posthog_persons WHERE distinct_id IS NULL OR person_version IS NULL") == 0
        assert count("posthog_persons") == count("person_distinct_ids") and count("posthog_events") == count("events")
        assert count("segment_profile_traits") == persons
        assert count("segment_id_graph") == count("snowplow_identities_id_mapping") == persons + count("person_redirects")
        assert count("segment_id_graph JOIN persons ON canonical_segment_id = person_id") == count("segment_id_graph")
        assert count("mixpanel_people") == rows("SELECT count(DISTINCT person_id) FROM person_distinct_ids WHERE distinct_id IS NOT NULL")[0][0]
        mapped = dict(rows("SELECT distinct_id, resolved_distinct_id FROM mixpanel_identity_mappings"))
        assert "😀" not in mapped or mapped["😀"] == mapped[LOWER] == LOWER, mapped


def check_erasure(before):
    """An erasure changes no schema, and nothing erased is in any file."""
    run("erase", "shop", "--person-of", "😀", "--reason", "asked")
    run("export", "shop", "after")
    os.chdir("after")
    for file in json.load(open("manifest.json"))["files"]:
        old = pyarrow.parquet.read_schema(os.path.join("..", "all", file["file"]))
        assert pyarrow.parquet.read_schema(file["file"]).equals(old), file
        table = pyarrow.parquet.read_table(file["file"])
        assert "😀" not in str(table.to_pylist()), file["table"]
    deleted = duckdb.sql("SELECT count(*) FROM '../all/person_distinct_ids.parquet' WHERE id_no IN (SELECT unnest(id_nos) FROM 'erasures.parquet')").fetchall()[0][0]
    assert deleted == 2, "the list of erasures finds the ids in what was exported before: the emoji and the id it was linked with"
    assert before["files"] and duckdb.sql("SELECT count(*) FROM 'events.parquet' JOIN 'persons.parquet' USING (person_id)").fetchall()[0][0] == len(IDS) + 1
    check_page()
    check_views()


def main():
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        ledger()
        check_texts()
        run("export", "shop", "all")
        os.chdir("all")
        manifest = json.load(open("manifest.json"))
        check_types(manifest)
        check_joins()
        check_views()
        queries = check_page()
        os.chdir(place)
        check_erasure(manifest)
        os.chdir("/")
    versions = ", ".join(f"{module.__name__} {module.__version__}" for module in [duckdb, pandas, polars, pyarrow])
    print(f"exports read back, {queries} queries of docs/export.md run: {versions}")


main()
