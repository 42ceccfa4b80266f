//! The tables of persons and ids: read off the state, one row at a time.

use std::collections::BTreeMap;

use crate::export::row::{DistinctIdRow, HistoryRow, PersonRow, RedirectRow, Row, SharedPeriodRow, Table};
use crate::export::tables::{ERASED_SINCE, Export};
use crate::fold::{PersonNo, PersonView, Standing};
use crate::log::body::IdNo;
use crate::log::kind::Kind;
use crate::model::id::{PersonId, Seq};
use crate::model::policy::IdClass;
use crate::model::time::Timestamp;
use crate::model::value::Value;
use crate::query::diff::content::has_content;
use crate::query::reader::PERSONS_AT_A_TIME;
use crate::store::segments::Fault;

/// Rows, ascending by key.
pub(super) type Rows<'a> = Box<dyn Iterator<Item = Result<Row, Fault>> + 'a>;

/// Who an id belonged to, from one record to the next that changed it.
struct Period {
    person: Option<PersonNo>,
    from: Seq,
    to: Option<Seq>,
}

/// How a period of an id began, and with whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) from: Seq,
    /// `None` where its person is only implied.
    pub(super) owner: Option<Owner>,
    pub(super) change: &'static str,
}

/// A person that ids belonged to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) person_no: Option<PersonNo>,
    pub(super) person_id: PersonId,
}

/// When the last id left a person, and whether a retract, split or reclassification took it.
#[derive(Clone, Copy, Default)]
struct End {
    at: u32,
    refolded: bool,
}

