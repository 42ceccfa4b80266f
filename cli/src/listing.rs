//! Lists: whole, or page by page, as they are or as they were right after a record.

use std::str::FromStr;

use clap::Args;
use identity_ledger::answer::{CursorError, PageError};
use identity_ledger::limits::MAX_PAGE_ITEMS;
use identity_ledger::storage::Fault;
use identity_ledger::{Cursor, Page, PageRequest, Reader, Seq};
use serde::Serialize;

use crate::args::{AsOf, LedgerArgs, SourceArgs};
use crate::asked::Asked;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::screen::{Screen, remark, remark_source};
use crate::source::{Source, open_ledger};
use crate::table::{Column, Table};

/// Which part of a long list of records.
#[derive(Args, Clone, Copy)]
pub(crate) struct Paging {
    /// Show at most N, and where the next page begins
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Begin with this record, or continue where the page before ended
    #[arg(long, value_name = "SEQ|CURSOR")]
    from: Option<Start>,
}

/// Which part of a long list of persons.
#[derive(Args, Clone, Copy)]
pub(crate) struct PersonPaging {
    /// Show at most N, and where the next page begins
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Continue where the page before ended
    #[arg(long, value_name = "CURSOR")]
    from: Option<Cursor>,
}

impl From<PersonPaging> for Paging {
    fn from(PersonPaging { limit, from }: PersonPaging) -> Paging {
        Paging { limit, from: from.map(Start::Cursor) }
    }
}

/// Where a list begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Record(u64),
    Cursor(Cursor),
}

impl FromStr for Start {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Start, CursorError> {
        text.parse().map(Start::Record).or_else(|_| text.parse().map(Start::Cursor))
    }
}

/// What is listed, and which part of it.
pub(crate) struct Listing {
    pub(crate) source: Source,
    pub(crate) at: Option<Seq>,
    limit: Option<u64>,
    from: Option<Start>,
}

impl Listing {
    /// A cursor says as of which record its pages are; `--at` may say so too, and may not say otherwise.
    pub(crate) fn of(
        source: Source,
        place: &std::path::Path,
        AsOf { at }: AsOf,
        Paging { limit, from }: Paging,
        screen: &Screen,
    ) -> Result<Listing, Failure> {
        let at = at.map(|at| at.of(&source, place)?.record(&source, screen)).transpose()?;
        let at = match from {
            Some(Start::Cursor(Cursor { as_of, .. })) => {
                if let Some(at) = at.filter(|at| *at != as_of) {
                    return Err(Failure::TwoMoments { at, cursor: as_of });
                }
                let last = Seq(source.state().records() - 1); // there is always the genesis record
                if as_of > last {
                    return Err(PageError::Beyond { as_of, last }.into());
                }
                Some(as_of)
            }
            _ => at,
        };
        if let Some(from) = source.answered_from().filter(|_| screen.json) {
            remark_source(&from.at(at));
        }
        Ok(Listing { source, at, limit, from })
    }

    /// The same, as far as a question about ids that were not written needs it.
    pub(crate) fn asked(self) -> Asked {
        Asked::unfolded(self.source, self.at)
    }

    /// The same, folded up to the record asked about.
    pub(crate) fn folded(self, screen: &Screen) -> Result<(Asked, Part), Failure> {
        let part = self.part();
        Ok((Asked::of(self.source, self.at, &mut Progress::beside(screen))?, part))
    }

    /// Which part of the list it is.
    pub(crate) fn part(&self) -> Part {
        let last = self.at.unwrap_or(Seq(self.source.state().records() - 1)); // there is always the genesis record
        let from = match self.from {
            None => Cursor::beginning(last),
            Some(Start::Record(seq)) => Cursor::behind(last, seq.saturating_sub(1)),
            Some(Start::Cursor(cursor)) => cursor,
        };
        Part { from, limit: self.limit }
    }
}

impl SourceArgs {
    /// Opens what is listed, and says what it is answered from.
    pub(crate) fn list(&self, as_of: AsOf, paging: Paging, screen: &Screen) -> Result<Listing, Failure> {
        let source = Source::open(self, &mut Progress::beside(screen), screen)?;
        Listing::of(source, &self.source, as_of, paging, screen)
    }
}

impl LedgerArgs {
    /// The same of a ledger.
    pub(crate) fn list(&self, as_of: AsOf, paging: Paging, screen: &Screen) -> Result<Listing, Failure> {
        let ledger = open_ledger(&self.place, self.reading, &mut Progress::beside(screen), screen)?;
        Listing::of(Source::Ledger(Box::new(ledger)), &self.place, as_of, paging, screen)
    }
}

/// A part of a list.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    from: Cursor,
    limit: Option<u64>,
}

impl Part {
    /// Whether it begins with the list.
    pub(crate) fn is_first(self) -> bool {
        self.from.after() == 0
    }

