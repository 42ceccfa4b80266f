//! Whether an operation was recorded before (G4).

use std::collections::BTreeSet;

use crate::fold::Erasures;
use crate::ledger::appended::Appended;
use crate::ledger::draft::{Aim, Draft, Named, head, item_of};
use crate::log::body::{Asked, AskedVerb, Body, DeviceNo, Flags, IdNo, KeyNo, LinkSource, Verb};
use crate::model::id::{DeviceId, DistinctId, OperationId, Seq};
use crate::model::operation::{Actor, Changes, Operation, Processing, Request, Source, SplitMode};
use crate::model::policy::IdClass;
use crate::store::dictionary::{Dictionaries, Dictionary};
use crate::store::segments::{Fault, Log};

/// G4: what was said under this id before, in the log, where `recorded` looks, or earlier in the batch.
pub(crate) fn before(
    draft: &Draft<'_>,
    log: &Log,
    erasures: &Erasures,
    recorded: impl FnOnce() -> Result<Option<Seq>, Fault>,
    id: OperationId,
    operation: &Operation,
    aim: Option<Aim>,
) -> Result<Option<Appended>, Fault> {
    if let Some(Named { seq, body, item, .. }) = draft.named(id) {
        let same = is_same_operation(operation, aim, body, Some(item), draft.dictionaries());
        return Ok(Some(Appended::again(*seq, same)));
    }
    let Some(seq) = recorded()? else { return Ok(None) };
    again(log, erasures, draft.dictionaries(), seq, operation, aim).map(Some)
}

/// G4: what an operation is that has the id of the one recorded as `seq`.
pub(crate) fn again(
    log: &Log,
    erasures: &Erasures,
    dictionaries: &Dictionaries,
    seq: Seq,
    operation: &Operation,
    aim: Option<Aim>,
) -> Result<Appended, Fault> {
    let window = log.window(seq, erasures)?;
    let record = window.checked(seq)?;
    let same = is_same_operation(operation, aim, &record.body(), record.item(), dictionaries);
    Ok(Appended::again(seq, same))
}

