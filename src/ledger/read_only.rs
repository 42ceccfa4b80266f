//! The reader: a ledger opened without a lock, and never written to.

use std::ops::Deref;
use std::path::Path;

use crate::ledger::open::LedgerOptions;
use crate::ledger::recovery::{OpenError, Recovery};
use crate::query::reader::Book;

/// A ledger opened for reading: no lock, no write, so a copy on a read-only mount will do.
#[derive(Debug)]
pub struct LedgerReader {
    book: Book,
    recovery: Recovery,
}

impl LedgerReader {
    pub(crate) fn new(book: Book, recovery: Recovery) -> LedgerReader {
        LedgerReader { book, recovery }
    }

    /// Opens a ledger for reading; see [`LedgerOptions::open_read_only`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: impl AsRef<Path>) -> Result<LedgerReader, OpenError> {
        LedgerOptions::new().open_read_only(dir)
    }

    /// What opening found; a reader changes nothing.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }
}

impl Deref for LedgerReader {
    type Target = Book;
    fn deref(&self) -> &Book {
        &self.book
    }
}
