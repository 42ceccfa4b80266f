//! What each part of a job has to know: the policies of each tenant (A3), and its first erasure (D11).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use identity_ledger::{Policy, Seq, Tenant};
use serde::Deserialize;

use super::error::ComponentsError;
use crate::failure::Failure;
use crate::input::Input;

/// The longest line: the largest policy takes a quarter of it.
const MAX_LINE_BYTES: u64 = 1_024 * 1_024;

/// A record that holds for all components of a tenant.
#[derive(Clone, Debug)]
pub(super) enum Everywhere {
    /// This policy, from here on.
    Policy(Box<Policy>),
    /// The tenant's first erasure.
    FirstErasure,
}

/// Such a record, and its number.
type Held = (Seq, Everywhere);

/// What holds for all components, by tenant.
pub(super) enum Broadcast {
    /// One policy, for every tenant.
    One([Held; 1]),
    Each(BTreeMap<String, Vec<Held>>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    tenant: String,
    seq: u64,
    policy: Option<Policy>,
    #[serde(default)]
    erases: bool,
}

impl Broadcast {
    /// One policy for all tenants, from before their first record.
    pub(super) fn everywhere(policy: Policy) -> Broadcast {
        Broadcast::One([(Seq(0), Everywhere::Policy(Box::new(policy)))])
    }

    /// Reads a file of lines.
    pub(super) fn read(file: &Path) -> Result<Broadcast, Failure> {
        let mut each: BTreeMap<String, Vec<Held>> = BTreeMap::new();
        let mut lines = BufReader::new(Input::open(file)?.reader);
        for line in 1.. {
            let bad = |what: String| {
                Failure::from(ComponentsError::BadBroadcast { file: file.to_owned(), line, what })
            };
            let mut text = String::new();
            let read =
                lines.by_ref().take(MAX_LINE_BYTES).read_line(&mut text).map_err(Failure::read(file))?;
            if read == 0 {
                break;
            }
            if read as u64 == MAX_LINE_BYTES {
                return Err(bad(format!("it is too long; expected less than {MAX_LINE_BYTES} bytes")));
            }
            let Line { tenant, seq, policy, erases } =
                serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
            Tenant::new(&tenant).map_err(|error| bad(error.to_string()))?;
            let records = each.entry(tenant).or_default();
            let seq = Seq(seq);
            if let Some((before, _)) = records.last().filter(|(before, _)| *before >= seq) {
                return Err(bad(format!(
                    "record {seq} stands behind record {before}; expected them in order"
                )));
            }
            records.push(match (policy, erases) {
                (Some(policy), false) => (seq, Everywhere::Policy(Box::new(policy))),
                (None, true) if !records.is_empty() => (seq, Everywhere::FirstErasure),
                (None, true) => {
                    return Err(bad("an erasure stands before the first policy of its tenant".to_owned()));
                }
                _ => return Err(bad("expected either `policy` or `erases`".to_owned())),
            });
        }
        Ok(Broadcast::Each(each))
    }

    /// The first policy of a tenant and its record, and what comes later.
    pub(super) fn of(&self, tenant: &str) -> Result<(Seq, &Policy, &[Held]), ComponentsError> {
        let records = match self {
            Broadcast::One(one) => Some(&one[..]),
            Broadcast::Each(each) => each.get(tenant).map(Vec::as_slice),
        };
        match records.and_then(<[_]>::split_first) {
            Some(((seq, Everywhere::Policy(policy)), later)) => Ok((*seq, policy, later)),
            _ => Err(ComponentsError::NoPolicy { tenant: tenant.to_owned() }),
        }
    }
}
