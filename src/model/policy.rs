//! Policy: the choices the fold leaves to a ledger's owner, and the classes of ids that follow from them.
//!
//! The policy lives in the log (A3). Classes are decided when an id is first written, and recorded (B4), so the fold
//! never reads a text.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub(crate) use crate::model::class::IdClass;
use crate::model::id::hyphenated_uuid;
use crate::model::kind::{self, IdKind, KindError, KindNo};
use crate::model::limits::{MAX_ID_SCALARS, MAX_POLICY_ENTRIES};
use crate::model::operation::{Dialect, PersonProfiles};

/// The choices the fold leaves to a ledger's owner.
///
/// As JSON every field is optional: the fields given replace those of `preset` (default `posthog`).
///
/// ```
/// use identity_ledger::{Policy, Preset};
/// let policy = Policy { max_moved_ids: Some(100), ..Policy::preset(Preset::OneUser) };
/// assert_eq!(policy.max_user_ids, Some(1));
/// assert!(policy.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PolicyFields")]
pub struct Policy {
    /// D3: refuse to let a new id join an identified person.
    pub refuse_joining_identified: bool,
    /// D7: whose person id a merge keeps.
    pub survivor: Survivor,
    /// D8: most ids an absorbed person may bring.
    pub max_moved_ids: Option<u32>,
    /// D8: most ids of one person.
    pub max_ids_per_person: Option<u32>,
    /// D9: most user ids of one person, by identify or alias.
    pub max_user_ids: Option<u32>,
    /// D9: how UUIDs count.
    pub uuid_ids: UuidIds,
    /// D9: ids with these prefixes are anonymous.
    pub anonymous_prefixes: BTreeSet<String>,
    /// D12: kinds of ids, and how many of each one person may have. An id is of the first that fits. In JSON only if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub id_kinds: Vec<IdKind>,
    /// D13: patterns of ids that are shared: devices that people use one after the other. `*` stands for any scalar values or none. In JSON
    /// only if there are any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub shared_ids: BTreeSet<String>,
    /// B2: further unmergeable ids.
    pub blocked_ids: BTreeSet<String>,
    /// B2: ids with these prefixes are unmergeable.
    pub blocked_prefixes: BTreeSet<String>,
    /// B2: placeholders that programs send where they know no user, such as `N/A` or the UUID of zeros, are unmergeable.
    pub block_placeholders: bool,
    /// F3: how devices that do not say treat a second identify.
    pub dialect: Dialect,
    /// F8: when devices that do not say ask for a profile.
    pub person_profiles: PersonProfiles,
    /// E8: which write of a property counts. In JSON only if it is not by record.
    #[serde(skip_serializing_if = "ValuesBy::is_by_record")]
    pub values_by: ValuesBy,
    /// E7: whether importers lift event properties such as `$browser` into person properties.
    pub lift: bool,
    /// E7: whether captures keep their own properties in the log.
    pub keep_event_properties: bool,
}

/// A named starting point for a [`Policy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// What PostHog does in production.
    #[default]
    Posthog,
    /// As `posthog`, but no id joins an identified person without `merge` (D3).
    Strict,
    /// As `posthog`, but at most one user id per person (D9).
    OneUser,
}

impl Preset {
    /// All presets, by name.
    pub const ALL: [(&'static str, Preset); 3] =
        [("posthog", Preset::Posthog), ("strict", Preset::Strict), ("one-user", Preset::OneUser)];
}

/// Whose person id a merge keeps (D7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Survivor {
    /// P(T), as PostHog does.
    #[default]
    Target,
    /// The person founded first.
    Elder,
}

/// How UUIDs count for D9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UuidIds {
    /// Version 7 is anonymous (SDKs generate it), the others are named ids.
    #[default]
    V7Only,
    /// Every UUID is anonymous.
    Anonymous,
    /// No UUID is anonymous.
    User,
}

/// Which write of a property counts (E8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValuesBy {
    /// The one that was recorded last, as PostHog does.
    #[default]
    Record,
    /// The one whose operation happened last, by the sender's clock.
    EventTime,
}

