//! One real broker: what nodes do, and what each bad input is answered.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::follow::LogName;
use identity_ledger::{
    AppendError, Appended, Operation, OperationId, Policy, Preset, PropertyKey, Seq, SplitMode, Target,
    Tenant,
};
use identity_ledger_kafka::remedy::{self, Finding, RemedyError};
use identity_ledger_kafka::{
    Batch, BatchResult, Client, ClientOptions, Node, NodeOptions, PublishError, Publisher, Settings, Status,
    Stop, StreamError, Topic, statuses,
};
use support::common::{at, batch, id, stands_in};
use support::{Broker, backup};

fn answers(result: &BatchResult) -> &[Appended] {
    let BatchResult::Taken(answers) = result else { panic!("{result:?}") };
    answers
}

async fn stop_of(node: &Node) -> std::sync::Arc<Stop> {
    let stop = tokio::time::timeout(Duration::from_secs(40), node.stopped()).await;
    stop.expect("it stops").expect("by itself")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_takes_batches_and_all_have_one_chain() {
    let Some(broker) = Broker::start("nodes").await else { return };
    let made = broker.create("shop").await;
    assert_eq!(made.tenant().await.unwrap(), Some(Tenant::default()));
    let nodes = [broker.node("a", "shop", 2).await, broker.node("b", "shop", 2).await];
    let mut last = 0;
    for number in 0..20 {
        let (batch, node) = (batch(number), &nodes[number as usize % 2]);
        let applied = node.publish_and_wait(&batch).await.unwrap();
        assert!(answers(&applied.result).iter().all(|answer| answer.outcome().is_some()));
        assert!(node.followers_at(applied.position) == 2 && applied.position > last);
        last = applied.position;
        // The same batch again, by both: what this ledger holds is not sent.
        for node in &nodes {
            let again = node.publish_and_wait(&batch).await.unwrap();
            assert_eq!(again.position, applied.position);
            assert!(matches!(again.result, BatchResult::Earlier), "{again:?}");
        }
    }
    assert_eq!(last, 21, "none was sent twice");
    // Sent all the same, the ledgers know the operations by their ids (G4).
    let late = batch(7);
    let first = nodes[0].publish_and_wait(&late).await.unwrap();
    nodes[1].wait_for(first.position).await.unwrap();
    let twice = nodes[1].publisher().publish(&late).await.unwrap();
    assert_eq!(twice.position, first.position + 1);
    let again = nodes[0].publish_and_wait(&late.clone().with_id(batch(0).id)).await.unwrap();
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

    // What no ledger takes is rejected by all: the position moves.
    let unknown = Operation::retract(at(9), Target::Operation(OperationId(batch(1).id.0)));
    let rejected = Batch::new(vec![Operation::properties(at(0), id("half")), unknown]).unwrap();
    let applied = nodes[0].publish_and_wait(&rejected).await.unwrap();
    assert!(matches!(&applied.result, BatchResult::Rejected(_)), "{applied:?}");
    nodes[1].wait_for(applied.position).await.unwrap();
    assert!(nodes.iter().all(|node| (node.rejected(), node.status().position) == (1, applied.position)));

    // The ledger survives a close and a kill, and a later node has the same chain.
    let [a, b] = nodes;
    assert_eq!(a.close().await.unwrap().checkpoint, b.status().checkpoint);
    drop(b); // as if killed
    let applied = broker.node("c", "shop", 1).await.publish_and_wait(&batch(90)).await.unwrap();
    for name in ["a", "b", "d"] {
        let node = broker.node(name, "shop", 1).await;
        node.wait_for(applied.position).await.unwrap();
        assert_eq!(node.status().checkpoint, applied.checkpoint, "{name}");
        assert_eq!(node.close().await.unwrap().log, made.log().as_str());
    }
    assert_eq!(remedy::compare(&made, &broker.node_dir("d")).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_safely_and_unsafe_ones_are_refused_by_name() {
    let Some(broker) = Broker::start("settings").await else { return };
    let good = broker.create("good").await;
    let create = async |name: &str| {
        let settings = Settings { replicas: 1, ..Settings::new(name) };
        Topic::create(&broker.client(), &settings, Tenant::default(), Policy::default()).await
    };
    assert!(matches!(create("good").await, Err(StreamError::Exists { last: 1, .. })));
    assert!(matches!(create("a.b").await, Err(StreamError::Name { .. })));
    let stop = broker.try_node("m", "missing", 1).await.err().unwrap();
    assert!(matches!(stop, Stop::StreamMissing { .. }), "{stop}");

    let refused = async |name: &str| broker.try_node(name, name, 1).await.err().unwrap().to_string();
    broker.make("two", 2, &[]).await;
    assert!(refused("two").await.contains("partitions is 2; expected 1"));
    broker.make("short", 1, &[("cleanup.policy", "delete"), ("retention.ms", "1000")]).await;
    assert!(refused("short").await.contains("retention.ms is 1000; expected -1"));
    broker.make("bare", 1, &[]).await;
    assert!(refused("bare").await.contains("cleanup.policy is not named by the broker; expected delete"));
    let fewer = NodeOptions { min_replicas: 3, ..broker.node_options("f", "good", 1) };
    let stop = Node::start(broker.client(), fewer).await.err().unwrap();
    assert!(stop.to_string().contains("replication.factor is 1; expected 3 or more"), "{stop}");

    // One broker that says it is three replicas holds one copy.
    let settings = Settings::new("thrice");
    let thrice = Topic::create(&broker.client(), &settings, Tenant::default(), Policy::default()).await;
    let says = thrice.unwrap_err().to_string();
    assert!(says.contains("replication.factor is 1; expected 3 or more"), "{says}");

    // This broker says that its clock stamps messages, and lets the senders' do it. That is seen at the first message.
    let options = ClientOptions::new(broker.options().servers);
    let strict = Node::start(Client::new(&options).unwrap(), broker.node_options("s", "good", 1)).await;
    let says = strict.err().unwrap().to_string();
    assert!(
        says.contains("message.timestamp.type is CreateTime") && says.contains("LogAppendTime"),
        "{says}"
    );

    // What only one sender of a topic began is begun again by the next call.
    let config: Vec<(&str, &str)> = vec![
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("unclean.leader.election.enable", "false"),
        ("flush.messages", "1"),
        ("min.insync.replicas", "1"),
    ];
    broker.make("half", 1, &config).await;
    assert!(refused("half").await.contains("messages is none from offset 0 on"));
    create("half").await.unwrap();
    broker.make("half.status", 1, &[("cleanup.policy", "compact")]).await;
    broker.node("half", "half", 1).await.publish_and_wait(&batch(1)).await.unwrap();

    // A batch larger than a message is refused before it is sent.
    let wide = (0..9)
        .map(|key| Operation::properties(at(0), id("ann")).set("k", "x".repeat(200_000 + key)).unwrap());
    let error = Publisher::new(good).publish(&Batch::new(wide.collect()).unwrap()).await.unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_message_of_the_log_stops_every_follower_by_name() {
    let Some(broker) = Broker::start("bad messages").await else { return };
    let elsewhere = LogName::new("elsewhere.1").unwrap();
    let other_log = batch(2).encode(&elsewhere);
    let cases = [
        ("version", &b"{\"v\":3,\"more\":true}"[..], None, "version 3 of the message format"),
        ("garbage", b"hello", None, "not a message of this format"),
        ("empty", b"", Some("1"), "cannot be taken"),
        ("other-log", &other_log, None, "it belongs to the log `elsewhere.1`"),
        ("elsewhere", &other_log, Some("7"), "another first position than the topic has"),
        ("again", b"begin", None, "it begins the log again"),
    ];
    let check = async |(topic, payload, first, says): (&str, &[u8], Option<&str>, &str)| {
        let made = broker.create(topic).await;
        let node = broker.node(&format!("{topic}-1"), topic, 1).await;
        let good = node.publish_and_wait(&batch(1)).await.unwrap();
        let begin = Batch::begin(Tenant::default(), Policy::default()).unwrap().encode(made.log());
        broker.send(topic, if payload == b"begin" { &begin } else { payload }, first).await;
        let error = node.publish_and_wait(&batch(2)).await.unwrap_err();
        assert!(matches!(&error, PublishError::Stopped(_)) && error.to_string().contains(says), "{error}");
        assert_eq!((node.status().position, node.status().checkpoint), (good.position, good.checkpoint));
        let new = broker.node(&format!("{topic}-2"), topic, 1).await;
        assert!(stop_of(&new).await.to_string().contains(says));
        assert_eq!(new.status().checkpoint, good.checkpoint, "nothing is half-applied");
    };
    let [a, b, c, d, e, f] = cases.map(check);
    tokio::join!(a, b, c, d, e, f);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_deleted_or_made_again_or_written_again_is_noticed() {
    let Some(broker) = Broker::start("foreign topics").await else { return };
    let made = broker.create("shop").await;
    let node = broker.node("a", "shop", 1).await;
    for number in 1..4 {
        node.publish_and_wait(&batch(number)).await.unwrap();
    }
    let last = node.close().await.unwrap();

    // Cut back, and written again under the same log's name.
    broker.store.count("shop", |messages| messages - 1);
    let publisher = Publisher::open(&broker.client(), "shop", 1).await.unwrap();
    for number in 10..13 {
        publisher.publish(&batch(number)).await.unwrap();
    }
    let node = broker.node("a", "shop", 1).await;
    let says = stop_of(&node).await.to_string();
    assert!(says.contains("another message at position 4") && says.contains("by its digest"), "{says}");
    assert_eq!(node.status().checkpoint, last.checkpoint);
    node.close().await.unwrap();
    assert_eq!(
        remedy::compare(publisher.stream(), &broker.node_dir("a")).await.unwrap(),
        [Finding::Differs(4)]
    );
    // Restored from a backup, which has no trail: the time of its last frame tells.
    std::fs::remove_file(broker.node_dir("a").join("trail")).unwrap();
    let node = broker.node("a", "shop", 1).await;
    assert!(stop_of(&node).await.to_string().contains("by its time"));
    node.close().await.unwrap();

    // Deleted, and made again under the same name: another log.
    broker.delete("shop").await;
    let stop = broker.try_node("a", "shop", 1).await.err().unwrap();
    assert!(matches!(stop, Stop::StreamMissing { .. }), "{stop}");
    broker.create("shop").await;
    let says = broker.try_node("a", "shop", 1).await.err().unwrap().to_string();
    assert!(says.contains(&format!("this ledger follows `{}`", made.log())), "{says}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_message_is_a_gap_and_lost_ones_at_the_end_are_continued_from_a_follower() {
    let Some(broker) = Broker::start("lost messages").await else { return };
    let old = broker.create("old").await;
    let (a, b) = (broker.node("a", "old", 2).await, broker.node("b", "old", 1).await);
    let mut last = a.publish_and_wait(&batch(0)).await.unwrap();
    for number in 1..8 {
        last = a.publish_and_wait(&batch(number)).await.unwrap();
    }
    b.close().await.unwrap();
    // In the middle: a follower that is past it does not see it, and one that is not stops.
    let lost = broker.store.messages("old").remove(3);
    broker.store.remove(&lost);
    let new = broker.node("new", "old", 1).await;
    let stop = stop_of(&new).await;
    assert!(matches!(*stop, Stop::Gap { position: 4, .. }), "{stop}");
    assert_eq!(new.status().position, 3);
    new.close().await.unwrap();
    assert_eq!(remedy::compare(&old, &broker.node_dir("a")).await.unwrap(), [Finding::Lost(4)]);

    // At the end: a node that has more says so.
    broker.store.count("old", |messages| messages - 2);
    let stop = stop_of(&a).await;
    assert!(matches!(*stop, Stop::CutBack { last: 7, position: 9, .. }), "{stop}");
    assert_eq!(a.status().checkpoint, last.checkpoint);
    assert!(matches!(a.publish_and_wait(&batch(99)).await, Err(PublishError::Stopped(_))));
    a.close().await.unwrap();
    // Sent to the old topic meanwhile, and held by no follower. And something that is not a message.
    let publisher = Publisher::open(&broker.client(), "old", 1).await.unwrap();
    publisher.publish(&batch(50)).await.unwrap();
    broker.send("old", b"hello", None).await;

    let settings = Settings { replicas: 1, ..Settings::new("new") };
    let continued = async || {
        remedy::continue_topic(&broker.client(), "old", &broker.node_dir("a"), &settings).await.unwrap()
    };
    let done = continued().await;
    assert_eq!((done.first, done.republished, done.old_is_there), (10, 1, true));
    assert_eq!(done.left_out.keys().copied().collect::<Vec<_>>(), [9]);
    // Given again, it changes nothing: what comes twice is known by its ids.
    assert_eq!(continued().await.first, 10);
    broker.delete("old").await;
    backup(&broker.node_dir("a"), &broker.node_dir("copy"));
    let (a, copy) = (broker.node("a", "new", 2).await, broker.node("copy", "new", 2).await);
    let applied = copy.publish_and_wait(&batch(60)).await.unwrap();
    assert_eq!(applied.position, 13, "an empty batch, what was sent again twice, and this one");
    a.wait_for(applied.position).await.unwrap();
    assert_eq!(a.status().checkpoint, applied.checkpoint);
    for number in (0..8).chain([50, 60]) {
        assert!(a.ledger().resolve(&format!("visitor-{number}")).is_some(), "{number}");
    }
    assert_eq!(remedy::compare(copy.publisher().stream(), &broker.node_dir("a")).await.unwrap(), []);
}

/// A topic that is cut back and written again right away is noticed by its next acknowledgement.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_goes_back_stops_the_node_that_sent() {
    let Some(broker) = Broker::start("positions that go back").await else { return };
    broker.create("shop").await;
    let node = broker.node("a", "shop", 1).await;
    for number in 0..4 {
        node.publish_and_wait(&batch(number)).await.unwrap();
    }
    broker.store.count("shop", |messages| messages - 3);
    let error = node.publish_and_wait(&batch(9)).await.unwrap_err();
    assert!(matches!(error, PublishError::WentBack { found: 3, before: 5, .. }), "{error}");
    let stop = stop_of(&node).await;
    assert!(matches!(*stop, Stop::WentBack { position: 5, found: 3, .. }), "{stop}");
}

/// Times of records ascend, also if those of messages do not: each follower chains the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_back_takes_no_record_with_it() {
    let Some(broker) = Broker::start("clocks that go back").await else { return };
    let made = broker.create("shop").await;
    let (a, b) = (broker.node("a", "shop", 2).await, broker.node("b", "shop", 2).await);
    let before = a.publish_and_wait(&batch(1)).await.unwrap();
    broker.send("shop", &batch(2).encode(made.log()), Some("1")).await;
    let after = b.publish_and_wait(&batch(3)).await.unwrap();
    assert_eq!(after.position, before.position + 2);
    a.wait_for(after.position).await.unwrap();
    assert_eq!(a.status().checkpoint, after.checkpoint);
    let time =
        |records: u64| a.ledger().read(|reader| reader.recorded_at(Seq(records - 1)).unwrap().unwrap());
    let times: Vec<_> = (before.checkpoint.records..=after.checkpoint.records).map(time).collect();
    assert!(times.is_sorted() && times[0] > at(1_000_000), "{times:?}");
    a.close().await.unwrap();
    let again = broker.node("a", "shop", 1).await; // the message at its position is the one that it has
    again.publish_and_wait(&batch(4)).await.unwrap();
}

/// A broker that is killed after it counted a message and before it stored it has a place without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_without_a_message_is_a_gap_for_every_follower() {
    let Some(broker) = Broker::start("a place without a message").await else { return };
    broker.create("shop").await;
    let nodes = [broker.node("a", "shop", 2).await, broker.node("b", "shop", 2).await];
    nodes[0].publish_and_wait(&batch(1)).await.unwrap();
    broker.store.count("shop", |messages| messages + 1);
    let error = nodes[0].publish_and_wait(&batch(2)).await.unwrap_err();
    assert!(error.to_string().contains("lost the message of position 3"), "{error}");
    assert!(matches!(*stop_of(&nodes[1]).await, Stop::Gap { position: 3, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_waits_for_every_follower_and_later_nodes_begin_with_a_copy() {
    let Some(broker) = Broker::start("purging").await else { return };
    let topic = broker.create("shop").await;
    let (a, b) = (broker.node("a", "shop", 2).await, broker.node("b", "shop", 1).await);
    for number in 0..5 {
        a.publish_and_wait(&batch(number)).await.unwrap();
    }
    let behind = b.close().await.unwrap();
    let names = ["a", "b"].map(str::to_owned);
    let client = broker.client();
    let heard = async || statuses(&client, "shop", Duration::from_millis(2_500)).await.unwrap();
    let error = remedy::purge(&topic, 3, &names, &heard().await).await.unwrap_err();
    assert!(error.to_string().contains("node `b` did not say"), "{error}");
    let b = broker.node("b", "shop", 1).await;
    let said = heard().await;
    assert!(matches!(&said[..], [a, b] if a.checkpoint == b.checkpoint), "{said:?}");
    let error = remedy::purge(&topic, behind.position + 1, &names, &said).await.unwrap_err();
    assert!(matches!(error, RemedyError::NotPast { .. }), "{error}");

    // This broker cannot delete records, and says so. A topic that is to be emptied has one more message by then.
    let error = remedy::purge(&topic, behind.position, &names, &said).await.unwrap_err();
    assert!(matches!(error, RemedyError::Stream(StreamError::Unreachable { .. })), "{error}");
    for node in [&a, &b] {
        node.wait_for(behind.position + 1).await.unwrap();
    }
    // So its store does it. Nodes do not mind, and a new one needs a copy.
    broker.store.cut_before("shop", behind.position);
    a.publish_and_wait(&batch(20)).await.unwrap();
    let stop = broker.try_node("new", "shop", 1).await.err().unwrap();
    assert!(matches!(stop, Stop::Purged { first: 7, next: 1, .. }), "{stop}");
    backup(&broker.node_dir("a"), &broker.node_dir("copy"));
    let copy = broker.node("copy", "shop", 3).await;
    let applied = copy.publish_and_wait(&batch(77)).await.unwrap();
    for node in [&a, &b] {
        node.wait_for(applied.position).await.unwrap();
        assert_eq!(node.status().checkpoint, applied.checkpoint);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_leaves_every_follower_and_stays_in_the_topic_until_it_is_purged() {
    let Some(broker) = Broker::start("erasing").await else { return };
    let topic = broker.create("shop").await;
    let (a, b) = (broker.node("a", "shop", 2).await, broker.node("b", "shop", 2).await);
    let (ann, mail, bob) = ("ann-5c1fb3a09e", "mail-7d20c4e61a", "bob-90b1f8d377");
    let said = |who: &str, mail: &str| {
        let operation = Operation::properties(at(0), id(who)).set("mail", mail).unwrap();
        Batch::new(vec![operation.set("plan", "team").unwrap()]).unwrap()
    };
    for batch in [said(ann, mail), said(bob, "bob's")] {
        a.publish_and_wait(&batch).await.unwrap();
    }
    backup(&broker.node_dir("a"), &broker.node_dir("old"));
    let request = |who, reason| ErasureRequest::new(at(9), ErasureSubject::PersonOf(id(who)), reason);
    let rectified = Batch::erase(request(bob, "wrong").with_keys([PropertyKey::new("mail").unwrap()]));
    let applied = b.publish_and_wait(&rectified).await.unwrap();
    assert!(matches!(&applied.result, BatchResult::Erased(records) if records.len() == 1), "{applied:?}");
    let erased = a.publish_and_wait(&Batch::erase(request(ann, "request 17"))).await.unwrap();
    assert!(matches!(&erased.result, BatchResult::Erased(_)), "{erased:?}");
    b.wait_for(erased.position).await.unwrap();
    for (node, name) in [(&a, "a"), (&b, "b")] {
        assert_eq!(
            (node.status().checkpoint, node.status().erased),
            (erased.checkpoint, Some(erased.position))
        );
        assert_eq!(node.ledger().resolve(ann), None);
        for text in [ann, mail, "bob's"] {
            assert_eq!(stands_in(&broker.node_dir(name), text), None, "{text}");
        }
    }
    // The topic has it all, and a purge waits for each node's files.
    assert!(broker.store.holds(ann) && broker.store.holds(mail));
    let behind = Status { node: "c".to_owned(), erased: Some(erased.position - 1), ..a.status() };
    let all = [a.status(), b.status(), behind];
    let names = ["a", "b", "c"].map(str::to_owned);
    let error = remedy::purge(&topic, erased.position, &names, &all).await.unwrap_err();
    assert!(matches!(error, RemedyError::NotErased { .. }), "{error}");
    a.publish_and_wait(&batch(1)).await.unwrap();
    broker.store.cut_before("shop", erased.position);
    assert!(!broker.store.holds(ann) && !broker.store.holds(mail));
    // A copy from before it is refused by name.
    let old = broker.node("old", "shop", 1).await;
    assert!(matches!(*stop_of(&old).await, Stop::Purged { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_head_at_one_position_stops_both_nodes() {
    let Some(broker) = Broker::start("heads that differ").await else { return };
    broker.create("shop").await;
    let (a, b) = (broker.node("a", "shop", 2).await, broker.node("b", "shop", 2).await);
    let applied = a.publish_and_wait(&batch(1)).await.unwrap();
    // As a node says it whose ledger was restored from that of another log, or written by a bug.
    let checkpoint = format!("{}:{}", applied.checkpoint.records, "0".repeat(64)).parse().unwrap();
    let status = Status { node: "odd".to_owned(), checkpoint, erased: None, ..a.status() };
    // Said again and again, as nodes do.
    let status = serde_json::to_vec(&status).unwrap();
    for _ in 0..40 {
        broker.send("shop.status", &status, None).await;
        if [&a, &b].iter().all(|node| node.stop_reason().is_some()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for node in [&a, &b] {
        let says = stop_of(node).await.to_string();
        assert!(says.contains("node `odd` has the head") && says.contains("position 2"), "{says}");
    }
    assert!(matches!(a.publish_and_wait(&batch(2)).await, Err(PublishError::Stopped(_))));
}

/// Two nodes with one name count as one, so no batch would ever have two followers. It is said by name.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_with_one_name_do_not_both_continue() {
    let Some(broker) = Broker::start("one name").await else { return };
    broker.create("shop").await;
    let first = broker.node("a", "shop", 1).await;
    let dir = broker.node_dir("other");
    let other = NodeOptions { dir, ..broker.node_options("a", "shop", 1) };
    let second = Node::start(broker.client(), other).await.unwrap();
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
