//! `serve`: what is acknowledged is there after `kill -9`, and what is refused says why.

#![cfg(feature = "serve")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use crate::http::{get, post, send, try_send};
use crate::place::{Said, program};
use crate::server::Server;
use serde_json::{Value, json};

const SHOP: [&str; 2] = ["--token", "phc_shop=shop"];

fn event(uuid: u128, id: &str) -> Value {
    let uuid = format!("01900000-0000-7000-8000-{uuid:012x}");
    json!({"event": "x", "distinct_id": id, "uuid": uuid, "timestamp": "2026-01-01T00:00:00Z"})
}

fn batch(token: &str, events: &[Value]) -> String {
    json!({ "api_key": token, "batch": events }).to_string()
}

/// Lines of JSON that a command prints; its exit status must be 0.
fn ask(args: &[&str], ledger: &Path) -> Vec<Value> {
    let (command, rest) = args.split_first().unwrap();
    Said::of(program().args(["--json", command]).arg(ledger).args(rest), b"").with_code(0).lines("")
}

fn event_ids(ledger: &Path) -> BTreeSet<String> {
    ask(&["events"], ledger).iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
}

/// Four senders, killed in the middle, three times over one directory.
#[test]
fn what_was_acknowledged_is_there_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..3_u128 {
        let server = Server::start(dir.path(), &SHOP);
        let address = server.address;
        let (tell, heard) = mpsc::channel();
        let senders: Vec<_> = (0..4_u128)
            .map(|sender| {
                let tell = tell.clone();
                std::thread::spawn(move || {
                    for request in 0.. {
                        let number = |event: u128| ((round * 4 + sender) << 24) + (request << 4) + event;
                        let events: Vec<Value> =
                            (0..5).map(|n| event(number(n), &format!("p{n}-{sender}"))).collect();
                        let answer =
                            try_send(address, "POST", "/e/", &[], batch("phc_shop", &events).as_bytes());
                        let Some(answer) = answer.filter(|answer| answer.status == 200) else { return };
                        assert_eq!(answer.json(), json!({"status": 1}));
                        let ids = events.iter().map(|event| event["uuid"].as_str().unwrap().to_owned());
                        if tell.send(ids.collect::<Vec<_>>()).is_err() {
                            return;
                        }
                    }
                })
            })
            .collect();
        drop(tell);
        acknowledged.extend(heard.iter().take(60).flatten());
        server.kill();
        acknowledged.extend(heard.iter().flatten());
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    }
    let ledger = dir.path().join("shop.ledger");
    assert_eq!(ask(&["verify"], &ledger)[0]["ok"], json!(true));
    let found = event_ids(&ledger);
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(
        acknowledged.len() >= 900 && lost.is_empty(),
        "{} acknowledged, lost: {lost:?}",
        acknowledged.len()
    );
}

#[test]
fn a_request_that_is_sent_again_adds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &SHOP);
    let body = batch("phc_shop", &[event(1, "a"), event(2, "b")]);
    for _ in 0..3 {
        assert_eq!(post(server.address, "/batch/", &body).status, 200);
    }
    let mut other = event(1, "a");
    other["event"] = json!("y");
    let answer = post(server.address, "/batch/", &batch("phc_shop", &[event(3, "c"), other]));
    let rejected = &answer.json()["rejected"][0];
    assert_eq!((answer.status, &rejected["index"]), (200, &json!(1)));
    assert!(
        rejected["error"].as_str().unwrap().ends_with("has the same uuid and says something else"),
        "{rejected}"
    );

    let nameless = json!({"event": "x", "timestamp": "2026-01-01T00:00:00Z"});
    let answer = post(server.address, "/batch/", &batch("phc_shop", &[nameless, event(3, "c")]));
    assert_eq!(answer.json()["rejected"][0]["index"], json!(0));

    let bearer = format!("Bearer {}", server.admin);
    let metrics = send(server.address, "GET", "/metrics", &[("Authorization", &bearer)], &[]);
    for line in [
        r#"identity_ledger_events_total{tenant="shop",result="recorded"} 3"#,
        r#"identity_ledger_events_total{tenant="shop",result="duplicate"} 5"#,
        r#"identity_ledger_events_total{tenant="shop",result="conflict"} 1"#,
        r#"identity_ledger_events_total{tenant="shop",result="rejected"} 1"#,
        r#"identity_ledger_requests_total{status="200"} 5"#,
        r#"identity_ledger_waiting_records{tenant="shop"} 0"#,
        "identity_ledger_open_ledgers 1",
    ] {
        assert!(metrics.body.lines().any(|found| found == line), "{line} is missing in {}", metrics.body);
    }
    assert_eq!(get(server.address, "/metrics").status, 401);
    server.kill();
    assert_eq!(event_ids(&dir.path().join("shop.ledger")).len(), 3);
}

