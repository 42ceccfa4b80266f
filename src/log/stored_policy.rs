//! A policy as it stands in the log. Stored types: the order of fields and the numbers of choices are set in stone.

use crate::log::codec::{self, CodecError, Decode, Encode};
use crate::model::kind::{IdForm, IdKind};
use crate::model::operation::{Dialect, PersonProfiles};
use crate::model::policy::{Policy, Survivor, UuidIds, ValuesBy};

/// A [`Policy`] as it stands in the log: no maps, every choice a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPolicy {
    fields: PolicyFields,
    /// Stand there if switch 6 says so.
    id_kinds: Vec<StoredKind>,
    /// Stand there if `person_profiles` says so.
    shared_ids: Vec<String>,
}

/// What each policy has.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct PolicyFields {
    /// Bit 0 refuse_joining_identified, 1 survivor elder, 2 dialect core, 3 lift, 4 keep_event_properties, 5 block_placeholders, 6 kinds of
    /// ids follow, 7 values by event time.
    switches: u8,
    /// 0 v7-only, 1 anonymous, 2 user.
    uuid_ids: u8,
    /// 0 identified_only, 1 always, 2 never; and 4 if shared ids follow, behind the kinds.
    person_profiles: u8,
    max_moved_ids: Option<u32>,
    max_ids_per_person: Option<u32>,
    max_user_ids: Option<u32>,
    anonymous_prefixes: Vec<String>,
    blocked_ids: Vec<String>,
    blocked_prefixes: Vec<String>,
}

/// The switch of [`PolicyFields`] that says whether kinds of ids follow.
const HAS_ID_KINDS: u8 = 1 << 6;
/// What of `person_profiles` says whether shared ids follow.
const HAS_SHARED_IDS: u8 = 4;

/// An [`IdKind`] as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct StoredKind {
    name: String,
    /// 0 none, 1 email, 2 phone, 3 number, 4 uuid, 5 anonymous.
    form: u8,
    max_per_person: Option<u32>,
    matches: Vec<String>,
}

impl From<&IdKind> for StoredKind {
    fn from(kind: &IdKind) -> StoredKind {
        let IdKind { name, matches, looks_like, max_per_person } = kind;
        let number = |form: IdForm| IdForm::ALL.iter().position(|other| *other == form);
        StoredKind {
            name: name.clone(),
            form: looks_like.and_then(number).map_or(0, |place| place as u8 + 1), // there are five
            max_per_person: *max_per_person,
            matches: matches.iter().cloned().collect(),
        }
    }
}

impl From<&StoredKind> for IdKind {
    fn from(kind: &StoredKind) -> IdKind {
        let StoredKind { name, form, max_per_person, matches } = kind;
        let place = usize::from(*form).checked_sub(1);
        IdKind {
            name: name.clone(),
            matches: matches.iter().cloned().collect(),
            looks_like: place.and_then(|place| IdForm::ALL.get(place).copied()),
            max_per_person: *max_per_person,
        }
    }
}

impl From<&Policy> for StoredPolicy {
    fn from(policy: &Policy) -> StoredPolicy {
        let switches = [
            policy.refuse_joining_identified,
            policy.survivor == Survivor::Elder,
            policy.dialect == Dialect::Core,
            policy.lift,
            policy.keep_event_properties,
            policy.block_placeholders,
            !policy.id_kinds.is_empty(),
            policy.values_by == ValuesBy::EventTime,
        ];
        let fields = PolicyFields {
            switches: switches.iter().enumerate().map(|(bit, on)| u8::from(*on) << bit).sum(),
            uuid_ids: match policy.uuid_ids {
                UuidIds::V7Only => 0,
                UuidIds::Anonymous => 1,
                UuidIds::User => 2,
            },
            person_profiles: match policy.person_profiles {
                PersonProfiles::IdentifiedOnly => 0,
                PersonProfiles::Always => 1,
                PersonProfiles::Never => 2,
            } | if policy.shared_ids.is_empty() { 0 } else { HAS_SHARED_IDS },
            max_moved_ids: policy.max_moved_ids,
            max_ids_per_person: policy.max_ids_per_person,
            max_user_ids: policy.max_user_ids,
            anonymous_prefixes: policy.anonymous_prefixes.iter().cloned().collect(),
            blocked_ids: policy.blocked_ids.iter().cloned().collect(),
            blocked_prefixes: policy.blocked_prefixes.iter().cloned().collect(),
        };
        let shared_ids = policy.shared_ids.iter().cloned().collect();
        StoredPolicy { fields, id_kinds: policy.id_kinds.iter().map(StoredKind::from).collect(), shared_ids }
    }
}

