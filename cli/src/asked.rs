//! What a question is asked of: a ledger or a file, as it is or as it was right after a record.

use std::ops::Deref;
use std::path::Path;

use identity_ledger::{Reader, Seq};

use crate::answer::Answer;
use crate::args::{AsOf, LedgerArgs};
use crate::failure::Failure;
use crate::moment::Moment;
use crate::progress::Progress;
use crate::screen::{Screen, remark};
use crate::source::{AnsweredFrom, Source, expect_record, open_ledger};

/// What a question is answered from: a ledger or a file, as it is or as it was right after a record.
pub(crate) struct Asked {
    source: Source,
    at: Option<Seq>,
    /// As it was; `None` if nothing was recorded behind that record.
    then: Option<Box<Reader>>,
}

impl Deref for Asked {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        self.then.as_deref().unwrap_or(&self.source)
    }
}

impl Asked {
    pub(crate) fn of(source: Source, at: Option<Seq>, progress: &mut Progress) -> Result<Asked, Failure> {
        let mut then = None;
        if let Some(at) = at.filter(|at| at.0 + 1 < source.state().records()) {
            progress.begin("Folding the log up to there", Some(source.log_bytes()));
            then = Some(Box::new(source.as_of(at, &mut |bytes| progress.at(bytes))?));
            progress.clear();
        }
        Ok(Asked { source, at, then })
    }

    /// With the record that was asked about, and nothing folded up to there yet: answers are those of now.
    pub(crate) fn unfolded(source: Source, at: Option<Seq>) -> Asked {
        Asked { source, at, then: None }
    }

    /// The same, folded up to the record asked about.
    pub(crate) fn folded(self, progress: &mut Progress) -> Result<Asked, Failure> {
        Asked::of(self.source, self.at, progress)
    }

    /// As it is now, whatever moment was asked about.
    pub(crate) fn now(&self) -> &Reader {
        &self.source
    }

    /// The record that was asked about.
    pub(crate) fn at(&self) -> Option<Seq> {
        self.at
    }

    /// What it is answered from; `None` of a file.
    pub(crate) fn answered_from(&self) -> Option<AnsweredFrom> {
        self.source.answered_from().map(|from| from.at(self.at))
    }

    /// What the exit status says of the source.
    pub(crate) fn answer(&self) -> Answer {
        self.source.answer()
    }
}

impl LedgerArgs {
    /// Opens what is asked, as it was at the moment asked about.
    pub(crate) fn open(
        &self,
        AsOf { at }: AsOf,
        progress: &mut Progress,
        screen: &Screen,
    ) -> Result<Asked, Failure> {
        let ledger = open_ledger(&self.place, self.reading, progress, screen)?;
        let at = at.map(|at| at.record(ledger.reader(), screen)).transpose()?;
        Asked::of(Source::Ledger(Box::new(ledger)), at, progress)
    }
}

impl Moment {
    /// The last record that counts.
    pub(crate) fn seq(self, reader: &Reader) -> Result<Seq, Failure> {
        let asked = match self {
            Moment::Record(asked) => return expect_record(reader, asked),
            Moment::Time(asked) => asked,
        };
        let first =
            || reader.recorded_at(Seq(0)).map(|first| first.expect("there is always the genesis record"));
        match reader.last_recorded(asked)? {
            Some(seq) => Ok(seq),
            None => Err(Failure::BeforeItsCreation { asked, first: first()? }),
        }
    }

    /// The last record that counts. Of a time, says to people which it is; in JSON it stands in the answer.
    pub(crate) fn record(self, reader: &Reader, screen: &Screen) -> Result<Seq, Failure> {
        self.named(["as of", "right after"], reader, screen)
    }

    /// The last record that does not count: what came after it does. Of a time, says to people which it is.
    pub(crate) fn since(self, reader: &Reader, screen: &Screen) -> Result<Seq, Failure> {
        self.named(["since", "after"], reader, screen)
    }

    fn named(self, [when, place]: [&str; 2], reader: &Reader, screen: &Screen) -> Result<Seq, Failure> {
        let seq = self.seq(reader)?;
        if let (Moment::Time(time), false) = (self, screen.json) {
            remark("note", &format!("{when} {time}: {place} record {seq}"));
        }
        Ok(seq)
    }

    /// The same moment, of a ledger or a file. A file is recorded nowhere, so it has no times.
    pub(crate) fn of(self, source: &Source, place: &Path) -> Result<Moment, Failure> {
        match (source, self) {
            (Source::File(..), Moment::Time(_)) => Err(Failure::NoTimes { file: place.to_owned() }),
            _ => Ok(self),
        }
    }
}
