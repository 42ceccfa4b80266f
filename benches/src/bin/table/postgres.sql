-- Links and last values of a file of `ops` lines, in PostgreSQL: psql -v file=FILE -f postgres.sql
\set ON_ERROR_STOP on
select pg_backend_pid() as pid \gset
\setenv PID :pid
set client_min_messages to warning;
create temp table raw (seq bigserial, line jsonb);
\set copy '\\copy raw (line) from ' :'file' ' with (format csv, quote e''\\x01'', delimiter e''\\x02'')'
:copy
create temp table ops as
    select seq, (line->>'ts')::timestamptz ts, line->>'distinct_id' distinct_id, line->>'anon_distinct_id' anon, line->'set' set from raw;
create temp table link as select distinct distinct_id a, anon b from ops where anon is not null;
insert into link select b, a from link;
create temp table whose as select distinct_id id, min(seq) person from ops group by 1;
insert into whose select b, (select count(*) from ops) + row_number() over () from (select distinct b from link) l where not exists (select from whose where id = b);
create unique index on whose (id);
analyze whose, link;
do $$
declare changed bigint := 1;
begin
    while changed > 0 loop
        update whose w set person = n.person
            from (select a, min(person) person from link join whose on id = b group by a) n where n.a = w.id and n.person < w.person;
        get diagnostics changed = row_count;
    end loop;
end $$;
create temp table last as
    select distinct on (person, key) person, key, value from ops join whose on id = distinct_id, jsonb_each(set) order by person, key, ts desc, seq desc;
\pset format unaligned
\pset tuples_only on
select 'persons ' || (select count(distinct person) from whose);
select 'values ' || (select count(*) from last);
\! awk '{ sub(/.*\) /, ""); print "server_ticks", $12 + $13 }' /proc/$PID/stat
