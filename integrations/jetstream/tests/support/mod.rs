//! Real servers, started and stopped by tests.
#![allow(dead_code, reason = "each test uses its own part")]

#[path = "../../../shared-log/tests/support/mod.rs"]
pub(crate) mod common;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use identity_ledger::{Policy, Tenant};
use identity_ledger_jetstream::async_nats::{Client, ConnectOptions};
use identity_ledger_jetstream::{Node, NodeOptions, Settings, Stream, context, remedy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The server's program. Without one the test that asks is skipped, loudly: past the harness, which keeps what a passing test prints.
pub(crate) fn program(test: &str) -> Option<PathBuf> {
    let program = std::env::var_os("NATS_SERVER").map(PathBuf::from).filter(|program| program.is_file());
    if program.is_none() {
        let line = format!("\nNOT RUN: {test}: set NATS_SERVER, or run integrations/jetstream/test\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    program
}

/// Says what the node says, if `RUST_LOG` asks for it.
pub(crate) fn trace() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    drop(tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init());
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server, killed when it is dropped.
pub(crate) struct Server {
    program: PathBuf,
    config: PathBuf,
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) monitor: u16,
    pub(crate) store: PathBuf,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn monitor(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.monitor))
    }

    pub(crate) fn start(&mut self) {
        assert!(self.try_start(), "the server {} does not start", self.name);
    }

    /// Whether it starts: with damaged files it may refuse to.
    pub(crate) fn try_start(&mut self) -> bool {
        let log = self.config.with_extension("log");
        let log = std::fs::File::options().append(true).create(true).open(log).unwrap();
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(&self.config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if child.try_wait().unwrap().is_some() || Instant::now() > deadline {
                self.kill();
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill()); // it may have ended by itself
            child.wait().unwrap();
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// It hears nothing and says nothing, as behind a partition.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// The files that hold a stream's messages.
    pub(crate) fn blocks(&self, stream: &str) -> Vec<PathBuf> {
        let dir = self.store.join("jetstream/$G/streams").join(stream).join("msgs");
        let mut blocks: Vec<PathBuf> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "blk"))
            .collect();
        blocks.sort();
        blocks
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Servers that sync each message before they acknowledge it.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
    pub(crate) dir: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn start(program: &Path, count: usize) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let routes: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let all: Vec<String> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let servers = (0..count).map(|index| {
            let (name, port, monitor) = (format!("s{index}"), free_port(), free_port());
            let store = dir.path().join(&name);
            let mut text = format!(
                "server_name: {name}\nlisten: 127.0.0.1:{port}\nhttp: 127.0.0.1:{monitor}\nmax_payload: 1MB\n\
                 jetstream {{ store_dir: \"{}\", sync_interval: always, max_file_store: 4GB }}\n",
                store.display()
            );
            if count > 1 {
                let (route, routes) = (routes[index], all.join(", "));
                text += &format!("cluster {{ name: L, listen: 127.0.0.1:{route}, routes: [{routes}] }}\n");
            }
            let config = dir.path().join(format!("{name}.conf"));
            std::fs::write(&config, text).unwrap();
            Server { program: program.to_owned(), config, name, port, monitor, store, child: None }
        });
        let mut cluster = Cluster { servers: servers.collect(), dir };
        cluster.servers.iter_mut().for_each(Server::start);
        cluster
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Server::url).collect()
    }

    pub(crate) async fn client(&self) -> Client {
        connect(&self.urls()).await
    }

    /// A stream on all servers, and its log.
    pub(crate) async fn create(&self, name: &str) -> Stream {
        let settings = Settings { replicas: self.servers.len(), ..Settings::new(name) };
        let client = self.client().await;
        for _ in 0..100 {
            match Stream::create(&context(client.clone()), &settings, Tenant::default(), Policy::default())
                .await
            {
                Ok(stream) => return stream,
                Err(error) => println!("creating {name} again: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("the stream {name} was not created");
    }

    /// A node on a client of its own.
    pub(crate) async fn node(&self, name: &str, stream: &str, acknowledgements: usize) -> Node {
        self.try_node(name, stream, acknowledgements).await.unwrap()
    }

    pub(crate) async fn try_node(
        &self,
        name: &str,
        stream: &str,
        acknowledgements: usize,
    ) -> Result<Node, identity_ledger_jetstream::Stop> {
        let options = NodeOptions {
            min_replicas: self.servers.len(),
            acknowledgements,
            ..NodeOptions::new(name, self.node_dir(name), stream)
        };
        Node::start(self.client().await, options).await
    }

    pub(crate) fn node_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join("nodes").join(name)
    }

    /// The server that leads a stream.
    pub(crate) async fn leader(&self, client: &Client, stream: &str) -> usize {
        for _ in 0..200 {
            if let Ok(stream) = context(client.clone()).get_stream(stream).await
                && let Some(leader) = stream.cached_info().cluster.as_ref().and_then(|it| it.leader.clone())
                && let Some(index) = self.servers.iter().position(|server| server.name == leader)
            {
                return index;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no server leads {stream}");
    }
}

pub(crate) async fn connect(urls: &[String]) -> Client {
    let options = ConnectOptions::new()
        .retry_on_initial_connect()
        .ignore_discovered_servers()
        .max_reconnects(None)
        .reconnect_delay_callback(|_| Duration::from_millis(100))
        .connection_timeout(Duration::from_secs(2))
        .ping_interval(Duration::from_secs(2));
    options.connect(urls).await.unwrap()
}

/// A way to a server on which acknowledgements get lost: while it swallows, what the server says is thrown away, and then the connection
/// is cut.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    swallow: Arc<AtomicBool>,
}

impl Proxy {
    pub(crate) async fn to(ports: Vec<u16>) -> Proxy {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let swallow = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&swallow);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, ports.clone(), Arc::clone(&flag)));
            }
        });
        Proxy { port, swallow }
    }

    pub(crate) async fn swallow_for(&self, time: Duration) {
        self.swallow.store(true, Ordering::SeqCst);
        tokio::time::sleep(time).await;
        self.swallow.store(false, Ordering::SeqCst);
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

async fn relay(client: tokio::net::TcpStream, ports: Vec<u16>, swallow: Arc<AtomicBool>) {
    let mut server = None;
    for port in ports {
        if let Ok(Ok(found)) = tokio::time::timeout(
            Duration::from_millis(500),
            tokio::net::TcpStream::connect(("127.0.0.1", port)),
        )
        .await
        {
            server = Some(found);
            break;
        }
    }
    let Some(server) = server else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let (mut bytes, mut lost) = (vec![0; 65_536], false);
    loop {
        let read = tokio::time::timeout(Duration::from_millis(50), from_server.read(&mut bytes)).await;
        let swallowing = swallow.load(Ordering::SeqCst);
        match read {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) if swallowing => lost = true,
            Ok(Ok(len)) if !lost && to_client.write_all(&bytes[..len]).await.is_err() => break,
            _ => {}
        }
        if lost && !swallowing {
            break;
        }
    }
    up.abort();
}

/// Files whose paths have a folder of this name in them, in order.
pub(crate) fn files_under(dir: &Path, folder: &str) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.components().any(|part| part.as_os_str().to_string_lossy().contains(folder)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The last position of a stream, and what a node finds different in it: servers that have just started may not answer the first time.
pub(crate) async fn last_position(stream: &Stream) -> u64 {
    for _ in 0..60 {
        match stream.state().await {
            Ok(state) => return state.last_sequence,
            Err(error) => println!("asking again: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("the stream does not say where it ends");
}

pub(crate) async fn compared(stream: &Stream, node_dir: &Path) -> Vec<remedy::Finding> {
    for _ in 0..20 {
        match remedy::compare(stream, node_dir).await {
            Ok(findings) => return findings,
            Err(error) => println!("comparing again: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("the stream cannot be compared");
}
