//! Texts for people: what others wrote, in a form that hides nothing, moves nothing and is read back exactly.

use std::borrow::Cow;
use std::fmt::Write;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Returns the text with every character spelled out as `\u{HEX}` that a reader cannot see, or that changes how the text
/// around it is shown.
///
/// Ids, property keys and values are texts that others chose. Shown as they are, they can move the cursor of a terminal, turn
/// the direction of a line, or look like another id. Spelled out are:
///
/// - control and format characters, line and paragraph separators, and all blanks but the ASCII one (Cc, Cf, Zl, Zp, Zs);
/// - private use and unassigned characters (Co, Cn): only a font decides whether they are seen;
/// - what Unicode lists as `Default_Ignorable_Code_Point`, such as variation selectors and fillers, and three characters that
///   have a name and an empty glyph;
/// - a combining mark that does not follow a letter, a number or another mark: it would be drawn onto its neighbour;
/// - a backslash before `u{`, so that a text that holds `\u{1b}` is not taken for an escape.
///
/// So two texts that differ are shown differently, and the text can be read back: replace each `\u{HEX}` by its character.
/// Letters that look alike, such as Latin and Cyrillic `a`, stay as they are.
///
/// ```
/// use identity_ledger::visible;
/// assert_eq!(visible("ann@example.com"), "ann@example.com");
/// assert_eq!(visible("a\u{1b}[2J"), r"a\u{1b}[2J");
/// assert_eq!(visible(r"a\u{1b}[2J"), r"a\u{5c}u{1b}[2J");
/// ```
pub fn visible(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut copied = 0; // bytes of the text that are in `shown`
    let mut carries_marks = false;
    for (at, c) in text.char_indices() {
        let sort = Sort::of(c);
        let spelled = match sort {
            Sort::Hidden => true,
            Sort::Mark => !carries_marks,
            Sort::Letter => false,
            Sort::Other => c == '\\' && text[at + 1..].starts_with("u{"),
        };
        carries_marks = sort == Sort::Letter || sort == Sort::Mark && carries_marks;
        if spelled {
            shown.push_str(&text[copied..at]);
            write!(shown, "\\u{{{:x}}}", u32::from(c)).expect("a String takes all");
            copied = at + c.len_utf8();
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[copied..]);
    Cow::Owned(shown)
}

/// What a character does to the text it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// Seen, and marks may stand on it: letters and numbers.
    Letter,
    /// Drawn onto the character before it.
    Mark,
    /// Seen: punctuation, symbols and the ASCII blank.
    Other,
    /// Not seen, or it changes what is around it.
    Hidden,
}

impl Sort {
    fn of(c: char) -> Sort {
        use GeneralCategory as G;
        match c {
            '0'..='9' | 'A'..='Z' | 'a'..='z' => return Sort::Letter,
            ' '..='~' => return Sort::Other,
            _ if is_blank(c) => return Sort::Hidden,
            _ => {}
        }
        match c.general_category() {
            G::Control | G::Format | G::Surrogate | G::PrivateUse | G::Unassigned => Sort::Hidden,
            G::LineSeparator | G::ParagraphSeparator | G::SpaceSeparator => Sort::Hidden,
            G::NonspacingMark | G::SpacingMark | G::EnclosingMark => Sort::Mark,
            G::UppercaseLetter | G::LowercaseLetter | G::TitlecaseLetter => Sort::Letter,
            G::ModifierLetter | G::OtherLetter => Sort::Letter,
            G::DecimalNumber | G::LetterNumber | G::OtherNumber => Sort::Letter,
            G::ConnectorPunctuation | G::DashPunctuation | G::OpenPunctuation => Sort::Other,
            G::ClosePunctuation | G::InitialPunctuation | G::FinalPunctuation => Sort::Other,
            G::OtherPunctuation | G::MathSymbol | G::CurrencySymbol => Sort::Other,
            G::ModifierSymbol | G::OtherSymbol => Sort::Other,
        }
    }
}