impl ValuesBy {
    fn is_by_record(&self) -> bool {
        *self == ValuesBy::Record
    }
}

/// How an id first came into the log; part of its class (D9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstMention {
    /// As T or S.
    Plain,
    /// As an id made for a device.
    Device,
}

/// Why a policy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A limit below its least sensible value.
    #[error("policy `{field}` is {found}; expected at least {least}, or null for no limit")]
    LimitTooSmall {
        /// The name of the policy field.
        field: &'static str,
        /// The value that was given.
        found: u32,
        /// The least value.
        least: u32,
    },
    /// A list is too long.
    #[error("policy `{field}` lists {found} texts; expected at most {MAX_POLICY_ENTRIES}")]
    TooManyEntries {
        /// The name of the policy field.
        field: &'static str,
        /// How many texts the list has.
        found: usize,
    },
    /// A field is null, and only limits may be.
    #[error("policy `{field}` is null; expected a value, or no `{field}` at all for that of the preset")]
    Null {
        /// The name of the policy field.
        field: &'static str,
    },
    /// The kinds of ids are out of their bounds.
    #[error(transparent)]
    Kinds(#[from] KindError),
    /// A text in a list is empty or too long.
    #[error("policy `{field}` lists a text of {found} scalar values; expected 1 to {MAX_ID_SCALARS}")]
    BadEntry {
        /// The name of the policy field.
        field: &'static str,
        /// How long the text is.
        found: usize,
    },
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::preset(Preset::Posthog)
    }
}

impl Policy {
    /// The policy of a preset.
    pub fn preset(preset: Preset) -> Policy {
        Policy {
            refuse_joining_identified: preset == Preset::Strict,
            survivor: Survivor::Target,
            max_moved_ids: None,
            max_ids_per_person: None,
            max_user_ids: (preset == Preset::OneUser).then_some(1),
            uuid_ids: UuidIds::V7Only,
            anonymous_prefixes: BTreeSet::new(),
            id_kinds: Vec::new(),
            shared_ids: BTreeSet::new(),
            blocked_ids: BTreeSet::new(),
            blocked_prefixes: BTreeSet::new(),
            block_placeholders: preset == Preset::OneUser,
            dialect: Dialect::Browser,
            person_profiles: PersonProfiles::IdentifiedOnly,
            values_by: ValuesBy::Record,
            lift: true,
            keep_event_properties: false,
        }
    }

    /// Checks the bounds of every field.
    ///
    /// # Errors
    /// [`PolicyError`], naming the field.
    pub fn check(&self) -> Result<(), PolicyError> {
        let limits = [
            ("max_moved_ids", self.max_moved_ids, 1),
            ("max_ids_per_person", self.max_ids_per_person, 1),
            ("max_user_ids", self.max_user_ids, 1),
        ];
        for (field, limit, least) in limits {
            if let Some(found) = limit.filter(|found| *found < least) {
                return Err(PolicyError::LimitTooSmall { field, found, least });
            }
        }
        let lists = [
            ("anonymous_prefixes", &self.anonymous_prefixes),
            ("shared_ids", &self.shared_ids),
            ("blocked_ids", &self.blocked_ids),
            ("blocked_prefixes", &self.blocked_prefixes),
        ];
        for (field, list) in lists {
            if list.len() > MAX_POLICY_ENTRIES {
                return Err(PolicyError::TooManyEntries { field, found: list.len() });
            }
            let lengths = list.iter().map(|text| text.chars().count());
            if let Some(found) = { lengths }.find(|length| !(1..=MAX_ID_SCALARS).contains(length)) {
                return Err(PolicyError::BadEntry { field, found });
            }
        }
        Ok(kind::check(&self.id_kinds)?)
    }

    /// Checks the bounds of every field, and that the kinds of ids stay what they are under `before`, the policy in force (D12).
    ///
    /// # Errors
    /// [`PolicyError`], naming the field.
    pub fn check_after(&self, before: &Policy) -> Result<(), PolicyError> {
        self.check()?;
        Ok(kind::check_places(&before.id_kinds, &self.id_kinds)?)
    }

