#!/usr/bin/env python3
"""Folds the operations of ledgers on a Spark cluster, or with DuckDB on one machine, and writes the tables of an export.

    python ledger_spark.py --ledger shop.ledger --ledger cafe.ledger --out tables --master spark://10.0.0.1:7077
    python ledger_spark.py --parquet 'operations/*.parquet' --policy policy.json --out tables --engine duckdb

The fold is that of the library, in the program `identity-ledger`. Both engines do the rest by the same SQL: which operations name an id or
a device in common, directly or through others, is a component; components are independent, and each is folded whole, in the order of the log.
docs/scale.md says when that pays, and what it promises.
"""

import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

OPERATIONS = pa.schema(
    [
        ("tenant", pa.utf8()),
        ("seq", pa.int64()),
        ("recorded_at", pa.timestamp("us", "UTC")),
        ("defined_from", pa.int64()),
        ("operation", pa.utf8()),
    ]
)
TABLES = "persons,person_distinct_ids,person_redirects,events,outcomes"
NOT_RECORDED = "not_recorded"
# Rounds until components are found: about the logarithm of the longest chain, squared at worst. More would be a bug.
MOST_ROUNDS = 200

# -- the worker -----------------------------------------------------------------------------------------------------------------


class WorkerFailed(RuntimeError):
    """The program did not fold what it was given; its message says where and why."""


def through(command, batches):
    """Gives Arrow batches to a process on its standard input, and yields those that it writes."""
    first = next(batches, None)
    if first is None:
        return
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said)
        upstream = []

        def feed():
            try:
                with child.stdin, pa.ipc.new_stream(child.stdin, first.schema) as writer:
                    writer.write_batch(first)
                    for batch in batches:
                        writer.write_batch(batch)
            except (BrokenPipeError, OSError):
                pass  # the process ended: its status says why
            except BaseException as error:  # of the rows before it, which must not look complete
                upstream.append(error)
                child.kill()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        try:
            failed = None
            try:
                with pa.ipc.open_stream(child.stdout) as reader:
                    yield from reader
            except (pa.ArrowInvalid, OSError) as error:
                failed = error
            status = child.wait()
            feeder.join()
            if upstream:
                raise upstream[0]
            if status != 0 or failed:
                said.seek(0)
                message = said.read().decode(errors="replace").strip()
                raise WorkerFailed(message or f"{command[0]} ended with status {status}: {failed}")
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()


def output_schema(command, schema):
    """The schema that a worker answers rows of this schema with."""
    (batch,) = through(command, iter([pa.RecordBatch.from_pylist([], schema)]))
    return batch.schema


# -- components, in SQL that both engines take ------------------------------------------------------------------------------------


def components(engine):
    """Makes the table `stars`: each node `a` that is in a component with a smaller one, and the smallest, `b`. Gives the number of rounds.

    Large stars and small stars in turn (Kiveris and others, 2014). A retract is at home where its target is. So is a second
    operation under the same id, for of the two only the first is recorded.
    """
    engine.table(
        "shared",
        "SELECT id_node FROM named WHERE id_node IS NOT NULL GROUP BY id_node HAVING count(*) > 1 "
        "UNION SELECT home FROM named WHERE retracts",
    )
    engine.table(
        "stars",
        "SELECT DISTINCT greatest(u, v) AS a, least(u, v) AS b FROM ("
        f"SELECT home AS u, {engine.unnest('nodes')} AS v FROM named "
        "UNION ALL SELECT home, named.id_node FROM named JOIN shared ON named.id_node = shared.id_node"
        ") AS pairs WHERE u <> v",
    )
    for round_ in range(MOST_ROUNDS):
        ((edges, nodes, longer),) = engine.rows(
            "SELECT (SELECT count(*) FROM stars), (SELECT count(DISTINCT a) FROM stars), "
            "(SELECT count(*) FROM stars AS x JOIN stars AS y ON x.b = y.a)"
        )
        if edges == nodes and longer == 0:
            return round_
        engine.table(
            "stars",
            "WITH both_ways AS (SELECT a AS u, b AS v FROM stars UNION ALL SELECT b, a FROM stars), "
            "least_of_all AS (SELECT u, least(u, min(v)) AS m FROM both_ways GROUP BY u), "
            "large AS (SELECT DISTINCT v AS a, m AS b FROM both_ways JOIN least_of_all USING (u) WHERE v > u), "
            "least_of AS (SELECT a AS u, min(b) AS m FROM large GROUP BY a) "
            "SELECT DISTINCT a, b FROM ("
            "SELECT large.b AS a, m AS b FROM large JOIN least_of ON large.a = least_of.u WHERE large.b <> m "
            "UNION ALL SELECT u, m FROM least_of) AS small",
        )
    raise RuntimeError(f"components are not found after {MOST_ROUNDS} rounds; this is a bug")


