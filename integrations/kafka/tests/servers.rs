//! Brokers of your own, such as Apache Kafka: `KAFKA_SERVERS` names them, `KAFKA_REPLICAS` how many hold a message (3 unless given), and
//! `KAFKA_UNCHECKED` settings that they do not have, with a comma between them.
//! The topics that this makes have random names, and are left for you to look at and delete.

#[path = "../../shared-log/tests/support/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{batch, check_exactly_once};
use identity_ledger::{Policy, Tenant};
use identity_ledger_kafka::message::new_uuid;
use identity_ledger_kafka::{
    Client, ClientOptions, Node, NodeOptions, Settings, Stop, StreamError, Topic, remedy, statuses,
};

#[tokio::test(flavor = "multi_thread")]
async fn brokers_of_your_own_do_what_the_documents_say() {
    let Ok(servers) = std::env::var("KAFKA_SERVERS") else { return };
    let replicas = std::env::var("KAFKA_REPLICAS").map_or(3, |text| text.parse().unwrap());
    let (home, name) = (tempfile::tempdir().unwrap(), format!("identity-ledger-{}", new_uuid().simple()));
    let unchecked = std::env::var("KAFKA_UNCHECKED").unwrap_or_default();
    let unchecked = unchecked.split(',').map(str::to_owned).collect();
    let options = ClientOptions { unchecked, ..ClientOptions::new(servers) };
    let client = || Client::new(&options).unwrap();
    let dir = |node: &str| home.path().join(node);
    let start = async |node: &str, topic: &str| {
        let options = NodeOptions { min_replicas: replicas, ..NodeOptions::new(node, dir(node), topic) };
        Node::start(client(), options).await
    };
    let settings = |name: &str| Settings { replicas, ..Settings::new(name) };
    let create = || {
        let settings = settings(&name);
        async move { Topic::create(&client(), &settings, Tenant::default(), Policy::default()).await }
    };
    let topic = create().await.unwrap();
    assert!(matches!(create().await, Err(StreamError::Exists { last: 1, .. })));

    let (a, b) = (start("a", &name).await.unwrap(), start("b", &name).await.unwrap());
    let (begun, mut sent) = (Instant::now(), Vec::new());
    for number in 0..200 {
        sent.push(batch(number));
        let node = if number % 2 == 0 { &a } else { &b };
        node.publish_and_wait(&sent[number as usize]).await.unwrap();
    }
    println!("200 batches, one at a time, in {:?}", begun.elapsed());
    let last = Topic::open(&client(), &name, replicas).await.unwrap().range().last;
    assert_eq!(last, 201);
    for node in [&a, &b] {
        node.wait_for(last).await.unwrap();
    }
    let said = statuses(&client(), &name, Duration::from_secs(3)).await.unwrap();
    let purged = remedy::purge(&topic, last, &["a", "b"].map(str::to_owned), &said).await.unwrap();
    assert_eq!(purged, last, "an empty batch is left, which names the log");
    let stop = start("new", &name).await.err().unwrap();
    assert!(matches!(stop, Stop::Purged { .. }), "{stop}");
    for node in [&a, &b] {
        node.wait_for(last + 1).await.unwrap();
    }
    for node in [a, b] {
        node.close().await.unwrap();
    }
    check_exactly_once(&[dir("a"), dir("b")], &sent, last + 1);
    assert_eq!(remedy::compare(&topic, &dir("a")).await.unwrap(), []);

    let next = format!("{name}-2");
    let done = remedy::continue_topic(&client(), &name, &dir("a"), &settings(&next)).await.unwrap();
    assert_eq!((done.first, done.republished, done.left_out.len()), (last + 2, 0, 0));
    let (a, b) = (start("a", &next).await.unwrap(), start("b", &next).await.unwrap());
    let applied = a.publish_and_wait(&batch(900)).await.unwrap();
    b.wait_for(applied.position).await.unwrap();
    assert_eq!(b.close().await.unwrap().checkpoint, applied.checkpoint);
}