impl Export<'_> {
    /// The rows of a table that is not of records.
    pub(super) fn people_rows(&self, table: Table) -> Result<Rows<'_>, Fault> {
        Ok(match table {
            Table::Persons => self.persons(),
            Table::PersonDistinctIds => {
                Box::new(self.ids().map(|id| Ok(Row::PersonDistinctIds(self.id_row(id)))))
            }
            Table::PersonDistinctIdsHistory => self.history()?,
            Table::PersonDistinctIdsCorrected => self.corrected_history()?,
            Table::PersonRedirects => self.redirects()?,
            Table::SharedIdPeriods => self.shared_periods()?,
            _ => unreachable!("a table of records has no rows of persons"),
        })
    }

    /// The ids that have a person or events.
    fn ids(&self) -> impl Iterator<Item = IdNo> {
        self.state.ids().filter(|id| has_content(&self.state, *id))
    }

    fn is_live(&self, person: PersonNo) -> bool {
        !self.state.is_retired(person) && self.state.survivor(person) == person
    }

    fn all_persons(&self) -> impl Iterator<Item = PersonNo> + use<> {
        (0..self.state.persons_founded() as u32).map(PersonNo) // MAX_RECORDS bounds it
    }

    // -- persons ---------------------------------------------------------------------------------------------------

    fn persons(&self) -> Rows<'_> {
        let mut live = self.all_persons().filter(|person| self.is_live(*person));
        let chunks = std::iter::from_fn(move || {
            let views: Vec<PersonView<'_>> =
                live.by_ref().take(PERSONS_AT_A_TIME).map(|person| self.state.view(person)).collect();
            (!views.is_empty()).then_some(views)
        });
        let founded = chunks.flat_map(|views| match self.person_rows(views) {
            Ok(rows) => rows.into_iter().map(Ok).collect(),
            Err(fault) => vec![Err(fault)],
        });
        let implied = self.ids().filter(|id| self.state.person(*id).is_none());
        Box::new(founded.chain(implied.map(|id| Ok(Row::Persons(self.implied_row(id))))))
    }

    /// Rows of several persons, so that each frame that holds some of their values is read once.
    fn person_rows(&self, views: Vec<PersonView<'_>>) -> Result<Vec<Row>, Fault> {
        let wanted: Vec<Standing<'_>> = views.iter().flat_map(PersonView::standing).collect();
        let mut folded = self.reader.folded(&wanted)?.into_iter();
        let mut rows = Vec::with_capacity(views.len());
        for view in views {
            let mut row = PersonRow {
                person_no: Some(view.number),
                founding_id_no: view.founding,
                person_id: self.person_id(view.number),
                is_identified: view.identified_by.is_some(),
                created_at: Some(view.created_at),
                founded_seq: Some(view.founded),
                identified_seq: view.identified_by,
                distinct_id_count: self.state.id_count(view.number),
                ..self.implied_row(view.founding)
            };
            let counts = self.state.events_of(view.number);
            (row.event_count, row.identified_event_count) = (counts.events, counts.identified);
            row.is_implied = false;
            for (property, folded) in view.properties.iter().zip(folded.by_ref()) {
                let key = self.reader.key_name(property.key);
                if !folded.erased.is_empty() {
                    row.erased_keys.push(key.clone());
                }
                let marked = self.is_lost(&folded)?.then(|| Value::Text(ERASED_SINCE.to_owned()));
                row.properties.insert(key, marked.or(folded.answer.value));
            }
            row.erased_keys.sort_unstable();
            rows.push(Row::Persons(row));
        }
        Ok(rows)
    }

    /// The person that an id would found.
    fn implied_row(&self, id: IdNo) -> PersonRow {
        let counts = self.state.events_of_id(id);
        PersonRow {
            person_no: None,
            founding_id_no: id,
            person_id: self.implied_id(id),
            properties: Default::default(),
            erased_keys: Vec::new(),
            is_identified: false,
            is_implied: true,
            created_at: None,
            founded_seq: None,
            identified_seq: None,
            distinct_id_count: 1,
            event_count: counts.events,
            identified_event_count: counts.identified,
        }
    }

    // -- ids -------------------------------------------------------------------------------------------------------

    fn id_row(&self, id: IdNo) -> DistinctIdRow {
        let (person_no, person_id) = self.whose(id);
        let id_type = match self.state.class(id) {
            IdClass::Named if self.state.is_user(id) => "user",
            class => class.name(),
        };
        DistinctIdRow {
            distinct_id: self.id_text(id),
            id_no: id,
            id_type,
            person_no,
            person_id,
            is_implied: person_no.is_none(),
            first_seen_seq: self.state.defined_by(id),
            linked_seq: self.state.moves_back(id).next().map(|(seq, _)| seq),
            erased_seq: self.id_erased_by(id),
        }
    }

    /// The periods of an id, oldest first: disjoint, and complete since the record that wrote it.
    fn periods(&self, id: IdNo) -> Vec<Period> {
        let mut to = None;
        let mut periods: Vec<Period> = self
            .state
            .moves_back(id)
            .chain([(self.state.defined_by(id), None)])
            .map(|(from, person)| Period { person, from, to: to.replace(from) })
            .collect();
        periods.reverse();
        periods
    }

    fn history(&self) -> Result<Rows<'_>, Fault> {
        let times = self.times_of(self.ids().flat_map(|id| self.periods(id)).map(|period| period.from))?;
        Ok(self.history_rows(times, Row::PersonDistinctIdsHistory, |id| self.starts(id)))
    }

    fn corrected_history(&self) -> Result<Rows<'_>, Fault> {
        let corrected = self.corrected()?;
        let others = self.ids().filter(|id| !corrected.contains_key(id));
        let others = others.flat_map(|id| self.periods(id)).map(|period| period.from);
        let defined = corrected.keys().map(|id| self.state.defined_by(*id));
        let moves = corrected.values().flatten().map(|start| start.from);
        let times = self.times_of(others.chain(defined).chain(moves))?;
        Ok(self.history_rows(times, Row::PersonDistinctIdsCorrected, move |id| {
            let Some(moves) = corrected.get(&id) else {
                let mut starts = self.starts(id)?;
                let numbers = starts.iter_mut().filter_map(|start| start.owner.as_mut()?.person_no.as_mut());
                numbers.for_each(|person| *person = self.state.last_generation(*person));
                return Ok(starts);
            };
            Ok([self.written(id)].into_iter().chain(moves.iter().copied()).collect())
        }))
    }

    /// The rows of the periods that begin so, id by id.
    fn history_rows<'a>(
        &'a self,
        times: BTreeMap<Seq, Timestamp>,
        of: fn(HistoryRow) -> Row,
        starts: impl Fn(IdNo) -> Result<Vec<Start>, Fault> + 'a,
    ) -> Rows<'a> {
        Box::new(self.ids().flat_map(move |id| {
            let starts = match starts(id) {
                Ok(starts) => starts,
                Err(fault) => return vec![Err(fault)],
            };
            let ends = starts.iter().skip(1).map(|next| Some(next.from)).chain([None]);
            let row = |(Start { from, owner, change }, to): (&Start, Option<Seq>)| {
                of(HistoryRow {
                    distinct_id: self.id_text(id),
                    id_no: id,
                    person_no: owner.and_then(|owner| owner.person_no),
                    person_id: owner.map_or_else(|| self.implied_id(id), |owner| owner.person_id),
                    is_implied: owner.is_none(),
                    from_seq: *from,
                    to_seq: to,
                    from_time: times[from],
                    to_time: to.map(|to| times[&to]),
                    change,
                })
            };
            starts.iter().zip(ends).map(|each| Ok(row(each))).collect()
        }))
    }

    fn written(&self, id: IdNo) -> Start {
        Start { from: self.state.defined_by(id), owner: None, change: "written" }
    }

    /// How the periods of an id began.
    fn starts(&self, id: IdNo) -> Result<Vec<Start>, Fault> {
        let is_founding = |person: PersonNo, from: Seq| {
            self.state.founding(person) == id && Seq(self.state.origin(person).founded.into()) == from
        };
        let (mut starts, mut before) = (vec![self.written(id)], None);
        for Period { person, from, .. } in self.periods(id).into_iter().skip(1) {
            let change = match (before, person) {
                _ if self.state.is_refold_of(id, from) => self.correction(from)?,
                (None, Some(person)) if is_founding(person, from) => "founded",
                (None, _) => "joined",
                (Some(_), _) => "merged",
            };
            let owner = |person| Owner { person_no: Some(person), person_id: self.person_id(person) };
            starts.push(Start { from, owner: person.map(owner), change });
            before = person;
        }
        Ok(starts)
    }

    /// When records were recorded. They are read together, so that the log is read once.
    fn times_of(&self, seqs: impl Iterator<Item = Seq>) -> Result<BTreeMap<Seq, Timestamp>, Fault> {
        let mut seqs: Vec<Seq> = seqs.collect();
        seqs.sort_unstable();
        seqs.dedup();
        let times = self.reader.log.times(&seqs)?;
        Ok(seqs.into_iter().zip(times).collect())
    }

    /// What a record that refolded a component was.
    fn correction(&self, seq: Seq) -> Result<&'static str, Fault> {
        Ok(match self.fixed(seq)?.kind {
            Kind::Split => "split",
            Kind::Reclassify => "reclassified",
            _ => "retracted",
        })
    }

    // -- shared ids ------------------------------------------------------------------------------------------------

    fn shared_periods(&self) -> Result<Rows<'_>, Fault> {
        let periods = |id| self.state.shared_periods(id);
        let times = self.times_of(self.state.ids().flat_map(periods).map(|(from, _)| from))?;
        Ok(Box::new(self.state.ids().flat_map(move |id| {
            let periods = periods(id);
            let ends = periods.iter().skip(1).map(|(from, _)| Some(*from)).chain([None]);
            let row = |((from_seq, goes_with_id_no), to_seq): (_, Option<Seq>)| {
                Ok(Row::SharedIdPeriods(SharedPeriodRow {
                    distinct_id: self.id_text(id),
                    id_no: id,
                    goes_with_id_no,
                    from_seq,
                    to_seq,
                    from_time: times[&from_seq],
                    to_time: to_seq.map(|to| times[&to]),
                }))
            };
            periods.iter().copied().zip(ends).map(row).collect::<Vec<_>>()
        })))
    }

    // -- redirects -------------------------------------------------------------------------------------------------

    /// Persons that no id belongs to any more, and implied ones that were not founded. Only one generation of a person speaks for its
    /// public id; one that no id ever belonged to was never in an answer.
    fn redirects(&self) -> Result<Rows<'_>, Fault> {
        let ends = self.ends();
        let gone = move |person: PersonNo| {
            let end = ends[person.0 as usize];
            let speaks = self.state.last_generation(person) == person;
            (end.at > 0 && speaks && !self.is_live(person)).then_some((person, end))
        };
        let founded = self.all_persons().filter_map(gone);
        let founded = founded.filter_map(|(person, end)| self.redirect_row(person, end).transpose());
        let implied = self.state.ids().filter_map(|id| self.implied_redirect(id).transpose());
        Ok(Box::new(founded.chain(implied)))
    }

    /// `None` if its founding id, which has no person any more, implies it: then its public id is in use.
    fn redirect_row(&self, old: PersonNo, end: End) -> Result<Option<Row>, Fault> {
        let since_seq = Seq(end.at.into());
        let survivor = self.state.survivor(old);
        let (person_no, person_id) = match self.state.is_retired(survivor) {
            true => (None, self.implied_id(self.state.founding(survivor))), // no person now: the implied one
            false => (Some(survivor), self.person_id(survivor)),
        };
        if person_no.is_none() && self.state.implied(self.state.founding(survivor)) == self.state.called(old)
        {
            return Ok(None);
        }
        Ok(Some(Row::PersonRedirects(RedirectRow {
            old_person_id: self.person_id(old),
            old_person_no: Some(old),
            old_founding_id_no: self.state.founding(old),
            person_id,
            person_no,
            since_seq,
            reason: if end.refolded { self.correction(since_seq)? } else { "merged" },
        })))
    }

    /// The redirect of the person that an id implied while it had events, if the id then came to another person. Only events with
    /// processing off leave an id without a person (C1).
    fn implied_redirect(&self, id: IdNo) -> Result<Option<Row>, Fault> {
        let counts = self.state.events_of_id(id);
        let implied = counts.events > counts.identified && !self.state.has_founded(id);
        let Some(person) = self.state.person(id).filter(|_| implied) else { return Ok(None) };
        let periods = self.periods(id);
        let last = periods.iter().rfind(|period| period.person.is_none());
        let Some(to) = last.and_then(|period| period.to) else { return Ok(None) };
        let period_of = |seq: Seq| &periods[periods.partition_point(|period| period.from <= seq) - 1];
        let mut naming = self.reader.naming(id, self.as_of())?.into_iter();
        if !naming.any(|seq| period_of(seq).person.is_none()) {
            return Ok(None);
        }
        let refolded = self.state.is_refold_of(id, to);
        Ok(Some(Row::PersonRedirects(RedirectRow {
            old_person_id: self.implied_id(id),
            old_person_no: None,
            old_founding_id_no: id,
            person_id: self.person_id(person),
            person_no: Some(person),
            since_seq: to,
            reason: if refolded { self.correction(to)? } else { "joined" },
        })))
    }

    /// For each person, by its last generation, when the last id left it.
    fn ends(&self) -> Vec<End> {
        let mut ends = vec![End::default(); self.state.persons_founded()];
        for id in self.state.ids() {
            for Period { person, to, .. } in self.periods(id) {
                let (Some(person), Some(to)) = (person, to) else { continue };
                let end = &mut ends[self.state.last_generation(person).0 as usize];
                if to.0 >= u64::from(end.at) {
                    let at = u32::try_from(to.0).expect("MAX_RECORDS bounds it");
                    *end = End { at, refolded: self.state.is_refold_of(id, to) };
                }
            }
        }
        ends
    }
}
