//! Operations: each is spelled as a writer spells it, and none is there twice.

use std::collections::BTreeMap;

use crate::fold::replay::Step;
use crate::fold::{Correction, Outcome, Said};
use crate::log::body::{Body, Flags, Followed, NameNo, StoredClass};
use crate::log::kind::Kind;
use crate::maintenance::audit::Audit;
use crate::model::id::Seq;
use crate::model::limits::{MAX_OPERATION_BYTES, MAX_PERSON_KEYS};
use crate::model::value::Value;
use crate::query::reader::Reader;
use crate::query::values::values_of;

impl Audit {
    pub(super) fn operation(&mut self, seq: Seq, step: Step<'_>) {
        let row = step.record.row;
        match row.kind {
            Kind::Followed => {
                if let Body::Followed(followed) = step.record.body() {
                    self.position(seq, *followed);
                }
                return;
            }
            _ if !row.is_operation() => return self.erasure(seq, step),
            _ => {}
        }
        let said = Said::of(row);
        if let Some(device) = row.device()
            && !self.devices[device.index()].could_say(said)
        {
            self.wrong(seq, "its device did not speak for this id then (F2)");
        }
        for device in said.devices() {
            self.devices[device.index()].follow(said);
        }
        if matches!(step.outcome, Some(Outcome { undone: Some(Correction::Retracted { .. }), .. })) {
            // What devices of its component said may have been retracted (H1).
            for device in step.state.devices_refolded() {
                self.devices[device.index()] = *step.state.device(*device);
            }
        }
        if row.kind == Kind::Capture {
            let kind = |flags: Flags| (flags.has(Flags::GROUP_IDENTIFY), flags.has(Flags::QUIET));
            let named = row.name().map_or(Some(Flags::default()), |name| self.kinds[NameNo(name).index()]);
            if named.is_some_and(|named| kind(named) != kind(row.flags)) {
                self.wrong(seq, "its kind of event is not what the event's name says (E3)");
            }
        }
        if let Some(given) = row.given_class()
            && let Some(text) = self.dictionaries.ids.text(row.id.0)
            && given != StoredClass::under(step.state.policy(), given.into(), text)
        {
            self.wrong(seq, "the kind that it gives is not what the text is of under the policy (D12)");
        }
        if let Some(item) = step.record.item() {
            match values_of(step.record, item) {
                None => {
                    self.wrong(seq, "its values are not canonical, or not those its changes announce (E4)")
                }
                Some(values) => {
                    let sizes: Result<Vec<usize>, _> = values.iter().map(Value::check).collect();
                    if sizes.map_or(true, |sizes| sizes.iter().sum::<usize>() > MAX_OPERATION_BYTES) {
                        self.wrong(seq, "its values exceed a limit (E4)");
                    }
                }
            }
        }
        self.refolded |= row.refolds();
        if !row.touches_person() && !self.refolded {
            return; // its person has the properties that it had
        }
        let person = step.outcome.and_then(|outcome| outcome.person);
        if person.is_some_and(|person| step.state.view(person).properties.len() > MAX_PERSON_KEYS) {
            self.wrong(seq, "its person has more property keys than the limit (E4)");
        }
    }

    /// A ledger follows one log from its beginning on, and moves forward in it.
    fn position(&mut self, seq: Seq, followed: Followed) {
        match &self.followed {
            None if seq.0 != 1 => self.wrong(seq, "it follows a log, and the ledger was not created to"),
            Some(before) if before.log != followed.log => {
                self.wrong(seq, "it follows another log than the records before it");
            }
            Some(before) if before.position >= followed.position => {
                self.wrong(seq, "its position in the followed log is not behind the one before it");
            }
            _ => {}
        }
        self.followed = Some(followed);
    }

    /// G4: no operation id stands twice. Looks at the records whose ids seemed equal.
    pub(super) fn confirm_doubles(&mut self, reader: &Reader) {
        self.seen.settle();
        let mut first = BTreeMap::new();
        for seq in self.seen.doubtful() {
            let seq = Seq(seq.into());
            let Ok(window) = reader.log.window(seq, reader.state().erasures()) else { continue }; // the walk has listed what is unreadable
            let Some(id) = window.checked(seq).ok().and_then(|record| record.operation_id()) else {
                continue;
            };
            let earlier = *first.entry(id).or_insert(seq);
            if earlier != seq {
                self.wrong(seq, &format!("its operation id {id} stands in record {earlier} already (G4)"));
            }
        }
    }
}
