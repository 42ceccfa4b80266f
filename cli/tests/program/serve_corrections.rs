//! `serve`: corrections over HTTP. What is shown is what is done, and only for who knows the admin token.

#![cfg(feature = "serve")]

use std::path::Path;

use serde_json::{Value, json};

use crate::http::{Answer, get, post, send};
use crate::place::{Said, program};
use crate::server::Server;

const ALLOWED: [&str; 3] = ["--token", "phc_shop=shop", "--allow-corrections"];

/// A visitor's browser, on which Ann signs in and then Bob.
fn shared_computer(server: &Server) {
    let identify = |anonymous: &str, user: &str| {
        json!({"event": "$identify", "distinct_id": user, "timestamp": "2026-01-01T00:00:00Z",
               "properties": {"$anon_distinct_id": anonymous}, "$set": {"email": format!("{user}@example.com")}})
    };
    let batch = [identify("browser", "ann"), identify("browser", "bob")];
    let body = json!({ "api_key": "phc_shop", "batch": batch }).to_string();
    assert_eq!(post(server.address, "/e/", &body).status, 200);
}

fn ask(server: &Server, question: &str, correction: &Value, headers: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {}", server.admin);
    let mut all = vec![("Authorization", &bearer[..]), ("Content-Type", "application/json")];
    all.retain(|(name, _)| headers.iter().all(|(other, _)| other != name));
    all.extend(headers);
    send(server.address, "POST", &format!("/api/shop/{question}"), &all, correction.to_string().as_bytes())
}

fn resolve(server: &Server, id: &str) -> Value {
    let bearer = format!("Bearer {}", server.admin);
    send(server.address, "GET", &format!("/api/shop/resolve?id={id}"), &[("Authorization", &bearer)], &[])
        .json()
}

fn confirmed(correction: &Value, shown: &Value) -> Value {
    let mut confirmed = correction.clone();
    confirmed["confirm"] = shown["confirm"].clone();
    confirmed
}

fn command(args: &[&str], ledger: &Path) -> Vec<Value> {
    let (command, rest) = args.split_first().unwrap();
    Said::of(program().args(["--json", command]).arg(ledger).args(rest), b"").with_code(0).lines("")
}

/// The record by which Bob joined Ann.
fn join(server: &Server) -> u64 {
    resolve(server, "bob")["profile"]["property_seqs"]["email"].as_u64().unwrap()
}

#[test]
fn what_was_shown_is_done_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &ALLOWED);
    shared_computer(&server);
    let ledger = dir.path().join("shop.ledger");
    let retract = json!({"do": "retract", "seq": join(&server)});
    let shown = ask(&server, "preview", &retract, &[]).json();
    let by_command = &command(&["retract", &join(&server).to_string(), "--dry-run"], &ledger)[0];
    assert_eq!(shown["diff"], by_command["diff"]);
    assert_eq!(
        resolve(&server, "bob")["person_id"],
        resolve(&server, "ann")["person_id"],
        "nothing was done"
    );

    let done = ask(&server, "correct", &confirmed(&retract, &shown), &[]);
    assert_eq!((done.status, &done.json()["recorded"]), (200, &json!(true)), "{done:?}");
    assert_eq!(resolve(&server, "bob")["profile"], Value::Null);
    let again = ask(&server, "correct", &confirmed(&retract, &shown), &[]);
    assert_eq!(again.status, 409, "a retry does nothing twice");
    server.kill();
    let last = command(&["outcomes"], &ledger).pop().unwrap();
    assert_eq!((&last["op"], &last["seq"]), (&json!("retract"), &done.json()["seq"]), "it was durable");
}

/// What came in between would change too: then what was read is not what would be done.
#[test]
fn what_is_not_what_was_shown_is_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &ALLOWED);
    shared_computer(&server);
    let split = json!({"do": "split", "id": "ann", "ids": ["bob"]});
    let shown = ask(&server, "preview", &split, &[]).json();
    let other = json!({"do": "split", "id": "ann", "ids": ["bob"], "together": true});
    assert_eq!(ask(&server, "correct", &confirmed(&other, &shown), &[]).status, 409);
    let event =
        json!({"api_key": "phc_shop", "event": "$set", "distinct_id": "bob", "$set": {"plan": "pro"}});
    assert_eq!(post(server.address, "/e/", &event.to_string()).status, 200);
    let answer = ask(&server, "correct", &confirmed(&split, &shown), &[]);
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert_eq!(answer.status, 409);
    assert!(error.ends_with("so nothing was recorded; look at the preview again"), "{error}");

    let shown = ask(&server, "preview", &split, &[]).json();
    assert_eq!(ask(&server, "correct", &confirmed(&split, &shown), &[]).status, 200);
    assert_eq!(resolve(&server, "bob")["profile"]["distinct_ids"], json!(["bob"]));
    let whole = json!({"do": "split", "id": "bob", "ids": ["bob"]});
    let shown = ask(&server, "preview", &whole, &[]).json();
    assert_eq!(shown["rule"], json!("H2"), "an id has to stay: {shown}");
    let refused = ask(&server, "correct", &confirmed(&whole, &shown), &[]);
    assert_eq!(refused.status, 409);
    assert!(refused.json()["error"].as_str().unwrap().starts_with("refused by H2: "));
}

