//! One real server: what nodes do, and what each bad input is answered.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::{
    AppendError, Appended, Operation, OperationId, Policy, Preset, PropertyKey, SplitMode, Target, Tenant,
};
use identity_ledger_jetstream::async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use identity_ledger_jetstream::stream::LOG_KEY;
use identity_ledger_jetstream::{
    Batch, BatchResult, Node, NodeOptions, PublishError, Publisher, Settings, Status, Stop, Stream,
    StreamError, context, node, remedy, stream,
};
use support::common::{at, batch, id, stands_in};
use support::{Cluster, Proxy, connect, program, trace};

/// One server. Several streams in it do not meet.
async fn server(test: &str) -> Option<Cluster> {
    trace();
    Some(Cluster::start(&program(test)?, 1))
}

fn answers(result: &BatchResult) -> &[Appended] {
    let BatchResult::Taken(answers) = result else { panic!("{result:?}") };
    answers
}

async fn stop_of(node: &Node) -> String {
    let stop = tokio::time::timeout(Duration::from_secs(40), node.stopped())
        .await
        .expect("it stops")
        .expect("by itself");
    stop.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_takes_batches_and_all_have_one_chain() {
    let Some(cluster) = server("nodes").await else { return };
    let made = cluster.create("shop").await;
    let nodes = [cluster.node("a", "shop", 2).await, cluster.node("b", "shop", 2).await];
    let mut last = 0;
    for number in 0..40 {
        let (batch, node) = (batch(number), &nodes[number as usize % 2]);
        let applied = node.publish_and_wait(&batch).await.unwrap();
        assert!(answers(&applied.result).iter().all(|answer| answer.outcome().is_some()));
        assert!(node.followers_at(applied.position) == 2 && applied.position > last);
        last = applied.position;
        // The same batch again, by both: within the stream's window the stream leaves it out.
        for node in &nodes {
            let again = node.publish_and_wait(&batch).await.unwrap();
            assert_eq!(again.position, applied.position);
            assert!(matches!(again.result, BatchResult::Earlier), "{again:?}");
        }
    }
    // After the window the ledger knows the operations by their ids (G4).
    let late = batch(7);
    let first = nodes[0].publish_and_wait(&late).await.unwrap();
    let resent = late.clone().with_id(batch(0).id);
    let again = nodes[1].publish_and_wait(&resent).await.unwrap();
    assert!(again.position > first.position);
    assert!(answers(&again.result).iter().all(|answer| matches!(answer, Appended::Duplicate { .. })));

    // Policies, retracts and splits go the same way.
    let policy = Batch::policy(Policy::preset(Preset::OneUser)).unwrap();
    let applied = nodes[1].publish_and_wait(&policy).await.unwrap();
    nodes[0].wait_for(applied.position).await.unwrap();
    assert_eq!(nodes[0].ledger().read(|reader| reader.policy().clone()), Policy::preset(Preset::OneUser));
    let name = OperationId(late.id.0);
    let alias = Operation::alias(at(9), id("eve"), id("eva")).with_id(name);
    let retract = Operation::retract(at(9), Target::Operation(name));
    let split = Operation::split(at(9), id("user-1"), [id("visitor-1")], SplitMode::Each);
    for operation in [alias, split, retract] {
        let applied = nodes[0].publish_and_wait(&Batch::new(vec![operation]).unwrap()).await.unwrap();
        assert!(answers(&applied.result)[0].outcome().is_some_and(|outcome| outcome.refusal.is_none()));
    }
    assert!(nodes.iter().all(|node| matches!(
        node.ledger().append(Operation::properties(at(0), id("x"))),
        Err(AppendError::Follows { .. })
    )));

    // What no ledger takes is rejected by all: the position moves, and a file says why.
    let unknown = Operation::retract(at(9), Target::Operation(OperationId(batch(1).id.0)));
    let rejected = Batch::new(vec![Operation::properties(at(0), id("half")), unknown]).unwrap();
    let applied = nodes[0].publish_and_wait(&rejected).await.unwrap();
    assert!(
        matches!(&applied.result, BatchResult::Rejected(why) if why.contains("operation 1")),
        "{applied:?}"
    );
    assert!(nodes[0].ledger().resolve("half").is_none());
    nodes[1].wait_for(applied.position).await.unwrap();
    for (node, name) in nodes.iter().zip(["a", "b"]) {
        assert_eq!((node.rejected(), node.status().position), (1, applied.position));
        let file = std::fs::read_to_string(cluster.node_dir(name).join("rejected.jsonl")).unwrap();
        assert!(file.contains(&format!("\"position\":{}", applied.position)), "{file}");
    }

    // The ledger survives a close and a kill, and a later node has the same chain.
    let [a, b] = nodes;
    let (before, b_before) = (a.close().await.unwrap(), b.status());
    assert_eq!(before.checkpoint, b_before.checkpoint);
    drop(b); // as if killed
    let applied = cluster.node("c", "shop", 1).await.publish_and_wait(&batch(90)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    for name in ["a", "b", "c", "d"] {
        let node = cluster.node(name, "shop", 1).await;
        node.wait_for(applied.position).await.unwrap();
        assert_eq!(node.status().checkpoint, applied.checkpoint, "{name}");
        assert_eq!(node.close().await.unwrap().log, made.log().as_str());
    }
    assert_eq!(remedy::compare(&made, &cluster.node_dir("d")).await.unwrap(), []);
}

/// Two nodes with one name count as one, so no batch would ever have two followers. It is said by name.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_with_one_name_do_not_both_continue() {
    let Some(cluster) = server("one name").await else { return };
    cluster.create("shop").await;
    let first = cluster.node("a", "shop", 1).await;
    let options = NodeOptions {
        min_replicas: 1,
        acknowledgements: 1,
        ..NodeOptions::new("a", cluster.node_dir("other"), "shop")
    };
    let second = Node::start(cluster.client().await, options).await.unwrap();
    for number in 0.. {
        let stops = [first.stop_reason(), second.stop_reason()];
        if let Some(stop) = stops.iter().flatten().next() {
            assert!(matches!(**stop, Stop::NameTaken { .. }), "{stop}");
            return;
        }
        assert!(number < 500, "neither stopped");
        drop(first.publish_and_wait(&batch(number)).await); // it may be the one that stops
    }
}

/// What the old stream took is sent to the new one, so that has room for it, whatever it was asked to have.
#[tokio::test(flavor = "multi_thread")]
async fn a_continued_stream_takes_what_the_old_one_took_and_a_node_left_behind_stops() {
    let Some(cluster) = server("continued").await else { return };
    let context = context(cluster.client().await);
    let settings =
        |name: &str, most| Settings { replicas: 1, max_message_bytes: most, ..Settings::new(name) };
    let (tenant, policy) = (Tenant::default(), Policy::default());
    let old = Stream::create(&context, &settings("old", 900_000), tenant, policy).await.unwrap();
    let behind = cluster.node("a", "old", 1).await;
    behind.publish_and_wait(&batch(0)).await.unwrap();
    behind.close().await.unwrap();
    let large = Operation::properties(at(0), id("ann")).set("bio", "x".repeat(200_000)).unwrap();
    Publisher::new(old).publish(&Batch::new(vec![large]).unwrap()).await.unwrap();
    let left = cluster.node("b", "old", 1).await;
    for most in [100_000, 1_000_000, 100_000] {
        let new = settings("new", most);
        let done = remedy::continue_stream(&context, "old", &cluster.node_dir("a"), &new).await.unwrap();
        assert_eq!((done.republished, done.old_sealed), (1, true));
    }
    let new = Stream::open(&context, "new", 1).await.unwrap();
    assert_eq!(new.settings().max_message_bytes, 1_000_000, "it grows, and never shrinks");
    assert!(stop_of(&left).await.contains("`old` is sealed"));
    let node = cluster.node("a", "new", 1).await;
    node.publish_and_wait(&batch(1)).await.unwrap();
    assert!(node.ledger().resolve("ann").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_acknowledgement_loses_and_doubles_nothing() {
    let Some(cluster) = server("lost acknowledgements").await else { return };
    let stream = cluster.create("acks").await;
    let proxy = Proxy::to(vec![cluster.servers[0].port]).await;
    let publisher = Publisher::open(&context(connect(&[proxy.url()]).await), "acks", 1).await.unwrap();
    let mut duplicates = 0;
    for number in 0..6 {
        let batch = batch(number);
        let (published, ()) =
            tokio::join!(publisher.publish(&batch), proxy.swallow_for(Duration::from_millis(150)));
        let published = published.unwrap();
        assert_eq!(published.position, number + 2, "each once, in order");
        duplicates += u32::from(published.duplicate);
    }
    assert!(duplicates >= 3, "{duplicates}");
    assert_eq!(stream.state().await.unwrap().last_sequence, 7);
}

/// The last messages are lost on their way to a node, and none comes behind them by which it could see that.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_missed_the_last_messages_asks_for_them() {
    let Some(cluster) = server("missed messages").await else { return };
    cluster.create("shop").await;
    let proxy = Proxy::to(vec![cluster.servers[0].port]).await;
    let options = NodeOptions { min_replicas: 1, ..NodeOptions::new("far", cluster.node_dir("far"), "shop") };
    let far = Node::start(connect(&[proxy.url()]).await, options).await.unwrap();
    let near = cluster.node("near", "shop", 1).await;
    let mut last = near.publish_and_wait(&batch(0)).await.unwrap();
    far.wait_for(last.position).await.unwrap();
    for number in 1..6 {
        let more = batch(number);
        let (applied, ()) =
            tokio::join!(near.publish_and_wait(&more), proxy.swallow_for(Duration::from_millis(300)));
        last = applied.unwrap();
        let there = tokio::time::timeout(Duration::from_secs(20), far.wait_for(last.position)).await;
        there.expect("it asks again").unwrap();
    }
    assert_eq!(far.status().checkpoint, last.checkpoint);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_created_safely_and_unsafe_ones_are_refused_by_name() {
    let Some(cluster) = server("settings").await else { return };
    let good = cluster.create("good").await;
    assert!(stream::syncs_always(cluster.servers[0].monitor()).await.unwrap());
    let context = context(cluster.client().await);
    let settings = |name| Settings { replicas: 1, ..Settings::new(name) };
    let again = Stream::create(&context, &settings("good"), Tenant::default(), Policy::default()).await;
    assert!(matches!(again, Err(StreamError::Exists { last: 1, .. })));
    let error =
        Stream::create(&context, &settings("a.b"), Tenant::default(), Policy::default()).await.unwrap_err();
    assert!(matches!(error, StreamError::Name { .. } | StreamError::Unreachable { .. }), "{error}");

    let config = context.get_stream("good").await.unwrap().cached_info().config.clone();
    stream::check(&config, 1).unwrap();
    type Change = (&'static str, fn(&mut Config));
    let changes: [Change; 11] = [
        ("storage", |it| it.storage = StorageType::Memory),
        ("num_replicas", |it| it.num_replicas = 0),
        ("discard", |it| it.discard = DiscardPolicy::Old),
        ("deny_delete", |it| it.deny_delete = false),
        ("max_age", |it| it.max_age = Duration::from_secs(1)),
        ("allow_rollup_hdrs", |it| it.allow_rollup = true),
        ("no_ack", |it| it.no_ack = true),
        ("subjects", |it| it.subjects.push("more".to_owned())),
        ("duplicate_window", |it| it.duplicate_window = Duration::from_secs(1)),
        ("metadata", |it| it.metadata.clear()),
        ("allow_msg_ttl", |it| it.allow_message_ttl = true),
    ];
    for (setting, change) in changes {
        let mut config = config.clone();
        change(&mut config);
        let found = stream::check(&config, 1).unwrap_err();
        assert_eq!(found.setting, setting, "{found}");
    }
    // As the server has it, too: a node does not begin on such a stream.
    let unsafe_one = Config {
        name: "unsafe".to_owned(),
        subjects: vec!["identity-ledger.unsafe.batches".to_owned()],
        deny_delete: false,
        first_sequence: None,
        ..config
    };
    context.create_stream(unsafe_one).await.unwrap();
    let stop = cluster.try_node("u", "unsafe", 1).await.err().unwrap();
    assert!(stop.to_string().contains("deny_delete is false; expected true"), "{stop}");
    let stop = cluster.try_node("m", "missing", 1).await.err().unwrap();
    assert!(matches!(stop, Stop::StreamMissing { .. }), "{stop}");

    // A full stream refuses, and drops nothing.
    let full = Settings { max_bytes: Some(4_096), ..settings("full") };
    let full = Stream::create(&context, &full, Tenant::default(), Policy::default()).await.unwrap();
    let publisher = Publisher::new(full);
    let mut refused = None;
    for number in 0..40 {
        refused = refused.or(publisher.publish(&batch(number)).await.err());
    }
    assert!(
        matches!(&refused, Some(PublishError::Refused { why, .. }) if why.contains("maximum")),
        "{refused:?}"
    );
    assert_eq!(publisher.stream().state().await.unwrap().first_sequence, 1);

    // A batch larger than a message is refused before it is sent.
    let wide = (0..9)
        .map(|key| Operation::properties(at(0), id("ann")).set("k", "x".repeat(200_000 + key)).unwrap());
    let error = Publisher::new(good).publish(&Batch::new(wide.collect()).unwrap()).await.unwrap_err();
    assert!(
        matches!(error, PublishError::TooLarge { .. }) && error.to_string().contains("split it"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_message_of_the_log_stops_every_follower_by_name() {
    let Some(cluster) = server("bad messages").await else { return };
    for (stream, payload, says) in [
        ("version", "{\"v\":3,\"more\":true}", "version 3 of the message format"),
        ("garbage", "hello", "not a message of this format"),
        ("other-log", "", "it belongs to the log `elsewhere.1`"),
    ] {
        let made = cluster.create(stream).await;
        let node = cluster.node(&format!("{stream}-1"), stream, 1).await;
        let good = node.publish_and_wait(&batch(1)).await.unwrap();
        let context = context(cluster.client().await);
        let payload = match payload {
            "" => {
                let message = made.state().await.unwrap().last_sequence;
                let bytes =
                    context.get_stream(stream).await.unwrap().get_raw_message(message).await.unwrap().payload;
                String::from_utf8(bytes.to_vec()).unwrap().replace(made.log().as_str(), "elsewhere.1")
            }
            payload => payload.to_owned(),
        };
        context
            .publish(format!("identity-ledger.{stream}.batches"), payload.into())
            .await
            .unwrap()
            .await
            .unwrap();
        let error = node.publish_and_wait(&batch(2)).await.unwrap_err();
        assert!(matches!(&error, PublishError::Stopped(_)) && error.to_string().contains(says), "{error}");
        assert_eq!((node.status().position, node.status().checkpoint), (good.position, good.checkpoint));
        let new = cluster.node(&format!("{stream}-2"), stream, 1).await;
        assert!(stop_of(&new).await.contains(says));
        assert_eq!(new.status().checkpoint, good.checkpoint, "nothing is half-applied");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_stream_under_a_known_name_and_a_second_stream_of_one_log_are_noticed() {
    let Some(cluster) = server("foreign streams").await else { return };
    let context = context(cluster.client().await);
    let made = cluster.create("shop").await;
    let node = cluster.node("a", "shop", 1).await;
    let last = node.publish_and_wait(&batch(1)).await.unwrap();
    node.close().await.unwrap();
    let config = context.get_stream("shop").await.unwrap().cached_info().config.clone();

    // Deleted, and created again under the same name: another log.
    context.delete_stream("shop").await.unwrap();
    cluster.create("shop").await;
    let says = cluster.try_node("a", "shop", 1).await.err().unwrap().to_string();
    assert!(says.contains(&format!("this ledger follows `{}`", made.log())), "{says}");

    // A second stream that claims to hold the log, with other messages at the same positions.
    context.delete_stream("shop").await.unwrap();
    context.create_stream(config).await.unwrap();
    let second = Stream::open(&context, "shop", 1).await.unwrap();
    let publisher = Publisher::new(second);
    for number in 10..15 {
        publisher.publish(&batch(number)).await.unwrap();
    }
    let node = cluster.node("a", "shop", 1).await;
    let says = stop_of(&node).await;
    assert!(says.contains("another message at position 2") && says.contains("by its digest"), "{says}");
    assert_eq!(node.status().checkpoint, last.checkpoint);
    drop(node);
    // Restored from a backup, which has no trail: the time of its last frame tells.
    std::fs::remove_file(cluster.node_dir("a").join("trail")).unwrap();
    let node = cluster.node("a", "shop", 1).await;
    assert!(stop_of(&node).await.contains("by its time"));
    drop(node);
    // A new node does not begin in the midst of a log.
    let stop = cluster.try_node("new", "shop", 1).await.err().unwrap();
    assert!(matches!(stop, Stop::Purged { .. }), "{stop}");
    assert_eq!(
        remedy::compare(publisher.stream(), &cluster.node_dir("a")).await.unwrap(),
        [],
        "without a trail"
    );
    assert!(context.get_stream("shop").await.unwrap().cached_info().config.metadata.contains_key(LOG_KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_waits_for_every_follower_and_later_nodes_begin_with_a_copy() {
    let Some(cluster) = server("purging").await else { return };
    let stream = cluster.create("shop").await;
    let (a, b) = (cluster.node("a", "shop", 2).await, cluster.node("b", "shop", 1).await);
    for number in 0..10 {
        a.publish_and_wait(&batch(number)).await.unwrap();
    }
    let behind = b.close().await.unwrap();
    let a_alone = Batch::new(vec![Operation::properties(at(0), id("late"))]).unwrap();
    a.publisher().publish(&a_alone).await.unwrap();
    a.wait_for(behind.position + 1).await.unwrap();

    let context = context(cluster.client().await);
    let names = ["a", "b"].map(str::to_owned);
    let said = node::statuses(&context, "shop", Duration::from_millis(1_500)).await.unwrap();
    let error = remedy::purge(&stream, 5, &names, &said).await.unwrap_err();
    assert!(error.to_string().contains("node `b` did not say"), "{error}");
    let b = cluster.node("b", "shop", 1).await;
    b.wait_for(behind.position + 1).await.unwrap();
    let said = node::statuses(&context, "shop", Duration::from_millis(1_500)).await.unwrap();
    assert!(matches!(&said[..], [a, b] if a.checkpoint == b.checkpoint), "{said:?}");
    let error = remedy::purge(&stream, behind.position + 2, &names, &said).await.unwrap_err();
    assert!(matches!(error, remedy::RemedyError::NotPast { .. }), "{error}");
    let all = behind.position + 1;
    assert_eq!(remedy::purge(&stream, all, &names, &said).await.unwrap(), all);

    let stop = cluster.try_node("new", "shop", 1).await.err().unwrap();
    assert!(stop.to_string().contains("copy the ledger of a follower"), "{stop}");
    std::fs::create_dir_all(cluster.node_dir("copy")).unwrap();
    let from = cluster.node_dir("a").join("ledger");
    identity_ledger::backup::Backup::run(&from, &cluster.node_dir("copy").join("ledger"), &mut |_| {})
        .unwrap();
    let copy = cluster.node("copy", "shop", 3).await;
    let applied = copy.publish_and_wait(&batch(77)).await.unwrap();
    for node in [&a, &b] {
        node.wait_for(applied.position).await.unwrap();
        assert_eq!(node.status().checkpoint, applied.checkpoint);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_leaves_every_follower_and_then_the_stream() {
    let Some(cluster) = server("erasing").await else { return };
    let stream = cluster.create("shop").await;
    let (a, b) = (cluster.node("a", "shop", 2).await, cluster.node("b", "shop", 2).await);
    let (ann, mail, bob) = ("ann-5c1fb3a09e", "mail-7d20c4e61a", "bob-90b1f8d377");
    let said = |who: &str, mail: &str| {
        let operation = Operation::properties(at(0), id(who)).set("mail", mail).unwrap();
        Batch::new(vec![operation.set("plan", "team").unwrap()]).unwrap()
    };
    let unheard = Operation::split(at(9), id(ann), [id("unheard")], SplitMode::Each);
    for batch in [said(ann, mail), said(bob, "bob's"), Batch::new(vec![unheard]).unwrap()] {
        a.publish_and_wait(&batch).await.unwrap();
    }
    let old = cluster.node_dir("old").join("ledger");
    std::fs::create_dir_all(cluster.node_dir("old")).unwrap();
    identity_ledger::backup::Backup::run(&cluster.node_dir("a").join("ledger"), &old, &mut |_| {}).unwrap();

    // A value of one, then all of the other; asked for again, there is nothing to erase.
    let request = |who, reason| ErasureRequest::new(at(9), ErasureSubject::PersonOf(id(who)), reason);
    let rectified = Batch::erase(request(bob, "wrong").with_keys([PropertyKey::new("mail").unwrap()]));
    let applied = b.publish_and_wait(&rectified).await.unwrap();
    assert!(matches!(&applied.result, BatchResult::Erased(records) if records.len() == 1), "{applied:?}");
    let applied = a.publish_and_wait(&Batch::erase(request(ann, "request 17"))).await.unwrap();
    assert!(matches!(&applied.result, BatchResult::Erased(_)), "{applied:?}");
    let again = a.publish_and_wait(&Batch::erase(request(ann, "request 17"))).await.unwrap();
    assert!(matches!(&again.result, BatchResult::Rejected(why) if !why.contains(ann)), "{again:?}");
    b.wait_for(again.position).await.unwrap();
    for (node, name) in [(&a, "a"), (&b, "b")] {
        assert_eq!(
            (node.status().checkpoint, node.status().erased),
            (again.checkpoint, Some(again.position))
        );
        assert_eq!(node.ledger().resolve(ann), None);
        let profile = node.ledger().profile(bob).unwrap().unwrap();
        assert_eq!(
            (&profile.properties["mail"].value, &profile.properties["plan"].value),
            (&None, &Some("team".into()))
        );
        for text in [ann, mail, "bob's", "unheard"] {
            assert_eq!(stands_in(&cluster.node_dir(name), text), None, "{text}");
        }
    }

    // The stream has it all until it is purged; and that waits for each node's files.
    let store = cluster.servers[0].store.clone();
    assert!(stands_in(&store, ann).is_some() && stands_in(&store, mail).is_some());
    let context = context(cluster.client().await);
    let names = ["a", "b"].map(str::to_owned);
    let mut said = node::statuses(&context, "shop", Duration::from_millis(1_500)).await.unwrap();
    let behind = Status { node: "c".to_owned(), erased: Some(applied.position - 1), ..said[0].clone() };
    said.push(behind);
    let error = remedy::purge(&stream, applied.position, &names, &said).await.unwrap_err();
    assert!(
        error.to_string().contains("node `c` has taken what is erased out of its files up to"),
        "{error}"
    );
    said.pop();
    remedy::purge(&stream, again.position, &names, &said).await.unwrap();
    assert_eq!(stream.state().await.unwrap().first_sequence, again.position + 1);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while [ann, mail].iter().any(|text| stands_in(&store, text).is_some()) {
        assert!(
            std::time::Instant::now() < deadline,
            "{:?} {:?}",
            stands_in(&store, ann),
            stands_in(&store, mail)
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // A new node begins with a copy from after it; one from before it is refused by name.
    let copy = cluster.node_dir("copy").join("ledger");
    std::fs::create_dir_all(cluster.node_dir("copy")).unwrap();
    let made =
        identity_ledger::backup::Backup::run(&cluster.node_dir("b").join("ledger"), &copy, &mut |_| {});
    assert!(made.unwrap().pending_erasures.is_empty());
    let copy = cluster.node("copy", "shop", 3).await;
    let applied = copy.publish_and_wait(&batch(77)).await.unwrap();
    for node in [&a, &b] {
        node.wait_for(applied.position).await.unwrap();
        assert_eq!(node.status().checkpoint, applied.checkpoint);
    }
    let old = cluster.node("old", "shop", 1).await;
    assert!(stop_of(&old).await.contains("copy the ledger of a follower that is past it"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_head_at_one_position_stops_both_nodes() {
    let Some(cluster) = server("heads that differ").await else { return };
    cluster.create("shop").await;
    let (a, b) = (cluster.node("a", "shop", 2).await, cluster.node("b", "shop", 2).await);
    let applied = a.publish_and_wait(&batch(1)).await.unwrap();
    // As a node says it whose ledger was restored from that of another log, or written by a bug.
    let Status { log, position, .. } = a.status();
    let checkpoint = format!("{}:{}", applied.checkpoint.records, "0".repeat(64)).parse().unwrap();
    let status = Status { node: "odd".to_owned(), log, position, checkpoint, erased: None };
    let client = cluster.client().await;
    client.publish("identity-ledger.shop.status", serde_json::to_vec(&status).unwrap().into()).await.unwrap();
    client.flush().await.unwrap();
    for node in [&a, &b] {
        let says = stop_of(node).await;
        assert!(says.contains("node `odd` has the head") && says.contains("position 2"), "{says}");
    }
    assert!(matches!(a.publish_and_wait(&batch(2)).await, Err(PublishError::Stopped(_))));
}
