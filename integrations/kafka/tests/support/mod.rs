//! A real broker, started, killed and started again by tests.
#![allow(dead_code, reason = "each test uses its own part")]

#[path = "../../../shared-log/tests/support/mod.rs"]
pub(crate) mod common;
pub(crate) mod store;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use identity_ledger::{Policy, Tenant};
use identity_ledger_kafka::rdkafka::ClientConfig;
use identity_ledger_kafka::rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use identity_ledger_kafka::rdkafka::client::DefaultClientContext;
use identity_ledger_kafka::rdkafka::message::{Header, OwnedHeaders};
use identity_ledger_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use identity_ledger_kafka::{Client, ClientOptions, Node, NodeOptions, Settings, Stop, Topic};
use store::Store;

/// The broker's program. Without one the test that asks is skipped, loudly: past the harness, which keeps what a passing test prints.
pub(crate) fn program(test: &str) -> Option<PathBuf> {
    let program = std::env::var_os("KAFKA_BROKER").map(PathBuf::from).filter(|program| program.is_file());
    if program.is_none() {
        let line = format!("\nNOT RUN: {test}: set KAFKA_BROKER, or run integrations/kafka/test\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    program
}

/// Says what the node says, if `RUST_LOG` asks for it.
pub(crate) fn trace() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    drop(tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init());
}

/// A broker and the store that it keeps its topics in. Both end when it is dropped.
pub(crate) struct Broker {
    program: PathBuf,
    pub(crate) port: u16,
    pub(crate) store: Store,
    child: Mutex<Option<Child>>,
    pub(crate) dir: tempfile::TempDir,
}

impl Broker {
    pub(crate) async fn start(test: &str) -> Option<Broker> {
        trace();
        let program = program(test)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (store, dir) = (Store::start().await, tempfile::tempdir().unwrap());
        let broker = Broker { program, port, store, child: Mutex::default(), dir };
        broker.run().await;
        Some(broker)
    }

    /// Starts it, also again on what it had.
    pub(crate) async fn run(&self) {
        let url = format!("tcp://127.0.0.1:{}", self.port);
        let log = self.dir.path().join("broker.log");
        let log = std::fs::File::options().append(true).create(true).open(log).unwrap();
        let child = Command::new(&self.program)
            .args(["broker", "--listener-url", &url, "--advertised-listener-url", &url])
            .args(["--storage-engine", "s3://tansu/", "--silent"])
            .env("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.store.port))
            .envs([("AWS_ALLOW_HTTP", "true"), ("AWS_REGION", "none")])
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
            .stdout(log.try_clone().map(Stdio::from).unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.child.lock().unwrap() = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(Instant::now() < deadline, "the broker does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        self.store.end_broker(|| self.end());
    }

    fn end(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            drop(child.kill());
            child.wait().unwrap();
        }
    }

    pub(crate) fn options(&self) -> ClientOptions {
        // This broker keeps the setting, and does not do what it says.
        let unchecked = ["message.timestamp.type".to_owned()].into();
        ClientOptions { unchecked, ..ClientOptions::new(format!("127.0.0.1:{}", self.port)) }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.options()).unwrap()
    }

    /// A topic, and its log.
    pub(crate) async fn create(&self, name: &str) -> Topic {
        let settings = Settings { replicas: 1, ..Settings::new(name) };
        Topic::create(&self.client(), &settings, Tenant::default(), Policy::default()).await.unwrap()
    }

    /// A node on a client of its own.
    pub(crate) async fn node(&self, name: &str, topic: &str, acknowledgements: usize) -> Node {
        self.try_node(name, topic, acknowledgements).await.unwrap()
    }

    pub(crate) async fn try_node(
        &self,
        name: &str,
        topic: &str,
        acknowledgements: usize,
    ) -> Result<Node, Stop> {
        Node::start(self.client(), self.node_options(name, topic, acknowledgements)).await
    }

    pub(crate) fn node_options(&self, name: &str, topic: &str, acknowledgements: usize) -> NodeOptions {
        NodeOptions {
            min_replicas: 1,
            acknowledgements,
            ..NodeOptions::new(name, self.node_dir(name), topic)
        }
    }

    /// Sends what a program may send that is not a node.
    pub(crate) async fn send(&self, topic: &str, payload: &[u8], first: Option<&str>) {
        let mut headers = OwnedHeaders::new();
        if let Some(first) = first {
            headers = headers.insert(Header { key: "identity-ledger.first", value: Some(first) });
        }
        // Long ago: the clock of this sender is behind those of the nodes.
        let record = FutureRecord::<str, [u8]>::to(topic).partition(0).key("odd").timestamp(1_000);
        let record = record.payload(payload).headers(headers);
        let producer: FutureProducer = self.config().set("batch.num.messages", "1").create().unwrap();
        producer.send(record, Duration::from_secs(5)).await.unwrap();
    }

    /// Makes a topic that this crate did not make, with these settings.
    pub(crate) async fn make(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        self.admin().create_topics([&topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.admin().delete_topics(&[name], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", format!("127.0.0.1:{}", self.port));
        config
    }

    pub(crate) fn node_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join("nodes").join(name)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

/// Copies a node's ledger.
pub(crate) fn backup(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    identity_ledger::backup::Backup::run(&from.join("ledger"), &to.join("ledger"), &mut |_| {}).unwrap();
}
