//! What a server makes of an HTTP request of an SDK: `import::Request`.

#![cfg(feature = "import")]

use std::collections::BTreeSet;
use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use identity_ledger::import::*;
use identity_ledger::storage::SeededEntropy;
use identity_ledger::{Ledger, Operation, OperationId, Policy, Preset, Tenant, Timestamp, limits};
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-01-01T00:00:10Z".parse().unwrap()
}

fn options() -> RequestOptions {
    RequestOptions::from(&Policy::default())
}

fn read(target: &str, body: impl AsRef<[u8]>) -> Result<Received, RequestError> {
    Request::new(target, now()).read(body.as_ref(), &options(), &mut SeededEntropy::new(1))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn event(id: &str) -> Value {
    json!({"event": "x", "distinct_id": id, "timestamp": "2026-01-01T00:00:00Z"})
}

/// A request says what its recording says in a file: the importer reads both.
#[test]
fn recorded_requests_are_read_as_in_a_file() {
    let mut requests = 0;
    for file in [
        "posthog-js-1.449.2",
        "posthog-js-lite-4.12.1",
        "posthog-node-5.70.0",
        "posthog-node-5.70.0-capture-v1",
    ] {
        let path = format!("{}/tests/data/{file}.jsonl", env!("CARGO_MANIFEST_DIR"));
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let recorded: Value = serde_json::from_str(line).unwrap();
            let micros = recorded["received_ms"].as_i64().unwrap() * 1_000;
            let target = recorded["path"].as_str().unwrap();
            let request = Request::new(target, Timestamp::from_micros(micros).unwrap());
            let body = recorded["body"].to_string();
            let body = if recorded["encodings"] == json!(["gzip"]) { gzip(&body) } else { body.into_bytes() };
            let allowed = RequestOptions { merge_dangerously: true, ..options() };
            let received = request.read(&body, &allowed, &mut SeededEntropy::new(1)).unwrap();

            let file_options = Options { format: Format::Posthog, ..Options::from(&Policy::default()) };
            let found = Importer::new(line.as_bytes(), file_options).map(|found| found.unwrap().operation);
            let (asked, rejected): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
            let asked: Vec<Operation> = asked.into_iter().map(Result::unwrap).collect();
            assert_eq!(received.operations, asked, "{line}");
            assert_eq!(received.rejected.len(), rejected.len(), "{line}");
            let is_v1 = request.endpoint() == Some(Endpoint::EventsV1);
            assert_eq!(received.token.as_deref(), (!is_v1).then_some("phc_loopback_test_key"), "{line}");
            requests += 1;
        }
    }
    assert!(requests > 200, "{requests}");
}

