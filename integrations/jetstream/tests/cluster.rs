//! Three real servers that sync always: killed, stopped, cut off and damaged, while nodes publish and follow.
//!
//! `JETSTREAM_BATCHES` says how many batches; `integrations/jetstream/test --long` drives 20,000.

#[path = "support/mod.rs"]
mod support;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use identity_ledger::audit::Audit;
use identity_ledger::testing::chance::Chance;
use identity_ledger_jetstream::remedy::{self, Finding};
use identity_ledger_jetstream::{
    Batch, Node, NodeOptions, PublishError, Publisher, Settings, Stop, Stream, context,
};
use support::common::{Follower, batch, check_exactly_once, recorded, send};
use support::{Cluster, Proxy, compared, connect, last_position, program, trace};
use tokio::sync::Mutex as AsyncMutex;

/// How many batches, and how many of them are on their way at the same time from one node.
fn batches() -> u64 {
    std::env::var("JETSTREAM_BATCHES").map_or(1_500, |text| text.parse().unwrap())
}

const LANES: u64 = 12;

/// A node in a process of its own, to be killed by SIGKILL. It only follows.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process of other tests"]
async fn follower_process() {
    let Ok(urls) = std::env::var("FOLLOWER_URLS") else { return };
    let urls: Vec<String> = urls.split(',').map(str::to_owned).collect();
    let dir = std::env::var("FOLLOWER_DIR").unwrap();
    let stream = std::env::var("FOLLOWER_STREAM").unwrap();
    let node = Node::start(connect(&urls).await, NodeOptions::new("c", dir, stream)).await.unwrap();
    panic!("{:?}", node.stopped().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_batch_exactly_once_whatever_is_killed() {
    trace();
    let Some(program) = program("three servers") else { return };
    let total = batches();
    let cluster = Cluster::start(&program, 3);
    let stream = cluster.create("shop").await;
    let proxy = Arc::new(Proxy::to(cluster.servers.iter().map(|server| server.port).collect()).await);
    let options = |name: &str| NodeOptions {
        acknowledgements: 2,
        timeout: Duration::from_secs(30),
        ..NodeOptions::new(name, cluster.node_dir(name), "shop")
    };
    let nodes = [
        Arc::new(Node::start(cluster.client().await, options("a")).await.unwrap()),
        Arc::new(Node::start(connect(&[proxy.url()]).await, options("b")).await.unwrap()),
    ];
    let mut follower = Follower::start(&cluster.urls().join(","), &cluster.node_dir("c"), "shop");

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

    // Acknowledgements are swallowed now and then, and the follower in a process of its own is killed at random moments.
    let over = Arc::new(AtomicBool::new(false));
    let swallowing = {
        let (over, proxy) = (Arc::clone(&over), Arc::clone(&proxy));
        tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                proxy.swallow_for(Duration::from_millis(200)).await;
            }
        })
    };
    let cluster = Arc::new(AsyncMutex::new(cluster));
    let mut chance = Chance::new(total);
    let (mut kills, mut stage, mut kill_at) = (0, 0, Instant::now() + Duration::from_secs(2));
    let control = cluster.lock().await.client().await;
    loop {
        let so_far = done.load(Ordering::SeqCst);
        if so_far >= total && kills >= 5 {
            break;
        }
        assert!(lanes.iter().all(|lane| !lane.is_finished()) || so_far >= total - 2 * LANES, "a lane failed");
        if Instant::now() >= kill_at {
            follower.kill();
            let cluster = cluster.lock().await;
            follower = Follower::start(&cluster.urls().join(","), &cluster.node_dir("c"), "shop");
            kills += 1;
            kill_at = Instant::now() + Duration::from_millis(500 + chance.below(2_500) as u64);
        }
        // The leader is killed at a fifth and at three fifths, and a server hears and says nothing at two fifths.
        if so_far * 5 >= total * (stage + 1) && stage < 3 {
            let mut cluster = cluster.lock().await;
            let leader = cluster.leader(&control, "shop").await;
            let server = if stage == 1 { (leader + 1) % 3 } else { leader };
            println!("{:?}: {so_far} batches, stage {stage}, server {server}", begun.elapsed());
            if stage == 1 {
                cluster.servers[server].pause();
                tokio::time::sleep(Duration::from_secs(6)).await;
                cluster.servers[server].resume();
            } else {
                cluster.servers[server].kill();
                tokio::time::sleep(Duration::from_secs(2)).await;
                cluster.servers[server].start();
            }
            stage += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for lane in lanes {
        lane.await.unwrap();
    }
    let took = begun.elapsed();
    over.store(true, Ordering::SeqCst);
    swallowing.await.unwrap();

    // All three have the same chain, and in it each operation once.
    let cluster = cluster.lock().await;
    let last = last_position(&stream).await;
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
    let dirs = ["a", "b", "c"].map(|name| cluster.node_dir(name));
    let state = check_exactly_once(&dirs, &acknowledged, last);
    assert_eq!(compared(&stream, &cluster.node_dir("a")).await, []);
    println!(
        "{total} batches exactly once in {took:?}, the follower killed {kills} times, {} positions, heads equal at {}",
        last, state.checkpoint
    );
}

/// All servers killed at the same moment: with `sync_interval: always` nothing acknowledged is lost.
#[tokio::test(flavor = "multi_thread")]
async fn all_servers_killed_at_once_lose_nothing_acknowledged() {
    trace();
    let Some(program) = program("all servers killed") else { return };
    let mut cluster = Cluster::start(&program, 3);
    let stream = cluster.create("power").await;
    let node = Arc::new(cluster.node("a", "power", 1).await);
    let acknowledged: Arc<Mutex<Vec<Batch>>> = Arc::default();
    let lanes: Vec<_> = (0..8)
        .map(|lane| {
            let (node, acknowledged) = (Arc::clone(&node), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for number in 0..40 {
                    let batch = batch(lane * 1_000 + number);
                    while let Err(error) = node.publish_and_wait(&batch).await {
                        assert!(matches!(error, PublishError::Unknown { .. }), "{error}");
                    }
                    acknowledged.lock().unwrap().push(batch);
                }
            })
        })
        .collect();
    while acknowledged.lock().unwrap().len() < 100 {
        assert!(lanes.iter().all(|lane| !lane.is_finished()), "a lane failed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for server in &mut cluster.servers {
        server.kill();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    for server in &mut cluster.servers {
        server.start();
    }
    for lane in lanes {
        lane.await.unwrap();
    }
    let last = last_position(&stream).await;
    node.wait_for(last).await.unwrap();
    Arc::into_inner(node).unwrap().close().await.unwrap();
    let (status, found) = recorded(&cluster.node_dir("a"));
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    assert_eq!(acknowledged.len(), 320);
    assert!(acknowledged.iter().flat_map(Batch::operation_ids).all(|id| found.get(&id) == Some(&1)));
    assert_eq!(status.position, last);
    assert_eq!(compared(&stream, &cluster.node_dir("a")).await, []);
}

/// Two nodes on one server, and what was acknowledged at two followers.
struct Scene {
    cluster: Cluster,
    nodes: Vec<Node>,
    acknowledged: Vec<Batch>,
    last: u64,
}

impl Scene {
    async fn of(program: &Path, batches: u64) -> Scene {
        let cluster = Cluster::start(program, 1);
        cluster.create("old").await;
        let nodes = vec![cluster.node("a", "old", 2).await, cluster.node("b", "old", 2).await];
        let (mut acknowledged, mut last) = (Vec::new(), 0);
        for number in 0..batches {
            let batch = batch(number);
            last = nodes[number as usize % 2].publish_and_wait(&batch).await.unwrap().position;
            acknowledged.push(batch);
        }
        nodes[0].wait_for(last).await.unwrap();
        nodes[1].wait_for(last).await.unwrap();
        Scene { cluster, nodes, acknowledged, last }
    }

    async fn close(&mut self) {
        for node in self.nodes.drain(..) {
            node.close().await.unwrap();
        }
    }

    /// The documented remedy: continue from the longest follower, and give the others a copy of it. Then nothing acknowledged is missing,
    /// the nodes have one chain, and new batches are taken.
    async fn remedy(mut self, longest: &str) -> remedy::Continued {
        self.close().await;
        let dir = self.cluster.node_dir(longest);
        let report = Audit::run(&dir.join("ledger"), None, &mut |_| {}).unwrap();
        assert!(report.is_ok(), "{:?}", report.faults);
        let context = context(self.cluster.client().await);
        let new = Settings { replicas: 1, ..Settings::new("new") };
        let done = remedy::continue_stream(&context, "old", &dir, &new).await.unwrap();
        // Given again, it changes nothing: what comes twice is known by its ids.
        let again = remedy::continue_stream(&context, "old", &dir, &new).await.unwrap();
        assert_eq!(again.first, done.first);

        let copy = self.cluster.node_dir("copy").join("ledger");
        std::fs::create_dir_all(self.cluster.node_dir("copy")).unwrap();
        identity_ledger::backup::Backup::run(&dir.join("ledger"), &copy, &mut |_| {}).unwrap();
        let first = self.cluster.node(longest, "new", 2).await;
        let other = self.cluster.node("copy", "new", 2).await;
        for number in 0..5 {
            let batch = batch(5_000 + number);
            other.publish_and_wait(&batch).await.unwrap();
            self.acknowledged.push(batch);
        }
        let last = other.status().position;
        first.wait_for(last).await.unwrap();
        assert_eq!(first.status().checkpoint, other.status().checkpoint);
        first.close().await.unwrap();
        other.close().await.unwrap();
        let (_, found) = recorded(&self.cluster.node_dir("copy"));
        assert!(
            self.acknowledged.iter().flat_map(Batch::operation_ids).all(|id| found.get(&id) == Some(&1)),
            "nothing acknowledged is lost"
        );
        done
    }
}

async fn stop_of(node: &Node) -> Arc<Stop> {
    tokio::time::timeout(Duration::from_secs(60), node.stopped()).await.expect("it stops").expect("by itself")
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_in_a_block_file_are_noticed_and_remedied() {
    trace();
    let Some(program) = program("flipped bits") else { return };
    let mut scene = Scene::of(&program, 60).await;
    scene.close().await;
    scene.cluster.servers[0].kill();
    let block = scene.cluster.servers[0].blocks("old")[0].clone();
    flip_bits(&block, 3);
    scene.cluster.servers[0].start();

    let context = context(scene.cluster.client().await);
    let stream = Stream::open(&context, "old", 1).await.unwrap();
    let findings = remedy::compare(&stream, &scene.cluster.node_dir("a")).await.unwrap();
    println!("flipped bits: {findings:?}");
    assert!(!findings.is_empty(), "the comparison names what was lost");
    assert!(findings.iter().all(|it| matches!(it, Finding::Lost(_) | Finding::CutBack(_))), "{findings:?}");
    // Neither the old follower nor a new one skips what is not there.
    let (old, new) = (scene.cluster.node("a", "old", 1).await, scene.cluster.try_node("new", "old", 1).await);
    let stop = match &new {
        Ok(new) => tokio::select! { stop = stop_of(&old) => stop, stop = stop_of(new) => stop },
        Err(_) => stop_of(&old).await,
    };
    drop((old, new));
    println!("flipped bits: {stop}");
    assert!(matches!(&*stop, Stop::Gap { .. } | Stop::CutBack { .. } | Stop::Purged { .. }), "{stop}");
    let done = scene.remedy("a").await;
    assert_eq!((done.republished, done.old_sealed), (0, true));
}

/// Flips a bit at three places of a file.
fn flip_bits(path: &Path, seed: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let (len, mut chance) = (file.metadata().unwrap().len(), Chance::new(seed));
    for _ in 0..3.min(len) {
        let place = chance.below(usize::try_from(len).unwrap()) as u64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, place).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], place).unwrap();
    }
}

