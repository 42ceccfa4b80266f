//! Pages: long answers in parts, each saying where the next begins.
//!
//! A cursor holds on to the record after which the first page was asked for. What is appended meanwhile changes no page: all of
//! them together are the answer as of that record.

use std::fmt;
use std::str::FromStr;

use crate::model::id::Seq;
use crate::model::limits::MAX_PAGE_ITEMS;
use crate::store::segments::Fault;

/// Where a long answer continues. As text `AS_OF.AFTER`, such as `4711.120`: nothing but numbers, and good
/// for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The record as of which is answered.
    pub as_of: Seq,
    /// What was given last; its meaning is the question's.
    pub(crate) after: u64,
}

impl Cursor {
    /// The beginning of an answer as of a record.
    pub fn beginning(as_of: Seq) -> Cursor {
        Cursor { as_of, after: 0 }
    }

    /// Behind the item of a number: of a list of records that of a record, of any other how many items come before.
    pub fn behind(as_of: Seq, after: u64) -> Cursor {
        Cursor { as_of, after }
    }

    /// The number of the item that was given last; see [`Cursor::behind`].
    pub fn after(self) -> u64 {
        self.after
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.as_of, self.after)
    }
}

/// A text that is not a [`Cursor`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a cursor; expected AS_OF.AFTER, as the page before gave it")]
pub struct CursorError {
    found: String,
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Cursor, CursorError> {
        let canonical = |cursor: &Cursor| cursor.to_string() == text;
        text.split_once('.')
            .and_then(|(as_of, after)| {
                Some(Cursor { as_of: Seq(as_of.parse().ok()?), after: after.parse().ok()? })
            })
            .filter(canonical)
            .ok_or_else(|| CursorError { found: text.chars().take(100).collect() })
    }
}

impl serde::Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which part of a long answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Where to continue; `None` begins, as of the last record there is.
    pub from: Option<Cursor>,
    /// How many items at most: from 1 to [`MAX_PAGE_ITEMS`], whatever is asked.
    pub items: usize,
}

impl PageRequest {
    /// Asks for the first `items` items.
    pub fn first(items: usize) -> PageRequest {
        PageRequest { from: None, items }
    }

    /// What follows the page that gave this cursor.
    pub fn next(from: Cursor, items: usize) -> PageRequest {
        PageRequest { from: Some(from), items }
    }

    pub(crate) fn items(self) -> usize {
        self.items.clamp(1, MAX_PAGE_ITEMS)
    }

    /// As of which record is answered, and behind what, if the log has that many records.
    pub(crate) fn place(self, records: u64) -> Result<(Seq, Option<u64>), PageError> {
        let last = Seq(records - 1); // there is always the genesis record
        match self.from {
            None => Ok((last, None)),
            Some(Cursor { as_of, .. }) if as_of > last => Err(PageError::Beyond { as_of, last }),
            Some(Cursor { as_of, after }) => Ok((as_of, Some(after))),
        }
    }
}

/// Part of a long answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Page<T> {
    /// The items of this page, in the order of the whole answer.
    pub items: Vec<T>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    pub(crate) fn empty() -> Page<T> {
        Page { items: Vec::new(), next: None }
    }
}

/// Why a page cannot be given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The cursor is of a longer log.
    #[error("the cursor is as of record {as_of}; the last record is {last}")]
    Beyond {
        /// As of which record it is.
        as_of: Seq,
        /// The last there is.
        last: Seq,
    },
    /// The log cannot be read back.
    #[error(transparent)]
    Fault(#[from] Box<Fault>),
}

impl From<Fault> for PageError {
    fn from(fault: Fault) -> PageError {
        PageError::Fault(Box::new(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_two_numbers_spelled_in_one_way() {
        let cursor = Cursor { as_of: Seq(4711), after: 120 };
        assert_eq!(cursor.to_string(), "4711.120");
        assert_eq!("4711.120".parse(), Ok(cursor));
        for bad in [
            "",
            ".",
            "1",
            "1.",
            ".1",
            "01.2",
            "1.02",
            "+1.2",
            "1.2.3",
            " 1.2",
            "-1.2",
            "18446744073709551616.0",
        ] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_has_from_one_to_the_limit_of_items() {
        let asked = [0, 1, MAX_PAGE_ITEMS, MAX_PAGE_ITEMS + 1].map(|items| PageRequest::first(items).items());
        assert_eq!(asked, [1, 1, MAX_PAGE_ITEMS, MAX_PAGE_ITEMS]);
    }
}