#[test]
fn every_wrapping_of_a_body_is_opened() {
    let batch = json!({"api_key": "t", "batch": [event("a")]}).to_string();
    let single =
        json!({"event": "x", "properties": {"distinct_id": "a", "token": "t", "$lib": "web"}}).to_string();
    let base64 = |bytes: &[u8]| BASE64_STANDARD.encode(bytes).replace('+', "%2B").replace('=', "%3D");
    let form = |bytes: &[u8]| format!("data={}&compression=base64", base64(bytes)).into_bytes();
    #[rustfmt::skip]
    let table = [
        ("/e/", batch.clone().into_bytes()),
        ("/i/v0/e/?ip=0&_=1767225610000&ver=1.449.2", gzip(&batch)),
        ("/e/?compression=gzip-js&ip=1", gzip(&single)),
        ("/capture", format!("\u{FEFF} {batch}\n").into_bytes()),
        ("/batch/?compression=gzip", gzip(&format!("[{single}]"))),
        ("/e/?compression=base64", form(single.as_bytes())),
        ("/track/", form(&gzip(&single))),
        ("/engage/", form(br#"{"$token":"t","$distinct_id":"a","$set":{"n":1}}"#)),
        ("/relay/batch", BASE64_STANDARD.encode(&batch).into_bytes()),
        ("/batch?token=t", json!([event("a")]).to_string().into_bytes()),
    ];
    for (target, body) in table {
        let received = read(target, body).unwrap_or_else(|error| panic!("{target}: {error}"));
        assert_eq!((received.token.as_deref(), received.operations.len()), (Some("t"), 1), "{target}");
        assert!(format!("{:?}", received.operations[0].request).contains("\"a\""), "{target}");
    }
    let pixel = format!("/e/?data={}&ip=1", base64(single.as_bytes()));
    assert_eq!(read(&pixel, "").unwrap().operations.len(), 1);
}

/// A token stands in a web page: whoever has it may say what SDKs say, and nothing else.
#[test]
fn a_sender_cannot_ask_for_what_only_the_owner_may() {
    let id = "01900000-0000-7000-8000-000000000001";
    let own = [
        json!({"op": "split", "distinct_id": "ann", "ids": ["a"], "ts": "2026-01-01T00:00:00Z"}),
        json!({"op": "retract", "of": id, "ts": "2026-01-01T00:00:00Z"}),
        json!({"op": "merge_dangerously", "distinct_id": "ann", "alias": "a", "ts": "2026-01-01T00:00:00Z"}),
        json!({"path": "/e/", "received_ms": 0, "body": {"batch": [event("a")]}}),
    ];
    for asked in own {
        for body in [asked.to_string(), json!([asked]).to_string(), json!({"batch": [asked]}).to_string()] {
            let received = read("/e/", &body).unwrap();
            assert_eq!((received.operations.len(), received.rejected.len()), (0, 1), "{body}");
        }
    }
    let merge = json!({"event": "$merge_dangerously", "distinct_id": "ann", "uuid": id, "properties": {"alias": "bob"}});
    let body = json!({"batch": [event("a"), merge]}).to_string();
    let received = read("/e/", &body).unwrap();
    let rejected =
        RejectedEvent { index: 1, uuid: Some(id.parse().unwrap()), rejection: Rejection::Dangerous };
    assert_eq!((received.indexes, received.rejected), (vec![0], vec![rejected]));
    let allowed = RequestOptions { merge_dangerously: true, ..options() };
    let received =
        Request::new("/e/", now()).read(body.as_bytes(), &allowed, &mut SeededEntropy::new(1)).unwrap();
    assert_eq!(received.operations.len(), 2);
}

/// 6,400 equal events are 6,400 events. In a file they would be numbered, and a second request would begin at the first number again.
#[test]
fn events_without_a_uuid_are_never_the_same() {
    let body = json!([event("a"), event("a")]).to_string();
    let mut entropy = SeededEntropy::new(7);
    let mut ids = BTreeSet::new();
    for _ in 0..100 {
        let received = Request::new("/e/", now()).read(body.as_bytes(), &options(), &mut entropy).unwrap();
        ids.extend(received.operations.iter().map(|operation| operation.id.unwrap()));
    }
    assert_eq!(ids.len(), 200);
    assert!(ids.iter().all(|OperationId(id)| id.get_version_num() == 7));
    let mut given = event("a");
    given["uuid"] = json!("01900000-0000-7000-8000-000000000001");
    assert_eq!(read("/e/", given.to_string()).unwrap().operations[0].id.unwrap().to_string(), given["uuid"]);
}

#[test]
fn the_clock_of_a_sender_is_corrected_by_what_it_says_last() {
    let at = |request: Request<'_>, body: Value| {
        let body = body.to_string();
        let received = request.read(body.as_bytes(), &options(), &mut SeededEntropy::new(1)).unwrap();
        received.operations[0].time.to_string()
    };
    let batch = |key: &str| json!({"batch": [event("a")], key: "2026-01-01T00:00:02Z"});
    // Ten minutes later; of what a body or a query says 150 seconds are the delay's (G5).
    let to = |target| Request::new(target, "2026-01-01T00:10:00Z".parse().unwrap());
    assert_eq!(at(to("/e/"), event("a")), "2026-01-01T00:00:00Z", "nothing is known of its clock");
    assert_eq!(at(to("/e/?_=1767225601000"), json!([event("a")])), "2026-01-01T00:07:29Z");
    assert_eq!(at(to("/e/?_=1767225601000"), batch("sent_at")), "2026-01-01T00:07:28Z");
    let v1 = to("/i/v1/analytics/events");
    assert_eq!(at(v1.clone(), batch("created_at")), "2026-01-01T00:07:28Z");
    let stamped = v1.header("posthog-request-TIMESTAMP", b"2026-01-01T00:00:04Z");
    assert_eq!(
        at(stamped.clone(), batch("created_at")),
        "2026-01-01T00:09:56Z",
        "an attempt has a time of its own"
    );
    assert_eq!(
        at(stamped.header("PostHog-Request-Timestamp", b"later"), batch("created_at")),
        "2026-01-01T00:07:28Z"
    );
}

#[test]
fn a_request_is_of_one_token() {
    let with = |token: &str| json!({"event": "x", "distinct_id": "a", "properties": {"token": token}});
    let bearer = Request::new("/e/?token=q", now()).header("Authorization", b"Bearer  h ");
    let body = json!({"api_key": "b", "batch": [with("e")]}).to_string();
    let token = |request: &Request<'_>, body: &str| {
        request.read(body.as_bytes(), &options(), &mut SeededEntropy::new(1)).map(|received| received.token)
    };
    assert_eq!(token(&bearer, &body), Ok(Some("h".to_owned())));
    assert_eq!(
        token(&bearer.clone().header("Authorization", b"Basic aDo="), &body),
        Ok(Some("b".to_owned()))
    );
    let array = json!([with("e"), event("b"), with("e")]).to_string();
    assert_eq!(token(&Request::new("/e/?token=q", now()), &array), Ok(Some("q".to_owned())));
    assert_eq!(token(&Request::new("/e/", now()), &array), Ok(Some("e".to_owned())));
    assert_eq!(token(&Request::new("/e/", now()), &event("a").to_string()), Ok(None));
    let error = read("/e/", json!([with("e"), with("f")]).to_string()).unwrap_err();
    assert_eq!(
        (error.status(), error.to_string()),
        (400, "the request names the tokens `e` and `f`; expected one token".to_owned())
    );
}

