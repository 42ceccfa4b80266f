//! Texts for people: short enough to read. That they are safe to show is the business of `screen.rs` and `table.rs`.

use std::borrow::Cow;

use identity_ledger::answer::PropertyAnswer;
use identity_ledger::{PersonId, Timestamp};

/// Characters of an id that a table shows; few people have longer names.
const LONGEST_ID: usize = 28;

/// An id for a table: of a UUID both ends, for those made in one minute begin alike.
pub(crate) fn short_id(id: &str, wide: bool) -> Cow<'_, str> {
    if wide {
        return Cow::Borrowed(id);
    }
    if id.len() == 36 && uuid::Uuid::try_parse(id).is_ok() {
        return Cow::Owned(format!("{}…{}", &id[..8], &id[32..]));
    }
    match id.char_indices().nth(LONGEST_ID) {
        Some((at, _)) => Cow::Owned(format!("{}…", &id[..at])),
        None => Cow::Borrowed(id),
    }
}

/// The first digits of a person id; they are as good as random.
pub(crate) fn short_person(person: PersonId, wide: bool) -> String {
    let mut text = person.to_string();
    if !wide {
        text.truncate(8);
    }
    text
}

/// The reason of a refusal, with persons as tables show them.
pub(crate) fn short_reason(reason: &str, wide: bool) -> String {
    let shorter = |word: &str| match word.get(..36) {
        Some(uuid) if !wide && uuid::Uuid::try_parse(uuid).is_ok() => {
            format!("{}{}", &word[..8], &word[36..])
        }
        _ => word.to_owned(),
    };
    reason.split(' ').map(shorter).collect::<Vec<_>>().join(" ")
}

/// A time to the second.
pub(crate) fn short_time(time: Timestamp, wide: bool) -> String {
    let text = time.to_string();
    if wide { text } else { text.chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect() }
}

/// A number with its thousands set apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 record`, `2 records`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Yes or no.
pub(crate) fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// A property's value as JSON.
pub(crate) fn value(property: &PropertyAnswer) -> String {
    match &property.value {
        Some(value) => match property.erased_by {
            Some(by) => format!("{value} (a part erased by {by})"),
            None => value.to_string(),
        },
        None => "erased".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_are_shortened_in_tables() {
        assert_eq!(short_id("01a208e3-7690-7334-88e3-9756348b65c8", false), "01a208e3…65c8");
        assert_eq!(short_id("01a208e3769073348-8e3-9756348b65c8é", false), "01a208e3769073348-8e3-975634…");
        assert_eq!(short_id(&"é".repeat(LONGEST_ID), false), "é".repeat(LONGEST_ID));
        assert_eq!(short_id("01a208e3-7690-7334-88e3-9756348b65c8", true).len(), 36);
    }

    #[test]
    fn numbers_are_read_in_threes() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "record"), "1 record");
        assert_eq!(counted(0, "record"), "0 records");
    }
}
