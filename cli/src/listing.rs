//! Lists: whole, or page by page.

use clap::Args;
use identity_ledger::answer::PageError;
use identity_ledger::limits::MAX_PAGE_ITEMS;
use identity_ledger::storage::Fault;
use identity_ledger::{Cursor, Page, PageRequest, Reader, Seq};
use serde::Serialize;

use crate::answer::Answer;
use crate::args::SourceArgs;
use crate::failure::Failure;
use crate::moment::Moment;
use crate::progress::Progress;
use crate::screen::{Screen, remark, remark_source};
use crate::source::Source;
use crate::table::{Column, Table};

/// Which part of a long list.
#[derive(Args)]
pub(crate) struct Paging {
    /// Show at most N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Continue where the page before ended
    #[arg(long, value_name = "CURSOR")]
    pub(crate) from: Option<Cursor>,
}

impl Paging {
    /// Whether no part was asked for.
    pub(crate) fn is_whole(&self) -> bool {
        self.limit.is_none() && self.from.is_none()
    }
}

/// Something that is listed.
pub(crate) trait Listed: Serialize {
    const COLUMNS: &'static [Column];
    /// What there is none of, when there is none.
    const NOUN: &'static str;

    fn row(&self, table: &mut Table, screen: &mut Screen) -> Result<(), Failure>;
}

/// Opens what is listed, and says what it is answered from.
pub(crate) fn open(args: &SourceArgs, screen: &Screen) -> Result<Source, Failure> {
    open_at(args, None, screen).map(|(reader, _)| reader)
}

/// The same, and finds the record of a moment.
pub(crate) fn open_at(
    args: &SourceArgs,
    at: Option<Moment>,
    screen: &Screen,
) -> Result<(Source, Option<Seq>), Failure> {
    let reader = Source::open(args, &mut Progress::beside(screen), screen)?;
    let at = at.map(|at| at.record_of(&reader, args, screen)).transpose()?;
    if let Some(from) = reader.answered_from().filter(|_| screen.json) {
        remark_source(&from.at(at));
    }
    Ok((reader, at))
}

/// Shows all that `walk` finds.
pub(crate) fn list<T: Listed>(
    args: &SourceArgs,
    screen: &mut Screen,
    walk: impl FnOnce(&Reader, &mut dyn FnMut(T)) -> Result<(), Fault>,
) -> Result<Answer, Failure> {
    let reader = open(args, screen)?;
    let mut table = Table::new(T::COLUMNS);
    let mut shown = Ok(());
    walk(&reader, &mut |item: T| {
        if shown.is_ok() {
            shown = if screen.json { screen.object(&item) } else { item.row(&mut table, screen) };
        }
        if screen.is_unread() {
            std::process::exit(0); // the walk cannot be stopped, and the answer of a listing is always yes
        }
    })?;
    shown?;
    if !screen.json && table.finish(screen)? == 0 {
        remark("note", &format!("there are no {}", T::NOUN));
    }
    Ok(reader.answer())
}

/// Shows one page, or all of them if no limit is given, and where the next one begins. `false` if there is no
/// such id or person.
pub(crate) fn pages<T: Serialize>(
    Paging { limit, from }: Paging,
    columns: &'static [Column],
    screen: &mut Screen,
    ask_for: impl Fn(PageRequest) -> Result<Option<Page<T>>, PageError>,
    row: impl Fn(&T, &mut Table, &mut Screen) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let items = limit.map_or(MAX_PAGE_ITEMS, |limit| usize::try_from(limit).unwrap_or(MAX_PAGE_ITEMS));
    let mut table = Table::new(columns);
    let mut ask = PageRequest { from, items };
    loop {
        let Some(page) = ask_for(ask)? else { return Ok(false) };
        for item in &page.items {
            if screen.json { screen.object(item)? } else { row(item, &mut table, screen)? }
        }
        match page.next {
            Some(next) if limit.is_none() && !screen.is_unread() => ask = PageRequest::next(next, items),
            next => {
                if screen.json && limit.is_some() {
                    screen.object(&More { next })?;
                }
                if !screen.json {
                    table.finish(screen)?;
                }
                if let (Some(next), false) = (next, screen.json) {
                    screen.finish()?;
                    remark("note", &format!("there is more: --from {next}"));
                }
                return Ok(true);
            }
        }
    }
}

#[derive(Serialize)]
struct More {
    next: Option<Cursor>,
}
