//! A real broker that is killed and started again, with a follower that is killed, while two nodes publish and follow.
//!
//! `KAFKA_BATCHES` says how many batches; `integrations/kafka/test --long` drives 20,000.

#[path = "support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use identity_ledger::testing::chance::Chance;
use identity_ledger_kafka::{Batch, Client, ClientOptions, Node, NodeOptions, Topic, remedy};
use support::Broker;
use support::common::{Follower, batch, check_exactly_once, send};

/// How many batches.
fn batches() -> u64 {
    std::env::var("KAFKA_BATCHES").map_or(400, |text| text.parse().unwrap())
}

/// How many of them are on their way at the same time from one node.
const LANES: u64 = 24;

/// Messages that stay in the topic when it is cut off behind what all nodes have: this broker reads slower the more it has.
const KEPT: u64 = 500;

/// A node in a process of its own, to be killed by SIGKILL. It only follows.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process of other tests"]
async fn follower_process() {
    let Ok(servers) = std::env::var("FOLLOWER_URLS") else { return };
    let (dir, topic) = (std::env::var("FOLLOWER_DIR").unwrap(), std::env::var("FOLLOWER_STREAM").unwrap());
    let unchecked = ["message.timestamp.type".to_owned()].into();
    let client = Client::new(&ClientOptions { unchecked, ..ClientOptions::new(servers) }).unwrap();
    let options = NodeOptions { min_replicas: 1, ..NodeOptions::new("c", dir, topic) };
    let node = Node::start(client, options).await.unwrap();
    panic!("{:?}", node.stopped().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_batch_exactly_once_whatever_is_killed() {
    let Some(broker) = Broker::start("a killed broker").await else { return };
    let total = batches();
    broker.create("shop").await;
    let options =
        |name| NodeOptions { timeout: Duration::from_secs(30), ..broker.node_options(name, "shop", 2) };
    let nodes = [
        Arc::new(Node::start(broker.client(), options("a")).await.unwrap()),
        Arc::new(Node::start(broker.client(), options("b")).await.unwrap()),
    ];
    let follow = || Follower::start(&broker.options().servers, &broker.node_dir("c"), "shop");
    let mut follower = follow();

    let (next, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let acknowledged: Arc<Mutex<Vec<Batch>>> = Arc::default();
    let begun = Instant::now();
    let lanes: Vec<_> = (0..2 * LANES)
        .map(|lane| {
            let (nodes, next, done) = (nodes.clone(), Arc::clone(&next), Arc::clone(&done));
            let acknowledged = Arc::clone(&acknowledged);
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= total {
                        return;
                    }
                    let (batch, first) = (batch(number), usize::from(lane % 2 == 1));
                    let sent = match number % 50 {
                        // The same batch from two publishers at the same time.
                        0 => {
                            let both = tokio::join!(send(&nodes, 0, &batch), send(&nodes, 1, &batch));
                            both.0.or(both.1)
                        }
                        _ => send(&nodes, first, &batch).await,
                    };
                    assert!(sent.is_some(), "batch {number} was never acknowledged");
                    acknowledged.lock().unwrap().push(batch);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();

    // The follower in a process of its own is killed at random moments, and the broker at each fifth.
    let mut chance = Chance::new(total);
    let (mut kills, mut broker_kills, mut cut_at) = (0, 0, 0);
    let mut kill_at = Instant::now() + Duration::from_secs(2);
    while done.load(Ordering::SeqCst) < total || kills < 5 {
        let so_far = done.load(Ordering::SeqCst);
        assert!(lanes.iter().all(|lane| !lane.is_finished()) || so_far + 2 * LANES >= total, "a lane failed");
        if Instant::now() >= kill_at {
            follower.kill();
            follower = follow();
            kills += 1;
            kill_at = Instant::now() + Duration::from_millis(500 + chance.below(4_500) as u64);
        }
        if so_far * 5 >= total * (broker_kills + 1) && broker_kills < 4 {
            println!("{:?}: {so_far} batches, the broker is killed", begun.elapsed());
            broker.kill();
            tokio::time::sleep(Duration::from_millis(500)).await;
            broker.run().await;
            broker_kills += 1;
        }
        let all_have = (cut_at + 1..).step_by(100).take_while(|at| nodes[0].followers_at(*at) == 3).last();
        if let Some(all_have) = all_have.filter(|at| *at > cut_at + KEPT) {
            cut_at = all_have - KEPT;
            broker.store.cut_before("shop", cut_at);
        }
        // As compaction does, which this broker does not.
        if let Some(last) = broker.store.messages("shop.status").last() {
            let last: u64 = last[last.len() - 26..last.len() - 6].parse().unwrap();
            broker.store.cut_before("shop.status", last.saturating_sub(50));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for lane in lanes {
        lane.await.unwrap();
    }
    let took = begun.elapsed();

    // All three have the same chain, and in it each operation once.
    let topic = Topic::open(&broker.client(), "shop", 1).await.unwrap();
    let last = topic.range().last;
    for node in &nodes {
        node.wait_for(last).await.unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while nodes[0].followers_at(last) < 3 {
        assert!(Instant::now() < deadline, "the killed follower catches up");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    follower.kill();
    for node in nodes {
        Arc::into_inner(node).unwrap().close().await.unwrap();
    }
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    assert_eq!(acknowledged.len() as u64, total);
    let dirs = ["a", "b", "c"].map(|name| broker.node_dir(name));
    let state = check_exactly_once(&dirs, &acknowledged, last);
    assert_eq!(remedy::compare(&topic, &dirs[0]).await.unwrap(), []);
    println!(
        "{total} batches exactly once in {took:?}, the broker killed {broker_kills} times and the follower {kills}, \
         {last} positions, heads equal at {}",
        state.checkpoint
    );
}