    /// The class of an id that is first written now (B2, D9, D13).
    pub fn classify(&self, text: &str, mention: FirstMention) -> IdClass {
        if self.blocks(text) {
            IdClass::Unmergeable
        } else if self.shared_ids.iter().any(|pattern| kind::fits_pattern(text, pattern)) {
            IdClass::Shared
        } else if self.is_anonymous(text, mention) {
            IdClass::Anonymous
        } else {
            IdClass::Named
        }
    }

    /// The kind of an id of this class that is first written, or reclassified, now (D12).
    pub fn kind_of(&self, text: &str, class: IdClass) -> Option<KindNo> {
        let place = self.id_kinds.iter().position(|kind| kind.fits(text, class))?;
        class.is_mergeable().then_some(KindNo(place as u8)) // MAX_ID_KINDS bounds it
    }

    fn blocks(&self, text: &str) -> bool {
        is_unmergeable(text)
            || self.block_placeholders && is_placeholder(text)
            || self.blocked_ids.contains(text)
            || self.blocked_prefixes.iter().any(|prefix| text.starts_with(prefix))
    }

    fn is_anonymous(&self, text: &str, mention: FirstMention) -> bool {
        if mention != FirstMention::Plain || text.starts_with("$device:") {
            return true;
        }
        if self.anonymous_prefixes.iter().any(|prefix| text.starts_with(prefix)) {
            return true;
        }
        match hyphenated_uuid(text) {
            Some(uuid) => match self.uuid_ids {
                UuidIds::V7Only => uuid.get_version_num() == 7,
                UuidIds::Anonymous => true,
                UuidIds::User => false,
            },
            None => is_old_posthog_js_id(text),
        }
    }
}

/// The sentinel that posthog-js sends for everybody in cookieless mode.
const COOKIELESS: &str = "$posthog_cookieless";

/// PostHog's list in any letter case (B2).
const UNMERGEABLE_ANY_CASE: [&str; 10] = [
    "anonymous",
    "guest",
    "distinctid",
    "distinct_id",
    "id",
    "not_authenticated",
    "email",
    "undefined",
    "true",
    "false",
];
/// PostHog's list in exact case (B2).
const UNMERGEABLE_EXACT: [&str; 7] = ["[object Object]", "NaN", "None", "none", "null", "0", "undefined"];

/// Whether B2 bars an id from merging under every policy: PostHog's list, blank texts, the cookieless sentinel.
fn is_unmergeable(text: &str) -> bool {
    let listed = |text: &str| {
        UNMERGEABLE_EXACT.contains(&text)
            || UNMERGEABLE_ANY_CASE.iter().any(|word| lowercase_equals(text, word))
    };
    let unquoted = ['\'', '"']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote).and_then(|rest| rest.strip_suffix(*quote)));
    text.chars().all(is_javascript_white_space)
        || text == COOKIELESS
        || listed(text)
        || unquoted.is_some_and(listed)
}

/// What programs send where they know no user, beside PostHog's list, in any letter case.
const PLACEHOLDERS: [&str; 14] = [
    "(none)",
    "(not set)",
    "(null)",
    "<nil>",
    "<none>",
    "<null>",
    "n/a",
    "nan",
    "nil",
    "none",
    "not set",
    "null",
    "unknown",
    "void",
];

/// Whether a text stands for no particular person (B2): a listed word, one of nothing but zeros, punctuation and white
/// space, or a template whose hole was never filled. No text of these forms is an id that a program gave to one user.
pub(crate) fn is_placeholder(text: &str) -> bool {
    let listed = PLACEHOLDERS.iter().any(|word| lowercase_equals(text, word));
    let says_nothing = |c: char| c == '0' || c.is_ascii_punctuation() || c.is_whitespace();
    let template = [("{{", "}}"), ("${", "}"), ("<%", "%>"), ("{%", "%}")];
    let unfilled = template.iter().any(|(begin, end)| text.starts_with(begin) && text.ends_with(end));
    listed || text == "-1" || text.chars().all(says_nothing) || unfilled
}

