//! `serve --jetstream`: its options, which every build has. What they ask for is `node.rs`, in a build with the feature `jetstream`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct StreamArgs {
    /// Be a node of several: send what is accepted to a stream of these NATS servers, and follow it; DIR is the node's own
    #[arg(
        long = "jetstream", value_name = "URL,URL", value_delimiter = ',', requires_all = ["stream", "node"],
        conflicts_with_all = ["demo", "preset", "policy", "idle"]
    )]
    pub(crate) urls: Vec<String>,
    /// The stream, as `identity-ledger-jetstream create` made it; the tokens name its tenant
    #[arg(long, value_name = "NAME", requires = "urls")]
    pub(crate) stream: Option<String>,
    /// The name of this node, which no other node of the stream has
    #[arg(long, value_name = "NAME", requires = "urls", value_parser = node_name)]
    pub(crate) node: Option<String>,
    /// The fewest servers that hold each message of the stream; one that has fewer is refused
    #[arg(long, value_name = "N", requires = "urls", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) min_replicas: u16,
    /// How many nodes have events durably before their sender hears of it, this one included
    #[arg(long, value_name = "N", requires = "urls", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) acknowledgements: u16,
    /// A file of NATS credentials; TLS is asked for by `tls://` in the URL
    #[arg(long, value_name = "FILE", requires = "urls")]
    pub(crate) jetstream_credentials: Option<PathBuf>,
}

fn node_name(name: &str) -> Result<String, String> {
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return Err("expected 1 to 64 letters, digits, `-`, `_` or `.`".to_owned());
    }
    Ok(name.to_owned())
}

impl StreamArgs {
    /// The names of the node and of its stream.
    pub(crate) fn names(&self) -> Option<(&str, &str)> {
        self.node.as_deref().zip(self.stream.as_deref())
    }
}