#[test]
fn bounds_hold_at_their_edges() {
    let many = |count: usize| format!("[{}]", vec![event("a").to_string(); count].join(","));
    assert_eq!(
        read("/e/", many(limits::MAX_BATCH_OPERATIONS)).unwrap().operations.len(),
        limits::MAX_BATCH_OPERATIONS
    );
    assert_eq!(read("/e/", many(limits::MAX_BATCH_OPERATIONS + 1)), Err(RequestError::TooMany));

    let body = event("a").to_string();
    let bounded = |max_bytes, body: &[u8]| {
        let options = RequestOptions { max_bytes, ..options() };
        Request::new("/e/", now())
            .read(body, &options, &mut SeededEntropy::new(1))
            .map(|received| received.operations.len())
    };
    let form = format!("data={}", BASE64_STANDARD.encode(gzip(&body)));
    for body in [body.clone().into_bytes(), gzip(&body)] {
        let len = event("a").to_string().len();
        assert_eq!(bounded(len, &body), Ok(1));
        assert_eq!(bounded(len - 1, &body), Err(RequestError::TooLarge { max: len - 1 }));
    }
    assert_eq!(bounded(form.len(), form.as_bytes()), Ok(1));
    let bomb = gzip(&" ".repeat(50_000_000));
    assert_eq!(bounded(MAX_REQUEST_BYTES, &bomb), Err(RequestError::TooLarge { max: MAX_REQUEST_BYTES }));
}

#[test]
fn what_cannot_be_read_says_why_and_with_which_status() {
    let cut = gzip(&event("a").to_string());
    #[rustfmt::skip]
    let table: [(&str, &[u8], u16, &str); 9] = [
        ("/decide/?v=3", b"{}", 404, "`/decide/` takes no events"),
        ("/flags", b"{}", 404, "`/flags` takes no events"),
        ("", b"{}", 404, "`` takes no events"),
        ("/e/", b"", 400, "not JSON at column 0"),
        ("/e/", b"{\"batch\":7}", 400, "`batch` is a number; expected an array"),
        ("/e/", b"7", 400, "the body is not valid base64"),
        ("/e/", b"\xFF\xFE", 400, "byte 0 is not UTF-8"),
        ("/e/?compression=lz64", b"{}", 415, "the body is compressed as `lz64`"),
        ("/e/", &cut[..12], 400, "the body is damaged gzip"),
    ];
    for (target, body, status, said) in table {
        let error = read(target, body).unwrap_err();
        assert_eq!(error.status(), status, "{target}: {error}");
        assert!(error.to_string().starts_with(said), "{target}: {error}");
    }
    let brotli = Request::new("/e/", now()).header("content-encoding", b"br");
    let error = brotli.read(b"{}", &options(), &mut SeededEntropy::new(1)).unwrap_err();
    assert_eq!(error.status(), 415);
    let segment =
        json!({"batch": [{"type": "identify", "userId": "ann", "anonymousId": "a"}], "writeKey": "k"});
    let rejected = read("/v1/batch", segment.to_string()).unwrap().rejected;
    let told = rejected[0].rejection.to_string(); // a sender has no `--format`
    assert!(told.starts_with("this is a call of Segment or RudderStack"), "{told}");
    assert!(told.ends_with("; expected an event of an SDK of PostHog"), "{told}");
}

