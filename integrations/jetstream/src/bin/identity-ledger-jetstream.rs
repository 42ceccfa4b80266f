//! The operator's command: create a stream, look at its nodes, compare, erase, purge, and continue one that lost messages.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::uuid::Uuid;
use identity_ledger::{DistinctId, PersonId, Policy, PropertyKey, Seq, Tenant, Timestamp};
use identity_ledger_jetstream::async_nats::{ServerAddr, jetstream::context::Context};
use identity_ledger_jetstream::node::statuses;
use identity_ledger_jetstream::{
    Batch, Publisher, Settings, Stream, connect_options, context, remedy, shown, stream,
};

/// Ledgers that follow a NATS JetStream: what an operator does.
#[derive(Parser)]
struct Arguments {
    /// Addresses of servers, with a comma between them. Stands before the command, as the credentials do.
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    url: String,
    /// A file of credentials.
    #[arg(long)]
    credentials: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Creates a stream with safe settings, and the log in it.
    Create {
        #[command(flatten)]
        new: New,
        /// The tenant of the ledgers, as tokens of `identity-ledger serve` name it; the name of the stream unless given.
        #[arg(long)]
        tenant: Option<String>,
        /// A file with the first policy, as JSON; the default policy unless given.
        #[arg(long)]
        policy: Option<PathBuf>,
        /// Monitoring address of each server: refuses to go on unless each syncs always.
        #[arg(long)]
        monitor: Vec<SocketAddr>,
    },
    /// Says how far each node is, and whether nodes at one position have one head. Status 1 if not, or if no node is heard.
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
    /// Sends an erasure: every follower records it, and takes it out of its files. The stream holds the texts until it is purged.
    Erase {
        /// The stream.
        stream: String,
        #[command(flatten)]
        whom: Whom,
        /// Only the values of these property keys; the texts of ids stay.
        #[arg(long, value_name = "KEY,KEY", value_delimiter = ',', conflicts_with = "reason_of")]
        keys: Vec<PropertyKey>,
        /// Why; it is kept, and can be erased itself.
        #[arg(long)]
        reason: String,
    },
    /// Removes from the stream what all followers have, and have taken out of their files if it was erased.
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

/// Whose texts and values.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// Everything of the person with this public id.
    #[arg(long)]
    person: Option<Uuid>,
    /// Everything of the person that this id belongs to.
    #[arg(long)]
    person_of: Option<DistinctId>,
    /// This id alone, and what was said for it; may be given several times.
    #[arg(long)]
    id: Vec<DistinctId>,
    /// The reason that this erase record gave.
    #[arg(long)]
    reason_of: Option<u64>,
}

impl Whom {
    fn subject(self) -> ErasureSubject {
        let Whom { person, person_of, id, reason_of } = self;
        match (person, person_of, reason_of) {
            (Some(person), ..) => ErasureSubject::Person(PersonId(person)),
            (_, Some(id), _) => ErasureSubject::PersonOf(id),
            (.., Some(seq)) => ErasureSubject::ReasonOf(Seq(seq)),
            _ => ErasureSubject::Ids(id.into_iter().collect()),
        }
    }
}

#[derive(clap::Args)]
struct New {
    /// The name of the new stream.
    #[arg(long = "as")]
    name: String,
    /// How many servers hold each message [default: 3, or as the stream that is continued].
    #[arg(long)]
    replicas: Option<usize>,
    /// Largest message in bytes; `max_payload` of the servers is a bound, too [default: 1048576, or as the stream that is continued].
    #[arg(long)]
    max_message_bytes: Option<usize>,
}

impl New {
    /// What was chosen, and everything else as in other settings.
    fn settings(&self, others: Settings) -> Settings {
        Settings {
            stream: self.name.clone(),
            replicas: self.replicas.unwrap_or(others.replicas),
            max_message_bytes: self.max_message_bytes.unwrap_or(others.max_message_bytes),
            ..others
        }
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

async fn run(Arguments { url, credentials, command }: Arguments) -> Result<bool, Failure> {
    let addresses = url.split(',').map(str::parse).collect::<Result<Vec<ServerAddr>, _>>()?;
    let options = connect_options(&addresses, credentials.as_deref()).await?;
    let client = options.connect(addresses).await.map_err(|error| {
        let shown: Vec<String> = url.split(',').map(shown).collect();
        format!("{}: {error}; `--url` before the command names the servers", shown.join(", "))
    })?;
    let context = context(client);
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
        Command::Erase { stream, whom, keys, reason } => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let now = Timestamp::from_micros(i64::try_from(since.as_micros())?)?;
            let request = ErasureRequest::new(now, whom.subject(), reason).with_keys(keys);
            let publisher = Publisher::open(&context, &stream, 1).await?;
            let position = publisher.publish(&Batch::erase(request)).await?.position;
            println!("the erasure stands at position {position}");
            println!(
                "  taken or not    `rejected.jsonl` of each node says if it was not; `erasures` of its ledger if it was"
            );
            println!(
                "  the stream      holds the texts until `purge {stream} --to {position}`, with each node by name"
            );
            Ok(true)
        }
        Command::Purge { stream, to, node } => {
            let statuses = statuses(&context, &stream, Duration::from_secs(3)).await?;
            let stream = Stream::open(&context, &stream, 1).await?;
            let purged = remedy::purge(&stream, to, &node, &statuses).await?;
            println!("{purged} messages removed, up to position {to}");
            Ok(true)
        }
        Command::Continue { old, from, new } => {
            let like = match Stream::open(&context, &old, 1).await {
                Ok(old) => old.settings(),
                Err(_) => Settings::new(&old), // what else is wrong with it is said where it is read
            };
            let done = remedy::continue_stream(&context, &old, &from, &new.settings(like)).await?;
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
    let tenant = Tenant::new(tenant.unwrap_or_else(|| new.name.clone()))?;
    let policy = match policy {
        Some(file) => serde_json::from_slice(&std::fs::read(file)?)?,
        None => Policy::default(),
    };
    for server in &monitor {
        let syncs = stream::syncs_always(*server).await;
        if !syncs.map_err(|error| format!("the monitoring address {server}: {error}"))? {
            eprintln!(
                "error: the server at {server} does not have `sync_interval: always`; nothing was created"
            );
            return Ok(false);
        }
    }
    if monitor.is_empty() {
        eprintln!("note: give --monitor for each server to check that it syncs always");
    }
    let stream = Stream::create(context, &new.settings(Settings::new(&new.name)), tenant, policy).await?;
    println!("the stream `{}` holds the log `{}`", new.name, stream.log());
    Ok(true)
}

async fn nodes(context: &Context, stream: &str, wait: Duration) -> Result<bool, Failure> {
    let statuses = statuses(context, stream, wait).await?;
    let mut equal = true;
    for status in &statuses {
        println!("{:20} {:>12} {}", status.node, status.position, status.checkpoint);
        if let Some(erased) = status.erased.filter(|erased| *erased < status.position) {
            println!("{} has what was erased since position {erased} in its files", status.node);
        }
        for other in statuses.iter().filter(|other| other.node > status.node) {
            if other.differs_from(status) {
                println!(
                    "{} and {} have different heads at position {}",
                    status.node, other.node, status.position
                );
                equal = false;
            }
        }
    }
    println!(
        "{} heard",
        if let [_] = statuses[..] { "1 node".to_owned() } else { format!("{} nodes", statuses.len()) }
    );
    if statuses.is_empty() {
        Stream::open(context, stream, 1).await?; // its name may be wrong
    }
    Ok(equal && !statuses.is_empty())
}