#[test]
fn what_is_erased_is_in_no_answer_and_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &ALLOWED);
    shared_computer(&server);
    let keys = json!({"do": "erase", "id": "ann", "keys": ["email"], "reason": "wrong address"});
    let shown = ask(&server, "preview", &keys, &[]).json();
    assert_eq!(shown["properties"], json!({"email": "bob@example.com"}));
    let done = ask(&server, "correct", &confirmed(&keys, &shown), &[]).json();
    assert_eq!(done["files"], json!("rewritten"), "{done}");

    let mut whole = json!({"do": "erase", "id": "ann", "reason": " "});
    let shown = ask(&server, "preview", &whole, &[]).json();
    assert_eq!(shown["ids"], json!(["ann", "browser", "bob"]));
    let without = ask(&server, "correct", &confirmed(&whole, &shown), &[]);
    assert_eq!(without.status, 400, "a reason is part of it: {without:?}");
    whole["reason"] = json!("request 17");
    let shown = ask(&server, "preview", &whole, &[]).json();
    assert_eq!(ask(&server, "correct", &confirmed(&whole, &shown), &[]).status, 200);
    assert_eq!(resolve(&server, "ann")["person_id"], Value::Null);
    server.kill();
    let ledger = dir.path().join("shop.ledger");
    assert_eq!(command(&["erasures"], &ledger).len(), 2);
    for file in std::fs::read_dir(ledger.join("log")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"browser" || window == b"example"));
    }
}

/// A correction, headers, and the status and the beginning of what is said of it.
type Try<'a> = (&'a Value, &'a [(&'a str, &'a str)], u16, &'a str);

#[test]
fn who_may_not_correct_is_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &ALLOWED);
    shared_computer(&server);
    let good = json!({"do": "retract", "seq": join(&server)});
    let shown = ask(&server, "preview", &good, &[]).json();
    let good = confirmed(&good, &shown);
    let wrong = json!({"do": "retract", "seq": good["seq"], "confirm": "0"});
    let host = server.address.to_string();
    let own = format!("http://{host}");
    let like_own = format!("http://{host}.evil.example");
    #[rustfmt::skip]
    let table: [Try<'_>; 18] = [
        (&good, &[("Authorization", "Bearer 0")], 401, "the admin token is missing or wrong"),
        (&good, &[("Authorization", "")], 401, "the admin token is missing or wrong"),
        (&good, &[("Authorization", ""), ("Cookie", "admin=1")], 401, "the admin token is missing or wrong"),
        (&good, &[("Origin", "https://evil.example")], 403, "the request comes from a page of another origin"),
        (&good, &[("Origin", "null")], 403, "the request comes from a page of another origin"),
        (&good, &[("Origin", &like_own)], 403, "the request comes from a page of another origin"),
        (&good, &[("Sec-Fetch-Site", "cross-site")], 403, "the request comes from a page of another origin"),
        (&good, &[("Sec-Fetch-Site", "same-site")], 403, "the request comes from a page of another origin"),
        (&good, &[("Content-Type", "text/plain")], 415, "the content type is not `application/json`"),
        (&good, &[("Content-Type", "application/x-www-form-urlencoded")], 415, "the content type is not"),
        (&json!({"do": "retract", "seq": 5}), &[], 400, "the correction cannot be read: missing field `confirm`"),
        (&json!({"do": "retract", "seq": 5, "confirm": "0"}), &[], 400, "record 5 is a define_id record"),
        (&wrong, &[], 409, "what it would change is not what was shown"),
        (&json!({"do": "retract", "seq": 99, "confirm": "0"}), &[], 400, "there is no record 99"),
        (&json!({"do": "merge", "confirm": "0"}), &[], 400, "the correction cannot be read: unknown variant `merge`"),
        (&json!({"do": "retract", "seq": -1, "confirm": "0"}), &[], 400, "the correction cannot be read"),
        (&json!({"do": "split", "id": "ann", "ids": ["unknown"], "confirm": "0"}), &[], 400, ""),
        (&json!({"do": "erase", "id": "unknown", "reason": "x", "confirm": "0"}), &[], 400, "the id has no person"),
    ];
    for (correction, headers, status, said) in table {
        let answer = ask(&server, "correct", correction, headers);
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, status, "{correction} {headers:?}: {error}");
        assert!(error.starts_with(said), "{correction} {headers:?}: {error}");
    }
    let long = json!({"do": "split", "id": "ann", "ids": ["x".repeat(2 << 20)], "confirm": "0"});
    assert_eq!(ask(&server, "correct", &long, &[]).status, 413);
    let bearer = format!("Bearer {}", server.admin);
    let admin = [("Authorization", &bearer[..])];
    assert_eq!(send(server.address, "GET", "/api/shop/correct?do=retract&seq=5", &admin, &[]).status, 405);
    assert_eq!(get(server.address, "/api/shop/preview").status, 405);
    let preflight = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")];
    let asked = send(server.address, "OPTIONS", "/api/shop/correct", &preflight, &[]);
    assert!(asked.header("access-control-allow-origin").is_none(), "{asked:?}");
    assert_eq!(
        resolve(&server, "bob")["person_id"],
        resolve(&server, "ann")["person_id"],
        "nothing was done"
    );
    let same = [("Origin", &own[..]), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(ask(&server, "correct", &good, &same).status, 200, "the page of the server itself");

    let other = tempfile::tempdir().unwrap();
    let reading = Server::start(other.path(), &["--token", "phc_shop=shop"]);
    shared_computer(&reading);
    let split = json!({"do": "split", "id": "ann", "ids": ["bob"]});
    let shown = ask(&reading, "preview", &split, &[]).json();
    let answer = ask(&reading, "correct", &confirmed(&split, &shown), &[]);
    assert_eq!(answer.status, 403);
    assert!(answer.json()["error"].as_str().unwrap().contains("start it with --allow-corrections"));
    let both = ["serve", "x", "--token", "t=shop", "--open", "--allow-corrections"];
    assert!(Said::of(program().args(both), b"").with_code(2).err.contains("cannot be used with"));
}

