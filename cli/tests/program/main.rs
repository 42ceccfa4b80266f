//! The built program, end to end: commands, server, tutorials. One test program, which is linked once.

#[path = "../../../tests/support/forge.rs"]
mod forge;
#[path = "../support/http.rs"]
mod http;
#[path = "../../../tests/support/page.rs"]
mod page;
#[path = "../support/place.rs"]
mod place;
#[path = "../support/server.rs"]
mod server;

mod answers;
mod cli;
mod components;
mod export;
mod moment;
mod readme;
mod serve;
mod serve_corrections;
mod server_example;
mod transcripts;
mod tutorial;
mod what_if;
