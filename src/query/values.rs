//! Values of properties, read back from the log.

use crate::fold::{Property, Standing};
use crate::log::body::{Change, Flags, Verb};
use crate::log::chain::ChainError;
use crate::log::item::read_value;
use crate::log::record::Record;
use crate::model::id::Seq;
use crate::model::value::Value;
use crate::query::accumulator::Accumulator;
use crate::query::answer::PropertyAnswer;
use crate::query::reader::Reader;
use crate::store::segments::Fault;

/// The values of one record, in the order of its changes.
#[derive(Debug)]
pub(crate) struct RecordValues {
    /// `None` where one is erased.
    pub(crate) values: Vec<Option<Value>>,
    /// The erasure, if some are.
    pub(crate) erased_by: Option<Seq>,
}

/// A record that was read for a value of its.
struct ReadRecord {
    seq: u32,
    /// Those that have a value.
    changes: Vec<Change>,
    values: RecordValues,
}

/// A property's value, and what its relative changes came to (E9).
#[derive(Debug)]
pub(crate) struct FoldedValue {
    pub(crate) answer: PropertyAnswer,
    /// The place among the values of the record that the answer names.
    pub(crate) place: u16,
    /// The records of the changes that did not fit, and left the value as it was.
    pub(crate) unfit: Vec<u32>,
    /// The records of which a value is erased.
    pub(crate) erased: Vec<u32>,
}

impl FoldedValue {
    /// The value of a property without relative changes, as most are.
    fn plain(property: Property, value: Option<Value>, erased_by: Option<Seq>) -> FoldedValue {
        let erased = if value.is_none() { vec![property.seq] } else { Vec::new() };
        let answer = PropertyAnswer { value, seq: property.seq(), erased_by };
        FoldedValue { answer, place: property.place, unfit: Vec::new(), erased }
    }
}

/// A property's value while its writes are read.
struct Folding {
    folded: FoldedValue,
    value: Accumulator,
    /// Whether there is something that is not erased.
    has_value: bool,
    /// Whether the value that was written first is erased: then the changes change nothing that is known.
    lost: bool,
}

impl Folding {
    fn of(Standing { property, .. }: &Standing<'_>) -> Folding {
        let answer = PropertyAnswer { value: None, seq: property.seq(), erased_by: None };
        let folded = FoldedValue { answer, place: property.place, unfit: Vec::new(), erased: Vec::new() };
        Folding { folded, value: Accumulator::default(), has_value: false, lost: false }
    }

    fn begin(&mut self, value: Option<Value>, erased_by: Option<Seq>) {
        (self.has_value, self.lost) = (value.is_some(), value.is_none());
        if self.lost {
            self.erase(self.folded.answer.seq.0 as u32, erased_by);
        }
        self.value = value.map_or_else(Accumulator::default, Accumulator::of);
    }

    fn apply(&mut self, write: Property, verb: Verb, operand: Option<Value>, erased_by: Option<Seq>) {
        let Some(operand) = operand else { return self.erase(write.seq, erased_by) };
        if self.lost {
            return;
        }
        if !self.value.apply(verb, &operand) {
            self.folded.unfit.push(write.seq);
            return;
        }
        self.has_value = true;
        (self.folded.answer.seq, self.folded.place) = (write.seq(), write.place);
    }

    fn erase(&mut self, seq: u32, by: Option<Seq>) {
        self.folded.erased.push(seq);
        self.folded.answer.erased_by = self.folded.answer.erased_by.max(by);
    }

    fn finish(mut self) -> FoldedValue {
        self.folded.answer.value = self.value.finish().filter(|_| self.has_value);
        self.folded
    }
}

/// The values in a record's payload item; `None` if they are not what its changes announce.
pub(crate) fn values_of(record: Record<'_>, item: &[u8]) -> Option<Vec<Value>> {
    let derived = record.row.flags.has(Flags::DERIVED_ID);
    let mut at = if derived { 16 } else { 0 };
    let count = record.changes().iter().filter(|change| change.verb.has_value()).count();
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(read_value(item, &mut at).ok()?);
    }
    (at == item.len()).then_some(values)
}

pub(crate) fn bad_values(seq: u64) -> Fault {
    let kind = ChainError::Malformed { seq, what: "its values are not what its changes announce" }.into();
    Fault { file: crate::store::layout::LOG.to_owned(), offset: 0, records: seq, kind }
}

