//! `compare`: who is who as another system says, held against a ledger, id by id.

use std::path::{Path, PathBuf};

use clap::Args;
use identity_ledger::Reader;
use identity_ledger::answer::{Comparison, ComparisonCounts, Difference, DifferenceReason, Mapping};
use identity_ledger::import::{Format, Importer, Options};
use serde::Serialize;

use crate::answer::Answer;
use crate::args::{AsOf, LedgerArgs};
use crate::failure::Failure;
use crate::input::Input;
use crate::listing::{Part, PersonPaging};
use crate::screen::{Screen, remark};
use crate::table::{Column, Field, Table};
use crate::text::{count, counted, short_id, short_reason};

/// The long help.
pub(crate) const HELP: &str = "\
Compare who is who in a ledger with what another system says, id by id, and explain each difference by the record that joins two ids here, or \
by the rule that refused to. Exit status 1 if there are differences.

  identity-ledger compare shop.ledger persons.jsonl.gz
  identity-ledger compare shop.ledger persons.jsonl --json | jq 'select(.kind == \"joined_there\")'

MAPPING holds rows that say whose an id is, one JSON document a line, as `import --format persons` reads them: PostHog's persons model \
(person_id, distinct_id) and persons API, Mixpanel's table of identities, Amplitude's export. Nothing is recorded.

What is shown:
  ID          the id
  DIFFERENCE  joined there: one person there with OTHER, and here another's
              joined here: one person here with OTHER, and there another's
              missing here: no record names it
              missing there: the mapping does not name it
  OTHER       an id that it is one person with on one side only; of several, one of the largest group that stays together
  RECORD      the record that joins the two here, or was refused
  WHY         what it says, or the rule that refused it

A person that is cut in two differs in the ids of the smaller part: the largest group of a person's ids that is together on both sides counts as the person. \
Properties are not compared.

--json keys: a line for each difference: distinct_id, kind (joined_there, joined_here, missing_here, missing_there), other, person_id (here), \
person_there, seq, rule, reason. The last line has counts (mapped, same, and the number of each kind) and, with --limit, next, a cursor or null.";

#[derive(Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    /// Rows that say whose an id is; `-` is standard input
    #[arg(value_name = "MAPPING")]
    mapping: PathBuf,
    /// Do not list ids of the ledger that the mapping does not name: it is about a part of them
    #[arg(long)]
    part: bool,
    #[command(flatten)]
    as_of: AsOf,
    #[command(flatten)]
    paging: PersonPaging,
}

const COLUMNS: [Column; 5] = [
    Column::elastic("ID"),
    Column::whole("DIFFERENCE"),
    Column::elastic("OTHER"),
    Column::number("RECORD"),
    Column::folded("WHY"),
];

#[derive(Serialize)]
struct Explained<'a> {
    #[serde(flatten)]
    difference: &'a Difference,
    #[serde(flatten)]
    reason: DifferenceReason,
}

#[derive(Serialize)]
struct Summary {
    counts: ComparisonCounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Option<identity_ledger::Cursor>>,
}

pub(crate) fn compare(args: CompareArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let CompareArgs { ledger, mapping: file, part: is_part, as_of, paging } = args;
    let mapping = read(&file)?;
    let (asked, part) = ledger.list(as_of, paging.into(), screen)?.folded(screen)?;
    let Comparison { mut counts, differences } = asked.compare(&mapping);
    if is_part {
        counts.missing_there = 0;
    }
    let is_same = differences.is_empty() && counts.missing_there == 0;
    let unmapped = asked.unmapped(&mapping).take(usize::try_from(counts.missing_there).unwrap_or(usize::MAX));
    if !screen.json && part.is_first() {
        headline(&file, &ledger.place, &counts, screen)?;
    }
    let next = show(&asked, &mapping, differences.into_iter().chain(unmapped), part, screen)?;
    if screen.json {
        screen.object(&Summary { counts, next: part.has_limit().then_some(next) })?;
    }
    Ok(Answer::yes_if(is_same))
}

