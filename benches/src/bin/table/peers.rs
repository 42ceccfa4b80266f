//! The other side of each line: what one would use or write instead.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Condvar, Mutex};

use identity_ledger_benches::Failure;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::parts::{APPENDS, TMPFS, found};
use crate::{Found, Place};

const DUCKDB: &str = include_str!("duckdb.py");
const ORJSON: &str =
    "import sys, orjson\nprint(sum(1 for line in open(sys.argv[1], 'rb') if orjson.loads(line) is not None))";
const POSTGRES: &str = include_str!("postgres.sql");

impl Place {
    /// Runs what is compared with.
    pub(crate) fn peer(&self, part: &str) -> Result<Found, Failure> {
        match part {
            "sqlite-memory" => self.sqlite(Connection::open_in_memory()?),
            "sqlite-wal" => {
                let dir = tempfile::tempdir_in(&self.dir)?;
                let connection = Connection::open(dir.path().join("peer.db"))?;
                connection.execute_batch("pragma journal_mode = wal; pragma synchronous = normal;")?;
                self.sqlite(connection)
            }
            "duckdb" => self.python("duckdb", DUCKDB, &self.lines()),
            "orjson" => self.python("orjson", ORJSON, &self.bodies()),
            "postgres" => self.postgres(),
            "group-commit" => self.group_commit(),
            "write-tmpfs" => {
                let bytes = vec![7; self.bytes_each()?];
                let dir = tempfile::tempdir_in(TMPFS)?;
                let mut file = File::create(dir.path().join("file"))?;
                let write = || {
                    for _ in 0..APPENDS {
                        file.write_all(&bytes)?;
                        file.sync_data()?;
                    }
                    Ok(())
                };
                Ok(self.clocked(write)?.0)
            }
            _ => Err(format!("no part is called {part}").into()),
        }
    }

    fn python(&self, module: &str, script: &str, file: &Path) -> Result<Found, Failure> {
        let there = Command::new(&self.python).args(["-c", &format!("import {module}")]).output();
        if !there.is_ok_and(|there| there.status.success()) {
            return skipped(&format!(
                "{} has no module {module}: `pip install {module}`, and name it with --python",
                self.python
            ));
        }
        Ok(self.spawned(Command::new(&self.python).args(["-c", script]).arg(file))?.0)
    }

    /// The server's processor time counts too; it tells that of the process that worked.
    fn postgres(&self) -> Result<Found, Failure> {
        if !Command::new("pg_isready").output().is_ok_and(|ready| ready.status.success()) {
            return skipped("no PostgreSQL server answers; PGHOST and PGUSER say where one is");
        }
        let script = self.dir.join("postgres.sql");
        std::fs::write(&script, POSTGRES)?;
        let file = format!("file={}", self.lines().display());
        let (mut found, said) =
            self.spawned(Command::new("psql").args(["-q", "-X", "-v", &file, "-f"]).arg(script))?;
        let ticks = said.lines().find_map(|line| line.strip_prefix("server_ticks ")?.parse::<f64>().ok());
        let Some(ticks) = ticks else {
            return skipped("the PostgreSQL server is on another machine: its processor time is unknown");
        };
        found.entry("cpu".to_owned()).and_modify(|cpu| *cpu += ticks / 100.0);
        Ok(found)
    }

    /// What one would write by hand: who is whose, last values, events that are not taken twice.
    fn sqlite(&self, mut connection: Connection) -> Result<Found, Failure> {
        connection.execute_batch(
            "create table event (operation text primary key, id integer, at text, name text) without rowid;
             create table id (number integer primary key, text text unique, person integer);
             create index id_person on id (person);
             create table property (person integer, key text, value text, at text, primary key (person, key)) without rowid;",
        )?;
        let fold = || {
            let mut lines = BufReader::with_capacity(1 << 16, File::open(self.lines())?);
            let mut line = String::new();
            let mut more = true;
            while more {
                let transaction = connection.transaction()?;
                for _ in 0..identity_ledger_benches::BATCH {
                    line.clear();
                    more = lines.read_line(&mut line)? > 0;
                    if !more {
                        break;
                    }
                    record(&transaction, &serde_json::from_str(&line)?)?;
                }
                transaction.commit()?;
            }
            Ok(())
        };
        Ok(self.clocked(fold)?.0)
    }