impl StoredPolicy {
    /// Appends its bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        codec::encode(&self.fields, out);
        if !self.id_kinds.is_empty() {
            codec::encode(&self.id_kinds, out);
        }
        if !self.shared_ids.is_empty() {
            codec::encode(&self.shared_ids, out);
        }
    }

    /// Reads one from the front of `bytes`; gives it and the number of bytes it took.
    pub(crate) fn read(bytes: &[u8]) -> Result<(StoredPolicy, usize), CodecError> {
        let (fields, mut taken) = codec::decode::<PolicyFields>(bytes)?;
        let (mut id_kinds, mut shared_ids) = (Vec::new(), Vec::new());
        if fields.switches & HAS_ID_KINDS != 0 {
            let more;
            (id_kinds, more) = codec::decode(&bytes[taken..])?;
            taken += more;
        }
        if fields.person_profiles & HAS_SHARED_IDS != 0 {
            let more;
            (shared_ids, more) = codec::decode(&bytes[taken..])?;
            taken += more;
        }
        Ok((StoredPolicy { fields, id_kinds, shared_ids }, taken))
    }

    /// The policy, if this is how exactly one valid policy is stored.
    pub(crate) fn policy(&self) -> Option<Policy> {
        let StoredPolicy { fields, id_kinds, shared_ids } = self;
        let switch = |bit: u8| fields.switches & 1 << bit != 0;
        let policy = Policy {
            refuse_joining_identified: switch(0),
            survivor: if switch(1) { Survivor::Elder } else { Survivor::Target },
            dialect: if switch(2) { Dialect::Core } else { Dialect::Browser },
            lift: switch(3),
            keep_event_properties: switch(4),
            block_placeholders: switch(5),
            values_by: if switch(7) { ValuesBy::EventTime } else { ValuesBy::Record },
            uuid_ids: match fields.uuid_ids {
                0 => UuidIds::V7Only,
                1 => UuidIds::Anonymous,
                _ => UuidIds::User,
            },
            person_profiles: match fields.person_profiles & !HAS_SHARED_IDS {
                0 => PersonProfiles::IdentifiedOnly,
                1 => PersonProfiles::Always,
                _ => PersonProfiles::Never,
            },
            max_moved_ids: fields.max_moved_ids,
            max_ids_per_person: fields.max_ids_per_person,
            max_user_ids: fields.max_user_ids,
            anonymous_prefixes: fields.anonymous_prefixes.iter().cloned().collect(),
            id_kinds: id_kinds.iter().map(IdKind::from).collect(),
            shared_ids: shared_ids.iter().cloned().collect(),
            blocked_ids: fields.blocked_ids.iter().cloned().collect(),
            blocked_prefixes: fields.blocked_prefixes.iter().cloned().collect(),
        };
        // Storing it again gives the same bytes: nothing unsorted, doubled or unknown passes.
        (policy.check().is_ok() && StoredPolicy::from(&policy) == *self).then_some(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_ids_stand_behind_a_policy_that_has_some() {
        let written = |policy: &StoredPolicy| {
            let mut out = Vec::new();
            policy.write(&mut out);
            out
        };
        let plain = Policy::default();
        let kind = IdKind {
            name: "mail".to_owned(),
            matches: ["*@x".to_owned()].into(),
            looks_like: Some(IdForm::Email),
            max_per_person: Some(5),
        };
        let policy = Policy { id_kinds: vec![kind], ..plain.clone() };
        let stored = StoredPolicy::from(&policy);
        let mut expected = written(&StoredPolicy::from(&plain));
        expected[0] |= 64;
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        expected.extend(1_u64.to_le_bytes());
        expected.extend(text("mail"));
        expected.extend([1, 1, 5, 0, 0, 0]);
        expected.extend(1_u64.to_le_bytes());
        expected.extend(text("*@x"));
        assert_eq!(written(&stored), expected);
        let (read, taken) = StoredPolicy::read(&expected).unwrap();
        assert_eq!((read.policy(), taken), (Some(policy), expected.len()));
        let mut none = written(&StoredPolicy::from(&plain));
        none[0] |= 64;
        none.extend(0_u64.to_le_bytes());
        assert_eq!(StoredPolicy::read(&none).unwrap().0.policy(), None, "a list of none is not written");
        expected[none.len() + text("mail").len()] = 6;
        assert_eq!(StoredPolicy::read(&expected).unwrap().0.policy(), None, "there are five forms");
    }
}
