//! The digest of what a log means, free of numbers.

use std::ops::Range;

use crate::fold::{PersonIdBasis, PersonView, Property, Standing, State};
use crate::log::body::{DeviceNo, Flags, IdNo, NameNo, Verb};
use crate::log::digest::{Digest, Hasher, Purpose};
use crate::log::kind::Kind;
use crate::log::lanes::Lanes;
use crate::log::record::Record;
use crate::model::id::PersonId;
use crate::model::value::Value;
use crate::query::reader::{PERSONS_AT_A_TIME, Reader};
use crate::store::segments::Fault;

impl Reader {
    // -- digests ---------------------------------------------------------------------------------------------------

    /// The digest of what the log means, free of numbers: two logs that mean the same have the same (A2). Erased texts and
    /// values count as empty, and a person that D11 names counts by the text alone.
    ///
    /// Cost: the log is read and checked once, and not folded; each event is hashed. Relative changes (E9) are read once more.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn content_digest(&self) -> Result<Digest, Fault> {
        let state = self.state();
        let (of_person, of_id) = self.content_ids();
        let mut won = Won::of(state);
        let mut events = Parts::with_capacity(state.events());
        let mut message = Vec::new();
        self.checked_records(|record| {
            won.take(self, record)?;
            if record.row.kind == Kind::Capture && !state.is_retracted(record.seq()) {
                message.clear();
                let goes_with = state.speaks_for(record.row.id, record.seq());
                self.event_message(record, Some(of_id[goes_with.index()]), &mut message);
                events.push(&message);
            }
            Ok(())
        })?;
        won.take_relative(self)?;
        let mut values = won.values().ok_or_else(|| self.differs("properties"))?;
        let mut persons = Parts::with_capacity(0);
        for view in state.persons() {
            message.clear();
            let id = of_person[view.number.0 as usize].expect("a person that lives has ids");
            message.extend_from_slice(id.0.as_bytes());
            self.person_message(&view, &mut values, &mut message);
            persons.push(&message);
        }
        let mut devices = Parts::with_capacity(0);
        for (number, device) in (0..).map(DeviceNo).zip(state.devices()) {
            message.clear();
            field(self.device_text(number).unwrap_or_default().as_bytes(), &mut message);
            field(self.id_bytes(device.current), &mut message);
            field(self.id_bytes(device.anonymous), &mut message);
            message.extend([u8::from(device.identified), u8::from(device.profiled)]);
            devices.push(&message);
        }
        let mut out = Hasher::new(Purpose::Content);
        for digests in [persons, devices, events].map(Parts::sorted) {
            out.update(&(digests.len() as u64).to_le_bytes()).update(digests.as_flattened());
        }
        Ok(out.finish())
    }

    /// Shows all records, their items checked, without what is erased by now.
    fn checked_records(&self, mut each: impl FnMut(Record<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        let chain = self.identity.replay().chain().clone();
        let (state, end) = (self.state(), self.checkpoint());
        // As of a record inside a frame the chain is at the frame's end, and the state is not.
        let each =
            |record: Record<'_>, _| if record.seq().0 < state.records() { each(record) } else { Ok(()) };
        self.log.records(chain, end, Some(state.erasures()), each).map(drop)
    }

    /// The ids, without numbers and seqs, of the persons of all ids: by person, and by id.
    fn content_ids(&self) -> (Vec<Option<PersonId>>, Vec<PersonId>) {
        let state = self.state();
        let mut of_person = vec![None; state.persons_founded()];
        let of = |id: IdNo| match state.person(id) {
            Some(person) => {
                *of_person[person.0 as usize].get_or_insert_with(|| self.content_id(state.called(person)))
            }
            None => self.content_id(state.implied(id)),
        };
        let of_id = state.ids().map(of).collect();
        (of_person, of_id)
    }

    /// A person's id without numbers and seqs.
    pub(crate) fn content_id(&self, origin: PersonIdBasis) -> PersonId {
        let text = match origin {
            PersonIdBasis::Founding(id) | PersonIdBasis::At(id, _) => self.id_text(id),
            PersonIdBasis::Erased(..) => None,
        };
        text.map_or(PersonId(uuid::Uuid::nil()), |text| PersonId::founded_by(self.tenant(), text))
    }

    /// What is hashed of a person but for its id.
    fn person_message<'v>(
        &self,
        view: &PersonView<'_>,
        values: &mut impl Iterator<Item = &'v [u8]>,
        out: &mut Vec<u8>,
    ) {
        let ids = self.state().ids_of(view.number);
        let mut ids: Vec<&[u8]> = ids.into_iter().map(|id| self.id_bytes(id)).collect();
        ids.sort_unstable();
        out.extend_from_slice(&(ids.len() as u64).to_le_bytes());
        ids.into_iter().for_each(|id| field(id, out));
        out.push(u8::from(view.identified_by.is_some()));
        out.extend_from_slice(&view.created_at.as_micros().to_le_bytes());
        let keys = view.properties.iter().map(|property| self.key_name(property.key));
        let mut properties: Vec<(String, &[u8])> = keys.zip(values).collect();
        properties.sort_unstable();
        for (key, value) in properties {
            field(key.as_bytes(), out);
            field(value, out); // no value has empty bytes: they say "erased"
        }
    }

    /// The digest of one event but for whose it is; `None` for other records.
    pub(crate) fn event_digest(&self, record: Record<'_>) -> Option<Digest> {
        let mut message = Vec::new();
        let is_event = record.row.kind == Kind::Capture;
        is_event.then(|| self.event_message(record, None, &mut message))?;
        Some(Hasher::new(Purpose::Event).update(&message).finish())
    }

    /// What is hashed of an event, and of whose it is if that is told.
    fn event_message(&self, record: Record<'_>, person: Option<PersonId>, out: &mut Vec<u8>) {
        let row = record.row;
        field(record.operation_id().as_ref().map_or(&[], |id| &id.0.as_bytes()[..]), out);
        let name = row.name().and_then(|name| self.event_name(NameNo(name)));
        field(name.unwrap_or_default().as_bytes(), out);
        out.extend_from_slice(&record.time().to_le_bytes());
        field(self.id_bytes(row.id), out);
        if let Some(person) = person {
            out.extend_from_slice(person.0.as_bytes());
        }
        out.push(u8::from(!row.flags.has(Flags::PROCESSING_OFF)));
        let changes = record.changes();
        if !changes.iter().any(|change| change.verb == Verb::KEPT) {
            return;
        }
        let values = self.values_in(record).map(|read| read.values).unwrap_or_default();
        let mut kept: Vec<(String, Vec<u8>)> = changes
            .iter()
            .filter(|change| change.verb.has_value())
            .zip(&values)
            .filter(|(change, _)| change.verb == Verb::KEPT)
            .map(|(change, value)| (self.key_name(change.key), canonical(value.as_ref())))
            .collect();
        kept.sort_unstable();
        for (key, value) in kept {
            field(key.as_bytes(), out);
            field(&value, out);
        }
    }
}

