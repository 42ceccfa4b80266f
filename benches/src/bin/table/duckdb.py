"""Links and last values of a file of `ops` lines, in DuckDB and in memory: duckdb.py FILE"""

import sys

import duckdb

con = duckdb.connect()
columns = "{op: 'VARCHAR', ts: 'TIMESTAMP', distinct_id: 'VARCHAR', anon_distinct_id: 'VARCHAR', set: 'MAP(VARCHAR, JSON)'}"
con.execute(
    f"create table ops as select row_number() over () as seq, * from read_json(?, format = 'newline_delimited', columns = {columns})",
    [sys.argv[1]],
)
con.execute("create table link as select distinct distinct_id a, anon_distinct_id b from ops where b is not null")
con.execute("insert into link select b, a from link")
con.execute("create table whose as select distinct_id id, min(seq) person from ops group by id")
con.execute("insert into whose select b, (select count(*) from ops) + row_number() over () from (select distinct b from link anti join whose on id = b)")
while True:  # each id takes the least person among itself and its neighbours, until none changes
    con.execute(
        "create or replace temp table nearer as select a id, min(person) person from link join whose on id = b group by a"
    )
    changed = con.execute(
        "update whose set person = nearer.person from nearer where nearer.id = whose.id and nearer.person < whose.person"
    ).fetchone()
    if changed[0] == 0:
        break
con.execute(
    "create table last as select person, key, arg_max(value, (ts, seq)) as value from "
    "(select seq, ts, person, unnest(map_keys(set)) as key, unnest(map_values(set)) as value from ops join whose on id = distinct_id "
    "where set is not null) group by person, key"
)
persons, values = con.execute("select (select count(distinct person) from whose), (select count(*) from last)").fetchone()
print(f"persons {persons}\nvalues {values}")
