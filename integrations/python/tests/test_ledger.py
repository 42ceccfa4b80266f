"""What Python sees of a ledger is what the command line says of it, and every library reads its tables."""

import json
import os
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import identity_ledger
import pandas
import polars
import pyarrow
import pytest

PROGRAM = os.environ["IDENTITY_LEDGER"]
WRONG_MERGE = Path(__file__).parents[3] / "examples" / "wrong-merge.jsonl"


def run(*args, ok=(0,)):
    said = subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True)
    assert said.returncode in ok, said.stderr
    return said.stdout


def lines(*args):
    return [json.loads(line) for line in run(*args, "--json").splitlines()]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("ledgers") / "shop.ledger"
    run("import", path, WRONG_MERGE)
    return path


@pytest.fixture(scope="module")
def ledger(path):
    return identity_ledger.open(path)


def test_answers_are_those_of_the_command_line(path, ledger):
    (resolved,) = lines("resolve", path, "alice@example.com")
    found = ledger.resolve("alice@example.com")
    assert found == resolved["profile"]
    assert found["properties"]["plan"] == "enterprise"
    (why,) = lines("explain", path, "alice@example.com", "bruno@example.com")
    found = ledger.explain("alice@example.com", "bruno@example.com")
    assert found["steps"] == why["steps"] and found["person_id"] == why["person_id"]
    history = ledger.history("alice@example.com")
    assert [entry["seq"] for entry in history] == [8, 11, 13, 23, 37, 43]
    assert ledger.find("plan", "enterprise")[0]["distinct_ids"][0] == "visitor-31"
    assert ledger.why_not("alice@example.com", "dana@example.com") is not None
    assert ledger.stats()["records"] == 45


def test_what_was_never_written_is_none(ledger):
    assert ledger.resolve("never") is None
    assert ledger.explain("never", "alice@example.com") is None
    assert ledger.history("never") is None
    assert ledger.find("never", 1) == []
    assert ledger.explain_event("00000000-0000-4000-8000-000000000000") is None


def test_a_ledger_as_it_was_answers_every_question(path, ledger):
    then = ledger.at(36)
    assert then.records == 37
    assert then.explain("alice@example.com", "bruno@example.com") is None
    assert then.resolve("alice@example.com")["properties"]["plan"] == "free"
    assert then.persons().to_polars().height == 4
    now = ledger.at(datetime.now(timezone.utc))
    assert now.checkpoint == ledger.checkpoint
    with pytest.raises(ValueError, match="no record 45"):
        ledger.at(45)
    with pytest.raises(ValueError, match="created after"):
        ledger.at("2020-01-01")
    with pytest.raises(ValueError, match="not a time"):
        ledger.at("yesterday")
    with pytest.raises(TypeError):
        ledger.at(None)


@pytest.mark.parametrize("name", identity_ledger.Ledger.tables())
def test_every_table_is_the_exported_one_to_every_library(path, ledger, tmp_path, name):
    run("export", path, tmp_path / "out", "--tables", name, "--format", "parquet")
    exported = polars.read_parquet(tmp_path / "out" / f"{name}.parquet")
    table = ledger.table(name)
    assert table.columns == exported.columns
    ours = table.to_polars()
    assert ours.shape == exported.shape
    assert ours.schema == exported.schema
    assert ours.rows() == exported.rows()
    assert pyarrow.table(table).num_rows == ours.height
    assert isinstance(table.to_pandas(), pandas.DataFrame)


def test_changes_turn_one_state_into_the_next(ledger):
    key = "id_no"
    table = "person_distinct_ids"
    before = {row[key]: row for row in ledger.at(36).table(table).to_polars().to_dicts()}
    changes = ledger.changes(36, table=table).to_polars().to_dicts()
    assert {change["_change_type"] for change in changes} >= {"update_preimage", "update_postimage"}
    for change in changes:
        kind = change.pop("_change_type")
        if kind in ("insert", "update_postimage"):
            before[change[key]] = change
        elif kind == "delete":
            del before[change[key]]
    after = {row[key]: row for row in ledger.table(table).to_polars().to_dicts()}
    assert before == after
    none = ledger.changes(44)
    assert none.to_polars().height == 0 and none.columns[0] == "_change_type"


def test_only_new_rows_of_a_table_of_records(ledger):
    new = ledger.table("events", since=40).to_polars()
    assert 0 < new.height < ledger.events().to_polars().height
    assert new["seq"].min() > 40


def test_verify_and_expect(path, ledger, tmp_path):
    report = identity_ledger.verify(path, expect=ledger.checkpoint)
    assert report["is_whole"] and report["records"] == 45
    forged = "45:" + "0" * 64
    with pytest.raises(identity_ledger.LedgerError):
        identity_ledger.open(path, expect=forged)
    damaged = tmp_path / "damaged.ledger"
    run("backup", path, damaged)
    segment = damaged / "log" / "00000000000000000000.seg"
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    assert not identity_ledger.verify(damaged)["is_whole"]


def test_errors_say_what_to_do(path, tmp_path):
    with pytest.raises(identity_ledger.LedgerError) as error:
        identity_ledger.open(tmp_path)
    assert str(tmp_path) in str(error.value)
    with pytest.raises(ValueError, match="expected one of persons"):
        identity_ledger.open(path).table("person")
    with pytest.raises(ValueError):
        identity_ledger.open(path, expect="45")


def test_a_sealed_ledger_wants_its_ring(tmp_path):
    ring, sealed = tmp_path / "ring", tmp_path / "sealed.ledger"
    run("import", sealed, WRONG_MERGE, "--key-ring", ring)
    assert identity_ledger.open(sealed, key_ring=ring).resolve("alice@example.com") is not None
    with pytest.raises(identity_ledger.LedgerError, match="key"):
        identity_ledger.open(sealed)


def test_nothing_can_write(path):
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    ledger = identity_ledger.open(path)
    ledger.persons().to_polars(), ledger.stats(), identity_ledger.verify(path)
    assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