/// The table of docs/embedding.md: what an anonymous id that two people use comes to under each preset.
#[test]
fn a_shared_anonymous_id_under_each_preset() {
    let anonymous = "01a208e2-7599-7299-a663-12b591096f77";
    let identify = |user: &str| json!({"event": "$identify", "distinct_id": user, "properties": {"$anon_distinct_id": anonymous}});
    for (name, new) in [("posthog", None), ("strict", Some("D3")), ("one-user", Some("D9"))] {
        let (_, preset) = Preset::ALL.into_iter().find(|(found, _)| *found == name).unwrap();
        let rule_of_last = |events: Value| {
            let mut ledger = Ledger::in_memory(Tenant::default(), Policy::preset(preset)).unwrap();
            let received = read("/e/", events.to_string()).unwrap();
            let answers = ledger.append_batch(&received.operations).unwrap();
            let refusal = answers[answers.len() - 1].outcome().unwrap().refusal;
            let is_one = ledger.resolve("ann").unwrap().person_id == ledger.resolve("bob").unwrap().person_id;
            assert_eq!(is_one, refusal.is_none(), "{name}");
            refusal.map(|refusal| refusal.rule())
        };
        assert_eq!(rule_of_last(json!([identify("ann"), identify("bob")])), new, "{name}, bob is new");
        let bob = json!({"event": "$set", "distinct_id": "bob", "properties": {"$set": {"n": 1}}});
        assert_eq!(
            rule_of_last(json!([bob, identify("ann"), identify("bob")])),
            Some("D6"),
            "{name}, bob is known"
        );
    }
}

/// Senders of other vendors are read as their files are, and none of them in the ledger's own words.
#[test]
fn each_vendor_is_read_as_in_a_file() {
    let call = json!({"type": "track", "userId": "ann", "anonymousId": "a1", "event": "x", "messageId": "m1",
                      "timestamp": "2026-01-01T00:00:00Z"});
    let mixpanel = json!({"event": "x", "properties": {"distinct_id": "ann", "$device_id": "d", "$user_id": "ann", "$insert_id": "i",
                          "time": 1_767_225_600}});
    let split = json!({"op": "split", "distinct_id": "ann", "ids": ["a1"], "userId": "ann", "type": "track"});
    let received = |format, target: &str, event: &Value| {
        let request = Request::new(target, now()).header("Authorization", b"Basic a2V5Og=="); // key:
        let options = RequestOptions { format, ..options() };
        request.read(json!([event]).to_string().as_bytes(), &options, &mut SeededEntropy::new(1)).unwrap()
    };
    for (format, target, event) in [
        (Format::Segment, "/v1/batch", &call),
        (Format::Rudderstack, "/v1/batch", &call),
        (Format::Mixpanel, "/track", &mixpanel),
        (Format::MixpanelOriginal, "/import", &mixpanel),
    ] {
        let file_options = Options { format, ..Options::from(&Policy::default()) };
        let text = event.to_string();
        let in_file =
            Importer::new(text.as_bytes(), file_options).map(|found| found.unwrap().operation.unwrap());
        let read = received(format, target, event);
        assert_eq!(read.operations, in_file.collect::<Vec<_>>(), "{format}");
        assert_eq!(read.token.as_deref(), Some("key"), "{format}");
        assert!(read.indexes.iter().all(|index| *index == 0) && read.rejected.is_empty(), "{format}");
        let is_split = |asked: &Operation| matches!(asked.request, identity_ledger::Request::Split { .. });
        assert!(!received(format, target, &split).operations.iter().any(is_split), "{format}");
    }
    for format in [Format::Auto, Format::Ops, Format::Posthog] {
        let op = json!({"op": "split", "distinct_id": "ann", "ids": ["a1"]});
        assert!(received(format, "/e/", &op).operations.is_empty(), "{format}");
    }
}