/// Whether `operation` says what a record of the same id says (G4). `item` is the record's payload item, `None` when it was
/// erased: then only what is left is compared. An id whose text is erased may have been any. `aim` is what a retract is about.
pub(crate) fn is_same_operation(
    operation: &Operation,
    aim: Option<Aim>,
    body: &Body,
    item: Option<&[u8]>,
    dictionaries: &Dictionaries,
) -> bool {
    let Some(Asked { head: recorded, verb, .. }) = body.asked() else { return false };
    let find = |dictionary: &Dictionary, text: &str| dictionary.find(text);
    let is = |dictionary: &Dictionary, text: &str, number: u32| {
        find(dictionary, text) == Some(number) || dictionary.is_erased(number)
    };
    let id_is = |id: &DistinctId, number: IdNo| is(&dictionaries.ids, id.as_str(), number.0);
    let device_is = |device: &DeviceId, number: Option<DeviceNo>| {
        number.is_some_and(|number| is(&dictionaries.devices, device.as_str(), number.0))
    };
    let who_is = |who: &Actor| match who {
        Actor::Id(id) => recorded.device.is_none() && id_is(id, recorded.id),
        Actor::Device(device) => device_is(device, recorded.device),
    };
    let other_is = |source: &Option<Source>| match (source, verb.other()) {
        (None, LinkSource::None) | (Some(Source::Unstorable), LinkSource::Unstorable) => true,
        (Some(Source::Id(id)), LinkSource::Id(number)) => id_is(id, number),
        _ => false,
    };
    let mut event_flags = Flags::default();
    let request = match (&operation.request, verb) {
        (Request::Capture { who, event, .. }, AskedVerb::Capture(name)) => {
            event_flags = event.as_ref().map_or(event_flags, |event| Flags::of_event(event.as_str()));
            let found = event.as_ref().map(|event| find(&dictionaries.names, event.as_str()));
            who_is(who) && found == name.map(|name| Some(name.0))
        }
        (Request::Identify { who, anonymous }, AskedVerb::Identify(_)) => who_is(who) && other_is(anonymous),
        (Request::Alias { who, alias }, AskedVerb::Alias(_))
        | (Request::Merge { who, alias }, AskedVerb::Merge(_)) => who_is(who) && other_is(alias),
        (Request::Set { who }, AskedVerb::Set) => who_is(who),
        (
            Request::DeviceIdentify { device, user },
            AskedVerb::Identify(_) | AskedVerb::Set | AskedVerb::Switch,
        ) => device_is(device, recorded.device) && id_is(user, recorded.id),
        (Request::Reset { device, reset_device, new_id }, AskedVerb::Reset(fresh)) => {
            device_is(device, recorded.device)
                && *reset_device == fresh.is_some()
                && new_id.as_ref().is_none_or(|id| id_is(id, recorded.id))
        }
        (Request::Retract { .. }, AskedVerb::Retract(target)) => aim.is_some_and(|aim| aim.seq.0 == *target),
        (Request::Split { id, ids, mode }, AskedVerb::Split(leavers)) => {
            let named: BTreeSet<u32> =
                ids.iter().filter_map(|id| find(&dictionaries.ids, id.as_str())).collect();
            id_is(id, recorded.id)
                && leavers.together == (*mode == SplitMode::Together)
                && ids.len() == leavers.ids.len()
                && leavers.ids.iter().all(|id| named.contains(&id.0) || dictionaries.ids.is_erased(id.0))
        }
        (Request::Reclassify { id, class }, AskedVerb::Reclassify(given)) => {
            id_is(id, recorded.id) && IdClass::from(*given) == *class
        }
        _ => false,
    };
    if operation.is_copy && request {
        return true; // properties, times and flags are the vendor's as much as the sender's
    }
    let off = recorded.flags.has(Flags::PROCESSING_OFF);
    // F8 decided when it was recorded; a reset or a record of section H does not ask for processing.
    let resolved = operation.processing == Processing::Unsaid && recorded.device.is_some()
        || matches!(verb, AskedVerb::Reset(_))
        || verb.refolds();
    if !request || !resolved && off != (operation.processing == Processing::Off) {
        return false;
    }
    let mut said = head(operation, recorded.id, recorded.device, off, event_flags);
    let is_clamped = said.flags.has(Flags::CLAMPED_TIME) || recorded.flags.has(Flags::CLAMPED_TIME);
    if operation.time_by_arrival || is_clamped {
        said.time = recorded.time;
    }
    if is_clamped {
        // Whether a time lies in the future depends on when it is recorded (G5).
        let clamped = Flags::CLAMPED_TIME.0;
        said.flags = Flags(said.flags.0 & !clamped | recorded.flags.0 & clamped);
    }
    // Which changes are relative is asked with the changes.
    said.flags = said.flags.with(Flags::RELATIVE, recorded.flags.has(Flags::RELATIVE));
    if said != *recorded {
        return false;
    }
    same_changes(operation, body, off, item, dictionaries)
}

pub(crate) fn same_changes(
    operation: &Operation,
    body: &Body,
    off: bool,
    item: Option<&[u8]>,
    dictionaries: &Dictionaries,
) -> bool {
    let empty = Changes::default();
    let changes =
        if off || matches!(body.verb(), Some(AskedVerb::Reset(_))) { &empty } else { &operation.changes };
    let kept = match &operation.request {
        // Whether they were kept was the policy's choice then; if not, they cannot be compared.
        Request::Capture { properties, .. }
            if body.changes().iter().any(|change| change.verb == Verb::KEPT) =>
        {
            Some(properties)
        }
        _ => None,
    };
    let valued = Verb::VALUED.into_iter().zip(changes.valued());
    let listed = valued
        .flat_map(|(verb, (_, all))| all.iter().map(move |(key, value)| (key, verb, Some(value))))
        .chain(changes.unset.iter().map(|key| (key, Verb::UNSET, None)))
        .chain(kept.into_iter().flatten().map(|(key, value)| (key, Verb::KEPT, Some(value))));
    let numbered: Option<Vec<_>> = listed
        .map(|(key, verb, value)| Some((KeyNo(dictionaries.keys.find(key.as_str())?), verb, value)))
        .collect();
    let Some(numbered) = numbered else { return false };
    let (changes, bytes) = item_of(operation.id.filter(|_| operation.derived_id), numbered);
    let erased = item.is_none() && body.commitment().is_some();
    changes == body.changes() && (erased || bytes == item.unwrap_or_default())
}
