//! `examples/server.rs` runs, and is at most a hundred lines.

#![cfg(feature = "serve")]

#[allow(dead_code, reason = "its main is not run here")]
#[path = "../../examples/server.rs"]
mod server;

use std::sync::Arc;

use crate::http::{get, post};
use identity_ledger::import::RequestOptions;
use identity_ledger::{Ledger, Policy, SharedLedger, Tenant};
use serde_json::json;

#[test]
fn the_hundred_line_server_answers_once_it_is_durable() {
    assert!(include_str!("../../examples/server.rs").lines().count() <= 100);
    let ledger = SharedLedger::new(Ledger::in_memory(Tenant::default(), Policy::default()).unwrap());
    let options = RequestOptions::from(&Policy::default());
    let app = Arc::new(server::App { ledger: ledger.clone(), token: "phc_shop".to_owned(), options });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let served = runtime.spawn(server::serve(listener, app, async { stopped.await.unwrap_or_default() }));

    let event = |id: &str| json!({"event": "x", "distinct_id": id});
    let batch = json!({"api_key": "phc_shop", "batch": [event("a"), {"event": "x"}, event("b")]});
    let answer = post(address, "/batch/", &batch.to_string());
    assert_eq!((answer.status, answer.json()), (200, json!({"status": 1, "rejected": 1})));
    assert_eq!(ledger.read(|reader| reader.persons().count()), 2);
    let records = ledger.read(|reader| reader.checkpoint().records);
    assert_eq!(ledger.durable_records(), records);

    assert_eq!(post(address, "/e/", &json!([event("a")]).to_string()).status, 401);
    assert_eq!(post(address, "/e/?token=phc_shop", "{").status, 400);
    assert_eq!(post(address, "/e/?token=phc_shop", r#"{"event":"x"}"#).status, 400);
    assert_eq!(post(address, "/decide/", "{}").status, 404);
    assert_eq!(get(address, "/flags/").status, 200);
    stop.send(()).unwrap();
    runtime.block_on(served).unwrap().unwrap();
}