WHOLE = (
    f"SELECT tenant, coalesce(b, home) AS component, {', '.join(OPERATIONS.names[1:])} "
    "FROM named LEFT JOIN stars ON named.home = stars.a"
)


def digest(engine):
    """A number that is the same for the same rows (tenant, seq, outcome, person), in whatever order."""
    texts = [
        "tenant", "CAST(seq AS VARCHAR(20))", "op", engine.joined("effects"), engine.joined("notices"), "coalesce(refusal, '')",
        "coalesce(CAST(blocking_seq AS VARCHAR(20)), '')", "coalesce(CAST(person_id AS VARCHAR(36)), '')",
    ]  # fmt: skip
    ((total,),) = engine.rows(f"SELECT sum({engine.hashed(' || chr(10) || '.join(texts))}) FROM outcomes")
    return str(int(total or 0))


# -- engines ----------------------------------------------------------------------------------------------------------------------


class DuckDB:
    """One machine, one process, and a worker for each partition."""

    def __init__(self, work, partitions, master):
        import duckdb

        self.work, self.partitions = work, partitions
        self.connection = duckdb.connect(str(work / "duckdb"))
        self.connection.execute("SET TimeZone = 'UTC'")
        # One thread waits for a worker, and another reads what it is given.
        self.made = collections.Counter()

    def stop(self):
        self.connection.close()

    def unnest(self, column):
        return f"unnest({column})"

    def joined(self, column):
        return f"array_to_string({column}, ',')"

    def hashed(self, text):
        return f"CAST('0x' || substr(md5({text}), 1, 15) AS HUGEINT)"

    def read(self, name, files):
        self.connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({[str(file) for file in files]})")

    def table(self, name, sql):
        self.made[name] += 1
        self.connection.execute(f"CREATE TABLE made AS {sql}")
        self.connection.execute(f"DROP TABLE IF EXISTS {name}")
        self.connection.execute(f"ALTER TABLE made RENAME TO {name}")

    def rows(self, sql):
        return self.connection.execute(sql).fetchall()

    def batches(self, sql):
        # A cursor of its own: what is read meanwhile must not end it.
        yield from self.connection.cursor().sql(sql).to_arrow_reader(65_536)

    def name(self, command):
        sql = f"SELECT {', '.join(OPERATIONS.names)} FROM operations"
        write(through(command, self.batches(sql)), self.work / "named.parquet", output_schema(command, OPERATIONS))
        self.read("named", [self.work / "named.parquet"])

    def fold(self, command, schema):
        self.table("whole", WHOLE)
        self.connection.execute("DROP VIEW named; DROP VIEW operations")
        for partition in range(self.partitions):
            # A remainder of a negative number is negative.
            part = f"(component % {self.partitions} + {self.partitions}) % {self.partitions} = {partition}"
            sql = f"SELECT * FROM whole WHERE {part} ORDER BY tenant, component, seq"
            write(through(command, self.batches(sql)), self.work / f"rows-{partition}.parquet", schema)
        self.read("folded", sorted(self.work.glob("rows-*.parquet")))

    def write(self, table, columns, out):
        names = ", ".join(field.name for field in columns)
        out.mkdir()
        file = str(out / "part-0.parquet").replace("'", "''")
        self.connection.execute(
            f"COPY (SELECT {names} FROM folded WHERE table_name = '{table}') TO '{file}' (FORMAT parquet, COMPRESSION zstd)"
        )
        self.read(table, [out / "part-0.parquet"])


