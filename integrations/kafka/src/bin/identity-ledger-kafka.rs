//! The operator's command: make a topic, look at its nodes, compare, purge, and continue a log whose topic lost messages.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use identity_ledger::{Policy, Tenant};
use identity_ledger_kafka::{Client, ClientOptions, Settings, Topic, remedy, statuses};

/// Ledgers that follow a topic of Apache Kafka's protocol: what an operator does.
#[derive(Parser)]
struct Arguments {
    /// Addresses of brokers, with a comma between them. Stands before the command, as the next two do.
    #[arg(long, default_value = "127.0.0.1:9092")]
    servers: String,
    /// A setting of topics that is not checked, for brokers that do not have it; may be given several times.
    #[arg(long, value_name = "SETTING")]
    unchecked: Vec<String>,
    /// A property of librdkafka; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = property)]
    property: Vec<(String, String)>,
    #[command(subcommand)]
    command: Command,
}

fn property(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    pair.ok_or_else(|| format!("expected KEY=VALUE; found `{text}`"))
}

#[derive(Subcommand)]
enum Command {
    /// Makes a topic with safe settings, and the log in it.
    Create {
        #[command(flatten)]
        new: New,
        /// The tenant of the ledgers; the name of the topic unless given.
        #[arg(long)]
        tenant: Option<String>,
        /// A file with the first policy, as JSON; the default policy unless given.
        #[arg(long)]
        policy: Option<PathBuf>,
    },
    /// Says how far each node is, and whether nodes at one position have one head. Status 1 if not, or if no node is heard.
    Nodes {
        /// The topic.
        topic: String,
        /// How many seconds to listen.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// Compares every message of the topic with what a node recorded. Status 1 if they differ.
    Compare {
        /// The topic.
        topic: String,
        /// The node's directory.
        #[arg(long)]
        node: PathBuf,
    },
    /// Removes from the topic what all followers have, and have taken out of their files if it was erased.
    Purge {
        /// The topic.
        topic: String,
        /// The last position to remove.
        #[arg(long)]
        to: u64,
        /// Every follower, by name.
        #[arg(long, required = true)]
        node: Vec<String>,
    },
    /// Continues a log whose topic lost messages in a new topic, from the longest good follower. Close every node first.
    Continue {
        /// The old topic.
        old: String,
        /// The directory of the follower.
        #[arg(long)]
        from: PathBuf,
        #[command(flatten)]
        new: New,
    },
}

#[derive(clap::Args)]
struct New {
    /// The name of the new topic.
    #[arg(long = "as")]
    name: String,
    /// How many brokers hold each message.
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Largest message in bytes; a topic that continues a log takes at least what the old one took.
    #[arg(long, default_value_t = 1 << 20)]
    max_message_bytes: usize,
}

impl New {
    fn settings(&self) -> Settings {
        let New { name, replicas, max_message_bytes } = self;
        Settings { topic: name.clone(), replicas: *replicas, max_message_bytes: *max_message_bytes }
    }
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(Arguments { servers, unchecked, property, command }: Arguments) -> Result<bool, Failure> {
    let unchecked = unchecked.into_iter().collect();
    let client = Client::new(&ClientOptions { servers, unchecked, properties: property })?;
    match command {
        Command::Create { new, tenant, policy } => {
            let tenant = Tenant::new(tenant.unwrap_or_else(|| new.name.clone()))?;
            let policy = match policy {
                Some(file) => serde_json::from_slice(&std::fs::read(file)?)?,
                None => Policy::default(),
            };
            let topic = Topic::create(&client, &new.settings(), tenant, policy).await?;
            println!("the topic `{}` holds the log `{}`", new.name, topic.log());
            Ok(true)
        }
        Command::Nodes { topic, seconds } => nodes(&client, &topic, Duration::from_secs(seconds)).await,
        Command::Compare { topic, node } => {
            let findings = remedy::compare(&Topic::open(&client, &topic, 1).await?, &node).await?;
            findings.iter().for_each(|finding| println!("{finding:?}"));
            println!("{} findings", findings.len());
            Ok(findings.is_empty())
        }
        Command::Purge { topic, to, node } => {
            let said = statuses(&client, &topic, Duration::from_secs(3)).await?;
            let topic = Topic::open(&client, &topic, 1).await?;
            let purged = remedy::purge(&topic, to, &node, &said).await?;
            println!("{purged} messages removed, up to position {to}");
            Ok(true)
        }
        Command::Continue { old, from, new } => {
            let done = remedy::continue_topic(&client, &old, &from, &new.settings()).await?;
            println!("the log `{}` continues in `{}` at position {}", done.log, new.name, done.first);
            println!("  sent again      {} batches that this follower does not hold", done.republished);
            for (position, why) in &done.left_out {
                println!("  left out        position {position}: {why}");
            }
            let old_topic = if done.old_is_there { "still takes batches: delete it" } else { "is not there" };
            println!("  old topic       {old_topic}");
            println!(
                "Give every other node a copy of {}, and start all of them on `{}`.",
                from.display(),
                new.name
            );
            Ok(true)
        }
    }
}

async fn nodes(client: &Client, topic: &str, wait: Duration) -> Result<bool, Failure> {
    let statuses = statuses(client, topic, wait).await?;
    let mut equal = true;
    for status in &statuses {
        println!("{:20} {:>12} {}", status.node, status.position, status.checkpoint);
        for other in statuses.iter().filter(|other| other.node > status.node && other.differs_from(status)) {
            println!(
                "{} and {} have different heads at position {}",
                status.node, other.node, status.position
            );
            equal = false;
        }
    }
    println!("{} heard", statuses.len());
    if statuses.is_empty() {
        Topic::open(client, topic, 1).await?; // its name may be wrong
    }
    Ok(equal && !statuses.is_empty())
}