#[test]
fn capture_v1_is_answered_event_by_event() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &SHOP);
    let mut bad = event(2, "b");
    bad["distinct_id"] = json!("");
    let body = json!({"created_at": "2026-01-01T00:00:00Z", "batch": [event(1, "a"), bad]}).to_string();
    let bearer = [("Authorization", "Bearer phc_shop")];
    let answer = send(server.address, "POST", "/i/v1/analytics/events", &bearer, body.as_bytes());
    let results = &answer.json()["results"];
    assert_eq!(
        (answer.status, &results["01900000-0000-7000-8000-000000000001"]["result"]),
        (200, &json!("ok"))
    );
    assert_eq!(results["01900000-0000-7000-8000-000000000002"]["result"], json!("drop"));
}

#[test]
fn tenants_are_apart_and_strangers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.txt");
    std::fs::write(&file, "# the shops\nphc_shop shop\nphc_eu   shop-eu # in Dublin\n").unwrap();
    let ledgers = dir.path().join("ledgers");
    let args = ["--tokens", file.to_str().unwrap(), "--max-bytes", "100000"];
    let server = Server::start(&ledgers, &args);
    let address = server.address;
    assert_eq!(post(address, "/e/", &batch("phc_shop", &[event(1, "ann")])).status, 200);
    assert_eq!(post(address, "/e/", &batch("phc_eu", &[event(1, "ann")])).status, 200);
    let long = batch(
        "phc_shop",
        &[json!({"event": "x", "distinct_id": "a", "properties": {"p": "x".repeat(100_000)}})],
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(long.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let segment =
        json!({"batch": [{"type": "track", "event": "x", "userId": "u"}], "api_key": "phc_shop"}).to_string();
    #[rustfmt::skip]
    let table: [(&str, &[u8], u16, &str); 11] = [
        ("/e/", batch("phc_../../x", &[event(1, "a")]).leak().as_bytes(), 401, "`phc_../../x` is not a token"),
        ("/e/", br#"{"event":"x","distinct_id":"a"}"#, 401, "the request names no token"),
        ("/e/?token=phc_shop", b"{", 400, "not JSON"),
        ("/e/?token=phc_shop", br#"{"event":"x"}"#, 400, "event 0: `distinct_id` is missing"),
        ("/e/", long.as_bytes(), 413, "the body has more than 100000 bytes"),
        ("/e/", &gzip, 413, "the body has more than 100000 bytes once decompressed"),
        ("/nothing", b"", 404, "`/nothing` takes no events"),
        ("/../../etc/passwd", b"", 404, "`/../../etc/passwd` takes no events"),
        ("/v1/batch", segment.as_bytes(), 400, "event 0: this is a call of Segment or RudderStack"),
        ("/batch", segment.as_bytes(), 400, "event 0: this is a call of Segment or RudderStack"),
        ("/2/httpapi", br#"{"api_key":"phc_shop","events":[{"event_type":"x","user_id":"ann"}]}"#, 400, "event 0: this is a request to Amplitude"),
    ];
    for (target, body, status, said) in table {
        let answer = send(address, "POST", target, &[], body);
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, status, "{target}: {error}");
        assert!(error.starts_with(said), "{target}: {error}");
    }
    assert_eq!(get(address, "/healthz").json(), json!({"status": "ok"}));
    assert!(server.terminate().success());
    let mut names: Vec<_> =
        std::fs::read_dir(&ledgers).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["shop-eu.ledger", "shop.ledger"]);
    for name in names {
        assert_eq!(event_ids(&ledgers.join(name)).len(), 1);
    }
}

/// A token says what its senders speak: the calls of other vendors, and what their SDKs expect to hear.
#[test]
fn the_events_of_other_vendors_are_taken_with_a_token_of_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let tokens =
        ["--token", "seg=shop:segment", "--token", "mix=shop:mixpanel", "--token", "amp=shop:amplitude"];
    let server = Server::start(dir.path(), &tokens);
    let basic = [("Authorization", "Basic c2VnOg==")]; // seg:
    let call = br#"{"userId":"ann","anonymousId":"a1","event":"bought","messageId":"m1"}"#;
    for _ in 0..2 {
        let answer = send(server.address, "POST", "/v1/track", &basic, call);
        assert_eq!((answer.status, answer.json()), (200, json!({"status": 1})));
    }
    let event = r#"[{"event":"x","properties":{"token":"mix","$device_id":"d","$user_id":"bob","$insert_id":"i1","time":1767225600}}]"#;
    assert_eq!(post(server.address, "/track", event).body, "1");
    assert_eq!(post(server.address, "/track?verbose=1", event).json(), json!({"status": 1}));
    assert_eq!(post(server.address, "/import?strict=1", event).json()["num_records_imported"], json!(1));
    let sent = r#"{"api_key":"amp","events":[{"event_type":"x","user_id":"cyd","device_id":"d3","insert_id":"i1","time":1767225600000}]}"#;
    for _ in 0..2 {
        assert_eq!(post(server.address, "/2/httpapi", sent).json()["events_ingested"], json!(1));
    }
    let posthog = batch("seg", &[json!({"event": "x", "distinct_id": "a"})]);
    assert_eq!(post(server.address, "/batch/", &posthog).status, 400, "not a call of Segment");
    let ops = br#"[{"op":"split","distinct_id":"ann","ids":["a1"]}]"#;
    assert_eq!(send(server.address, "POST", "/v1/batch", &basic, ops).status, 400);
    server.kill();
    let ledger = dir.path().join("shop.ledger");
    assert_eq!(event_ids(&ledger).len(), 3, "a retry adds nothing");
    assert_eq!(ask(&["explain", "ann", "a1"], &ledger)[0]["same"], json!(true));
    assert_eq!(ask(&["explain", "cyd", "$device:d3"], &ledger)[0]["same"], json!(true));
}

/// An SDK in a page of another origin: preflight, flags, remote configuration. What only the admin may see is not for it.
#[test]
fn sdks_find_what_they_ask_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--token", "phc_shop=shop", "--open"]);
    let origin = [
        ("Origin", "https://shop.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
    ];
    let preflight = send(server.address, "OPTIONS", "/i/v0/e/", &origin, &[]);
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-origin")),
        (200, Some("https://shop.example"))
    );
    for target in ["/flags/?v=2", "/decide/?v=3", "/array/phc_shop/config", "/api/surveys/?token=t"] {
        let answer = send(server.address, "GET", target, &origin[..1], &[]);
        assert_eq!((answer.status, answer.json().is_object()), (200, true), "{target}");
        assert!(answer.header("access-control-allow-origin").is_some(), "{target}");
    }
    let metrics = send(
        server.address,
        "GET",
        "/metrics",
        &[("Origin", "https://shop.example"), ("Host", "127.0.0.1")],
        &[],
    );
    assert!(metrics.header("access-control-allow-origin").is_none());
}