def write(batches, file, schema):
    with pa.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema))


class Spark:
    """A cluster. What a step makes is written before the next begins, so no executor holds what another one needs."""

    def __init__(self, work, partitions, master):
        from pyspark.sql import SparkSession

        self.work, self.partitions = work, partitions
        if master.startswith("local"):
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = SparkSession.builder.appName("identity-ledger").master(master)
        settings = {
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": str(partitions),
            "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            # Rows in batches of a size that the child process reads at once.
            "spark.sql.execution.arrow.maxRecordsPerBatch": "16384",
        }
        for key, value in settings.items():
            builder = builder.config(key, value)
        self.session = builder.getOrCreate()
        self.made = collections.Counter()

    def stop(self):
        self.session.stop()

    def unnest(self, column):
        return f"explode({column})"

    def joined(self, column):
        return f"array_join({column}, ',')"

    def hashed(self, text):
        return f"CAST(conv(substr(md5({text}), 1, 15), 16, 10) AS DECIMAL(38, 0))"

    def read(self, name, files):
        self.session.read.parquet(*map(str, files)).createOrReplaceTempView(name)

    def keep(self, name, frame):
        """Writes a frame, and reads it from there from now on."""
        self.made[name] += 1
        place = str(self.work / f"{name}-{self.made[name]}")
        frame.write.parquet(place)
        self.session.read.parquet(place).createOrReplaceTempView(name)
        before = self.work / f"{name}-{self.made[name] - 1}"
        shutil.rmtree(before, ignore_errors=True)

    def table(self, name, sql):
        self.keep(name, self.session.sql(sql))

    def rows(self, sql):
        return [tuple(row) for row in self.session.sql(sql).collect()]

    def mapped(self, frame, command, schema):
        from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

        spark = from_arrow_schema(plain(schema))
        expected = to_arrow_schema(spark, timezone="UTC")

        def work(batches):
            for batch in through(command, batches):
                yield pa.RecordBatch.from_arrays(
                    [storage(column).cast(field.type) for column, field in zip(batch.columns, expected)], schema=expected
                )

        return frame.mapInArrow(work, spark)

    def name(self, command):
        frame = self.session.sql(f"SELECT {', '.join(OPERATIONS.names)} FROM operations")
        self.keep("named", self.mapped(frame, command, output_schema(command, OPERATIONS)))

    def fold(self, command, schema):
        whole = self.session.sql(WHOLE).repartition(self.partitions, "component")
        sorted_ = whole.sortWithinPartitions("tenant", "component", "seq")
        self.keep("folded", self.mapped(sorted_, command, schema))

    def write(self, table, columns, out):
        hexed = "lower(hex({0}))"
        parts = [f"substr({hexed}, {at}, {length})" for at, length in [(1, 8), (9, 4), (13, 4), (17, 4), (21, 12)]]
        uuid = f"concat_ws('-', {', '.join(parts)})"
        shown = [
            f"CASE WHEN {field.name} IS NOT NULL THEN {uuid.format(field.name)} END AS {field.name}" if is_uuid(field) else field.name
            for field in columns
        ]
        frame = self.session.sql(f"SELECT {', '.join(shown)} FROM folded WHERE table_name = '{table}'")
        frame.write.option("compression", "zstd").parquet(str(out))
        self.session.read.parquet(str(out)).createOrReplaceTempView(table)


