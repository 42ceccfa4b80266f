//! Texts for people: safe to show, short enough to read.

use std::borrow::Cow;
use std::fmt::Write;

use identity_ledger::{PersonId, Timestamp};

/// The text with everything escaped that could move the cursor, hide text or turn its direction: ids are anybody's words.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_treacherous) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => clean.push_str("\\n"),
            '\r' => clean.push_str("\\r"),
            '\t' => clean.push_str("\\t"),
            c if is_treacherous(c) => write!(clean, "\\u{{{:x}}}", u32::from(c)).expect("a String takes all"),
            c => clean.push(c),
        }
    }
    Cow::Owned(clean)
}

/// Control characters, and Unicode's marks that are not seen but change what is.
fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// Characters of an id that a table shows; few people have longer names.
const LONGEST_ID: usize = 28;

/// An id for a table: of a UUID both ends, for those made in one minute begin alike.
pub(crate) fn short_id(id: &str, wide: bool) -> Cow<'_, str> {
    if wide {
        return clean(id);
    }
    if id.len() == 36 && uuid::Uuid::try_parse(id).is_ok() {
        return Cow::Owned(format!("{}…{}", &id[..8], &id[32..]));
    }
    match id.char_indices().nth(LONGEST_ID) {
        Some((at, _)) => Cow::Owned(clean(&id[..at]).into_owned() + "…"),
        None => clean(id),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_get_no_orders_from_ids() {
        assert_eq!(clean("ann@example.com"), "ann@example.com");
        assert_eq!(clean("a\x1b[2Jb\n\u{202E}\u{9b}"), "a\\u{1b}[2Jb\\n\\u{202e}\\u{9b}");
    }

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