/// Compares as `text.toLowerCase() === word` does; `word` is lower-case ASCII.
///
/// Two letters outside ASCII lower to ASCII: U+212A KELVIN SIGN to k (in no listed word) and U+0130 to i followed by a
/// combining dot (so never equal). ASCII folding is therefore exact.
fn lowercase_equals(text: &str, word: &str) -> bool {
    text.eq_ignore_ascii_case(word)
}

/// The characters that JavaScript's `trim` removes (B2).
fn is_javascript_white_space(c: char) -> bool {
    matches!(
        c,
        '\t' | '\n' | '\u{B}' | '\u{C}' | '\r' | ' ' | '\u{A0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200A}' | '\u{2028}' | '\u{2029}' | '\u{202F}' | '\u{205F}' | '\u{3000}' | '\u{FEFF}'
    )
}

/// Ids that posthog-js generated before it used UUIDs: five hex groups joined by `-`.
fn is_old_posthog_js_id(text: &str) -> bool {
    let mut groups = 0;
    for group in text.split('-') {
        groups += 1;
        if groups > 5 || group.is_empty() || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
            return false;
        }
    }
    groups == 5
}

/// The JSON shape of a policy: a preset and what differs from it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a policy object")]
struct PolicyFields {
    preset: Field<Preset>,
    refuse_joining_identified: Field<bool>,
    survivor: Field<Survivor>,
    max_moved_ids: Field<u32>,
    max_ids_per_person: Field<u32>,
    max_user_ids: Field<u32>,
    uuid_ids: Field<UuidIds>,
    anonymous_prefixes: Field<BTreeSet<String>>,
    id_kinds: Field<Vec<IdKind>>,
    shared_ids: Field<BTreeSet<String>>,
    blocked_ids: Field<BTreeSet<String>>,
    blocked_prefixes: Field<BTreeSet<String>>,
    block_placeholders: Field<bool>,
    dialect: Field<Dialect>,
    person_profiles: Field<PersonProfiles>,
    values_by: Field<ValuesBy>,
    lift: Field<bool>,
    keep_event_properties: Field<bool>,
}

/// A field of a policy in JSON. A null is a value only where it means something: no limit.
#[derive(Default)]
enum Field<T> {
    #[default]
    Absent,
    Null,
    Given(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Field<T>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Field::Null, Field::Given))
    }
}

impl<T> Field<T> {
    /// The value given, or else the preset's.
    fn or(self, preset: T, field: &'static str) -> Result<T, PolicyError> {
        match self {
            Field::Absent => Ok(preset),
            Field::Null => Err(PolicyError::Null { field }),
            Field::Given(value) => Ok(value),
        }
    }

    /// The limit given, or else the preset's; null means unlimited.
    fn limit_or(self, preset: Option<T>) -> Option<T> {
        match self {
            Field::Absent => preset,
            Field::Null => None,
            Field::Given(limit) => Some(limit),
        }
    }
}

impl TryFrom<PolicyFields> for Policy {
    type Error = PolicyError;

