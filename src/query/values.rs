//! Values of properties, read back from the log.

use crate::fold::Property;
use crate::log::body::{Flags, KeyNo};
use crate::log::chain::ChainError;
use crate::log::item::read_value;
use crate::log::record::Record;
use crate::model::id::Seq;
use crate::model::value::Value;
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
    pub(crate) fn values(&self, properties: &[Property]) -> Result<Vec<PropertyAnswer>, Fault> {
        let mut order: Vec<usize> = (0..properties.len()).collect();
        order.sort_unstable_by_key(|at| (properties[*at].seq, properties[*at].place));
        let mut answers: Vec<PropertyAnswer> = properties
            .iter()
            .map(|property| PropertyAnswer { value: None, seq: property.seq(), erased_by: None })
            .collect();
        let mut all: Option<(u32, Vec<KeyNo>, RecordValues)> = None;
        for at in order {
            let Property { seq, place, key } = properties[at];
            if all.as_ref().is_none_or(|(read, ..)| *read != seq) {
                let window = self.log.window(Seq(seq.into()), self.state().erasures())?;
                let record = window.checked(Seq(seq.into()))?;
                let valued = record.changes().iter().filter(|change| change.verb.has_value());
                all = Some((seq, valued.map(|change| change.key).collect(), self.values_in(record)?));
            }
            let (_, keys, read) = all.as_ref().expect("read just now");
            match (keys.get(usize::from(place)), read.values.get(usize::from(place))) {
                (Some(found), Some(value)) if *found == key => answers[at].value.clone_from(value),
                // No fold says so: a record wins a key with a value of that key.
                _ => return Err(self.differs("properties")),
            }
            answers[at].erased_by = read.erased_by.filter(|_| answers[at].value.is_none());
        }
        Ok(answers)
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
