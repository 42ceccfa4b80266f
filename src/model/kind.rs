//! Kinds of ids: what their texts look like, and how many of each one person may have (D12).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::class::IdClass;
use crate::model::id::hyphenated_uuid;
use crate::model::limits::{MAX_ID_KINDS, MAX_ID_SCALARS, MAX_KIND_NAME_BYTES, MAX_POLICY_ENTRIES};

/// A kind of ids that a policy names (D12).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a kind of ids: an object with a name")]
pub struct IdKind {
    /// What it is called: 1 to 64 of `a` to `z`, `0` to `9`, `_` and `-`.
    pub name: String,
    /// Patterns; an id that fits one of them is of this kind. `*` stands for any scalar values or none.
    #[serde(default)]
    pub matches: BTreeSet<String>,
    /// A form; an id that has it is of this kind.
    #[serde(default)]
    pub looks_like: Option<IdForm>,
    /// Most ids of this kind that one person may have, by identify or alias; `None` for no limit.
    #[serde(default)]
    pub max_per_person: Option<u32>,
}

/// A form of ids, known by their text, or by their class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdForm {
    /// One `@` with something before it, a `.` with something on both sides behind it, and no white space.
    Email,
    /// `+` and 7 to 15 digits.
    Phone,
    /// Nothing but ASCII digits.
    Number,
    /// A UUID of 36 characters.
    Uuid,
    /// The id is of the class anonymous (D9).
    Anonymous,
}

/// Why the kinds of ids of a policy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KindError {
    /// There are too many kinds, or patterns.
    #[error("policy `id_kinds` has {found} {what}; expected at most {most}")]
    TooMany {
        /// Kinds, or patterns of all kinds together.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// A name is out of its bounds.
    #[error(
        "policy `id_kinds` names a kind `{found}`; expected 1 to 64 of `a` to `z`, `0` to `9`, `_` and `-`"
    )]
    BadName {
        /// The name.
        found: String,
    },
    /// Two kinds have one name.
    #[error("policy `id_kinds` names `{found}` twice; expected a name of its own for each kind")]
    Twice {
        /// The name.
        found: String,
    },
    /// A limit that lets no person have an id of the kind.
    #[error(
        "policy `id_kinds` has a `max_per_person` of 0 for `{kind}`; expected at least 1, or null for no limit"
    )]
    LimitTooSmall {
        /// The name of the kind.
        kind: String,
    },
    /// A pattern is empty or too long.
    #[error(
        "policy `id_kinds` has a pattern of {found} scalar values for `{kind}`; expected 1 to {MAX_ID_SCALARS}"
    )]
    BadPattern {
        /// The name of the kind.
        kind: String,
        /// How long the pattern is.
        found: usize,
    },
    /// A kind is not where the policy in force has it, and ids of it may be in the log (D12).
    #[error(
        "policy `id_kinds` does not have `{kind}` in place {place}, where the policy in force has it; keep it there, without `matches` and \
         `looks_like` if no id to come is of it"
    )]
    Moved {
        /// The name of the kind.
        kind: String,
        /// Its place in the policy in force, counted from 1.
        place: usize,
    },
}

/// The place of a kind in the policy's list, counted from 0. A list only grows, so it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KindNo(pub u8);

impl IdForm {
    /// All forms, in the order of their numbers in a log.
    pub(crate) const ALL: [IdForm; 5] =
        [IdForm::Email, IdForm::Phone, IdForm::Number, IdForm::Uuid, IdForm::Anonymous];

    fn is_of(self, text: &str, class: IdClass) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            IdForm::Email => is_email(text),
            IdForm::Phone => text
                .strip_prefix('+')
                .is_some_and(|number| (7..=15).contains(&number.len()) && digits(number)),
            IdForm::Number => digits(text),
            IdForm::Uuid => hyphenated_uuid(text).is_some(),
            IdForm::Anonymous => class == IdClass::Anonymous,
        }
    }
}

impl IdKind {
    /// Whether an id of this text and class is of this kind, if of none before it.
    pub(crate) fn fits(&self, text: &str, class: IdClass) -> bool {
        self.looks_like.is_some_and(|form| form.is_of(text, class))
            || self.matches.iter().any(|pattern| fits_pattern(text, pattern))
    }
}

/// Checks the bounds of a policy's kinds.
pub(crate) fn check(kinds: &[IdKind]) -> Result<(), KindError> {
    let most = |what, found, most| {
        if found > most { Err(KindError::TooMany { what, found, most }) } else { Ok(()) }
    };
    most("kinds", kinds.len(), MAX_ID_KINDS)?;
    most("patterns", kinds.iter().map(|kind| kind.matches.len()).sum(), MAX_POLICY_ENTRIES)?;
    let mut names = BTreeSet::new();
    for IdKind { name, matches, max_per_person, .. } in kinds {
        let sound = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if !(1..=MAX_KIND_NAME_BYTES).contains(&name.len()) || !name.bytes().all(sound) {
            return Err(KindError::BadName { found: name.clone() });
        }
        if !names.insert(name) {
            return Err(KindError::Twice { found: name.clone() });
        }
        if *max_per_person == Some(0) {
            return Err(KindError::LimitTooSmall { kind: name.clone() });
        }
        let lengths = matches.iter().map(|pattern| pattern.chars().count());
        if let Some(found) = { lengths }.find(|length| !(1..=MAX_ID_SCALARS).contains(length)) {
            return Err(KindError::BadPattern { kind: name.clone(), found });
        }
    }
    Ok(())
}

