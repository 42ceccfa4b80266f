//! What `docs/scale.md` measures: batches a second and latencies for one, two and three publishers on three servers that sync always,
//! against a ledger of this machine alone; and how fast a new follower catches up, against a plain import of the same operations.
//!
//! `integrations/jetstream/test --figures` installs the server and runs it.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use identity_ledger::{Durability, Ledger, LedgerOptions, Policy, SharedLedger, Tenant};
use identity_ledger_jetstream::{Batch, Node};
use support::common::batch;
use support::{Cluster, program};

/// Batches that each publisher sends, one after the other and then with as many lanes.
const BATCHES: u64 = 2_000;
const LANES: u64 = 16;

/// Batches a second, and waits in milliseconds: the median, and what one in a hundred exceeds.
struct Figure {
    rate: f64,
    p50: f64,
    p99: f64,
}

impl Figure {
    fn of(mut waits: Vec<Duration>, took: Duration) -> Figure {
        waits.sort();
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
        Figure { rate: waits.len() as f64 / took.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
    }

    fn print(&self, what: &str, local: &Figure) {
        let Figure { rate, p50, p99 } = self;
        println!(
            "| {what} | {rate:.0} ({:.2}) | {p50:.2} ({:.1}) | {p99:.2} ({:.1}) |",
            rate / local.rate,
            p50 / local.p50,
            p99 / local.p99
        );
    }
}

/// Some lanes that send batches, each waiting for its own.
async fn drive<F, W>(lanes: u64, send: impl Fn(u64, Batch) -> F) -> Figure
where
    F: Future<Output = W> + Send + 'static,
    W: Send + 'static,
{
    let (total, next) = (BATCHES, Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let mut waits = Vec::new();
    let mut running = 0;
    loop {
        while running < lanes {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number >= total {
                break;
            }
            let sent = Instant::now();
            let work = send(number, batch(number));
            tasks.spawn(async move {
                drop(work.await);
                sent.elapsed()
            });
            running += 1;
        }
        match tasks.join_next().await {
            Some(wait) => waits.push(wait.expect("a lane does not panic")),
            None => break,
        }
        running -= 1;
    }
    Figure::of(waits, begun.elapsed())
}

#[tokio::main]
async fn main() {
    let Some(program) = program("figures") else { return };
    println!(
        "| batches of 1 or 2 operations | a second (of local) | p50 ms (of local) | p99 ms (of local) |"
    );
    println!("|---|---|---|---|");
    let home = tempfile::tempdir().unwrap();
    let mut local = Vec::new();
    for lanes in [1, LANES] {
        // The best of several: what the stream is compared with must not be slow by accident.
        let mut best: Option<Figure> = None;
        for round in 0..5 {
            let place = home.path().join(format!("local-{lanes}-{round}"));
            let ledger =
                SharedLedger::new(Ledger::create(place, Tenant::default(), Policy::default()).unwrap());
            let figure = drive(lanes, |_, batch| {
                let ledger = ledger.clone();
                let operations = batch.operations().to_vec();
                async move {
                    let ticket = ledger.submit(|ledger| ledger.append_batch(&operations)).unwrap();
                    drop(ticket.await.unwrap());
                }
            })
            .await;
            best = best.filter(|best| best.rate >= figure.rate).or(Some(figure));
        }
        let best = best.expect("there were rounds");
        best.print(&format!("a local ledger, {lanes} at a time"), &best);
        local.push(best);
    }
    for count in [1, 2, 3] {
        let cluster = Cluster::start(&program, 3);
        let stream = cluster.create("shop").await;
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        for name in ["a", "b", "c"] {
            nodes.push(Arc::new(cluster.node(name, "shop", 2).await));
        }
        for (lanes, local) in [(count, &local[0]), (count * LANES, &local[1])] {
            let figure = drive(lanes, |number, batch| {
                let node = Arc::clone(&nodes[(number % count) as usize]);
                async move { drop(node.publish_and_wait(&batch).await.unwrap()) }
            })
            .await;
            figure.print(&format!("{count} publishers, {} at a time each", lanes / count), local);
        }
        if count == 3 {
            catch_up(&cluster, stream.state().await.unwrap().last_sequence).await;
        }
    }
}

/// A new follower against a plain import, of the same operations in the same batches.
async fn catch_up(cluster: &Cluster, last: u64) {
    let publisher = cluster.node("a2", "shop", 1).await;
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..40_000 {
        let publisher = publisher.publisher().clone();
        while sending.len() >= 64 {
            sending.join_next().await;
        }
        sending.spawn(async move { publisher.publish(&batch(100_000 + number)).await.unwrap() });
    }
    while sending.join_next().await.is_some() {}
    let last = last + 40_000;
    publisher.wait_for(last).await.unwrap();

    // In turn, and the faster of each: a slow minute of the machine slows both.
    let (mut followed, mut took, mut imported) = (Duration::MAX, Duration::MAX, 0);
    let batches: Vec<Batch> = (0..last).map(batch).collect();
    for round in 0..5 {
        let begun = Instant::now();
        let node = cluster.node(&format!("new-{round}"), "shop", 1).await;
        node.wait_for(last).await.unwrap();
        followed = followed.min(begun.elapsed());
        node.close().await.unwrap();

        let place = cluster.dir.path().join(format!("import-{round}"));
        let begun = Instant::now();
        let options = LedgerOptions::new().durability(Durability::Buffered);
        let mut ledger = options.create(place, Tenant::default(), Policy::default()).unwrap();
        imported = 0;
        // As the command `import` does it, which besides reads its lines.
        for group in batches.chunks(1_365) {
            let operations: Vec<_> = group.iter().flat_map(|batch| batch.operations().to_vec()).collect();
            imported += ledger.append_batch(&operations).unwrap().len();
        }
        ledger.flush().unwrap();
        took = took.min(begun.elapsed());
    }
    let (follower, import) = (last as f64 / followed.as_secs_f64(), last as f64 / took.as_secs_f64());
    println!(
        "\ncatch-up of {last} batches: {follower:.0} a second; a plain import of their {imported} operations, 2,048 a frame: {import:.0} ({:.2})",
        follower / import
    );
}