    fn try_from(fields: PolicyFields) -> Result<Policy, PolicyError> {
        let base = Policy::preset(fields.preset.or(Preset::default(), "preset")?);
        let policy = Policy {
            refuse_joining_identified: fields
                .refuse_joining_identified
                .or(base.refuse_joining_identified, "refuse_joining_identified")?,
            survivor: fields.survivor.or(base.survivor, "survivor")?,
            max_moved_ids: fields.max_moved_ids.limit_or(base.max_moved_ids),
            max_ids_per_person: fields.max_ids_per_person.limit_or(base.max_ids_per_person),
            max_user_ids: fields.max_user_ids.limit_or(base.max_user_ids),
            uuid_ids: fields.uuid_ids.or(base.uuid_ids, "uuid_ids")?,
            anonymous_prefixes: fields
                .anonymous_prefixes
                .or(base.anonymous_prefixes, "anonymous_prefixes")?,
            id_kinds: fields.id_kinds.or(base.id_kinds, "id_kinds")?,
            shared_ids: fields.shared_ids.or(base.shared_ids, "shared_ids")?,
            blocked_ids: fields.blocked_ids.or(base.blocked_ids, "blocked_ids")?,
            blocked_prefixes: fields.blocked_prefixes.or(base.blocked_prefixes, "blocked_prefixes")?,
            block_placeholders: fields
                .block_placeholders
                .or(base.block_placeholders, "block_placeholders")?,
            dialect: fields.dialect.or(base.dialect, "dialect")?,
            person_profiles: fields.person_profiles.or(base.person_profiles, "person_profiles")?,
            values_by: fields.values_by.or(base.values_by, "values_by")?,
            lift: fields.lift.or(base.lift, "lift")?,
            keep_event_properties: fields
                .keep_event_properties
                .or(base.keep_event_properties, "keep_event_properties")?,
        };
        policy.check()?;
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mergeable(text: &str) -> bool {
        Policy::default().classify(text, FirstMention::Plain).is_mergeable()
    }

    fn named(text: &str) -> bool {
        Policy::default().classify(text, FirstMention::Plain) == IdClass::Named
    }

    #[test]
    fn b2_bars_the_list_bare_and_quoted_in_its_case() {
        for word in UNMERGEABLE_ANY_CASE {
            for text in [word.to_owned(), word.to_uppercase(), format!("'{word}'"), format!("\"{word}\"")] {
                assert!(!mergeable(&text), "{text}");
            }
        }
        for word in UNMERGEABLE_EXACT {
            for text in [word.to_owned(), format!("'{word}'"), format!("\"{word}\"")] {
                assert!(!mergeable(&text), "{text}");
            }
        }
        for text in ["", " ", "\t\n", "\u{A0}\u{FEFF}", "\u{3000}", COOKIELESS] {
            assert!(!mergeable(text), "{text:?}");
        }
    }

    #[test]
    fn b2_lets_lookalikes_through() {
        for text in [
            "nan",
            "NULL",
            "Null",
            "NONE",
            "none ",
            " undefined",
            "00",
            "[Object object]",
            "`null`",
            "\u{201C}null\u{201D}",
            "\u{85}",
            "'null\"",
            "''null''",
            "'",
            "\"\"\"",
            "ano\u{212A}",
        ] {
            assert!(mergeable(text), "{text:?}");
        }
    }

    #[test]
    fn a_policy_adds_blocked_ids_and_prefixes() {
        let policy = Policy {
            blocked_ids: ["root".to_owned()].into(),
            blocked_prefixes: ["bot-".to_owned()].into(),
            ..Policy::default()
        };
        assert_eq!(policy.classify("root", FirstMention::Plain), IdClass::Unmergeable);
        assert_eq!(policy.classify("bot-7", FirstMention::Plain), IdClass::Unmergeable);
        assert_eq!(policy.classify("roots", FirstMention::Plain), IdClass::Named);
    }

    #[test]
    fn placeholders_are_barred_where_the_policy_says_so() {
        let one_user = Policy::preset(Preset::OneUser);
        let placeholders = [
            "N/A",
            "n/a",
            "(null)",
            "<NULL>",
            "NULL",
            "None",
            "nil",
            "-1",
            "unknown",
            "UNKNOWN",
            "-",
            "???",
            "0000",
            "00000000-0000-0000-0000-000000000000",
            "00000000000000000000000000000000",
            "{{ user.id }}",
            "${userId}",
            "(not set)",
        ];
        for text in placeholders {
            assert!(is_placeholder(text), "{text}");
            assert_eq!(one_user.classify(text, FirstMention::Plain), IdClass::Unmergeable, "{text}");
        }
        for text in
            ["1", "-10", "0x1", "unknown soldier", "nil@example.com", "0000-1", "é", "用户", "🦀", "{1}", "a"]
        {
            assert!(!is_placeholder(text), "{text}");
            assert!(one_user.classify(text, FirstMention::Plain).is_mergeable(), "{text}");
        }
        assert!(mergeable("N/A") && mergeable("-1"), "PostHog merges them");
    }

    #[test]
    fn d9_tells_named_ids_from_anonymous_ones() {
        assert!(!named("01a208fa-c605-7008-8d6e-36525068c2e7")); // v7
        assert!(named("5b6c8b1e-2c1f-4d0e-9d47-0f6f5d8f6f10")); // v4
        assert!(!named("17d5b2a1c3f2b0-0a1b2c3d4e5f6a-1f3a5b7c-1ea000-17d5b2a1c402cd"));
        assert!(!named("$device:17d5b2a1"));
        assert!(named("ann@example.com"));
        assert!(named("01a208fac60570088d6e36525068c2e7"), "a UUID without hyphens is an ordinary text");
        assert_eq!(Policy::default().classify("ann", FirstMention::Device), IdClass::Anonymous);
    }

    #[test]
    fn uuid_ids_decides_other_versions() {
        let v4 = "5b6c8b1e-2c1f-4d0e-9d47-0f6f5d8f6f10";
        let v7 = "01a208fa-c605-7008-8d6e-36525068c2e7";
        let named = |uuid_ids, text| {
            let policy = Policy { uuid_ids, ..Policy::default() };
            policy.classify(text, FirstMention::Plain) == IdClass::Named
        };
        assert_eq!((named(UuidIds::V7Only, v4), named(UuidIds::V7Only, v7)), (true, false));
        assert_eq!((named(UuidIds::Anonymous, v4), named(UuidIds::Anonymous, v7)), (false, false));
        assert_eq!((named(UuidIds::User, v4), named(UuidIds::User, v7)), (true, true));
    }

    #[test]
    fn a_null_where_it_means_nothing_is_an_error_that_names_the_field() {
        let shown = serde_json::to_value(Policy::default()).unwrap();
        let fields = shown.as_object().unwrap().keys().map(String::as_str);
        for field in fields.chain(["preset", "id_kinds", "values_by"]) {
            let read = serde_json::from_str::<Policy>(&format!("{{\"{field}\":null}}"));
            match (field.starts_with("max_"), read) {
                (true, Ok(policy)) => assert_eq!(policy, Policy::default()),
                (false, Err(error)) => {
                    let named = format!("policy `{field}` is null; expected a value");
                    assert!(error.to_string().starts_with(&named), "{error}");
                }
                (_, other) => panic!("{field}: {other:?}"),
            }
        }
    }

    #[test]
    fn json_starts_from_a_preset_and_null_lifts_a_limit() {
        let read = |text: &str| serde_json::from_str::<Policy>(text);
        assert_eq!(read("{}").unwrap(), Policy::default());
        assert_eq!(read(r#"{"preset":"one-user"}"#).unwrap().max_user_ids, Some(1));
        assert_eq!(read(r#"{"preset":"one-user","max_user_ids":null}"#).unwrap().max_user_ids, None);
        assert!(read(r#"{"max_user_id":1}"#).is_err(), "an unknown field is an error");
        assert!(read(r#"{"max_user_ids":0}"#).is_err());
        let strict = Policy::preset(Preset::Strict);
        let kinds: Vec<IdKind> = serde_json::from_str(r#"[{"name":"a","matches":["b*"]}]"#).unwrap();
        let own = Policy { id_kinds: kinds, values_by: ValuesBy::EventTime, ..strict.clone() };
        for policy in [strict, own] {
            assert_eq!(read(&serde_json::to_string(&policy).unwrap()).unwrap(), policy);
        }
    }

    #[test]
    fn list_bounds_have_edges() {
        let listing = |count: usize| Policy {
            blocked_ids: (0..count).map(|i| format!("id-{i}")).collect(),
            ..Policy::default()
        };
        assert_eq!(listing(MAX_POLICY_ENTRIES).check(), Ok(()));
        assert!(listing(MAX_POLICY_ENTRIES + 1).check().is_err());
        let long = |length: usize| Policy { blocked_ids: ["x".repeat(length)].into(), ..Policy::default() };
        assert!(long(0).check().is_err());
        assert!(long(MAX_ID_SCALARS).check().is_ok());
        assert!(long(MAX_ID_SCALARS + 1).check().is_err());
    }
}