/// One of three servers has flipped bits, in its messages and in what its consensus wrote, and leads from then on if it can. What becomes of
/// the stream is the engine's doing. What is required: it has all that was acknowledged, or the loss is named; and nothing acknowledged at
/// two followers is missing.
#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_on_one_of_three_servers_are_never_silent() {
    trace();
    let Some(program) = program("flipped bits on one of three") else { return };
    let mut cluster = Cluster::start(&program, 3);
    let stream = cluster.create("old").await;
    let control = cluster.client().await;
    let nodes = [cluster.node("a", "old", 2).await, cluster.node("b", "old", 2).await];
    let mut acknowledged = Vec::new();
    for number in 0..60 {
        let batch = batch(number);
        nodes[number as usize % 2].publish_and_wait(&batch).await.unwrap();
        acknowledged.push(batch);
    }
    let last = last_position(&stream).await;
    for node in &nodes {
        node.wait_for(last).await.unwrap();
    }
    for what in ["messages", "snapshots"] {
        let leader = cluster.leader(&control, "old").await;
        let damaged = (leader + 1) % 3;
        let server = &mut cluster.servers[damaged];
        server.kill();
        let files = match what {
            "messages" => server.blocks("old"),
            _ => support::files_under(&server.store.join("jetstream"), "snap"),
        };
        assert!(!files.is_empty(), "there is something to damage");
        files.iter().for_each(|file| flip_bits(file, last));
        if !server.try_start() {
            println!("with bits flipped in its {what} the server does not start; an empty one replaces it");
            std::fs::remove_dir_all(&server.store).unwrap();
            server.start();
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.servers[leader].kill();
        tokio::time::sleep(Duration::from_secs(6)).await;
        cluster.servers[leader].start();
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    // Some more, if the node still takes them; one that stopped says why.
    let mut named = Vec::new();
    for number in 100..110 {
        let batch = batch(number);
        match nodes[0].publish_and_wait(&batch).await {
            Ok(_) => acknowledged.push(batch),
            Err(error) => named.push(error.to_string()),
        }
        if !named.is_empty() {
            break;
        }
    }
    let findings = compared(&stream, &cluster.node_dir("a")).await;
    // A new node knows nothing but the stream. It comes to the same head, or it stops by name; another head without a word is a silent loss.
    let here = nodes[0].status();
    let stop = match cluster.try_node("new", "old", 1).await {
        Ok(node) => tokio::select! {
            there = node.wait_for(here.position) => match there {
                Ok(()) => {
                    assert_eq!(node.status().checkpoint, here.checkpoint, "the loss has a name");
                    None
                }
                Err(stop) => Some(stop.to_string()),
            },
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("it neither arrives nor stops"),
        },
        Err(stop) => Some(stop.to_string()),
    };
    println!("flipped bits on one of three: {named:?}; the comparison: {findings:?}; a new node: {stop:?}");
    assert!(stop.is_some() || findings.is_empty(), "what the new node read is what was recorded");
    for node in nodes {
        node.close().await.unwrap();
    }
    let held = ["a", "b"].map(|name| recorded(&cluster.node_dir(name)).1);
    assert!(
        acknowledged
            .iter()
            .flat_map(Batch::operation_ids)
            .all(|id| held.iter().any(|held| held.contains_key(&id)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_deleted_is_noticed_and_remedied() {
    trace();
    let Some(program) = program("a deleted stream") else { return };
    let scene = Scene::of(&program, 20).await;
    context(scene.cluster.client().await).delete_stream("old").await.unwrap();
    for node in &scene.nodes {
        let stop = stop_of(node).await;
        assert!(matches!(&*stop, Stop::StreamMissing { .. }), "{stop}");
        assert_eq!(node.status().position, scene.last);
        let error = node.publish_and_wait(&batch(99)).await.unwrap_err();
        assert!(matches!(error, PublishError::Stopped(_)), "{error}");
    }
    let done = scene.remedy("b").await;
    assert!(!done.old_sealed);
}

/// The end of the stream is lost, and other messages come to stand there, sent by a publisher that knows nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_cut_back_is_noticed_and_remedied() {
    trace();
    let Some(program) = program("a stream cut back") else { return };
    let mut scene = Scene::of(&program, 40).await;
    let publisher = scene.nodes[0].publisher().clone();
    scene.cluster.servers[0].kill();
    let server = &mut scene.cluster.servers[0];
    let block = server.blocks("old")[0].clone();
    let len = std::fs::metadata(&block).unwrap().len();
    std::fs::File::options().write(true).open(&block).unwrap().set_len(len * 3 / 4).unwrap();
    drop(std::fs::remove_file(block.with_file_name("index.db")));
    server.start();
    for node in &scene.nodes {
        let stop = stop_of(node).await;
        assert!(matches!(&*stop, Stop::CutBack { position, .. } if *position == scene.last), "{stop}");
    }
    // This publisher knows what was acknowledged to it before; another one does not.
    let error = publisher.publish(&batch(1_000)).await.unwrap_err();
    assert!(matches!(error, PublishError::WentBack { .. }), "{error}");
    let fresh = Publisher::open(&context(scene.cluster.client().await), "old", 1).await.unwrap();
    for number in 2_000..2_030 {
        fresh.publish(&batch(number)).await.unwrap();
    }
    assert!(fresh.stream().state().await.unwrap().last_sequence > scene.last);
    // Now the stream is longer than the ledgers, and a position has another message.
    scene.close().await;
    let node = scene.cluster.node("a", "old", 1).await;
    let stop = stop_of(&node).await;
    assert!(matches!(&*stop, Stop::Differs { position, .. } if *position == scene.last), "{stop}");
    drop(node);
    let findings = remedy::compare(fresh.stream(), &scene.cluster.node_dir("a")).await.unwrap();
    assert!(findings.contains(&Finding::Differs(scene.last)), "{findings:?}");
    // What the stream took after the loss is not in the ledgers, and is sent again.
    let done = scene.remedy("a").await;
    assert_eq!((done.republished, done.left_out.len()), (31, 0));
}
