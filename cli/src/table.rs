//! Tables that fit the terminal and are printed while they grow: a log has more rows than memory should hold.

use std::borrow::Cow;

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, LineStyle, Row, Table as Rows, TableStyle, Width,
};
use identity_ledger::visible;

use crate::failure::Failure;
use crate::screen::Screen;

/// Rows that decide how wide columns are, and that are printed together.
const CHUNK: u64 = 500;
/// Columns between columns.
const GAP: u16 = 2;
/// Columns of a terminal that is wide enough for everything.
const ROOMY: u16 = 100;
/// What is left of a column when the terminal is narrow.
const NARROW: u16 = 8;
/// What is left where all cells are folded: a UUID still stands on one line.
const FOLDED: u16 = 40;
/// What an elastic column gets at least when its longest cell may be still to come: a shortened UUID, and some.
const GUESS: u16 = 16;
/// Characters of a cell that are looked at, unless nothing is to be cut: no terminal is wider.
const LONGEST: usize = 1_000;

const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─'));

/// The title of a column, and how its cells are set and shortened.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Never cut, set to the left.
    Whole,
    /// Never cut, set to the right.
    Number,
    /// Cut where the terminal ends.
    Elastic,
    /// Never cut, but left out on a narrow terminal.
    Spare,
    /// What one looks for: never cut, but folded; elastic columns leave it what they can.
    Folded,
}

impl Column {
    pub(crate) const fn whole(name: &'static str) -> Column {
        Column { name, kind: Kind::Whole }
    }

    pub(crate) const fn number(name: &'static str) -> Column {
        Column { name, kind: Kind::Number }
    }

    pub(crate) const fn spare(name: &'static str) -> Column {
        Column { name, kind: Kind::Spare }
    }

    pub(crate) const fn folded(name: &'static str) -> Column {
        Column { name, kind: Kind::Folded }
    }

    pub(crate) const fn elastic(name: &'static str) -> Column {
        Column { name, kind: Kind::Elastic }
    }
}

/// One cell of a table.
pub(crate) struct Field {
    text: String,
    colour: Option<Color>,
}

impl Field {
    pub(crate) fn new(text: impl Into<String>) -> Field {
        Field { text: text.into(), colour: None }
    }

    /// Worth a second look.
    pub(crate) fn alarming(self) -> Field {
        Field { colour: Some(Color::Red), ..self }
    }

    /// Not worth a first one.
    pub(crate) fn quiet(self) -> Field {
        Field { colour: Some(Color::DarkGrey), ..self }
    }
}

impl<T: Into<String>> From<T> for Field {
    fn from(text: T) -> Field {
        Field::new(text)
    }
}

/// A table under way.
pub(crate) struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<Field>>,
    /// The widest cell of each column so far.
    widest: Vec<u16>,
    count: u64,
}

impl Table {
    pub(crate) fn new(columns: &'static [Column]) -> Table {
        Table { columns, rows: Vec::new(), widest: vec![0; columns.len()], count: 0 }
    }

    /// Adds a row, and prints some when there are enough.
    pub(crate) fn row<const N: usize>(
        &mut self,
        screen: &mut Screen,
        fields: [Field; N],
    ) -> Result<(), Failure> {
        debug_assert_eq!(N, self.columns.len(), "a row has a field for each column");
        self.count += 1;
        let mut fields = Vec::from(fields);
        for Field { text, .. } in &mut fields {
            if !screen.wide {
                cut(text);
            }
            if let Cow::Owned(shown) = visible(text) {
                *text = shown;
            }
        }
        self.rows.push(fields);
        if self.count.is_multiple_of(CHUNK) { self.print(screen, true) } else { Ok(()) }
    }

    /// Prints what is left; gives how many rows there were.
    pub(crate) fn finish(mut self, screen: &mut Screen) -> Result<u64, Failure> {
        if !self.rows.is_empty() {
            self.print(screen, false)?;
        }
        Ok(self.count)
    }