impl Reader {
    /// The values of properties, in the same order. Each frame that holds some is read once.
    pub(crate) fn values(&self, properties: &[Standing<'_>]) -> Result<Vec<PropertyAnswer>, Fault> {
        Ok(self.folded(properties)?.into_iter().map(|folded| folded.answer).collect())
    }

    /// The values of properties and what their relative changes came to (E9), in the same order. A value costs a look at each of its
    /// changes.
    pub(crate) fn folded(&self, properties: &[Standing<'_>]) -> Result<Vec<FoldedValue>, Fault> {
        let wanted: Vec<Property> = properties.iter().flat_map(Standing::writes).collect();
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_unstable_by_key(|at| (wanted[*at].seq, wanted[*at].place));
        let (mut found, mut read) = (vec![None; wanted.len()], None);
        for at in order {
            found[at] = Some(self.value_of(wanted[at], &mut read)?);
        }
        let (mut written, mut folded) = (wanted.into_iter().zip(found), Vec::with_capacity(properties.len()));
        for standing in properties {
            if standing.deltas.is_none() {
                let (property, found) = written.next().expect("it was read");
                let (verb, value, erased_by) = found.expect("all were read");
                if verb.is_relative() {
                    return Err(self.differs("properties"));
                }
                folded.push(FoldedValue::plain(property, value, erased_by));
                continue;
            }
            let mut folding = Folding::of(standing);
            for (number, (property, found)) in written.by_ref().take(standing.writes().count()).enumerate() {
                let (verb, value, erased_by) = found.expect("all were read");
                match (verb.is_relative(), number == 0 && standing.has_base()) {
                    (false, true) => folding.begin(value, erased_by),
                    (true, false) => folding.apply(property, verb, value, erased_by),
                    _ => return Err(self.differs("properties")), // no fold says so
                }
            }
            folded.push(folding.finish());
        }
        Ok(folded)
    }

    /// The verb and the value of a change of a key, and the erasure if the value is erased. `read` is the record that was read last.
    fn value_of(
        &self,
        Property { key, seq, place }: Property,
        read: &mut Option<ReadRecord>,
    ) -> Result<(Verb, Option<Value>, Option<Seq>), Fault> {
        let record = match read {
            Some(read) if read.seq == seq => read,
            _ => {
                let window = self.log.window(Seq(seq.into()), self.state().erasures())?;
                let record = window.checked(Seq(seq.into()))?;
                let valued = record.changes().iter().filter(|change| change.verb.has_value());
                read.insert(ReadRecord {
                    seq,
                    changes: valued.copied().collect(),
                    values: self.values_in(record)?,
                })
            }
        };
        let place = usize::from(place);
        match (record.changes.get(place), record.values.values.get(place)) {
            (Some(change), Some(value)) if change.key == key && change.verb != Verb::KEPT => {
                let erased_by = record.values.erased_by.filter(|_| value.is_none());
                Ok((change.verb, value.clone(), erased_by))
            }
            // No fold says so: a record wins a key with a value of that key.
            _ => Err(self.differs("properties")),
        }
    }

    /// All values of a record, as far as they are not erased.
    pub(crate) fn values_in(&self, record: Record<'_>) -> Result<RecordValues, Fault> {
        let seq = record.seq();
        if let Some(item) = record.item() {
            let values = values_of(record, item).ok_or_else(|| bad_values(seq.0))?;
            let values = values.into_iter().map(Some).collect();
            return Ok(RecordValues { values, erased_by: None });
        }
        let count = record.changes().iter().filter(|change| change.verb.has_value()).count();
        let erasures = self.state().erasures();
        let erased_by = erasures.of(record.row).map(|by| Seq(by.into()));
        let mut values = vec![None; count];
        if let Some(left) = erasures.left_of(record.row.seq) {
            let by = Seq(left.by.into());
            let window = self.log.window(by, erasures)?;
            if let Some(item) = window.checked(by)?.item() {
                let mut at = 0;
                for place in (0..count).filter(|place| !left.erased.iter().any(|e| usize::from(*e) == *place))
                {
                    values[place] = Some(read_value(item, &mut at).map_err(|_| bad_values(by.0))?);
                }
            }
        }
        Ok(RecordValues { values, erased_by })
    }
}