/// The mapping of a file, of which each row must be read: a row that is left out would look like a difference.
fn read(file: &Path) -> Result<Mapping, Failure> {
    let options = Options { format: Format::Persons, ..Options::from(&identity_ledger::Policy::default()) };
    let mut importer = Importer::new(Input::open(file)?.reader, options);
    let mut mapping = Mapping::default();
    let (mut unread, mut first) = (0_u64, None);
    while let Some(parsed) = importer.next() {
        let parsed =
            parsed.map_err(|source| Failure::Mapping { file: file.to_owned(), source: Box::new(source) })?;
        let mut is_read = false;
        for mapped in importer.mapped() {
            is_read = true;
            mapping
                .insert(&mapped.distinct_id, mapped.person.as_deref(), mapped.version)
                .map_err(|source| Failure::LongMapping { file: file.to_owned(), source })?;
        }
        // A row may say whose an id is and yet have nothing to record, such as no time.
        if let (false, Err(rejection)) = (is_read, parsed.operation) {
            unread += 1;
            first.get_or_insert((parsed.line, rejection));
        }
    }
    if let Some((line, rejection)) = first {
        let file = file.display();
        let more =
            if unread > 1 { format!("; {} more rows like it", count(unread - 1)) } else { String::new() };
        remark("note", &format!("{file}:{line}: {rejection}{more}; left out of the comparison"));
    }
    if mapping.is_empty() {
        return Err(Failure::EmptyMapping { file: file.to_owned() });
    }
    Ok(mapping)
}

fn headline(
    file: &Path,
    place: &Path,
    counts: &ComparisonCounts,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let ComparisonCounts { mapped, same, joined_there, joined_here, missing_here, missing_there, .. } =
        *counts;
    let ids = counted(mapped, "id");
    screen.headline(&format!(
        "{}: {ids}, {} the same in {}",
        file.display(),
        count(same),
        place.display()
    ))?;
    let facts = [
        ("joined there, not here", joined_there),
        ("joined here, not there", joined_here),
        ("missing here", missing_here),
        ("missing there", missing_there),
    ];
    let widest = facts.iter().map(|(_, number)| count(*number).len()).max().unwrap_or_default();
    screen.facts(&facts.map(|(name, number)| (name, format!("{:>widest$}", count(number)))))?;
    screen.line("")
}

/// Shows a part of the differences, and gives where the next one begins.
fn show(
    reader: &Reader,
    mapping: &Mapping,
    differences: impl Iterator<Item = Difference>,
    part: Part,
    screen: &mut Screen,
) -> Result<Option<identity_ledger::Cursor>, Failure> {
    let (mut table, mut why) = (Table::new(&COLUMNS), reader.explain_differences(mapping)?);
    let next = part.of(differences, |difference| {
        if screen.is_unread() {
            std::process::exit(1); // there is a difference, so the answer is no
        }
        let reason = why.explain(&difference)?;
        if screen.json {
            screen.object(&Explained { difference: &difference, reason })
        } else {
            row(&difference, reason, &mut table, screen)
        }
    })?;
    if !screen.json {
        table.finish(screen)?;
    }
    if let (false, Some(next)) = (screen.json, next) {
        screen.finish()?;
        remark("note", &format!("there is more: --from {next}"));
    }
    Ok(next)
}

fn row(
    difference: &Difference,
    reason: DifferenceReason,
    table: &mut Table,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let wide = screen.wide;
    let DifferenceReason { seq, rule, reason, .. } = reason;
    let reason = short_reason(&reason, wide);
    let why = match rule {
        Some(rule) => Field::new(format!("{rule}: {reason}")).alarming(),
        None => Field::new(reason),
    };
    let other = difference.other.as_deref().unwrap_or_default();
    table.row(
        screen,
        [
            short_id(&difference.distinct_id, wide).into_owned().into(),
            difference.kind.name().replace('_', " ").into(),
            short_id(other, wide).into_owned().into(),
            seq.map_or(String::new(), |seq| seq.to_string()).into(),
            why,
        ],
    )
}