/// Checks that each kind stays in its place: a record says of an id no more than that.
pub(crate) fn check_places(before: &[IdKind], after: &[IdKind]) -> Result<(), KindError> {
    let is_there =
        |(place, kind): &(usize, &IdKind)| after.get(*place).is_some_and(|other| other.name == kind.name);
    match before.iter().enumerate().find(|kind| !is_there(kind)) {
        None => Ok(()),
        Some((place, kind)) => Err(KindError::Moved { kind: kind.name.clone(), place: place + 1 }),
    }
}

/// Whether a text fits a pattern: between the stars its parts stand one after the other. Each part is taken where it first stands, which
/// leaves the most for those behind it.
pub(super) fn fits_pattern(text: &str, pattern: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else { return text == pattern };
    let Some(mut text) = text.strip_prefix(begin) else { return false };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(end)
}

fn is_email(text: &str) -> bool {
    let Some((name, domain)) = text.split_once('@') else { return false };
    let dotted =
        |domain: &str| domain.char_indices().any(|(at, c)| c == '.' && at > 0 && at + 1 < domain.len());
    !name.is_empty() && !domain.contains('@') && dotted(domain) && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_or_none_d12() {
        for (pattern, fits, others) in [
            ("github:*", &["github:", "github:1", "github:**"][..], &["xgithub:1", "GitHub:1"][..]),
            ("*@x.com", &["@x.com", "a@x.com", "a@x.com@x.com"], &["a@x.comm"]),
            ("*-kiosk-*", &["-kiosk-", "a-kiosk-b", "a-kiosk-kiosk-"], &["kiosk", "-kiosk"]),
            ("a*b*a", &["aba", "abba", "aXbYa"], &["ab", "a", "aa", "abab"]),
            ("*", &["", "é"], &[]),
            ("**", &["", "é*"], &[]),
            ("root", &["root"], &["roots", "Root"]),
            ("é*é", &["éé", "é🦀é"], &["é"]),
        ] {
            assert!(fits.iter().all(|text| fits_pattern(text, pattern)), "{pattern}");
            assert!(!others.iter().any(|text| fits_pattern(text, pattern)), "{pattern}");
        }
    }

    #[test]
    fn forms_are_told_by_the_text_d12() {
        for (form, fits, others) in [
            (
                IdForm::Email,
                &["ann@x.com", "a@b.c", "é@bücher.example"][..],
                &["ann", "@x.com", "a@x", "a@.c", "a@c.", "a@b@c.de", "a b@c.de", "mailto"][..],
            ),
            (IdForm::Phone, &["+4915112345678", "+1234567"], &["004915112345678", "+123456", "+1 234 567"]),
            (IdForm::Number, &["0", "123"], &["", "-1", "1.0", "١٢"]),
            (IdForm::Uuid, &["5b6c8b1e-2c1f-4d0e-9d47-0f6f5d8f6f10"], &["5b6c8b1e2c1f4d0e9d470f6f5d8f6f10"]),
        ] {
            assert!(fits.iter().all(|text| form.is_of(text, IdClass::Named)), "{form:?}");
            assert!(!others.iter().any(|text| form.is_of(text, IdClass::Named)), "{form:?}");
        }
        assert!(
            IdForm::Anonymous.is_of("x", IdClass::Anonymous) && !IdForm::Anonymous.is_of("x", IdClass::Named)
        );
    }

    #[test]
    fn the_bounds_of_kinds_have_edges() {
        let kind = |name: &str| IdKind { name: name.to_owned(), ..IdKind::default() };
        let kinds = |count: usize| (0..count).map(|number| kind(&format!("k{number}"))).collect::<Vec<_>>();
        assert_eq!(check(&kinds(MAX_ID_KINDS)), Ok(()));
        assert!(check(&kinds(MAX_ID_KINDS + 1)).is_err());
        assert_eq!(check(&[kind(&"x".repeat(64))]), Ok(()));
        for name in ["", "Login", "e mail", &"x".repeat(65)] {
            assert_eq!(check(&[kind(name)]), Err(KindError::BadName { found: name.to_owned() }));
        }
        assert!(check(&[kind("a"), kind("a")]).unwrap_err().to_string().contains("`a` twice"));
        let with = |count: usize| {
            let matches = (0..count).map(|number| format!("{number}:*")).collect();
            [IdKind { matches, ..kind("a") }, IdKind { matches: ["*".to_owned()].into(), ..kind("b") }]
        };
        assert_eq!(check(&with(MAX_POLICY_ENTRIES - 1)), Ok(()));
        assert!(check(&with(MAX_POLICY_ENTRIES)).is_err());
        assert!(check(&[IdKind { max_per_person: Some(0), ..kind("a") }]).is_err());
        assert!(check(&[IdKind { matches: [String::new()].into(), ..kind("a") }]).is_err());
    }

    #[test]
    fn a_list_of_kinds_only_grows_d12() {
        let kinds = |names: &[&str]| {
            names
                .iter()
                .map(|name| IdKind { name: (*name).to_owned(), ..IdKind::default() })
                .collect::<Vec<_>>()
        };
        let check = |after: &[&str]| check_places(&kinds(&["a", "b"]), &kinds(after));
        assert_eq!((check(&["a", "b"]), check(&["a", "b", "c"])), (Ok(()), Ok(())));
        assert_eq!(check(&["a"]), Err(KindError::Moved { kind: "b".to_owned(), place: 2 }));
        assert!(check(&["b", "a"]).is_err() && check(&[]).is_err());
    }
}
