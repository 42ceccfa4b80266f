//! Arguments that several commands share.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use identity_ledger::{Checkpoint, LedgerOptions, Policy, Preset, Tenant};

use crate::failure::Failure;
use crate::moment::{MOMENT, Moment};
use crate::policy_file;

#[derive(Args)]
pub(crate) struct SourceArgs {
    /// A ledger's directory, or a file to fold in memory (`-` is standard input)
    #[arg(value_name = "LEDGER|FILE")]
    pub(crate) source: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    #[command(flatten)]
    pub(crate) choice: CreateArgs,
}

/// The ledger that a command asks or changes.
#[derive(Args)]
pub(crate) struct LedgerArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) place: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
}

/// What answers are taken from.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct Reading {
    /// Fold the whole log, and use no snapshot
    #[arg(long)]
    pub(crate) from_log: bool,
    /// Answer only if the log passes through this checkpoint, kept elsewhere; folds the whole log
    #[arg(long, value_name = "RECORDS:HEAD")]
    pub(crate) expect: Option<Checkpoint>,
}

/// As of when a question is asked.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct AsOf {
    /// As it was right after this record, or at this time (2026-03-03T12:00:00Z, or 2026-03-03: its first moment in UTC)
    #[arg(long, value_name = MOMENT)]
    pub(crate) at: Option<Moment>,
}

impl Reading {
    /// The options with what was asked.
    pub(crate) fn asked_of(self, options: LedgerOptions<'_>) -> LedgerOptions<'_> {
        let Reading { from_log, expect } = self;
        let options = if from_log { options.without_snapshots() } else { options };
        match expect {
            Some(checkpoint) => options.expect(checkpoint),
            None => options,
        }
    }
}

/// What a new ledger is to be: one that is created, or one in memory.
#[derive(Args)]
pub(crate) struct CreateArgs {
    /// Whose ledger it is; part of every person id [default: 1]
    #[arg(long, value_name = "T")]
    pub(crate) tenant: Option<Tenant>,
    #[command(flatten)]
    policy: PolicyArgs,
}

/// The policy of a new ledger.
#[derive(Args)]
pub(crate) struct PolicyArgs {
    /// Which links are made: as PostHog does, more strictly, or with one user a person [default: posthog]
    #[arg(long, value_parser = named(&Preset::ALL), conflicts_with = "policy")]
    preset: Option<Preset>,
    /// A policy of your own, a JSON file
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl PolicyArgs {
    /// The policy that was chosen, if one was.
    pub(crate) fn policy(&self) -> Result<Option<Policy>, Failure> {
        match (&self.policy, self.preset) {
            (Some(file), _) => policy_file::read(file).map(Some),
            (None, Some(preset)) => Ok(Some(Policy::preset(preset))),
            (None, None) => Ok(None),
        }
    }
}

impl CreateArgs {
    /// The policy that was chosen, if one was.
    pub(crate) fn policy(&self) -> Result<Option<Policy>, Failure> {
        self.policy.policy()
    }

    /// The tenant, chosen or not.
    pub(crate) fn tenant_or_default(&self) -> Tenant {
        self.tenant.clone().unwrap_or_default()
    }
}

/// Takes one of some names.
pub(crate) fn named<T: Copy + Send + Sync + 'static>(
    all: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|(name, _)| *name)).map(move |chosen| {
        let found = all.iter().find(|(name, _)| *name == chosen);
        found.map(|(_, value)| *value).expect("clap lets no other value through")
    })
}
