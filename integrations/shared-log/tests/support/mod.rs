//! What the tests of each engine have in common: batches, and what ledgers hold of them.
#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use identity_ledger::audit::Audit;
use identity_ledger::{DistinctId, Operation, OperationId, ReadOnlyLedger, Source, Timestamp};
use identity_ledger_shared_log::{Batch, BatchResult, Engine, Node, PublishError, Status};

pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

pub(crate) fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

/// A made-up batch: one or two operations, links among them, all of them with ids.
pub(crate) fn batch(number: u64) -> Batch {
    let user = id(&format!("user-{}", number % 997));
    let visitor = Source::new(&format!("visitor-{number}"));
    let time = at(i64::try_from(number).unwrap());
    let identify = Operation::identify(time, user.clone(), Some(visitor))
        .set("n", i64::try_from(number).unwrap())
        .unwrap();
    let more = Operation::properties(time, user).set("plan", "pro").unwrap();
    Batch::new(if number.is_multiple_of(2) { vec![identify] } else { vec![identify, more] }).unwrap()
}

/// Sends a batch until it is acknowledged, by this node and then by the other.
pub(crate) async fn send<E: Engine>(nodes: &[Arc<Node<E>>; 2], first: usize, batch: &Batch) -> Option<u64> {
    for attempt in 0.. {
        match nodes[(first + attempt) % 2].publish_and_wait(batch).await {
            Ok(applied) => {
                assert!(!matches!(applied.result, BatchResult::Rejected(_)), "{applied:?}");
                return Some(applied.position);
            }
            Err(PublishError::Unknown { .. } | PublishError::Busy) => {}
            Err(error) => panic!("{error}"),
        }
        if attempt > 20 {
            return None;
        }
    }
    None
}

/// What a ledger holds: each operation id, and how often.
pub(crate) fn recorded(dir: &Path) -> (Status, HashMap<OperationId, u32>) {
    let ledger = ReadOnlyLedger::open(dir.join("ledger")).unwrap();
    let reader = ledger.reader();
    let mut found = HashMap::new();
    reader
        .replay(|step| {
            if let Some(id) = step.record.operation_id() {
                *found.entry(id).or_insert(0) += 1;
            }
        })
        .unwrap();
    let followed = reader.followed().unwrap();
    let (log, position, checkpoint) = (followed.log.clone(), followed.position, reader.checkpoint());
    (Status { node: String::new(), log, position, checkpoint, erased: None }, found)
}

/// All ledgers have the same chain, whole, and in it each operation of the batches once and no other. Gives their state.
pub(crate) fn check_exactly_once(dirs: &[PathBuf], batches: &[Batch], last: u64) -> Status {
    let expected: HashSet<OperationId> = batches.iter().flat_map(Batch::operation_ids).collect();
    let states: Vec<_> = dirs.iter().map(|dir| recorded(dir)).collect();
    for (status, found) in &states {
        assert_eq!((status.position, status.checkpoint), (last, states[0].0.checkpoint));
        assert!(found.values().all(|times| *times == 1), "none twice");
        assert_eq!(found.len(), expected.len(), "none lost, none invented");
        assert!(expected.iter().all(|id| found.contains_key(id)));
    }
    for dir in dirs {
        let report = Audit::run(&dir.join("ledger"), None, &mut |_| {}).unwrap();
        assert!(report.is_ok(), "{:?}", report.faults);
    }
    states.into_iter().next().unwrap().0
}

/// A node in a process of its own, to be killed by SIGKILL: the test `follower_process` of this program.
pub(crate) struct Follower {
    child: Child,
}

impl Follower {
    pub(crate) fn start(servers: &str, dir: &Path, stream: &str) -> Follower {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["follower_process", "--exact", "--ignored", "--nocapture"])
            .env("FOLLOWER_URLS", servers)
            .env("FOLLOWER_DIR", dir)
            .env("FOLLOWER_STREAM", stream)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Follower { child }
    }

    pub(crate) fn kill(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it did not stop by itself");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The file of a directory, at any depth, in which a text stands.
pub(crate) fn stands_in(dir: &Path, text: &str) -> Option<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| match path.is_dir() {
        true => stands_in(&path, text),
        false => {
            let bytes = std::fs::read(&path).unwrap_or_default(); // a server may remove its own meanwhile
            bytes.windows(text.len()).any(|window| window == text.as_bytes()).then_some(path)
        }
    })
}