def storage(column):
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def is_uuid(field):
    return pa.types.is_fixed_size_binary(storage_type(field))


def storage_type(field):
    return field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type


def plain(schema):
    """The schema in types that Spark has: a UUID is bytes, JSON is text."""

    def of(field):
        kind = pa.binary() if is_uuid(field) else storage_type(field)
        return pa.field(field.name, kind)

    return pa.schema([of(field) for field in schema])


# -- the job ----------------------------------------------------------------------------------------------------------------------


def run(command):
    said = subprocess.run(command, capture_output=True, text=True)
    if said.returncode != 0:
        raise SystemExit(f"error: {' '.join(command)}: {said.stderr.strip()}")
    return said.stdout


def exported(program, ledgers, work):
    """Exports the operations of ledgers. Gives the files, the policies of each tenant, and what lines cannot say."""
    files, policies, losses = [], {}, collections.Counter()
    for number, ledger in enumerate(ledgers):
        place = work / f"ledger-{number}"
        manifest = json.loads(run([program, "export", ledger, str(place), "--format", "ops-parquet", "--json"]))
        tenant = manifest["tenant"]
        if tenant in policies:
            raise SystemExit(f"error: {ledger}: tenant `{tenant}` is that of another ledger too; expected one ledger a tenant")
        losses.update({key: value for key, value in manifest["losses"].items() if value and key != "policies"})
        rows = run([program, "export", ledger, "-", "--tables", "policies", "--format", "jsonl"]).splitlines()
        policies[tenant] = [{"tenant": tenant, **json.loads(row)} for row in rows]
        files.append(place / "operations.parquet")
    return files, policies, dict(losses)


def broadcast(engine, options, policies, file):
    """Writes what each worker has to know of each tenant: its policies, and its first erasure."""
    if options.policies:
        for line in map(json.loads, Path(options.policies).read_text().splitlines()):
            policies.setdefault(line["tenant"], []).append(line)
    if options.policy:
        policy = json.loads(Path(options.policy).read_text())
        tenants = engine.rows("SELECT DISTINCT tenant FROM named")
        policies = {tenant: [{"tenant": tenant, "seq": 0, "policy": policy}] for (tenant,) in tenants}
    for tenant, seq in engine.rows("SELECT tenant, min(seq) FROM named WHERE erases GROUP BY tenant"):
        policies.setdefault(tenant, []).append({"tenant": tenant, "seq": seq, "erases": True})
    with open(file, "w") as out:
        for tenant in sorted(policies):
            out.writelines(json.dumps(line) + "\n" for line in sorted(policies[tenant], key=lambda line: line["seq"]))


def job(options, work):
    began = time.monotonic()
    program = shutil.which(options.program)
    if program is None:
        raise SystemExit(f"error: the program {options.program} is not found; name it with --program")
    program = os.path.realpath(program)
    files, policies, losses = exported(program, options.ledger, work)
    if options.parquet:
        files += [options.parquet]
    asked = options.tables.split(",")
    fold = [program, "fold-components", "--broadcast", str(work / "broadcast.jsonl"), "--tables", options.tables]

    engine = {"spark": Spark, "duckdb": DuckDB}[options.engine](work, options.partitions, options.master)
    try:
        engine.read("operations", files)
        engine.name([program, "fold-components", "--names"])
        ((operations, distinct),) = engine.rows(
            "SELECT count(*), (SELECT count(*) FROM (SELECT DISTINCT tenant, seq FROM named) AS seqs) FROM named"
        )
        if operations != distinct:
            raise SystemExit(f"error: {operations - distinct} operations have the tenant and seq of another one; expected each once")
        broadcast(engine, options, policies, work / "broadcast.jsonl")
        rounds = components(engine)
        largest = engine.rows(
            f"SELECT tenant, component, count(*) AS operations, min(seq) FROM ({WHOLE}) AS whole "
            "GROUP BY tenant, component ORDER BY operations DESC, tenant, component LIMIT 10"
        )
        ((count,),) = engine.rows(f"SELECT count(*) FROM (SELECT DISTINCT tenant, component FROM ({WHOLE}) AS whole) AS each_one")
        schema = output_schema(fold, OPERATIONS.insert(1, pa.field("component", pa.int64())))
        engine.fold(fold, schema)
        rows = dict(engine.rows("SELECT table_name, count(*) FROM folded GROUP BY table_name"))
        for table, columns in tables(program, options.tables, schema).items():
            engine.write(table, columns, options.out / table)
        result = {
            "engine": options.engine,
            "partitions": options.partitions,
            "operations": operations,
            "components": count,
            "rounds": rounds,
            "largest": [dict(zip(["tenant", "component", "operations", "first_seq"], row)) for row in largest],
            "rows": {table: rows.get(table, 0) for table in [*asked, NOT_RECORDED]},
            "digest": digest(engine) if "outcomes" in asked else None,
            "losses": losses,
        }
    finally:
        engine.stop()
    result["seconds"] = round(time.monotonic() - began, 1)
    return result


