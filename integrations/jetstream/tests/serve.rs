//! The built programs: several `identity-ledger serve --jetstream` on one stream, and the operator's command.

#[path = "../../../cli/tests/support/http.rs"]
mod http;
#[path = "../../../cli/tests/support/server.rs"]
mod server;
#[path = "support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use http::{Answer, get, post, send, try_send};
use identity_ledger::ReadOnlyLedger;
use identity_ledger_jetstream::context;
use serde_json::{Value, json};
use server::Server;
use support::{Cluster, connect};

/// The program `identity-ledger`, built with its feature `jetstream`.
mod place {
    use std::process::Command;

    pub(crate) fn program() -> Command {
        Command::new(std::env::var_os("IDENTITY_LEDGER").expect("tests that need it ask first"))
    }
}

/// Both programs of others; without them a test is skipped, loudly.
fn programs(test: &str) -> Option<PathBuf> {
    if std::env::var_os("IDENTITY_LEDGER").is_none() {
        let line = format!("\nNOT RUN: {test}: set IDENTITY_LEDGER, or run integrations/jetstream/test\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    }
    support::program(test)
}

/// One server with the stream `shop`.
fn cluster(test: &str) -> Option<Cluster> {
    let cluster = Cluster::start(&programs(test)?, 1);
    create(&cluster, "shop");
    Some(cluster)
}

fn create(cluster: &Cluster, stream: &str) {
    let (status, said) = operator(cluster, &["create", "--as", stream, "--replicas", "1"]);
    assert_eq!(status, 0, "{said}");
}

fn operator(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_identity-ledger-jetstream"));
    said(command.arg("--url").arg(cluster.servers[0].url()).args(arguments))
}

fn said(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// The arguments of a node, but for its directory.
fn arguments<'a>(url: &'a str, node: &'a str, stream: &'a str) -> Vec<&'a str> {
    let tokens = ["--token", "phc_shop=shop", "--token", "seg=shop:segment", "--allow-corrections"];
    [&["--jetstream", url, "--stream", stream, "--node", node, "--min-replicas", "1"], &tokens[..]].concat()
}

fn start(cluster: &Cluster, node: &str, stream: &str) -> Server {
    let url = cluster.servers[0].url();
    Server::start(&cluster.node_dir(node), &arguments(&url, node, stream))
}

/// What `serve` says before it ends by itself.
fn refused(dir: &Path, arguments: &[&str]) -> String {
    let mut command = place::program();
    let (status, said) =
        said(command.arg("serve").arg(dir).args(["--listen", "127.0.0.1:0"]).args(arguments));
    assert_eq!(status, 2, "{said}");
    said
}

fn event(number: u128, id: &str) -> Value {
    let uuid = format!("01900000-0000-7000-8000-{number:012x}");
    json!({"event": "x", "distinct_id": id, "uuid": uuid, "timestamp": "2026-01-01T00:00:00Z"})
}

fn identify(number: u128, anonymous: &str, user: &str) -> Value {
    let mut event = event(number, user);
    event["event"] = json!("$identify");
    event["properties"] = json!({"$anon_distinct_id": anonymous});
    event["$set"] = json!({"email": format!("{user}@example.com")});
    event
}

fn batch(events: &[Value]) -> String {
    json!({ "api_key": "phc_shop", "batch": events }).to_string()
}

fn capture(server: &Server, events: &[Value]) -> Answer {
    post(server.address, "/batch/", &batch(events))
}

fn api(server: &Server, method: &str, target: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {}", server.admin);
    let headers = [("Authorization", &bearer[..]), ("Content-Type", "application/json")];
    send(server.address, method, &format!("/api/shop/{target}"), &headers, body.to_string().as_bytes())
}

fn profile(server: &Server, id: &str) -> Value {
    let answer = api(server, "GET", &format!("resolve?id={id}"), &Value::Null);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["profile"].clone()
}

/// A correction, after a look at what it would change.
fn correct(server: &Server, correction: &Value) -> Answer {
    let shown = api(server, "POST", "preview", correction);
    assert_eq!(shown.status, 200, "{shown:?}");
    api(server, "POST", "correct", &confirmed(correction, &shown))
}

fn confirmed(correction: &Value, shown: &Answer) -> Value {
    let mut confirmed = correction.clone();
    confirmed["confirm"] = shown.json()["confirm"].clone();
    confirmed
}

fn health(server: &Server) -> Value {
    get(server.address, "/healthz").json()
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Positions and heads, once they are the same.
#[track_caller]
fn equal_heads(servers: &[Server]) -> Value {
    let heads = |server: &Server| {
        let health = health(server);
        (health["position"].clone(), health["checkpoint"].clone())
    };
    until("the heads are equal", || servers.iter().all(|server| heads(server) == heads(&servers[0])));
    health(&servers[0])
}

/// How often each event is in the ledger of a node that is closed.
fn recorded(dir: &Path) -> BTreeMap<String, u32> {
    let ledger = ReadOnlyLedger::open(dir.join("ledger")).unwrap();
    let mut found = BTreeMap::new();
    ledger
        .reader()
        .replay(|step| {
            if let Some(id) = step.record.operation_id() {
                *found.entry(id.to_string()).or_insert(0) += 1;
            }
        })
        .unwrap();
    found
}

#[test]
fn three_nodes_take_events_correct_and_erase() {
    let Some(cluster) = cluster("nodes over HTTP") else { return };
    let monitor = cluster.servers[0].monitor().to_string();
    let (status, said) =
        operator(&cluster, &["create", "--as", "shop", "--replicas", "1", "--monitor", &monitor]);
    assert!(status == 2 && said.contains("is there already"), "{said}");
    let nodes = ["a", "b", "c"].map(|name| start(&cluster, name, "shop"));

    // Each takes events, of other vendors too; each answers. One that took them has them at once.
    for (number, node) in nodes.iter().enumerate() {
        let user = format!("user-{number}");
        let answer = capture(node, &[identify(number as u128, &format!("visitor-{number}"), &user)]);
        assert_eq!((answer.status, answer.json()), (200, json!({"status": 1})));
        assert_eq!(profile(node, &format!("visitor-{number}"))["distinct_ids"][0], json!(user));
    }
    let call = br#"{"userId":"user-0","anonymousId":"phone","event":"bought","messageId":"m1"}"#;
    let answer = send(nodes[1].address, "POST", "/v1/track", &[("Authorization", "Basic c2VnOg==")], call);
    assert_eq!((answer.status, answer.json()), (200, json!({"status": 1})));
    let said = equal_heads(&nodes);
    assert_eq!(
        (&said["status"], &said["node"], &said["stream"]),
        (&json!("ok"), &json!("a"), &json!("shop"))
    );
    for node in &nodes {
        for id in ["visitor-0", "visitor-1", "visitor-2", "phone"] {
            assert!(profile(node, id).is_object(), "{id}");
        }
    }

    // What becomes of each event is said as on one machine: again, with other words, and out of bounds.
    let mut other = identify(0, "visitor-0", "user-0");
    other["event"] = json!("y");
    let mut nameless = event(7, "");
    nameless["distinct_id"] = json!("");
    let answer = capture(&nodes[2], &[identify(1, "visitor-1", "user-1"), other, nameless, event(8, "eve")]);
    let rejected = answer.json()["rejected"].clone();
    assert_eq!((answer.status, &rejected[0]["index"], &rejected[1]["index"]), (200, &json!(1), &json!(2)));
    assert!(rejected[0]["error"].as_str().unwrap().ends_with("has the same uuid and says something else"));
    let bearer = format!("Bearer {}", nodes[2].admin);
    let metrics = send(nodes[2].address, "GET", "/metrics", &[("Authorization", &bearer)], &[]).body;
    for line in [
        r#"identity_ledger_events_total{tenant="shop",result="duplicate"} 1"#,
        r#"identity_ledger_events_total{tenant="shop",result="conflict"} 1"#,
        r#"identity_ledger_stream_stopped{tenant="shop"} 0"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in {metrics}");
    }
    assert_eq!(post(nodes[1].address, "/capture/", "what?").status, 400);
    assert_eq!(post(nodes[1].address, "/capture/?token=other", "{}").status, 401);
    let large = api(&nodes[1], "POST", "correct", &json!({"do": "retract", "seq": 9, "confirm": "x"}));
    assert_eq!(large.status, 409, "{large:?}");

    // A retract at one, by what another one shows; sent again it does nothing.
    assert_eq!(
        capture(&nodes[0], &[identify(20, "kiosk", "user-0"), identify(21, "kiosk", "nina")]).status,
        200
    );
    assert_eq!(profile(&nodes[0], "user-0"), profile(&nodes[0], "nina"));
    let seq = profile(&nodes[0], "nina")["property_seqs"]["email"].clone();
    let retract = json!({"do": "retract", "seq": seq});
    equal_heads(&nodes);
    let shown = api(&nodes[1], "POST", "preview", &retract);
    let done = api(&nodes[2], "POST", "correct", &confirmed(&retract, &shown));
    assert_eq!((done.status, &done.json()["recorded"]), (200, &json!(true)), "{done:?}");
    assert_eq!(api(&nodes[2], "POST", "correct", &confirmed(&retract, &shown)).status, 409);
    until("all have it", || nodes.iter().all(|node| profile(node, "nina").is_null()));
    let split = json!({"do": "split", "id": "user-2", "ids": ["visitor-2"]});
    assert_eq!(correct(&nodes[0], &split).status, 200);

    // An erasure at one: out of the files of all, and of the stream once it is purged.
    let erase = json!({"do": "erase", "id": "user-1", "reason": "request 17"});
    let done = correct(&nodes[1], &erase).json();
    assert_eq!((&done["recorded"], &done["files"]), (&json!(true), &json!("rewritten")), "{done}");
    assert_eq!((done["receipts"].as_array().unwrap().len(), &done["receipts"][0]["done"]), (1, &json!(true)));
    let position = done["position"].to_string();
    assert!(done["stream"].as_str().unwrap().contains(&format!("purge shop --to {position}")), "{done}");
    equal_heads(&nodes);
    for node in &nodes {
        assert_eq!(profile(node, "user-1"), Value::Null);
    }
    let again = api(&nodes[1], "POST", "preview", &erase);
    assert!(again.status == 400 && again.body.contains("nothing to erase"), "{again:?}");
    let (status, said) = operator(&cluster, &["nodes", "shop", "--seconds", "2"]);
    assert!(status == 0 && said.contains("3 nodes"), "{said}");
    let purge = ["purge", "shop", "--to", &position, "--node", "a", "--node", "b"];
    let (status, said) = operator(&cluster, &purge);
    assert!(status == 0 && said.contains(&format!("up to position {position}")), "{said}");
    for node in ["a", "b", "c"] {
        for file in support::files_under(&cluster.node_dir(node), "ledger") {
            let holds = std::fs::read(&file).unwrap().windows(6).any(|text| text == b"user-1");
            assert!(!holds, "{}", file.display());
        }
    }

    // The end in order; then the log is continued in another stream.
    assert_eq!(capture(&nodes[0], &[event(30, "late")]).status, 200);
    equal_heads(&nodes);
    assert!(nodes.map(Server::terminate).iter().all(|status| status.success()));
    let a = cluster.node_dir("a");
    let (status, said) = operator(&cluster, &["compare", "shop", "--node", a.to_str().unwrap()]);
    assert!(status == 0 && said.contains("0 findings"), "{said}");
    let more = ["continue", "shop", "--from", a.to_str().unwrap(), "--as", "shop-2", "--replicas", "1"];
    let (status, said) = operator(&cluster, &more);
    assert!(status == 0 && said.contains("continues in `shop-2`") && said.contains("sealed"), "{said}");
    let nodes = ["a", "b"].map(|name| start(&cluster, name, "shop-2"));
    assert_eq!(capture(&nodes[1], &[identify(31, "tablet", "user-2")]).status, 200);
    until("the other has it too", || profile(&nodes[0], "tablet").is_object());
}

/// Senders at each node, one of which is killed under load, and starts again.
#[test]
fn what_was_acknowledged_is_in_every_node_after_kill_9() {
    let Some(cluster) = cluster("nodes killed over HTTP") else { return };
    let mut nodes = ["a", "b", "c"].map(|name| Some(start(&cluster, name, "shop")));
    let mut acknowledged = BTreeSet::new();
    for (round, victim) in (0..).zip(["a", "b"]) {
        let (tell, heard) = mpsc::channel();
        let senders: Vec<_> = (0..6_u128)
            .map(|sender| {
                let (tell, node) = (tell.clone(), &nodes[sender as usize % 3]);
                let address = node.as_ref().unwrap().address;
                std::thread::spawn(move || {
                    for request in 0..200 {
                        let number = |event: u128| ((round * 8 + sender) << 24) + (request << 4) + event;
                        let events: Vec<_> =
                            (0..5).map(|n| event(number(n), &format!("p{n}-{sender}"))).collect();
                        let answer = try_send(address, "POST", "/e/", &[], batch(&events).as_bytes());
                        let Some(answer) = answer.filter(|answer| answer.status == 200) else { return };
                        assert_eq!(answer.json(), json!({"status": 1}));
                        let ids = events.iter().map(|event| event["uuid"].as_str().unwrap().to_owned());
                        tell.send(ids.collect::<Vec<_>>()).unwrap();
                    }
                })
            })
            .collect();
        drop(tell);
        acknowledged.extend(heard.iter().take(60).flatten());
        let node = &mut nodes[round as usize];
        node.take().unwrap().kill();
        acknowledged.extend(heard.iter().flatten());
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        *node = Some(start(&cluster, victim, "shop"));
    }
    let nodes = nodes.map(Option::unwrap);
    equal_heads(&nodes);
    assert!(nodes.map(Server::terminate).iter().all(|status| status.success()));
    let all = ["a", "b", "c"].map(|name| recorded(&cluster.node_dir(name)));
    assert!(all[0] == all[1] && all[1] == all[2]);
    assert!(all[0].values().all(|times| *times == 1));
    let lost: Vec<_> = acknowledged.iter().filter(|id| !all[0].contains_key(*id)).collect();
    println!("{} events acknowledged, {} recorded", acknowledged.len(), all[0].len());
    assert!(
        acknowledged.len() >= 900 && lost.is_empty(),
        "{} acknowledged, lost: {lost:?}",
        acknowledged.len()
    );
}

/// A stop has its name and its remedy; the node answers questions, and takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_stream_is_named_and_questions_are_answered() {
    let Some(cluster) = cluster("a deleted stream over HTTP") else { return };
    let nodes = ["a", "b"].map(|name| start(&cluster, name, "shop"));
    assert_eq!(capture(&nodes[0], &[identify(1, "visitor", "ann")]).status, 200);
    context(connect(&cluster.urls()).await).delete_stream("shop").await.unwrap();
    until("both stop", || nodes.iter().all(|node| get(node.address, "/healthz").status == 503));
    let said = health(&nodes[0]);
    assert_eq!((&said["status"], &said["stop"]), (&json!("failed"), &json!("StreamMissing")), "{said}");
    assert!(said["remedy"].as_str().unwrap().contains("identity-ledger-jetstream continue"), "{said}");

    let answer = capture(&nodes[0], &[event(2, "bob")]);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.json()["error"].as_str().unwrap().contains("this node stopped (StreamMissing)"));
    assert_eq!(profile(&nodes[0], "visitor")["distinct_ids"], json!(["ann", "visitor"]));
    for target in ["history?id=ann&person=true", "find?property=email=ann@example.com", "notable"] {
        assert_eq!(api(&nodes[0], "GET", target, &Value::Null).status, 200, "{target}");
    }
    let answer = correct(&nodes[0], &json!({"do": "erase", "id": "ann", "reason": "request 17"}));
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    let [a, b] = nodes;
    assert!(!a.terminate().success(), "it ended as a node that had stopped");
    b.kill();
    let url = cluster.servers[0].url();
    let said = refused(&cluster.node_dir("a"), &arguments(&url, "a", "shop"));
    assert!(said.contains("the node does not start (StreamMissing)") && said.contains("try: "), "{said}");
}