/// Appends bytes with their length first, so that two fields never run together.
fn field(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A value's canonical bytes; none of an erased one.
fn canonical(value: Option<&Value>) -> Vec<u8> {
    value.map(Value::to_canonical_bytes).unwrap_or_default()
}

/// The digests of persons, of devices, or of events.
struct Parts {
    lanes: Lanes,
    digests: Vec<[u8; 32]>,
}

impl Parts {
    fn with_capacity(count: u64) -> Parts {
        Parts { lanes: Lanes::of(Purpose::Event), digests: Vec::with_capacity(count as usize) }
    }

    fn push(&mut self, message: &[u8]) {
        let Parts { lanes, digests } = self;
        lanes.push(0, &[message], |_, digest| digests.push(digest.0));
    }

    fn sorted(mut self) -> Vec<[u8; 32]> {
        let Parts { lanes, digests } = &mut self;
        lanes.finish(|_, digest| digests.push(digest.0));
        // By their first eight bytes, which takes no branches; digests that share those are rare.
        let begin = |digest: &[u8; 32]| u64::from_be_bytes(*digest.first_chunk().expect("it has 32 bytes"));
        digests.sort_unstable_by_key(begin);
        digests.chunk_by_mut(|a, b| begin(a) == begin(b)).for_each(<[_]>::sort_unstable);
        self.digests
    }
}

/// The values that properties have now, found in one walk through the log.
struct Won<'a> {
    /// Each property that has no relative changes, and its place among all of them: in the order of the records that won them.
    wanted: Vec<(Property, u32)>,
    /// The others, and their places.
    relative: Vec<(Standing<'a>, u32)>,
    /// How many of these are found.
    found: usize,
    /// By place, where among the bytes its value stands.
    spans: Vec<Range<usize>>,
    bytes: Vec<u8>,
}

impl Won<'_> {
    fn of(state: &State) -> Won<'_> {
        let (mut wanted, mut relative) = (Vec::new(), Vec::new());
        for (standing, at) in state.persons().flat_map(|view| view.standing()).zip(0..) {
            match standing.deltas {
                None => wanted.push((standing.property, at)),
                Some(_) => relative.push((standing, at)),
            }
        }
        wanted.sort_by_key(|(property, _)| property.seq);
        Won {
            spans: vec![0..0; wanted.len() + relative.len()],
            wanted,
            relative,
            found: 0,
            bytes: Vec::new(),
        }
    }

    /// Reads the values of those that have relative changes.
    fn take_relative(&mut self, reader: &Reader) -> Result<(), Fault> {
        for some in std::mem::take(&mut self.relative).chunks(PERSONS_AT_A_TIME) {
            let standing: Vec<Standing<'_>> = some.iter().map(|(standing, _)| *standing).collect();
            for (answer, (_, at)) in reader.values(&standing)?.into_iter().zip(some) {
                self.set(*at, answer.value.as_ref());
            }
        }
        Ok(())
    }

    fn set(&mut self, at: u32, value: Option<&Value>) {
        let begin = self.bytes.len();
        self.bytes.extend(canonical(value));
        self.spans[at as usize] = begin..self.bytes.len();
    }

    /// Takes the values that this record won.
    fn take(&mut self, reader: &Reader, record: Record<'_>) -> Result<(), Fault> {
        let wanted = &self.wanted[self.found..];
        let count = wanted.iter().take_while(|(property, _)| property.seq == record.row.seq).count();
        let wanted = self.found..self.found + count;
        if count == 0 {
            return Ok(());
        }
        let read = reader.values_in(record)?;
        let mut valued = record.changes().iter().filter(|change| change.verb.has_value()).zip(read.values);
        let mut valued = Vec::from_iter(&mut valued);
        for number in wanted {
            let (Property { key, place, .. }, at) = self.wanted[number];
            match valued.get_mut(usize::from(place)) {
                Some((change, value)) if change.key == key => self.set(at, value.take().as_ref()),
                // No fold says so: a record wins a key with a value of that key.
                _ => return Err(reader.differs("properties")),
            }
        }
        self.found += count;
        Ok(())
    }

    /// The value of each property, person by person; `None` if one was not found.
    fn values(&self) -> Option<impl Iterator<Item = &[u8]>> {
        let all = self.found == self.wanted.len();
        all.then(|| self.spans.iter().map(|span| &self.bytes[span.clone()]))
    }
}