/// Letters, marks and symbols that are not seen. The first rows are `Default_Ignorable_Code_Point` of Unicode's
/// `DerivedCoreProperties.txt`, without those whose general category says it already; in the last row are three that
/// Unicode's charts show empty.
fn is_blank(c: char) -> bool {
    matches!(c, '\u{34F}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}')
        || matches!(c, '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{E0000}'..='\u{E0FFF}')
        || matches!(c, '\u{2800}' | '\u{16FE4}' | '\u{1D159}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a shown text back.
    fn read_back(shown: &str) -> String {
        let mut parts = shown.split("\\u{");
        let mut text = parts.next().expect("split gives at least one").to_owned();
        for part in parts {
            let (digits, rest) = part.split_once('}').expect("an escape ends");
            let code = u32::from_str_radix(digits, 16).expect("an escape is a number");
            text.push(char::from_u32(code).expect("of a character"));
            text.push_str(rest);
        }
        text
    }

    #[test]
    fn ordinary_texts_of_all_scripts_stay_as_they_are() {
        for text in [
            "ann@example.com",
            "é e\u{301} 漢字 かな 한국어 עברית عربى हिन्दी ไทย",
            r"CORP\nina \u0041 \\",
            "👍 €5 – “x”",
        ] {
            assert!(matches!(visible(text), Cow::Borrowed(shown) if shown == text), "{text}");
        }
    }

    #[test]
    fn what_is_not_seen_is_spelled_out() {
        let hidden = "\0\u{1b}\n\t\u{7f}\u{9b}\u{a0}\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{17b4}\u{180b}\u{180e}\u{2003}\u{200b}\
                      \u{200d}\u{200e}\u{2028}\u{202e}\u{2060}\u{2066}\u{2800}\u{3000}\u{3164}\u{e000}\u{fe0f}\u{feff}\u{ffa0}\
                      \u{fff9}\u{ffff}\u{16fe4}\u{1bca0}\u{1d159}\u{1d173}\u{378}\u{e0001}\u{e0041}\u{e0100}\u{f0000}\u{10ffff}";
        for c in hidden.chars() {
            assert_eq!(visible(&format!("a{c}b")), format!("a\\u{{{:x}}}b", u32::from(c)));
        }
    }

    #[test]
    fn a_mark_is_shown_on_its_letter_and_on_nothing_else() {
        assert_eq!(visible("e\u{301}\u{302}"), "e\u{301}\u{302}");
        assert_eq!(visible("\u{301}e `\u{301} \u{200b}\u{301}"), r"\u{301}e `\u{301} \u{200b}\u{301}");
    }

    #[test]
    fn a_literal_escape_is_shown_differently_from_the_character() {
        assert_eq!(visible("\u{1b}"), r"\u{1b}");
        assert_eq!(visible(r"\u{1b}"), r"\u{5c}u{1b}");
        assert_eq!(visible(r"\\u{5c}u{1b}"), r"\\u{5c}u{5c}u{1b}");
    }

    proptest! {
        #[test]
        fn distinct_texts_are_shown_distinctly_for_each_is_read_back(
            text in proptest::collection::vec(
                prop_oneof![
                    proptest::sample::select(vec!['\\', 'u', '{', '}', '1', 'b', '5', 'c', '\u{1b}', '\u{301}', '\u{202e}', 'e']),
                    any::<char>(),
                ],
                0..24,
            )
        ) {
            let text: String = text.into_iter().collect();
            let shown = visible(&text);
            prop_assert_eq!(read_back(&shown), text.as_str());
            prop_assert!(shown.chars().all(|c| Sort::of(c) != Sort::Hidden), "{:?}", shown);
            prop_assert!(!shown.starts_with(|c| Sort::of(c) == Sort::Mark), "{:?}", shown);
        }
    }
}
