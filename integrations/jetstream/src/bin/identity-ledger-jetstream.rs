//! The operator's command: create a stream, look at its nodes, compare, purge, and continue one that lost messages.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use identity_ledger::{Policy, Tenant};
use identity_ledger_jetstream::async_nats::{self, jetstream::context::Context};
use identity_ledger_jetstream::node::statuses;
use identity_ledger_jetstream::{Settings, Stream, context, remedy, stream};

/// Ledgers that follow a NATS JetStream: what an operator does.
#[derive(Parser)]
struct Arguments {
    /// Addresses of servers, with a comma between them.
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    url: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Creates a stream with safe settings, and the log in it.
    Create {
        #[command(flatten)]
        new: New,
        /// The tenant of the ledgers; the library's default unless given.
        #[arg(long)]
        tenant: Option<String>,
        /// A file with the first policy, as JSON; the default policy unless given.
        #[arg(long)]
        policy: Option<PathBuf>,
        /// Monitoring address of each server: refuses to go on unless each syncs always.
        #[arg(long)]
        monitor: Vec<SocketAddr>,
    },
    /// Says how far each node is, and whether nodes at one position have one head. Status 1 if not.
    Nodes {
        /// The stream.
        stream: String,
        /// How many seconds to listen.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// Compares every message of the stream with what a node recorded. Status 1 if they differ.
    Compare {
        /// The stream.
        stream: String,
        /// The node's directory.
        #[arg(long)]
        node: PathBuf,
    },
    /// Removes from the stream what all followers have.
    Purge {
        /// The stream.
        stream: String,
        /// The last position to remove.
        #[arg(long)]
        to: u64,
        /// Every follower, by name.
        #[arg(long, required = true)]
        node: Vec<String>,
    },
    /// Continues a log whose stream lost messages in a new stream, from the longest good follower.
    Continue {
        /// The old stream, which is sealed if it is there.
        old: String,
        /// The directory of the follower; close its node first.
        #[arg(long)]
        from: PathBuf,
        #[command(flatten)]
        new: New,
    },
}

#[derive(clap::Args)]
struct New {
    /// The name of the new stream.
    #[arg(long = "as")]
    name: String,
    /// How many servers hold each message.
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Largest message in bytes.
    #[arg(long, default_value_t = 1 << 20)]
    max_message_bytes: usize,
}

impl New {
    fn settings(&self) -> Settings {
        let New { name, replicas, max_message_bytes } = self;
        Settings { replicas: *replicas, max_message_bytes: *max_message_bytes, ..Settings::new(name) }
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

async fn run(Arguments { url, command }: Arguments) -> Result<bool, Failure> {
    let context = context(async_nats::connect(url).await?);
    match command {
        Command::Create { new, tenant, policy, monitor } => {
            create(&context, &new, tenant, policy, monitor).await
        }
        Command::Nodes { stream, seconds } => nodes(&context, &stream, Duration::from_secs(seconds)).await,
        Command::Compare { stream, node } => {
            let stream = Stream::open(&context, &stream, 1).await?;
            let findings = remedy::compare(&stream, &node).await?;
            findings.iter().for_each(|finding| println!("{finding:?}"));
            println!("{} findings", findings.len());
            Ok(findings.is_empty())
        }
        Command::Purge { stream, to, node } => {
            let statuses = statuses(&context, &stream, Duration::from_secs(3)).await?;
            let stream = Stream::open(&context, &stream, 1).await?;
            let purged = remedy::purge(&stream, to, &node, &statuses).await?;
            println!("{purged} messages removed, up to position {to}");
            Ok(true)
        }
        Command::Continue { old, from, new } => {
            let done = remedy::continue_stream(&context, &old, &from, &new.settings()).await?;
            let remedy::Continued { log, first, republished, left_out, old_sealed, .. } = done;
            println!("the log `{log}` continues in `{}` at position {first}", new.name);
            println!("  sent again      {republished} batches that this follower does not hold");
            println!("  old stream      {}", if old_sealed { "sealed" } else { "is not there" });
            for (position, why) in left_out {
                println!("  left out        position {position}: {why}");
            }
            println!(
                "Give every other node a copy of {}, and start all of them on `{}`.",
                from.display(),
                new.name
            );
            Ok(true)
        }
    }
}

async fn create(
    context: &Context,
    new: &New,
    tenant: Option<String>,
    policy: Option<PathBuf>,
    monitor: Vec<SocketAddr>,
) -> Result<bool, Failure> {
    let tenant = tenant.map(Tenant::new).transpose()?.unwrap_or_default();
    let policy = match policy {
        Some(file) => serde_json::from_slice(&std::fs::read(file)?)?,
        None => Policy::default(),
    };
    for server in &monitor {
        if !stream::syncs_always(*server).await? {
            eprintln!(
                "error: the server at {server} does not have `sync_interval: always`; nothing was created"
            );
            return Ok(false);
        }
    }
    if monitor.is_empty() {
        eprintln!("note: give --monitor for each server to check that it syncs always");
    }
    let stream = Stream::create(context, &new.settings(), tenant, policy).await?;
    println!("the stream `{}` holds the log `{}`", new.name, stream.log());
    Ok(true)
}

async fn nodes(context: &Context, stream: &str, wait: Duration) -> Result<bool, Failure> {
    let statuses = statuses(context, stream, wait).await?;
    let mut equal = true;
    for status in &statuses {
        println!("{:20} {:>12} {}", status.node, status.position, status.checkpoint);
        for other in statuses.iter().filter(|other| other.node > status.node) {
            let differ = (&other.log, other.position) == (&status.log, status.position)
                && other.checkpoint != status.checkpoint;
            if differ {
                println!(
                    "{} and {} have different heads at position {}",
                    status.node, other.node, status.position
                );
                equal = false;
            }
        }
    }
    println!("{} nodes", statuses.len());
    Ok(equal)
}