#[test]
fn too_much_is_refused_for_now() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--token", "phc_shop=shop", "--max-events", "1"]);
    let all: Vec<Value> = (0..30).map(|number| event(number, "a")).collect();
    assert_eq!(
        post(server.address, "/e/", &batch("phc_shop", &all)).status,
        200,
        "one request is never too large"
    );
    let again: Vec<_> = (0..3).map(|_| post(server.address, "/e/", &batch("phc_shop", &all))).collect();
    // A window of ten seconds may end in between, once.
    assert!(again.iter().filter(|answer| answer.status == 429).count() >= 2);
    assert!(again.iter().any(|answer| answer.header("retry-after").is_some()));

    let none = Server::start(dir.path(), &["--token", "phc_other=other", "--max-requests", "0"]);
    assert_eq!(post(none.address, "/e/", &batch("phc_other", &all)).status, 503);
    assert!(!dir.path().join("other.ledger").exists());
}

/// A request that is under way when the signal comes is answered, and its events are there.
#[test]
fn sigterm_answers_what_is_under_way_and_releases_the_locks() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &SHOP);
    let body = batch("phc_shop", &[event(1, "a")]);
    let mut slow = std::net::TcpStream::connect(server.address).unwrap();
    let head = format!(
        "POST /e/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).unwrap();
    slow.write_all(&body.as_bytes()[..10]).unwrap();
    assert_eq!(post(server.address, "/e/", &batch("phc_shop", &[event(2, "b")])).status, 200);
    let ended = std::thread::spawn(move || server.terminate());
    slow.write_all(&body.as_bytes()[10..]).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut slow, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(ended.join().unwrap().success());
    let ledger = dir.path().join("shop.ledger");
    assert_eq!(event_ids(&ledger).len(), 2);
    ask(&["policy"], &ledger);
}

