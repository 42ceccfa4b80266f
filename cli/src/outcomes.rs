//! `outcomes`: what every operation did.

use clap::Args;
use identity_ledger::answer::EffectAnswer;
use identity_ledger::{OutcomeAnswer, Seq};

use crate::answer::Answer;
use crate::args::{AsOf, SourceArgs};
use crate::failure::Failure;
use crate::listing::{Listed, Paging, list};
use crate::screen::Screen;
use crate::table::{Column, Field, Table};
use crate::text::{short_id, short_person, short_reason};

/// The long help.
pub(crate) const HELP: &str = "\
List what every recorded operation did, in the order of the log. Nothing is a silent no-op: what was refused names its rule \
and the record that blocks it.

  identity-ledger outcomes shop.ledger
  identity-ledger outcomes shop.ledger --json | jq 'select(.refusal)'
  identity-ledger outcomes shop.ledger --from 4711 --limit 100

What is shown:
  SEQ      the operation's record
  OP       what was asked
  ID       whom it speaks for
  OTHER    the id to be linked with it
  OUTCOME  what was refused, what happened, what is worth knowing

--json keys: seq, recorded_at (1970-01-01T00:00:00Z for a file), op, distinct_id, other_id, effects, notices (notice, seq, distinct_id, \
ids), refusal, rule, blocking_seq, reason. A merge, split, retract or reclassification says how many ids it moved (`moved_ids`, of a split `left`) and names up to 100 of them (`distinct_ids`); `diff --at` names all. \
With --limit a last line has `next`, a cursor or null.";

#[derive(Args)]
pub(crate) struct OutcomesArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    as_of: AsOf,
    #[command(flatten)]
    paging: Paging,
}

pub(crate) fn outcomes(args: OutcomesArgs, screen: &mut Screen) -> Result<Answer, Failure> {
    let OutcomesArgs { source, as_of, paging } = args;
    let (outcomes, part) = source.list(as_of, paging, screen)?.folded(screen)?;
    list::<OutcomeAnswer>(&outcomes, part, screen, |reader, each| reader.outcomes(each))?;
    Ok(outcomes.answer())
}

impl Listed for OutcomeAnswer {
    const COLUMNS: &'static [Column] = &[
        Column::number("SEQ"),
        Column::elastic("OP"),
        Column::elastic("ID"),
        Column::elastic("OTHER"),
        Column::folded("OUTCOME"),
    ];
    const NOUN: &'static str = "operations";

    fn record(&self) -> Option<Seq> {
        Some(self.seq)
    }

    fn row(&self, table: &mut Table, screen: &mut Screen) -> Result<(), Failure> {
        let wide = screen.wide;
        let other = self.other_id.as_deref().unwrap_or_default();
        let happened = Field::new(sentence(self, wide));
        table.row(
            screen,
            [
                self.seq.to_string().into(),
                self.op.into(),
                short_id(&self.distinct_id, wide).into_owned().into(),
                short_id(other, wide).into_owned().into(),
                if self.refusal.is_some() { happened.alarming() } else { happened },
            ],
        )
    }
}

/// What an operation did: the refusal first, for that is what one looks for.
pub(crate) fn sentence(outcome: &OutcomeAnswer, wide: bool) -> String {
    let mut parts = Vec::new();
    if let (Some(rule), Some(reason)) = (outcome.rule, &outcome.reason) {
        let blocking = outcome.blocking_seq.filter(|seq| *seq != outcome.seq);
        let blocking = blocking.filter(|seq| !reason.contains(&format!("record {seq}")));
        let blocking = blocking.map_or(String::new(), |seq| format!(", record {seq}"));
        parts.push(format!("refused by {rule}{blocking}: {}", short_reason(reason, wide)));
    }
    parts.extend(outcome.effects.iter().map(|effect| deed(effect, &outcome.distinct_id, wide)));
    for notice in &outcome.notices {
        let which = match (&notice.distinct_id, notice.ids) {
            (Some(id), Some(1)) => format!(" {}", short_id(id, wide)),
            (Some(id), Some(ids)) => format!(" {} and {} more", short_id(id, wide), ids - 1),
            _ => String::new(),
        };
        let name = format!("{}{which}", notice.notice.replace('_', " "));
        parts.push(match notice.seq {
            Some(seq) => format!("{name} (record {seq})"),
            None => name,
        });
    }
    match (parts.is_empty(), outcome.op) {
        (true, "capture") => "event recorded".to_owned(),
        (true, _) => "nothing changed".to_owned(),
        (false, _) => parts.join("; "),
    }
}

/// One effect; the ids are in columns of their own.
fn deed(effect: &EffectAnswer, id: &str, wide: bool) -> String {
    match effect {
        EffectAnswer::Founded { person_id } => format!("founded {}", short_person(*person_id, wide)),
        EffectAnswer::Joined { distinct_id, person_id } => {
            let which = if distinct_id == id { "id" } else { "other" };
            format!("{which} joined {}", short_person(*person_id, wide))
        }
        EffectAnswer::Merged { survivor, absorbed, moved_ids, .. } => {
            let (survivor, absorbed) = (short_person(*survivor, wide), short_person(*absorbed, wide));
            format!("{survivor} absorbed {absorbed} ({moved_ids} moved)")
        }
        EffectAnswer::Identified { .. } => "identified".to_owned(),
        EffectAnswer::Properties { written, .. } => match (written.set, written.removed) {
            (set, 0) => format!("{set} set"),
            (0, removed) => format!("{removed} removed"),
            (set, removed) => format!("{set} set, {removed} removed"),
        },
        EffectAnswer::Retracted { seq, moved_ids, .. } => {
            format!("record {seq} counts as never asked{}", moved(*moved_ids))
        }
        EffectAnswer::Reclassified { from, to, moved_ids, .. } => {
            format!("counts as {to} from its definition on, and not as {from}{}", moved(*moved_ids))
        }
        EffectAnswer::Split { left: 1, .. } => "1 id left its person".to_owned(),
        EffectAnswer::Split { left, .. } => format!("{left} ids left their person"),
        EffectAnswer::DeviceSpeaksFor { device_id, distinct_id } => {
            format!("{} speaks for {}", short_id(device_id, wide), short_id(distinct_id, wide))
        }
        EffectAnswer::SignedIn { shared_id } => format!("signed in on {}", short_id(shared_id, wide)),
        EffectAnswer::SignedOut { shared_id } => {
            format!("{} speaks for itself again", short_id(shared_id, wide))
        }
        EffectAnswer::DeviceReset { device_id, distinct_id } => {
            format!("{} starts over as {}", short_id(device_id, wide), short_id(distinct_id, wide))
        }
    }
}

/// How many ids a correction moved, where it moved any.
fn moved(ids: u32) -> String {
    if ids == 0 { String::new() } else { format!(" ({ids} moved)") }
}