/// A 503 says that it is not known whether something is recorded. Sent again it is recorded once.
#[test]
fn what_was_answered_503_is_recorded_once() {
    let Some(program) = programs("503 over HTTP") else { return };
    let mut cluster = Cluster::start(&program, 1);
    create(&cluster, "shop");
    let a = start(&cluster, "a", "shop");
    let (first, second) = ([identify(1, "visitor", "ann")], [event(2, "bob")]);
    // In the stream and in this ledger, and no second node has it.
    let answer = capture(&a, &first);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert!(answer.body.contains("1 of 2 followers have position 2"), "{answer:?}");
    let b = start(&cluster, "b", "shop");
    assert_eq!((capture(&b, &first).status, capture(&a, &first).status), (200, 200));
    // No server at all; then it is back.
    cluster.servers[0].kill();
    let answer = capture(&a, &second);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert_eq!(get(a.address, "/healthz").status, 200, "servers may be away for a while");
    cluster.servers[0].start();
    until("it is taken", || capture(&b, &second).status == 200 && capture(&a, &second).status == 200);
    let nodes = [a, b];
    equal_heads(&nodes);
    assert!(nodes.map(Server::terminate).iter().all(|status| status.success()));
    for name in ["a", "b"] {
        let found = recorded(&cluster.node_dir(name));
        assert!(found.len() == 2 && found.values().all(|times| *times == 1), "{found:?}");
    }
}

