//! The law of shared ids (D13).

use super::kit::*;
use crate::fold::DeviceState;
use crate::ledger::Ledger;
use crate::ledger::appended::Appended;
use crate::log::body::DeviceNo;
use crate::model::id::{DistinctId, Seq};
use crate::model::operation::{Actor, Operation, Request};
use crate::query::reader::Reader;
use crate::testing::history::History;

/// What is said under a shared id, while it speaks for a user, means what it would mean if it were said under the user's id, but for the id
/// that stands on the event (D13).
pub fn said_under_shared_ids_is_said_for_users(history: &History) -> Result<(), String> {
    let Folded { ledger, appended, .. } = all(history)?;
    let mut said = Vec::new();
    let mut others = 0;
    for (operation, appended) in history.operations.iter().zip(&appended) {
        let Some(Appended::Recorded { seq, .. }) = appended else { continue };
        let by_user = said_by_user(&ledger, operation, *seq)?;
        others += usize::from(by_user.is_some());
        said.push(by_user.unwrap_or_else(|| operation.clone()));
    }
    if others == 0 {
        return Ok(());
    }
    let by_users = fold(&history.policy, &said)?.ledger;
    same("what it means, said by users", &meant(by_users.reader())?, &meant(ledger.reader())?)
}

/// The operation as the user would have said it for whom a shared id spoke.
fn said_by_user(ledger: &Ledger, operation: &Operation, seq: Seq) -> Result<Option<Operation>, String> {
    let mut operation = operation.clone();
    let (Request::Capture { who, .. } | Request::Set { who } | Request::Identify { who, anonymous: None }) =
        &mut operation.request
    else {
        return Ok(None);
    };
    let Actor::Id(id) = who else { return Ok(None) }; // a device speaks for its own id
    let reader = ledger.reader();
    let own = reader.id_no(id.as_str()).ok_or("a recorded id has a number")?;
    let speaks_for = reader.state().speaks_for(own, seq);
    let user = DistinctId::new(reader.id_name(speaks_for)).map_err(|error| error.to_string())?;
    *who = Actor::Id(user);
    Ok((speaks_for != own).then_some(operation))
}

/// Persons, devices and events, sorted, but for the ids that stand on events and for record numbers.
fn meant(reader: &Reader) -> Result<Vec<String>, String> {
    let mut facts = Vec::new();
    let called = |id: &str| reader.id_no(id).map(|id| reader.content_id(reader.state().called_of(id)));
    for person in reader.persons() {
        let person = person.map_err(|fault| fault.to_string())?;
        let mut ids = person.distinct_ids.clone();
        ids.sort_unstable();
        let values: Vec<_> = person.properties.iter().map(|(key, property)| (key, &property.value)).collect();
        let counts = (person.events, person.identified_events);
        facts.push(format!("{ids:?} {} {} {values:?} {counts:?}", person.is_identified, person.created_at));
    }
    for (number, device) in (0..).map(DeviceNo).zip(reader.state().devices()) {
        let DeviceState { current, anonymous, identified, profiled } = *device;
        let [current, anonymous] = [current, anonymous].map(|id| reader.id_name(id));
        facts.push(format!("{} {current} {anonymous} {identified} {profiled}", reader.device_name(number)));
    }
    let walked = reader.events(|event| {
        let whose = called(event.goes_with.as_ref().unwrap_or(&event.distinct_id));
        facts.push(format!(
            "{:?} {:?} {} {whose:?} {:?}",
            event.event_id, event.event, event.time, event.mode
        ));
    });
    walked.map_err(|fault| fault.to_string())?;
    facts.sort_unstable();
    Ok(facts)
}