/// A ledger that is moved away is not begun again: its tenant waits until it is back. One that is idle is closed.
#[test]
fn a_ledger_that_is_missing_is_not_created_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--token", "phc_shop=shop", "--idle", "0"]);
    let (place, aside) = (dir.path().join("shop.ledger"), dir.path().join("aside"));
    let status = |number| post(server.address, "/e/", &batch("phc_shop", &[event(number, "a")])).status;
    assert_eq!(status(1), 200);
    std::fs::rename(&place, &aside).unwrap();
    for _ in 0..3 {
        assert_eq!(status(2), 503);
        std::thread::sleep(std::time::Duration::from_millis(150)); // it is closed in between, or not
    }
    assert!(!place.exists());
    std::fs::rename(&aside, &place).unwrap();
    assert_eq!(status(2), 200);
    server.kill();
    assert_eq!(event_ids(&place).len(), 2);
}

#[test]
fn wrong_usage_says_what_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let serve =
        |args: &[&str]| Said::of(program().arg("serve").arg(dir.path()).args(args), b"").with_code(2).err;
    assert!(serve(&[]).contains("no token was given; name at least one with --token TOKEN=TENANT"));
    assert!(
        serve(&["--token", "phc=../x"]).contains("the tenant is `../x`; expected 1 to 64 lower-case letters")
    );
    assert!(
        serve(&["--token", "t=shop", "--open", "--listen", "0.0.0.0:0"])
            .contains("--open is for a loopback address")
    );
    assert!(
        serve(&["--token", "t=shop", "--token", "t=other"])
            .contains("the token `t` is given for `shop` and for `other`")
    );
}

/// `/api/` gives the objects that the commands print, and only to those who may look.
#[test]
fn the_api_answers_as_the_commands_do() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &SHOP);
    let identify = |anonymous: &str, user: &str| {
        json!({"event": "$identify", "distinct_id": user, "timestamp": "2026-01-01T00:00:00Z",
               "properties": {"$anon_distinct_id": anonymous}, "$set": {"plan": "<b>pro</b>"}})
    };
    let events = [identify("a", "ann"), identify("b", "bob"), identify("bob", "ann")];
    assert_eq!(post(server.address, "/e/", &batch("phc_shop", &events)).status, 200);
    let bearer = format!("Bearer {}", server.admin);
    let api = |target: &str| send(server.address, "GET", target, &[("Authorization", &bearer)], &[]);
    assert_eq!(api("/api/tenants").json(), json!({"tenants": ["shop"], "corrections": false}));
    let ledger = dir.path().join("shop.ledger");
    for (target, args) in [
        ("resolve?id=a", &["resolve", "a"][..]),
        ("resolve?id=ann&at=3", &["resolve", "ann", "--at", "3"]),
        ("explain?id=a&other=ann", &["explain", "a", "ann"]),
        ("why-not?id=a&other=b", &["why-not", "a", "b"]),
        ("property?id=a&key=plan", &["explain", "a", "--property", "plan"]),
    ] {
        assert_eq!(api(&format!("/api/shop/{target}")).json(), ask(args, &ledger)[0], "{target}");
    }
    for (target, args) in [
        ("persons?limit=10", &["persons"][..]),
        ("find?property=plan=%3Cb%3Epro%3C/b%3E", &["find", "--property", "plan=<b>pro</b>"]),
        ("history?id=ann&person=true", &["history", "ann", "--person"]),
    ] {
        assert_eq!(
            api(&format!("/api/shop/{target}")).json()["items"],
            json!(ask(args, &ledger)),
            "{target}"
        );
    }
    for target in ["resolve?id=a&at=9999-12-31", "resolve?id=%EF%BF%BD", "resolve?id=50%25"] {
        assert_eq!(api(&format!("/api/shop/{target}")).status, 200, "{target}");
    }
    let answer = api("/api/shop/resolve?id=ann");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let notable = api("/api/shop/notable").json();
    assert_eq!((&notable["found"], &notable["items"][0]["rule"]), (&json!(1), &json!("D6")));
    let next =
        api("/api/shop/history?id=ann&person=true&limit=1").json()["next"].as_str().unwrap().to_owned();
    assert_eq!(api(&format!("/api/shop/history?id=ann&person=true&from={next}")).status, 200);
    let graph = api("/api/shop/graph?id=ann");
    assert_eq!(graph.header("content-type"), Some("image/svg+xml"));

    for (target, status) in [
        ("/api/other/resolve?id=a", 404),
        ("/api/..%2Fshop/resolve?id=a", 404),
        ("/api/shop/nothing", 404),
        ("/api/shop/resolve", 400),
        ("/api/shop/resolve?id=a&at=1000", 400),
        ("/api/shop/resolve?id=a&unknown=1", 400),
        ("/api/shop/history?id=a&from=x", 400),
        ("/api/shop/resolve?id=a&at=yesterday", 400),
        ("/api/shop/resolve?id=a&at=1999-01-01", 400), // before the ledger was created
        ("/api/shop/persons?limit=0", 400),
        ("/api/shop/resolve?id=%ff", 400), // not the id U+FFFD (A5)
    ] {
        let answer = api(target);
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        assert!(answer.json()["error"].is_string());
        assert_eq!(get(server.address, target).status, 401, "{target}");
    }
    assert_eq!(get(server.address, "/api/tenants").status, 401);
}

