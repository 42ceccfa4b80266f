//! Texts in a picture: whatever an id holds, it is seen as it is, moves nothing, and ends nothing.

use identity_ledger::visible;

/// How much room a character takes, in those of the Latin alphabet. An estimate from above for all but decorations.
fn room(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036F => 0, // marks that stand on others
        0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE6F => 2,
        0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F000..=0x1FFFF | 0x20000..=0x3FFFF => 2,
        0..=0x052F => 1, // Latin, Greek, Cyrillic
        _ => 2,          // scripts of which fonts disagree
    }
}

/// The text, if it fits, or both its ends: ids that a device makes begin alike.
pub(super) fn short(text: &str, width: usize) -> String {
    let text = visible(text);
    if text.chars().map(room).sum::<usize>() <= width {
        return text.into_owned();
    }
    let tail_width = width / 4;
    let take = |chars: &mut dyn Iterator<Item = char>, width: usize| {
        let mut left = width;
        let mut taken = Vec::new();
        for c in chars {
            let Some(rest) = left.checked_sub(room(c)) else { break };
            left = rest;
            taken.push(c);
        }
        taken
    };
    let head = take(&mut text.chars(), width - 1 - tail_width);
    let tail = take(&mut text.chars().rev(), tail_width);
    head.into_iter().chain(['…']).chain(tail.into_iter().rev()).collect()
}

/// The text as XML and HTML want it, between tags and in quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `1 id`, `2 ids`.
pub(super) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_both_its_ends() {
        assert_eq!(short("ann", 24), "ann");
        assert_eq!(short(&"x".repeat(24), 24), "x".repeat(24));
        assert_eq!(short("01a208e3-7690-7334-88e3-9756348b65c8", 24), "01a208e3-7690-733…8b65c8");
        assert!(short(&"漢".repeat(400), 24).chars().count() <= 12);
        assert_eq!(short(&"\u{202E}".repeat(400), 24), "\\u{202e}\\u{202e}\\…{202e}");
    }

    #[test]
    fn no_text_ends_its_tag_or_its_quotes() {
        assert_eq!(escaped("</script>\"'&"), "&lt;/script&gt;&quot;&#39;&amp;");
    }
}