    fn print(&mut self, screen: &mut Screen, more: bool) -> Result<(), Failure> {
        let is_folded = |column: &Column| screen.wide || column.kind == Kind::Folded;
        let folds = self.columns.iter().any(is_folded);
        let is_first = self.count <= CHUNK;
        let mut rows = self.laid_out(screen, is_first, folds);
        for (widest, found) in self.widest.iter_mut().zip(rows.column_max_content_widths()) {
            *widest = found.max(*widest);
        }
        let room = Room { width: screen.width, wide: screen.wide, more: more || !is_first };
        let widths = room.share(self.columns, &self.widest);
        if folds && !screen.wide {
            // A row is as high as its folded cell; the others are cut to one line of it.
            for fields in &mut self.rows {
                let cut = fields.iter_mut().zip(self.columns).zip(&widths);
                cut.filter(|((_, column), _)| column.kind == Kind::Elastic)
                    .for_each(|((field, _), width)| shorten(&mut field.text, usize::from(*width)));
            }
            rows = self.laid_out(screen, is_first, folds);
        }
        self.rows.clear();
        let last = self.columns.len() - 1;
        for (at, width) in widths.into_iter().enumerate() {
            let column = rows.column_mut(at).expect("every row has a cell for each column");
            let gap = if at == last { 0 } else { GAP };
            column.set_padding((0, gap));
            column.set_constraint(match width {
                0 => ColumnConstraint::Hidden,
                width => ColumnConstraint::Absolute(Width::Fixed(width.saturating_add(gap))),
            });
            if !is_folded(&self.columns[at]) {
                column.set_delimiter('\u{0}'); // never there: a cell is cut where it must, not where a blank is
            }
            if self.columns[at].kind == Kind::Number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        rows.lines().try_for_each(|line| screen.styled_line(line.trim_end()))
    }

    fn laid_out(&self, screen: &Screen, is_first: bool, folds: bool) -> Rows {
        let mut rows = Rows::new();
        rows.load_style(STYLE);
        if screen.colour {
            rows.enforce_styling();
        } else {
            rows.force_no_tty();
        }
        if is_first {
            let names = self.columns.iter().map(|column| column.name);
            rows.set_header(names.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        }
        for fields in &self.rows {
            let mut row = Row::new();
            for Field { text, colour } in fields {
                let cell = Cell::new(text);
                row.add_cell(match colour {
                    Some(colour) => cell.fg(*colour),
                    None => cell,
                });
            }
            if !folds {
                row.max_height(1);
            }
            rows.add_row(row);
        }
        rows
    }
}

/// Cuts a cell to a width, and shows that it is cut.
fn shorten(text: &mut String, width: usize) {
    if text.chars().count() > width {
        *text = text.chars().take(width.saturating_sub(1)).chain(['…']).collect();
    }
}

/// Keeps a cell short enough to be laid out quickly.
fn cut(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(at);
    }
}

/// What columns have to share.
struct Room {
    /// Of the terminal.
    width: u16,
    /// Nothing may be left out; cells are folded rather than cut.
    wide: bool,
    /// More rows are to come, with wider cells perhaps.
    more: bool,
}

impl Room {
    /// How wide each column is, given its widest cell: as wide as it needs, or elastic ones share what is left, none getting
    /// more than it needs. With more rows to come that need is a guess, and the last column takes what is over.
    fn share(&self, columns: &[Column], widest: &[u16]) -> Vec<u16> {
        let need = |at: usize| match columns[at].kind {
            Kind::Spare if self.width < ROOMY && !self.wide => 0,
            Kind::Elastic | Kind::Folded if self.more => widest[at].max(GUESS),
            _ => widest[at],
        };
        let is_elastic = |at: &usize| matches!(columns[*at].kind, Kind::Elastic | Kind::Folded);
        let mut widths: Vec<u16> = (0..columns.len()).map(need).collect();
        let shown = widths.iter().filter(|width| **width > 0).count();
        let gaps = GAP.saturating_mul(u16::try_from(shown).unwrap_or(u16::MAX).saturating_sub(1));
        let whole = (0..columns.len()).filter(|at| !is_elastic(at)).map(|at| widths[at]);
        let mut left = whole.fold(self.width.saturating_sub(gaps), u16::saturating_sub);
        let mut elastic: Vec<usize> = (0..columns.len()).filter(is_elastic).collect();
        let is_folded = |at: usize| columns[at].kind == Kind::Folded && !self.wide;
        // What is folded keeps a part of the room, and what the others leave: the modest of them first.
        let sum = |folded: bool| {
            let needs = elastic.iter().filter(|at| is_folded(**at) == folded).map(|at| need(*at));
            needs.fold(0, u16::saturating_add)
        };
        let kept = sum(true).min((left / 5 * 2).max(left.saturating_sub(sum(false))));
        left -= kept;
        elastic.sort_by_key(|at| (is_folded(*at), need(*at)));
        let mut sharing = elastic.iter().filter(|at| !is_folded(**at)).count() as u16; // as many as there are columns
        let least = if self.wide { FOLDED } else { NARROW };
        for at in elastic {
            if is_folded(at) {
                widths[at] = need(at).min((kept + left).max(least));
                continue;
            }
            widths[at] = need(at).min((left / sharing).max(least));
            left = left.saturating_sub(widths[at]);
            sharing -= 1;
        }
        if let (true, Some(last)) = (self.more, widths.last_mut()) {
            *last = last.saturating_add(left);
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] =
        [Column::number("N"), Column::elastic("A"), Column::elastic("B"), Column::whole("W")];

    fn share(columns: &[Column], widest: &[u16], width: u16) -> Vec<u16> {
        Room { width, wide: false, more: false }.share(columns, widest)
    }

    #[test]
    fn columns_get_what_they_need_where_there_is_room() {
        assert_eq!(share(&COLUMNS, &[3, 10, 20, 5], 80), [3, 10, 20, 5]);
    }

    #[test]
    fn elastic_columns_share_what_is_left() {
        assert_eq!(share(&COLUMNS, &[3, 10, 200, 5], 80), [3, 10, 56, 5]);
        assert_eq!(share(&COLUMNS, &[3, 100, 200, 5], 80), [3, 33, 33, 5]);
        assert_eq!(share(&COLUMNS, &[3, 100, 200, 5], 10), [3, NARROW, NARROW, 5]);
    }

    #[test]
    fn a_folded_column_gets_what_the_others_can_do_without() {
        let columns = [Column::number("N"), Column::elastic("A"), Column::elastic("B"), Column::folded("F")];
        assert_eq!(share(&columns, &[3, 10, 20, 25], 80), [3, 10, 20, 25]);
        assert_eq!(share(&columns, &[3, 10, 20, 200], 80), [3, 10, 20, 41]);
        assert_eq!(share(&columns, &[3, 50, 50, 40], 80), [3, 21, 22, 28]);
        assert_eq!(share(&columns, &[3, 50, 50, 10], 80), [3, 30, 31, 10]);
    }

    #[test]
    fn spare_columns_need_a_roomy_terminal() {
        let columns = [Column::spare("S"), Column::elastic("E")];
        assert_eq!(share(&columns, &[9, 200], ROOMY), [9, ROOMY - 11]);
        assert_eq!(share(&columns, &[9, 200], 80), [0, 80]);
        assert_eq!(Room { width: 30, wide: true, more: false }.share(&columns, &[9, 200]), [9, FOLDED]);
    }

    #[test]
    fn room_is_kept_for_rows_to_come() {
        let room = Room { width: 80, wide: false, more: true };
        assert_eq!(room.share(&COLUMNS, &[3, 10, 20, 5]), [3, GUESS, 20, 35]);
    }
}