    /// Whether it may end before the list does.
    pub(crate) fn has_limit(self) -> bool {
        self.limit.is_some()
    }

    /// Shows the part of a list, and gives where the next one begins.
    pub(crate) fn of<T>(
        self,
        all: impl Iterator<Item = T>,
        mut show: impl FnMut(T) -> Result<(), Failure>,
    ) -> Result<Option<Cursor>, Failure> {
        let after = usize::try_from(self.from.after()).unwrap_or(usize::MAX);
        for (shown, item) in (0..).zip(all.skip(after)) {
            if self.limit == Some(shown) {
                return Ok(Some(Cursor::behind(self.from.as_of, self.from.after() + shown)));
            }
            show(item)?;
        }
        Ok(None)
    }
}

/// Something that is listed.
pub(crate) trait Listed: Serialize {
    const COLUMNS: &'static [Column];
    /// What there is none of, when there is none.
    const NOUN: &'static str;

    /// Its record, if it is one.
    fn record(&self) -> Option<Seq> {
        None
    }

    fn row(&self, table: &mut Table, screen: &mut Screen) -> Result<(), Failure>;
}

/// Shows the part that was asked for of all that `walk` finds, and where the next one begins. Gives how many there are.
pub(crate) fn list<T: Listed>(
    reader: &Reader,
    part: Part,
    screen: &mut Screen,
    walk: impl FnOnce(&Reader, &mut dyn FnMut(T)) -> Result<(), Fault>,
) -> Result<u64, Failure> {
    let (mut pager, mut shown, mut found) = (Pager::<T>::new(part), Ok(()), 0);
    walk(reader, &mut |item: T| {
        found += 1;
        let place = item.record().map_or(found, |seq| seq.0);
        if shown.is_ok() && place > part.from.after() {
            shown = pager.show(&item, place, screen);
        }
        if screen.is_unread() {
            std::process::exit(0); // the walk cannot be stopped, and the answer of a listing is always yes
        }
    })?;
    shown?;
    pager.finish(screen)?;
    if !screen.json && found == 0 {
        remark("note", &format!("there are no {}", T::NOUN));
    }
    Ok(found)
}

/// A page under way.
struct Pager<T> {
    part: Part,
    table: Table,
    shown: u64,
    /// The place of what was shown last.
    last: u64,
    more: bool,
    items: std::marker::PhantomData<T>,
}

impl<T: Listed> Pager<T> {
    fn new(part: Part) -> Pager<T> {
        let table = Table::new(T::COLUMNS);
        Pager { part, table, shown: 0, last: 0, more: false, items: std::marker::PhantomData }
    }

    fn show(&mut self, item: &T, place: u64, screen: &mut Screen) -> Result<(), Failure> {
        self.more |= self.part.limit.is_some_and(|limit| self.shown == limit);
        if self.more {
            return Ok(());
        }
        (self.shown, self.last) = (self.shown + 1, place);
        if screen.json { screen.object(item) } else { item.row(&mut self.table, screen) }
    }

    fn finish(self, screen: &mut Screen) -> Result<(), Failure> {
        let next = self.more.then(|| Cursor::behind(self.part.from.as_of, self.last));
        finish(self.part, self.table, next, screen)
    }
}

/// Shows one page, or all of them if no limit is given, and where the next one begins. `false` if there is no
/// such id or person.
pub(crate) fn pages<T: Serialize>(
    part: Part,
    columns: &'static [Column],
    screen: &mut Screen,
    mut ask_for: impl FnMut(PageRequest) -> Result<Option<Page<T>>, PageError>,
    row: impl Fn(&T, &mut Table, &mut Screen) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let Part { from, limit } = part;
    let items = limit.map_or(MAX_PAGE_ITEMS, |limit| usize::try_from(limit).unwrap_or(MAX_PAGE_ITEMS));
    let mut table = Table::new(columns);
    let mut ask = PageRequest::next(from, items);
    loop {
        let Some(page) = ask_for(ask)? else { return Ok(false) };
        for item in &page.items {
            if screen.json { screen.object(item)? } else { row(item, &mut table, screen)? }
        }
        match page.next {
            Some(next) if limit.is_none() && !screen.is_unread() => ask = PageRequest::next(next, items),
            next => return finish(part, table, next, screen).map(|()| true),
        }
    }
}

/// Ends a page: says where the next one begins.
fn finish(part: Part, table: Table, next: Option<Cursor>, screen: &mut Screen) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct More {
        next: Option<Cursor>,
    }
    if screen.json {
        return if part.limit.is_some() { screen.object(&More { next }) } else { Ok(()) };
    }
    table.finish(screen)?;
    if let Some(next) = next {
        screen.finish()?;
        remark("note", &format!("there is more: --from {next}"));
    }
    Ok(())
}
