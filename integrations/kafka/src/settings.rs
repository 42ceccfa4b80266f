//! Settings: how a topic is made so that it keeps what it acknowledged, and what is refused because it would not.

use std::collections::{BTreeSet, HashMap};

use identity_ledger_shared_log::UnsafeStream;

/// How a topic is made. Everything else is not a choice: one partition, nothing compacted, nothing deleted by time or size.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The topic's name: letters, digits, `-` and `_`. What nodes say of themselves is in the topic of this name and `.status`.
    pub topic: String,
    /// How many brokers hold each message. Three survive the loss of one.
    pub replicas: usize,
    /// Largest message in bytes.
    pub max_message_bytes: usize,
}

impl Settings {
    /// Three replicas, messages of 1 MiB at most.
    pub fn new(topic: impl Into<String>) -> Settings {
        Settings { topic: topic.into(), replicas: 3, max_message_bytes: 1 << 20 }
    }

    /// What the topic is made with, by the names that brokers have for it.
    pub(crate) fn config(&self) -> Vec<(&'static str, String)> {
        let mut config = vec![("max.message.bytes", self.max_message_bytes.to_string())];
        config.extend(FIXED.map(|(setting, value)| (setting, value.to_owned())));
        config.push((MIN_INSYNC, majority(self.replicas).to_string()));
        config
    }
}

/// The topic on which nodes say how far they are.
pub(crate) fn status_topic(topic: &str) -> String {
    format!("{topic}.status")
}

/// The settings that have one safe value, which `docs/scale.md` gives reasons for.
const FIXED: [(&str, &str); 6] = [
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("unclean.leader.election.enable", "false"),
    ("message.timestamp.type", TIMESTAMP.1),
    ("flush.messages", "1"),
];

const MIN_INSYNC: &str = "min.insync.replicas";

/// By whose clock a batch is recorded.
pub(crate) const TIMESTAMP: (&str, &str) = ("message.timestamp.type", "LogAppendTime");

/// More than half.
fn majority(replicas: usize) -> usize {
    replicas / 2 + 1
}

/// Checks the settings of a topic, no matter which program made it.
///
/// # Errors
/// [`UnsafeStream`], for the first setting that would lose messages or let them be changed, and for one that the broker does not name,
/// unless it is `unchecked`.
pub fn check<S: std::hash::BuildHasher>(
    topic: &str,
    partitions: usize,
    replicas: usize,
    config: &HashMap<String, String, S>,
    min_replicas: usize,
    unchecked: &BTreeSet<String>,
) -> Result<(), UnsafeStream> {
    let at_least = |setting, found: usize, least: usize| {
        (found >= least, setting, found.to_string(), format!("{least} or more"))
    };
    let said = |setting: &str| config.get(setting).cloned();
    let unsaid = || "not named by the broker".to_owned();
    let in_sync = said(MIN_INSYNC);
    let least = majority(min_replicas);
    let of_topic = [
        (partitions == 1, "partitions", partitions.to_string(), "1".to_owned()),
        at_least("replication.factor", replicas, min_replicas),
    ];
    let fixed = FIXED.map(|(setting, safe)| {
        let found = said(setting);
        (found.as_deref() == Some(safe), setting, found.unwrap_or_else(unsaid), safe.to_owned())
    });
    let enough = in_sync.as_deref().and_then(|text| text.parse::<usize>().ok()).is_some_and(|n| n >= least);
    let in_sync = (enough, MIN_INSYNC, in_sync.unwrap_or_else(unsaid), format!("{least} or more"));
    let checked = of_topic.into_iter().chain(fixed).chain([in_sync]);
    UnsafeStream::check(topic, checked.filter(|(_, setting, ..)| !unchecked.contains(*setting)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_safe_and_each_setting_is_refused_by_name() {
        let settings = Settings::new("shop");
        let made: HashMap<String, String> =
            settings.config().into_iter().map(|(setting, value)| (setting.to_owned(), value)).collect();
        let none = BTreeSet::new();
        let check = |partitions, replicas, made: &HashMap<String, String>, unchecked: &BTreeSet<String>| {
            super::check("shop", partitions, replicas, made, 3, unchecked).map_err(|refused| refused.setting)
        };
        assert_eq!(check(1, 3, &made, &none), Ok(()));
        assert_eq!(check(2, 3, &made, &none), Err("partitions"));
        assert_eq!(check(1, 2, &made, &none), Err("replication.factor"));
        let changes = [
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "compact,delete"),
            ("retention.ms", "604800000"),
            ("retention.bytes", "1"),
            ("unclean.leader.election.enable", "true"),
            ("message.timestamp.type", "CreateTime"),
            ("flush.messages", "9223372036854775807"),
            ("min.insync.replicas", "1"),
            ("min.insync.replicas", "many"),
        ];
        for (setting, value) in changes {
            let mut changed = made.clone();
            changed.insert(setting.to_owned(), value.to_owned());
            assert_eq!(check(1, 3, &changed, &none), Err(setting));
            assert_eq!(check(1, 3, &changed, &BTreeSet::from([setting.to_owned()])), Ok(()));
            changed.remove(setting);
            assert_eq!(check(1, 3, &changed, &none), Err(setting), "the broker does not name it");
        }
    }
}