/// Each tenant has a ring of its own: what is erased in one is gone from its backups, and another still opens.
#[test]
fn sealed_tenants_have_a_ring_each() {
    let (dir, rings) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rings_path = rings.path().to_str().unwrap();
    let args = [&ALLOWED[..], &["--token", "phc_other=other", "--key-rings", rings_path]].concat();
    for _ in 0..2 {
        let server = Server::start(dir.path(), &args);
        shared_computer(&server);
        let other = json!({"api_key": "phc_other", "event": "x", "distinct_id": "eve"}).to_string();
        assert_eq!(post(server.address, "/e/", &other).status, 200);
        let bearer = format!("Bearer {}", server.admin);
        let found = "/api/shop/find?property=email=bob@example.com";
        let found = send(server.address, "GET", found, &[("Authorization", &bearer)], &[]).json();
        assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
        assert!(server.terminate().success());
    }
    assert!(rings.path().join("shop.ring").exists() && rings.path().join("other.ring").exists());
    for file in std::fs::read_dir(dir.path().join("shop.ledger/log")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"browser" || window == b"example"));
    }
    let bare = Server::start(dir.path(), &ALLOWED);
    let body = json!({"api_key": "phc_shop", "event": "x", "distinct_id": "ann"}).to_string();
    assert_eq!(
        post(bare.address, "/e/", &body).status,
        503,
        "without its ring it is not opened, and not begun again"
    );
}

/// A list of what was found continues where a page ended, as of the same record, whatever came since.
#[test]
fn found_persons_and_notable_operations_come_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &ALLOWED);
    let send_some = |range: std::ops::Range<u32>| {
        let identify = |user: String, anonymous: String| json!({"event": "$identify", "distinct_id": user, "properties": {"$anon_distinct_id": anonymous}, "$set": {"plan": "pro"}});
        let set = |n: u32| identify(format!("user-{n}"), format!("visitor-{n}"));
        let claim = |n: u32| identify("user-0".to_owned(), format!("user-{n}")); // D6, but for the first
        let batch: Vec<Value> = range.flat_map(|n| [set(n), claim(n)]).collect();
        let body = json!({ "api_key": "phc_shop", "batch": batch }).to_string();
        assert_eq!(post(server.address, "/e/", &body).status, 200);
    };
    send_some(0..7);
    let bearer = format!("Bearer {}", server.admin);
    let api = |target: &str| {
        let answer =
            send(server.address, "GET", &format!("/api/shop/{target}"), &[("Authorization", &bearer)], &[]);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        answer.json()
    };
    for question in ["find?property=plan=pro&", "notable?"] {
        let whole = api(&format!("{question}limit=1000"));
        let expected = whole["items"].as_array().unwrap().clone();
        assert!(
            expected.len() >= 3
                && whole["next"].is_null()
                && whole["answered_from"]["checkpoint"].is_string()
        );
        let (mut items, mut from) = (Vec::new(), String::new());
        loop {
            let page = api(&format!("{question}limit=2{from}"));
            items.extend(page["items"].as_array().unwrap().clone());
            send_some(20 + items.len() as u32..21 + items.len() as u32); // not on a later page
            let Some(next) = page["next"].as_str() else { break };
            from = format!("&from={next}");
        }
        assert_eq!(items, expected, "{question}");
    }
    let persons = |at: u64| api(&format!("persons?at={at}"))["items"].as_array().unwrap().len();
    assert!(persons(3) < persons(20));
    let graph =
        send(server.address, "GET", "/api/shop/graph?id=user-1&at=8", &[("Authorization", &bearer)], &[]);
    assert!(graph.body.contains("as of record 8"), "{graph:?}");
    assert!(!api("moments?id=user-1")["moments"].as_array().unwrap().is_empty());
}