/// The pages load nothing from elsewhere, run no script in them, and are shown in no frame.
#[test]
fn the_demo_has_people_and_pages_with_a_strict_policy() {
    let server = Server::start_args(&["--demo"]);
    let persons = get(server.address, "/api/demo/persons").json();
    assert!(persons["items"].as_array().unwrap().len() >= 7);
    for target in ["/", "/demo", "/page/style.css", "/page/persons.js", "/page/demo.js", "/page/icon.svg"] {
        let page = get(server.address, target);
        assert_eq!(page.status, 200, "{target}");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"));
        for bad in
            ["innerHTML", "outerHTML", "document.write", "eval(", "style=", "onclick=", "http://", "https://"]
        {
            let found = page.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(bad), "{target} has {bad}");
        }
    }
    let host = [("Host", "evil.example")];
    let rebound = send(server.address, "GET", "/api/tenants", &host, &[]);
    assert_eq!(rebound.status, 401, "the name of another site leads here");
    assert!(server.terminate().success());
}

/// What a Chromium makes of a page, as HTML; `None` where this machine does not have one.
fn in_a_browser(server: &Server, fragment: &str) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let said = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--virtual-time-budget=5000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", dir.path().display()))
        .arg(format!("http://{}/#{fragment}", server.address))
        .output();
    match said {
        Ok(said) if said.status.success() => Some(String::from_utf8(said.stdout).unwrap()),
        _ => {
            eprintln!(
                "SKIPPED: no Chromium runs here, so no browser has looked at the pages (apt-get install chromium)"
            );
            None
        }
    }
}

/// A sender that writes markup, or turns the text around: it is read, and does nothing.
#[test]
fn a_browser_shows_a_person_and_runs_nothing_that_a_sender_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--token", "phc_shop=shop", "--open"]);
    let hostile = "<script>document.title='owned'</script>";
    let identify = |user: &str, anonymous: &str| {
        json!({"event": "$identify", "distinct_id": user, "properties": {"$anon_distinct_id": anonymous},
               "$set": {"<b onclick=x>": "<img src=x onerror=document.title='owned'>", "turned": "\u{202e}txt.exe"}})
    };
    let events = [identify(hostile, "a1"), identify("bob", "b1"), identify("bob", hostile)];
    assert_eq!(post(server.address, "/e/", &batch("phc_shop", &events)).status, 200);
    let Some(dom) = in_a_browser(&server, "tenant=shop&id=a1&other=b1") else { return };
    for shown in [
        "&lt;script&gt;document.title='owned'&lt;/script&gt;",
        "&lt;b onclick=x&gt;",
        "&lt;img src=x onerror=document.title='owned'&gt;",
        "\\u{202e}txt.exe",
        "They are not one person: 1 barrier between them",
        "refused by D6",
    ] {
        assert!(dom.contains(shown), "{shown} is missing in {dom}");
    }
    assert_eq!(dom.matches("<script").count(), 1, "its own");
    assert!(
        !dom.contains("<img") && !dom.contains("<b ") && dom.contains("<title>identity-ledger: a1</title>")
    );
    let found = in_a_browser(&server, "find=turned%3D%E2%80%AEtxt.exe").unwrap();
    assert!(found.contains("2 persons with "), "{found}");

    let locked = Server::start(&dir.path().join("other"), &["--token", "phc_other=other"]);
    let asked = in_a_browser(&locked, "tenant=other&id=a1").unwrap();
    assert!(
        asked.contains("<form id=\"admission\">") && !asked.contains("class=\"facts\""),
        "the token is asked for"
    );
}