    /// Threads that write into one file: the thread that comes first writes and syncs for all that wait.
    fn group_commit(&self) -> Result<Found, Failure> {
        let bytes = vec![7; self.bytes_each()?];
        let dir = tempfile::tempdir_in(&self.dir)?;
        let file = File::create(dir.path().join("file"))?;
        let (group, synced) = (Mutex::new(Group::default()), Condvar::new());
        self.together(|_| {
            let mut now = group.lock().expect("no thread panics");
            now.waiting.extend_from_slice(&bytes);
            let mine = now.begun;
            while now.done <= mine {
                if now.syncs {
                    now = synced.wait(now).expect("no thread panics");
                    continue;
                }
                let written = std::mem::take(&mut now.waiting);
                (now.syncs, now.begun) = (true, now.begun + 1);
                drop(now);
                (&file).write_all(&written).and_then(|()| file.sync_data()).expect("the disk is fine");
                now = group.lock().expect("no thread panics");
                (now.syncs, now.done) = (false, now.done + 1);
                synced.notify_all();
            }
        })
    }
}

/// What waits for a sync: groups are counted as they begin, and as they are done.
#[derive(Default)]
struct Group {
    waiting: Vec<u8>,
    begun: u64,
    done: u64,
    syncs: bool,
}

fn skipped(why: &str) -> Result<Found, Failure> {
    eprintln!("SKIPPED: {why}");
    Ok(found([("skipped", 1.0)]))
}

#[derive(Deserialize)]
struct Line<'a> {
    ts: &'a str,
    event_id: Option<&'a str>,
    event: Option<&'a str>,
    distinct_id: &'a str,
    anon_distinct_id: Option<&'a str>,
    #[serde(borrow)]
    set: Option<BTreeMap<&'a str, &'a RawValue>>,
}

fn record(sql: &Connection, line: &Line<'_>) -> rusqlite::Result<()> {
    let whose = |text: &str| -> rusqlite::Result<(i64, i64)> {
        let mut find = sql.prepare_cached("select number, person from id where text = ?1")?;
        if let Some(found) = find.query_row([text], |row| Ok((row.get(0)?, row.get(1)?))).optional()? {
            return Ok(found);
        }
        sql.prepare_cached("insert into id (text) values (?1)")?.execute([text])?;
        let number = sql.last_insert_rowid();
        sql.prepare_cached("update id set person = ?1 where number = ?1")?.execute([number])?;
        Ok((number, number))
    };
    let (number, person) = whose(line.distinct_id)?;
    if let Some(operation) = line.event_id {
        let mut event = sql.prepare_cached("insert or ignore into event values (?1, ?2, ?3, ?4)")?;
        if event.execute(params![operation, number, line.ts, line.event])? == 0 {
            return Ok(());
        }
    }
    if let Some(other) = line.anon_distinct_id {
        let (_, absorbed) = whose(other)?;
        if absorbed != person {
            sql.prepare_cached("update id set person = ?1 where person = ?2")?.execute([person, absorbed])?;
            sql.prepare_cached(
                "insert or ignore into property select ?1, key, value, at from property where person = ?2",
            )?
            .execute([person, absorbed])?;
            sql.prepare_cached("delete from property where person = ?1")?.execute([absorbed])?;
        }
    }
    for (key, value) in line.set.iter().flatten() {
        sql.prepare_cached("insert or replace into property values (?1, ?2, ?3, ?4)")?.execute(params![
            person,
            key,
            value.get(),
            line.ts
        ])?;
    }
    Ok(())
}
