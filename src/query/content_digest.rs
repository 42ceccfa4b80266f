//! The digest of what a log means, free of numbers.

use crate::fold::PersonIdBasis;
use crate::log::body::{AskedVerb, DeviceNo, Flags, IdNo, Verb};
use crate::log::digest::{Digest, Hasher, Purpose};
use crate::log::kind::Kind;
use crate::log::record::Record;
use crate::model::id::PersonId;
use crate::model::value::Value;
use crate::query::reader::Reader;
use crate::store::segments::Fault;

impl Reader {
    // -- digests ---------------------------------------------------------------------------------------------------

    /// The digest of what the log means, free of numbers: two logs that mean the same have the same (A2). Erased texts and
    /// values count as empty, and a person that D11 names counts by the text alone.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn content_digest(&self) -> Result<Digest, Fault> {
        let mut out = Hasher::new(Purpose::Content);
        let mut persons = Vec::new();
        let id_text = |id: IdNo| self.id_text(id).unwrap_or_default(); // no text is empty: empty says "erased"
        for (profile, view) in self.persons().zip(self.state().persons()) {
            let profile = profile?;
            let mut ids: Vec<&str> = self.state().ids_of(view.number).into_iter().map(id_text).collect();
            ids.sort_unstable();
            let mut person = Hasher::new(Purpose::Event);
            person.update(self.content_id(self.state().called(view.number)).0.as_bytes());
            person.update(&(ids.len() as u64).to_le_bytes());
            for id in &ids {
                person.field(id.as_bytes());
            }
            person.update(&[u8::from(profile.is_identified)]);
            person.update(&profile.created_at.as_micros().to_le_bytes());
            for (key, property) in &profile.properties {
                person.field(key.as_bytes());
                let value = property.value.as_ref().map(Value::to_canonical_bytes);
                person.field(&value.unwrap_or_default()); // no value has empty bytes: they say "erased"
            }
            persons.push(person.finish());
        }
        let mut devices: Vec<Digest> = Vec::new();
        for (number, device) in (0..).map(DeviceNo).zip(self.state().devices()) {
            let mut out = Hasher::new(Purpose::Event);
            out.field(self.device_text(number).unwrap_or_default().as_bytes());
            out.field(id_text(device.current).as_bytes()).field(id_text(device.anonymous).as_bytes());
            devices.push(out.update(&[u8::from(device.identified), u8::from(device.profiled)]).finish());
        }
        let state = self.state();
        let person_ids: Vec<PersonId> = state.ids().map(|id| self.content_id(state.called_of(id))).collect();
        let mut events = Vec::new();
        self.replay(|step| {
            if step.record.row.kind == Kind::Capture && !state.is_retracted(step.record.seq()) {
                let person = person_ids[step.record.row.id.index()];
                events.extend(self.event_digest(step.record, Some(person)));
            }
        })?;
        for mut list in [persons, devices, events] {
            list.sort_unstable();
            out.update(&(list.len() as u64).to_le_bytes());
            for digest in list {
                out.update(&digest.0);
            }
        }
        Ok(out.finish())
    }

    /// A person's id without numbers and seqs.
    pub(crate) fn content_id(&self, origin: PersonIdBasis) -> PersonId {
        let text = match origin {
            PersonIdBasis::Founding(id) | PersonIdBasis::At(id, _) => self.id_text(id),
            PersonIdBasis::Erased(..) => None,
        };
        text.map_or(PersonId(uuid::Uuid::nil()), |text| PersonId::founded_by(self.tenant(), text))
    }

    /// The digest of one event and whose it is, or of the event alone; `None` for other records.
    pub(crate) fn event_digest(&self, record: Record<'_>, person: Option<PersonId>) -> Option<Digest> {
        let body = record.body();
        let (Some(AskedVerb::Capture(name)), Some(head)) = (body.verb(), body.head()) else { return None };
        let mut out = Hasher::new(Purpose::Event);
        let id = record.operation_id();
        out.field(id.as_ref().map_or(&[], |id| &id.0.as_bytes()[..]));
        out.field(name.and_then(|name| self.event_name(name)).unwrap_or_default().as_bytes());
        out.update(&head.time().as_micros().to_le_bytes());
        out.field(self.id_text(head.id).unwrap_or_default().as_bytes()); // no text is empty: empty says "erased"
        if let Some(person) = person {
            out.update(person.0.as_bytes());
        }
        out.update(&[u8::from(!head.flags.has(Flags::PROCESSING_OFF))]);
        let changes = record.changes().iter().filter(|change| change.verb.has_value());
        let values = self.values_in(record).map(|read| read.values).unwrap_or_default();
        let bytes = |value: &Option<Value>| value.as_ref().map(Value::to_canonical_bytes).unwrap_or_default();
        let mut kept: Vec<(String, Vec<u8>)> = changes
            .zip(&values)
            .filter(|(change, _)| change.verb == Verb::KEPT)
            .map(|(change, value)| (self.key_name(change.key), bytes(value)))
            .collect();
        kept.sort_unstable();
        for (key, value) in kept {
            out.field(key.as_bytes()).field(&value);
        }
        Some(out.finish())
    }
}
