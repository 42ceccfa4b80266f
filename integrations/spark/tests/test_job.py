"""The tables of a job are those of an export of the whole ledger: for each engine, in however many parts, and with a killed executor."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

HERE = Path(__file__).parents[1]
sys.path.insert(0, str(HERE))
import ledger_spark  # noqa: E402

PROGRAM = os.environ["IDENTITY_LEDGER"]
OPERATIONS = int(os.environ.get("SPARK_OPERATIONS", 30_000))
LONG = OPERATIONS >= 1_000_000
only_long = pytest.mark.skipif(not LONG, reason="with --long; the test with killed executors does the same")
needs_java = pytest.mark.skipif("SPARK_NOT_RUN" in os.environ, reason="NOT RUN: Java cannot be run here")


def run(*args, ok=(0,)):
    said = subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True)
    assert said.returncode in ok, said.stderr
    return said.stdout


# -- ledgers ----------------------------------------------------------------------------------------------------------------------


def shapes(count):
    """Hubs, chains, trees and captures: operations of about this number, in an order that interleaves them all."""
    chance = random.Random(1)
    hub, chain = (50_000, 3_000) if LONG else (5_000, 300)
    links = [(f"hub-{n}", f"hub-{n}-{leaf}") for n in range(2 if LONG else 1) for leaf in range(hub)]
    links += [(f"chain-{n}-{place}", f"chain-{n}-{place + 1}") for n in range(4 if LONG else 1) for place in range(chain)]
    tree = count // 400
    links += [(f"tree-{n}-{leaf // 2}", f"tree-{n}-{leaf}") for n in range(20) for leaf in range(1, tree)]
    small = 0
    while len(links) < count * 2 // 3:
        links += [(f"user-{small}", f"visitor-{small}-{browser}") for browser in range(chance.randrange(1, 4))]
        small += 1
    chance.shuffle(links)
    for number in range(count):
        at = f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}Z"
        head = {"ts": at, "event_id": f"00000000-0000-7000-8000-{number:012x}"}
        if number < len(links):
            target, source = links[number]
            # A merge goes through although both ends were identified before, as those of chains and trees are.
            yield {**head, "op": "alias" if number % 3 else "merge_dangerously", "distinct_id": target, "alias": source}
        else:
            who = links[chance.randrange(len(links))][number % 2]
            yield {**head, "op": "capture", "event": "seen", "distinct_id": who, "set": {"place": number % 7}}


def imported(place, name, lines, *options):
    file = place / f"{name}.jsonl"
    with open(file, "w") as out:
        out.writelines(json.dumps(line) + "\n" for line in lines)
    run("import", place / name, file, "--tenant", name, *options)
    file.unlink()
    return place / name


@pytest.fixture(scope="session")
def big(tmp_path_factory):
    return imported(tmp_path_factory.mktemp("big"), "big", shapes(OPERATIONS))


@pytest.fixture(scope="session")
def corrected(tmp_path_factory):
    """A ledger with devices, retracts, splits, erasures and two policies, and one of another tenant with the same ids."""
    place = tmp_path_factory.mktemp("corrected")
    shared = [json.loads(line) for line in run("generate", "--people", 120, "--shape", "shared-devices").splitlines()]
    # Two users sign in on one phone: one person, unless a policy counts users (D9).
    shared[:0] = [
        {"op": "identify", "ts": "2026-01-01T00:00:00Z", "distinct_id": user, "anon_distinct_id": "$device:phone"}
        for user in ("first-user", "second-user")
    ]
    shop = imported(place, "shop", shared[: len(shared) // 2])
    outcomes = [json.loads(line) for line in run("export", shop, "-", "--tables", "outcomes", "--format", "jsonl").splitlines()]
    for row in [row for row in outcomes if row["op"] == "identify"][2::9]:
        run("retract", shop, row["seq"])
    persons = [json.loads(line)["distinct_ids"] for line in run("persons", shop, "--json").splitlines()]
    for ids in [ids for ids in persons if len(ids) > 2][:8]:
        run("split", shop, ids[0], "--id", ids[1])
    run("erase", shop, "--person-of", persons[3][0], "--reason", "asked")
    run("erase", shop, "--id", persons[5][0], "--reason", "asked")
    (place / "policy.json").write_text('{"preset": "one-user"}')
    run("policy", shop, "--set", place / "policy.json")
    imported(place, "shop", shared[len(shared) // 2 :])
    return [shop, imported(place, "cafe", shared)]


# -- jobs -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A standalone master and two workers, each a process; loopback alone."""
    import pyspark

    home, place = Path(pyspark.__file__).parent, tmp_path_factory.mktemp("cluster")
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": str(home), "SPARK_WORKER_DIR": str(place)}
    environment |= {"PYSPARK_PYTHON": sys.executable, "SPARK_NO_DAEMONIZE": "1"}
    processes = []

    def start(kind, *args):
        log = open(place / f"{len(processes)}.log", "w")
        command = [home / "bin" / "spark-class", f"org.apache.spark.deploy.{kind}.{kind.capitalize()}", *args]
        # A group of its own, so that the executors of a worker end with it.
        processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        return place / f"{len(processes) - 1}.log"

    def wait(log, pattern):
        for _ in range(600):
            if found := re.search(pattern, log.read_text()):
                return found
            time.sleep(0.1)
        raise AssertionError(f"{pattern} is not in {log.read_text()}")

    log = start("master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
    url = wait(log, r"Starting Spark master at (spark://\S+)")[1]
    for _ in range(2):
        log_of_worker = start("worker", "--host", "127.0.0.1", "--cores", "2", "--memory", "2g", "--webui-port", "0", url)
        wait(log_of_worker, "Successfully registered with master")
    yield url, environment, [process.pid for process in processes]
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def command(out, ledgers, *options):
    """The command line of a job."""
    given = [option for ledger in ledgers for option in ("--ledger", ledger)]
    return [sys.executable, str(HERE / "ledger_spark.py"), "--program", PROGRAM, "--out", out, *given, *options]


def job(out, ledgers, *options, environment=None):
    said = subprocess.run([*map(str, command(out, ledgers, *options))], capture_output=True, text=True, env=environment)
    assert said.returncode == 0, said.stderr
    return json.loads((out / "manifest.json").read_text())


class Export:
    """Exports of ledgers, as one database; what `ledger_spark.digest` asks of an engine."""

    joined, hashed = ledger_spark.DuckDB.joined, ledger_spark.DuckDB.hashed

    def __init__(self, place, ledgers):
        self.database = duckdb.connect()
        self.database.execute("SET TimeZone = 'UTC'")
        for ledger in ledgers:
            run("export", ledger, place / ledger.name)
        for table in ledger_spark.TABLES.split(","):
            parts = [
                f"SELECT '{ledger.name}' AS tenant, * FROM '{place / ledger.name / table}.parquet'" for ledger in ledgers
            ]
            self.database.execute(f"CREATE TABLE {table}_of_one AS {' UNION ALL '.join(parts)}")
        self.database.execute(
            "CREATE TABLE outcomes AS SELECT o.*, i.person_id FROM outcomes_of_one AS o "
            "LEFT JOIN person_distinct_ids_of_one AS i USING (tenant, id_no)"
        )
        for table in ledger_spark.TABLES.split(","):
            if table != "outcomes":
                self.database.execute(f"CREATE VIEW {table} AS SELECT * FROM {table}_of_one")

    def rows(self, sql):
        return self.database.execute(sql).fetchall()

    def compare(self, out):
        """Each row of each table is there, and no other."""
        for table in ledger_spark.TABLES.split(","):
            columns = self.rows(f"DESCRIBE SELECT * FROM '{out}/{table}/*.parquet'")
            # A UUID is a type of its own in one file, and text in another; an id that a line had to be given is not in the ledger.
            of = {name: f'CAST("{name}" AS VARCHAR)' for name, *_ in columns if name not in ("operation_id", "event_id")}
            shown = ", ".join(of.values())
            for one, other in [(table, f"'{out}/{table}/*.parquet'"), (f"'{out}/{table}/*.parquet'", table)]:
                missing = self.rows(f"SELECT {shown} FROM {one} EXCEPT ALL SELECT {shown} FROM {other} LIMIT 3")
                assert missing == [], f"{table}: in {one} only, of {list(of)}"


@pytest.fixture(scope="session")
def whole(big, tmp_path_factory):
    return Export(tmp_path_factory.mktemp("whole"), [big])


@pytest.fixture(scope="session")
def whole_corrected(corrected, tmp_path_factory):
    return Export(tmp_path_factory.mktemp("whole-corrected"), corrected)


def check(manifest, whole, out):
    whole.compare(out)
    assert manifest["digest"] == ledger_spark.digest(whole)
    assert manifest["rows"]["not_recorded"] == 0
    print(f"\n{manifest['engine']}, {manifest['partitions']} partitions: {manifest['seconds']} s, {manifest['rounds']} rounds")


@pytest.mark.parametrize("partitions", [1, 2, 8])
def test_duckdb_gives_what_one_ledger_gives(big, whole, partitions, tmp_path):
    manifest = job(tmp_path / "out", [big], "--engine", "duckdb", "--partitions", partitions)
    check(manifest, whole, tmp_path / "out")
    assert manifest["operations"] == OPERATIONS
    largest = [component["operations"] for component in manifest["largest"]]
    assert len(largest) == 10 and largest == sorted(largest, reverse=True) and largest[0] >= (50_000 if LONG else 5_000)


@needs_java
@only_long
@pytest.mark.parametrize("partitions", [1, 2, 8])
def test_a_cluster_gives_what_one_ledger_gives(big, whole, cluster, partitions, tmp_path):
    url, environment, _ = cluster
    manifest = job(tmp_path / "out", [big], "--master", url, "--partitions", partitions, environment=environment)
    check(manifest, whole, tmp_path / "out")


def executors(groups):
    """The processes of a cluster that run tasks: those of its workers' groups."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
            if b"CoarseGrainedExecutorBackend" in line and os.getpgid(int(process.name)) in groups:
                yield int(process.name)
        except OSError:
            continue  # it has ended


@needs_java
def test_killed_executors_change_nothing(big, corrected, cluster, tmp_path):
    """Three tenants, corrections among them, in one job: the test of a cluster that always runs."""
    url, environment, groups = cluster
    out, ledgers = tmp_path / "out", [big, *corrected]
    with open(tmp_path / "said", "w+") as said:
        line = [*map(str, command(out, ledgers, "--master", url, "--partitions", "8"))]
        process = subprocess.Popen(line, env=environment, stdout=said, stderr=said)
        killed = []
        for step in ["named-1", "folded-1"]:
            # While a step writes, its files are in a folder of their own.
            while process.poll() is None and not (out / "work" / step / "_temporary").is_dir():
                time.sleep(0.005)
            for executor in executors(groups):
                os.kill(executor, signal.SIGKILL)
                killed.append(executor)
                break
        assert process.wait() == 0, (tmp_path / "said").read_text()
    assert len(killed) == 2, "the job was over before it could be disturbed"
    manifest = json.loads((out / "manifest.json").read_text())
    (tmp_path / "whole").mkdir()
    check(manifest, Export(tmp_path / "whole", ledgers), out)


def test_duckdb_corrections_count_as_in_the_whole(corrected, whole_corrected, tmp_path):
    check(job(tmp_path / "out", corrected, "--engine", "duckdb", "--partitions", "3"), whole_corrected, tmp_path / "out")


@needs_java
@only_long
def test_corrections_count_on_a_cluster_as_in_the_whole(corrected, whole_corrected, cluster, tmp_path):
    url, environment, _ = cluster
    manifest = job(tmp_path / "out", corrected, "--master", url, "--partitions", "3", environment=environment)
    check(manifest, whole_corrected, tmp_path / "out")


def test_a_what_if_of_many_tenants_is_one_job_and_a_join(corrected, tmp_path):
    """The example of docs/scale.md."""
    (tmp_path / "one-user.json").write_text('{"preset": "one-user"}')
    job(tmp_path / "now", corrected, "--engine", "duckdb", "--tables", "person_distinct_ids")
    job(tmp_path / "then", corrected, "--engine", "duckdb", "--tables", "person_distinct_ids", "--policy", tmp_path / "one-user.json")
    page = (HERE.parents[1] / "docs" / "scale.md").read_text()
    (sql,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    database = duckdb.connect()
    database.execute(f"SET file_search_path = '{tmp_path}'")
    rows = database.execute(sql).fetchall()
    assert rows == [("cafe", 1), ("shop", 1)]


def test_bad_input_stops_a_job_by_name_and_leaves_no_manifest(corrected, tmp_path):
    def refused(*options, sentence):
        said = subprocess.run([*map(str, command(tmp_path / "out", *options))], capture_output=True, text=True)
        assert said.returncode != 0 and sentence in said.stderr, said.stderr
        assert not (tmp_path / "out" / "manifest.json").exists()

    shop = corrected[0]
    refused([shop, shop], "--engine", "duckdb", sentence="tenant `shop` is that of another ledger too")
    refused([tmp_path / "none"], "--engine", "duckdb", sentence="none")
    duckdb.sql(f"COPY (SELECT 'x' AS tenant, 1 AS seq, now() AS recorded_at, NULL::BIGINT AS defined_from, '{{}}' AS operation) TO '{tmp_path}/bad.parquet'")
    (tmp_path / "policy.json").write_text("{}")
    bad = ["--parquet", tmp_path / "bad.parquet", "--engine", "duckdb", "--policy", tmp_path / "policy.json"]
    refused([], *bad, sentence="column `seq` has the type Int32; expected int64")
    duckdb.sql(
        f"COPY (SELECT 'x' AS tenant, 1::BIGINT AS seq, now() AS recorded_at, NULL::BIGINT AS defined_from, '{{}}' AS operation) TO '{tmp_path}/bad.parquet'"
    )
    refused([], *bad, sentence="tenant `x`, operation 1: ")
