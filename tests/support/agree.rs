//! The engine beside the reference model: outcomes, persons, properties, counts, devices.

use std::collections::{BTreeMap, BTreeSet};

use identity_ledger::testing::reference::{Reference, ReferenceOutcome};
use identity_ledger::{Appended, Ledger, PersonId, Profile, Value};

// The alphabet of made-up histories: few of each, so that they meet again. "anonymous" is unmergeable (B2); the UUIDv7 and
// "$device:x" are anonymous ids (D9); "d1" is a device's id too (F1).
pub(crate) const IDS: [&str; 8] = [
    "ann",
    "bob",
    "cat",
    "visitor-1",
    "anonymous",
    "01a208fa-c605-7008-8d6e-36525068c2e7",
    "$device:x",
    "d1",
];
pub(crate) const DEVICES: [&str; 2] = ["d1", "d2"];
pub(crate) const KEYS: [&str; 3] = ["a", "b", "c"];
pub(crate) const EVENTS: [&str; 4] = ["$pageview", "$groupidentify", "$exception", "order placed"];

/// Compares everything the reference knows with what the engine says.
pub(crate) fn agree(
    ledger: &Ledger,
    appended: &[Appended],
    reference: &Reference,
    told: &[ReferenceOutcome],
) {
    let said: Vec<ReferenceOutcome> = appended
        .iter()
        .map(|appended| match appended {
            Appended::Recorded { outcome, .. } => {
                ReferenceOutcome::Recorded(outcome.refusal.map(|refusal| refusal.rule()))
            }
            Appended::Duplicate { .. } => ReferenceOutcome::Duplicate,
            Appended::Conflict { .. } => ReferenceOutcome::Conflict,
            Appended::Ignored => ReferenceOutcome::Ignored,
        })
        .collect();
    assert_eq!(said, told, "outcomes");
    let found: Vec<Profile> = ledger.persons().map(|person| person.unwrap()).collect();
    let expected: Vec<_> = reference.persons().collect();
    assert_eq!(found.len(), expected.len(), "number of persons");
    for (found, expected) in found.iter().zip(expected) {
        let ids: BTreeSet<String> = found.distinct_ids.iter().cloned().collect();
        assert_eq!(ids, expected.ids);
        assert_eq!(found.person_id, PersonId::founded_by(ledger.tenant(), &expected.founding));
        assert_eq!(found.is_identified, expected.is_identified, "{ids:?}");
        assert_eq!(found.created_at, expected.created_at, "{ids:?}");
        let properties: BTreeMap<String, Value> = found
            .properties
            .iter()
            .map(|(key, answer)| (key.clone(), answer.value.clone().unwrap()))
            .collect();
        assert_eq!(properties, expected.properties, "{ids:?}");
        let events = reference.events().iter().filter(|event| ids.contains(&event.distinct_id));
        assert_eq!(found.events, events.clone().count() as u64);
        assert_eq!(found.identified_events, events.filter(|event| event.full).count() as u64);
    }
    for (id, expected) in reference.devices() {
        let number = ledger.device_no(id).unwrap();
        let device = ledger.state().device(number);
        let texts = (ledger.id_text(device.current).unwrap(), ledger.id_text(device.anonymous).unwrap());
        assert_eq!(texts, (expected.current.as_str(), expected.anonymous.as_str()), "device {id}");
        assert_eq!(
            (device.identified, device.profiled),
            (expected.identified, expected.profiled),
            "device {id}"
        );
    }
}
