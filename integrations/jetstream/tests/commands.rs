//! The built programs: the operator's command, and two nodes of `examples/node.rs` that take events over HTTP.

#[path = "support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{Cluster, program};

fn operator(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_identity-ledger-jetstream"))
        .arg("--url")
        .arg(cluster.servers[0].url())
        .args(arguments)
        .output()
        .unwrap();
    let text = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// A node of the example, which `cargo test` builds beside this test.
struct Process {
    child: Child,
    port: u16,
}

impl Process {
    fn start(cluster: &Cluster, name: &str, stream: &str) -> Process {
        let deps = std::env::current_exe().unwrap();
        let example: PathBuf = deps.parent().unwrap().parent().unwrap().join("examples/node");
        let port = support::free_port();
        let child = Command::new(example)
            .args([name, cluster.node_dir(name).to_str().unwrap(), stream, &format!("127.0.0.1:{port}")])
            .arg(cluster.servers[0].url())
            .envs([("MIN_REPLICAS", "1"), ("ACKNOWLEDGEMENTS", "2"), ("RUST_LOG", "warn")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let process = Process { child, port };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the node {name} does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        process
    }

    fn http(&self, method: &str, path: &str, body: &str) -> String {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let len = body.len();
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    /// SIGTERM, and what it says at its end.
    fn end(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn two_nodes_over_http_and_the_operators_commands() {
    let Some(program) = program("commands") else { return };
    let cluster = Cluster::start(&program, 1);
    let monitor = cluster.servers[0].monitor().to_string();
    let create = ["create", "--as", "shop", "--replicas", "1", "--monitor", &monitor];
    let (status, said) = operator(&cluster, &create);
    assert!(status == 0 && said.contains("the stream `shop` holds the log `shop."), "{said}");
    let (status, said) = operator(&cluster, &create);
    assert!(status == 2 && said.contains("is there already"), "{said}");

    let nodes = [Process::start(&cluster, "a", "shop"), Process::start(&cluster, "b", "shop")];
    let event = r#"{"api_key":"phc","event":"$identify","distinct_id":"ann","uuid":"01a208fa-c605-7008-8d6e-36525068c2e7","timestamp":"2026-03-02T09:00:00Z","properties":{"$anon_distinct_id":"visitor-1"}}"#;
    for _ in 0..2 {
        let answer = nodes[0].http("POST", "/capture/", event);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"rejected\":0"), "{answer}");
    }
    // Two followers had it before the answer.
    for node in &nodes {
        let answer = node.http("GET", "/resolve/visitor-1", "");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("person_id"), "{answer}");
        assert!(node.http("GET", "/healthz", "").contains("\"node\""));
    }
    assert!(nodes[1].http("GET", "/resolve/eve", "").starts_with("HTTP/1.1 404"));
    assert!(nodes[1].http("POST", "/capture/", "what?").starts_with("HTTP/1.1 400"));
    let (status, said) = operator(&cluster, &["nodes", "shop", "--seconds", "2"]);
    assert!(status == 0 && said.contains("2 nodes"), "{said}");
    let (status, said) = operator(&cluster, &["purge", "shop", "--to", "9", "--node", "a", "--node", "b"]);
    assert!(status == 2 && said.contains("before 9: nothing was purged"), "{said}");
    let erase = ["erase", "shop", "--person-of", "ann", "--reason", "request 17"];
    let (status, said) = operator(&cluster, &erase);
    assert!(status == 0 && said.contains("`purge shop --to 4`"), "{said}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !nodes.iter().all(|node| node.http("GET", "/resolve/ann", "").starts_with("HTTP/1.1 404")) {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
    let ends = nodes.map(Process::end);
    assert!(ends[0].starts_with("closed at position ") && ends[0] == ends[1], "{ends:?}");

    let a = cluster.node_dir("a");
    let (status, said) = operator(&cluster, &["compare", "shop", "--node", a.to_str().unwrap()]);
    assert!(status == 0 && said.contains("0 findings"), "{said}");
    let more = ["continue", "shop", "--from", a.to_str().unwrap(), "--as", "shop-2", "--replicas", "1"];
    let (status, said) = operator(&cluster, &more);
    assert!(
        status == 0 && said.contains("continues in `shop-2` at position 5") && said.contains("sealed"),
        "{said}"
    );
    let nodes = [Process::start(&cluster, "a", "shop-2"), Process::start(&cluster, "b", "shop-2")];
    let answer =
        nodes[1].http("POST", "/capture/", &event.replace("ann", "bob").replace("01a208fa", "01a208fb"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(nodes[0].http("GET", "/resolve/bob", "").starts_with("HTTP/1.1 200"));
}