def tables(program, names, schema):
    """The columns of each table: those that an export of nothing has, and that the worker gives."""
    columns = {NOT_RECORDED: ["seq", "appended", "earlier_seq", "reason"]}
    with tempfile.TemporaryDirectory() as place:
        run([program, "init", f"{place}/empty"])
        manifest = json.loads(run([program, "export", f"{place}/empty", f"{place}/out", "--tables", names, "--json"]))
    for file in manifest["files"]:
        columns[file["table"]] = [column["name"] for column in file["columns"] if column["name"] != "reason"]
    columns.get("outcomes", []).append("person_id")
    known = {field.name: field for field in schema}
    return {
        table: [known["tenant"], *(known[name] for name in of_table if name in known)] for table, of_table in columns.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", action="append", default=[], metavar="DIR", help="a ledger; may be given again, for another tenant")
    parser.add_argument("--parquet", metavar="GLOB", help="operations: files with the columns of `export --format ops-parquet`")
    parser.add_argument("--policy", metavar="FILE", help="a policy for all tenants instead of those of the ledgers")
    parser.add_argument("--policies", metavar="FILE", help="JSON lines with tenant, seq and policy, for the tenants of --parquet")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new or empty directory")
    parser.add_argument("--engine", choices=["spark", "duckdb"], default="spark")
    parser.add_argument("--master", default=os.environ.get("MASTER", "local[*]"), help="the cluster; every executor must see --out and --parquet")
    parser.add_argument("--partitions", type=int, default=2 * (os.cpu_count() or 1), metavar="N", help="into how many parts components are dealt")
    parser.add_argument("--tables", default=TABLES, metavar="TABLE,..", help=f"[default: {TABLES}]")
    parser.add_argument("--program", default="identity-ledger", metavar="FILE", help="the program, at the same place on every executor")
    options = parser.parse_args()
    if not options.ledger and not options.parquet:
        parser.error("nothing to fold; give --ledger or --parquet")
    if options.parquet and not options.policy and not options.policies:
        parser.error("operations of --parquet need a policy; give --policy or --policies")
    if options.policy and options.policies:
        parser.error("--policy is for all tenants, and --policies for each; give one of the two")
    options.out = options.out.absolute()
    options.out.mkdir(exist_ok=True)
    if any(options.out.iterdir()):
        parser.error(f"{options.out} is not empty; choose an empty or new directory")
    work = options.out / "work"
    work.mkdir()
    try:
        result = job(options, work)
    except WorkerFailed as failed:
        raise SystemExit(str(failed)) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    # The last file: a directory that has it is complete.
    manifest = options.out / "manifest.json.partial"
    manifest.write_text(json.dumps(result, indent=2) + "\n")
    manifest.rename(options.out / "manifest.json")
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