/// A request is split where a message, or a ledger, does not take it whole. What is too much alone is rejected by name.
#[test]
fn large_requests_are_split_and_one_bad_event_is_rejected_alone() {
    let Some(cluster) = cluster("large requests") else { return };
    let nodes = ["a", "b"].map(|name| start(&cluster, name, "shop"));
    let filled = |number: u128, keys: usize, text: &str| {
        let mut event = event(number, "ann");
        event["event"] = json!("$set");
        let keys = (0..keys).map(|key| (format!("{number}-{key}"), json!(text)));
        event["$set"] = Value::Object(keys.collect());
        event
    };
    // Five megabytes, and in the middle an event that no message holds.
    let mut events: Vec<Value> = (0..500).map(|number| filled(number, 1, &"x".repeat(10_000))).collect();
    events[250] = filled(250, 10, &"\"".repeat(100_000));
    let answer = capture(&nodes[0], &events);
    let rejected = answer.json()["rejected"].clone();
    assert_eq!((answer.status, rejected.as_array().unwrap().len()), (200, 1), "{rejected}");
    assert_eq!(rejected[0]["index"], json!(250));
    let error = rejected[0]["error"].as_str().unwrap();
    assert!(error.starts_with("operation 250: batch ") && error.contains("as a message"), "{error}");

    // More keys than a person may have, with the last but one: every node rejects the batch, and takes the others.
    let mut events: Vec<Value> = (600..609).map(|number| filled(number, 1_000, "x")).collect();
    events.extend([filled(610, 900, "x"), event(611, "ann")]);
    let answer = capture(&nodes[1], &events);
    let rejected = answer.json()["rejected"].clone();
    assert_eq!((answer.status, rejected.as_array().unwrap().len()), (200, 1), "{rejected}");
    assert_eq!(rejected[0]["index"], json!(9));
    assert!(
        rejected[0]["error"]
            .as_str()
            .unwrap()
            .starts_with("operation 9: the person could have 10399 property keys"),
        "{rejected}"
    );
    let said = equal_heads(&nodes);
    assert!(said["rejected"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(profile(&nodes[0], "ann")["properties"].as_object().unwrap().len(), 9_499);
}

#[test]
fn what_cannot_be_served_is_refused_by_name() {
    let Some(cluster) = cluster("refusals") else { return };
    let url = cluster.servers[0].url();
    let dir = cluster.node_dir("new");
    let mut of_two = arguments(&url, "new", "shop");
    of_two.extend(["--token", "phc_site=site"]);
    create(&cluster, "site");
    let mut replicated = arguments(&url, "new", "shop");
    replicated.retain(|argument| !matches!(*argument, "--min-replicas" | "1"));
    #[rustfmt::skip]
    let table = [
        (of_two, "a stream carries the ledger of one tenant, and the tokens are of `shop` and `site`"),
        (arguments(&url, "new", "site"), "the stream `site` holds the ledger of the tenant `site`, and the tokens are of `shop`"),
        (arguments(&url, "new", "a.b"), "`a.b` is not a name for a stream"),
        (arguments("http://127.0.0.1:1", "new", "shop"), "expected nats://HOST:PORT"),
        (arguments("nats://ann:secret@", "new", "shop"), "`nats://` is not the address of a NATS server"),
        (replicated, "(Unsafe): the stream `shop` is unsafe: num_replicas is 1; expected 3 or more"),
        (arguments(&url, "new", "nothing"), "(StreamMissing): the servers do not have a stream `nothing`"),
    ];
    for (arguments, expected) in &table {
        let said = refused(&dir, arguments);
        assert!(said.contains(expected) && !said.contains("secret"), "{expected}: {said}");
    }
    assert!(!dir.join("ledger").exists());

    let node = start(&cluster, "a", "shop");
    let said = refused(&dir, &arguments(&url, "a", "shop"));
    assert!(said.contains("a node `a` is at work on the stream `shop` already"), "{said}");
    let said = refused(&cluster.node_dir("a"), &["--token", "phc_shop=shop"]);
    assert!(said.contains("is the directory of a node; start it with --jetstream"), "{said}");
    node.kill();
    let (status, said) =
        operator(&cluster, &["create", "--as", "other", "--tenant", "shop", "--replicas", "1"]);
    assert_eq!(status, 0, "{said}");
    let said = refused(&cluster.node_dir("a"), &arguments(&url, "a", "other"));
    assert!(said.contains("(ForeignStream): the stream `other` holds the log `other."), "{said}");
    let alone = Server::start(&dir, &["--token", "phc_shop=shop"]);
    assert_eq!(capture(&alone, &[event(1, "ann")]).status, 200);
    alone.kill();
    let said = refused(&dir, &arguments(&url, "new", "shop"));
    assert!(said.contains("is a ledger of one machine, which cannot begin to follow a stream"), "{said}");
}

/// A node that is started before its servers waits and says so; a signal ends it meanwhile.
#[test]
fn servers_that_are_not_up_yet_are_waited_for() {
    let Some(program) = programs("servers that come later") else { return };
    let mut cluster = Cluster::start(&program, 1);
    cluster.servers[0].kill();
    let url = cluster.servers[0].url();
    let wait = |name: &str| -> Child {
        let child = place::program()
            .arg("serve")
            .arg(cluster.node_dir(name))
            .args(["--json", "--listen", "127.0.0.1:0"])
            .args(arguments(&url, name, "shop"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        child.unwrap()
    };
    let (a, b) = (wait("a"), wait("b"));
    std::thread::sleep(Duration::from_secs(4));
    assert!(Command::new("kill").arg(a.id().to_string()).status().unwrap().success());
    let Output { status, stderr, .. } = a.wait_with_output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{said}");
    assert!(
        said.contains("IO error") && said.contains(&format!("waiting for the stream `shop` at {url}")),
        "{said}"
    );
    cluster.servers[0].start();
    create(&cluster, "shop");
    std::thread::sleep(Duration::from_secs(8));
    assert!(Command::new("kill").arg(b.id().to_string()).status().unwrap().success());
    let Output { status, stdout, stderr } = b.wait_with_output().unwrap();
    assert!(status.success() && !stdout.is_empty(), "{}", String::from_utf8_lossy(&stderr));
}
