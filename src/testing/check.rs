//! The whole-log check: everything that can be said against a ledger from its bytes alone.
//!
//! It believes neither the engine nor the state in memory: the bytes are audited, the log is told again to the reference
//! model, operation by operation, and the two are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::fold::replay::Step;
use crate::ledger::appended::Appended;
use crate::log::body::{Asked, AskedVerb, Body, DeviceNo, Flags, IdNo, LinkSource, SplitOff, Verb};
use crate::log::digest::Digest;
use crate::maintenance::audit::Audit;
use crate::model::id::{DeviceId, DistinctId, EventName, PersonId, PropertyKey, Seq};
use crate::model::operation::{Actor, Changes, Dialect, Operation, Processing, Request, Source, SplitMode};
use crate::model::policy::{IdClass, Policy};
use crate::model::value::{Properties, Value};
use crate::query::answer::PropertyAnswer;
use crate::query::reader::Reader;
use crate::testing::reference::{PersonIdBasis, Reference, ReferenceOutcome, erased_value};

/// What a whole log came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// How many operations are recorded.
    pub operations: usize,
    /// How many of them were refused.
    pub refused: usize,
    /// The digest of the state (A2).
    pub state: Digest,
    /// The digest of the content (A2).
    pub content: Digest,
}

/// What is wrong with a ledger, one sentence each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger is not what its log says:\n  {}", what.join("\n  "))]
pub struct Unsound {
    /// The sentences; at least one.
    pub what: Vec<String>,
}

/// Checks a whole ledger: its bytes pass the audit, a replay gives the state in memory, every operation has one outcome,
/// the reference model, told the log operation by operation, comes to the same persons, devices and events, and why any two ids
/// are one person is explained by records that do link them.
///
/// Slow and thorough: for the end of a test, with ledgers of some thousand records.
///
/// ```
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp, testing};
///
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// let _ = ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("null"))))?;
/// let checked = testing::check(ledger.reader())?;
/// assert_eq!((checked.operations, checked.refused), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Unsound`], with all that was found.
pub fn check(reader: &Reader) -> Result<Checked, Unsound> {
    let mut what = Vec::new();
    let state = reader.state().digest();
    audit(reader, state, &mut what);
    let mut teller = Teller::default();
    let (mut operations, mut refused, mut replayed) = (0, 0, None);
    let walked = reader.replay(|step| {
        operations += usize::from(step.record.is_operation());
        refused += usize::from(step.outcome.is_some_and(|outcome| outcome.refusal.is_some()));
        if step.record.seq().0 + 1 == reader.checkpoint().records {
            replayed = Some(step.state.digest());
        }
        teller.tell(reader, step);
    });
    let readable = walked.is_ok();
    what.extend(walked.err().map(|fault| format!("the log cannot be read back: {fault}")));
    if replayed != Some(state) {
        what.push("a replay of the log gives another state than its appends gave".to_owned());
    }
    what.append(&mut teller.wrong);
    if let Some(reference) = teller.reference.as_ref().filter(|_| readable) {
        what.extend(differences(reader, reference));
    }
    if readable {
        what.extend(explanations(reader));
    }
    match reader.content_digest() {
        Ok(content) if what.is_empty() => Ok(Checked { operations, refused, state, content }),
        Ok(_) => Err(Unsound { what }),
        Err(fault) => {
            what.push(format!("the content cannot be read back: {fault}"));
            Err(Unsound { what })
        }
    }
}

/// What is wrong with why each id is of its person.
fn explanations(reader: &Reader) -> Vec<String> {
    let state = reader.state();
    let mut wrong = Vec::new();
    for person in state.persons().map(|person| person.number) {
        let ids = state.ids_of(person);
        for (first, id) in ids.iter().map(|id| (ids[0], *id)) {
            let held = match reader.explained(None, first, id) {
                Ok(Some(why)) => {
                    why.check(|seq| reader.claim(seq).ok().flatten()).map_err(|error| error.to_string())
                }
                Ok(None) => Err("there is no explanation".to_owned()),
                Err(fault) => Err(fault.to_string()),
            };
            if let Err(what) = held {
                wrong.push(format!(
                    "why `{}` and `{}` are one person: {what}",
                    reader.id_name(first),
                    reader.id_name(id)
                ));
            }
        }
    }
    wrong
}

fn audit(reader: &Reader, state: Digest, what: &mut Vec<String>) {
    match Audit::run_with(Arc::clone(reader.log.storage()), None, reader.log.keys(), &mut |_| {}) {
        Err(error) => what.push(format!("the audit cannot begin: {error}")),
        Ok(report) => {
            what.extend(report.faults.iter().map(|fault| format!("audit: {fault}")));
            if report.is_ok() && (report.records, report.digest) != (reader.checkpoint().records, state) {
                what.push(format!(
                    "the bytes hold {} records that fold to {}; in memory are {} that fold to {state}",
                    report.records,
                    report.digest,
                    reader.checkpoint().records
                ));
            }
        }
    }
}

// -- the log told again --------------------------------------------------------------------------------------------

/// Tells a log to the reference model: records become the operations that a sender may have asked for.
#[derive(Default)]
struct Teller {
    /// There is none before the genesis record.
    reference: Option<Reference>,
    /// The places of operations in what the model was told.
    places: BTreeMap<u64, usize>,
    wrong: Vec<String>,
}

impl Teller {
    fn tell(&mut self, reader: &Reader, step: Step<'_>) {
        let body = step.record.body();
        let Some(reference) = &mut self.reference else {
            if let Body::Genesis(policy) = body {
                self.reference = policy.policy().map(Reference::new);
            }
            return;
        };
        self.places.insert(step.record.seq().0, reference.places());
        match &body {
            Body::SetPolicy(policy) => {
                let policy: Option<Policy> = policy.policy();
                reference.set_policy(policy.expect("Chain::accept checked the policy"));
            }
            Body::DefineId(class, _) => {
                let id = IdNo(step.state.ids().len() as u32 - 1); // the one defined just now
                let class = reader.state().id_erased_by(id).map(|_| (IdClass::from(*class), class.kind_no()));
                reference.meet_id(&reader.id_name(id), class);
            }
            Body::DefineDevice(id, _) => {
                let device = DeviceNo(step.state.devices().len() as u32 - 1);
                reference.meet_device(&reader.device_name(device), &reader.id_name(*id));
            }
            Body::Erase(erasure) => {
                reference.at(step.record.seq().0);
                let ids: BTreeSet<String> = erasure.ids.iter().map(|id| reader.id_name(*id)).collect();
                if erasure.ids.is_empty() {
                    // The values are told as erased already; the first erasure counts, whatever it covers (D11).
                    reference.erase(&BTreeSet::new(), &BTreeSet::from([String::new()]));
                } else {
                    reference.erase(&ids, &BTreeSet::new());
                }
            }
            _ => {
                reference.at(step.record.seq().0);
                let told = if let Some(Asked { head, verb: AskedVerb::Retract(target), .. }) = body.asked() {
                    reference.retract(head.time(), self.places[target])
                } else {
                    let Some(operation) = operation(reader, reference, step, &body) else { return };
                    if let Some(Asked { head, verb: AskedVerb::Reclassify(class), .. }) = body.asked()
                        && reader.state().id_erased_by(head.id).is_some()
                    {
                        reference.tell_kind(class.kind_no());
                    }
                    reference.apply(&operation)
                };
                let rule = step.outcome.and_then(|outcome| outcome.refusal).map(|refusal| refusal.rule());
                if told != ReferenceOutcome::Recorded(rule) {
                    let seq = step.record.seq();
                    self.wrong.push(format!(
                        "record {seq}: the engine says {:?}, the reference model {told:?}",
                        ReferenceOutcome::Recorded(rule)
                    ));
                }
            }
        }
    }
}

/// The operation that leaves this record, as the reference model would have to be asked; `None` for other records.
fn operation(reader: &Reader, reference: &Reference, step: Step<'_>, body: &Body) -> Option<Operation> {
    let asked = body.asked()?;
    let head = &asked.head;
    let request = request(reader, reference, step, asked)?;
    let bare = matches!(request, Request::Reset { .. } | Request::Split { .. } | Request::Reclassify { .. });
    let processing = match () {
        () if head.flags.has(Flags::PROCESSING_OFF) => Processing::Off,
        () if head.flags.has(Flags::INVALID_PROCESSING) => Processing::Invalid,
        () => Processing::On,
    };
    let mut operation = Operation::new(head.time(), request).with_processing(processing);
    if !bare {
        operation.changes = changes(reader, step).0;
    }
    // A second link of an identified device stands in the log only where the dialect was `core`; a switch stands for itself.
    let switched = matches!(asked.verb, AskedVerb::Switch);
    operation.sdk.dialect = Some(if switched { Dialect::Browser } else { Dialect::Core });
    Some(operation)
}

fn request(
    reader: &Reader,
    reference: &Reference,
    step: Step<'_>,
    Asked { head, verb, .. }: &Asked,
) -> Option<Request> {
    let id = |id: IdNo| DistinctId::new(reader.id_name(id)).ok();
    let device = head.device.and_then(|device| DeviceId::new(reader.device_name(device)).ok());
    let who =
        device.clone().map_or_else(|| id(head.id).map(Actor::Id), |device| Some(Actor::Device(device)))?;
    let source = match verb.other() {
        LinkSource::None => None,
        LinkSource::Unstorable => Some(Source::Unstorable),
        LinkSource::Id(other) => Some(Source::Id(id(other)?)),
    };
    let speaks_for_t = device.as_ref().is_none_or(|device| {
        let known = reference.devices().get(device.as_str());
        known.is_some_and(|device| device.current == reader.id_name(head.id))
    });
    Some(match (verb, device) {
        (AskedVerb::Capture(name), _) => {
            let name = name.and_then(|name| reader.dictionaries.names.text(name.0));
            let event = name.and_then(|name| EventName::new(name).ok());
            Request::Capture { who, event, properties: changes(reader, step).1 }
        }
        (AskedVerb::Identify(_), Some(device)) if !speaks_for_t => {
            Request::DeviceIdentify { device, user: id(head.id)? }
        }
        (AskedVerb::Switch, Some(device)) => Request::DeviceIdentify { device, user: id(head.id)? },
        (AskedVerb::Identify(_), _) => Request::Identify { who, anonymous: source },
        (AskedVerb::Alias(_), _) => Request::Alias { who, alias: source },
        (AskedVerb::Merge(_), _) => Request::Merge { who, alias: source },
        (AskedVerb::Set, _) => Request::Set { who },
        (AskedVerb::Reset(fresh), Some(device)) => {
            Request::Reset { device, reset_device: fresh.is_some(), new_id: Some(id(head.id)?) }
        }
        (AskedVerb::Reclassify(class), None) => {
            Request::Reclassify { id: id(head.id)?, class: IdClass::from(*class) }
        }
        (AskedVerb::Split(SplitOff { together, ids }), None) => {
            let mode = if *together { SplitMode::Together } else { SplitMode::Each };
            let ids = ids.iter().map(|number| id(*number)).collect::<Option<_>>()?;
            Request::Split { id: id(head.id)?, ids, mode }
        }
        _ => return None,
    })
}

/// A record's property changes, and the event properties it kept.
fn changes(reader: &Reader, step: Step<'_>) -> (Changes, Properties) {
    let (mut changes, mut kept) = (Changes::default(), Properties::new());
    let values = reader.values_in(step.record).map(|read| read.values).unwrap_or_default();
    let mut values = values.into_iter().map(|value| value.or(Some(erased_value())));
    for change in step.record.changes() {
        let key = reader.key_text(change.key).and_then(|key| PropertyKey::new(key).ok());
        let Some(key) = key else { continue };
        let into = match change.verb {
            Verb::UNSET => {
                changes.unset.insert(key);
                continue;
            }
            Verb::SET => &mut changes.set,
            Verb::SET_ONCE => &mut changes.set_once,
            Verb::ADD => &mut changes.add,
            Verb::APPEND => &mut changes.append,
            Verb::UNION => &mut changes.union,
            Verb::REMOVE => &mut changes.remove,
            _ => &mut kept,
        };
        into.insert(key, values.next().flatten().unwrap_or(Value::Null));
    }
    (changes, kept)
}

/// What the engine answered, as the reference model would say it.
impl From<&Appended> for ReferenceOutcome {
    fn from(appended: &Appended) -> ReferenceOutcome {
        match appended {
            Appended::Recorded { outcome, .. } => {
                ReferenceOutcome::Recorded(outcome.refusal.map(|refusal| refusal.rule()))
            }
            Appended::Duplicate { .. } => ReferenceOutcome::Duplicate,
            Appended::Conflict { .. } => ReferenceOutcome::Conflict,
            Appended::Ignored => ReferenceOutcome::Ignored,
        }
    }
}

// -- the engine beside the reference model ---------------------------------------------------------------------------

/// Everything in which a reader is not as the reference model says, one sentence each: persons, redirects, devices, events.
pub fn differences(reader: &Reader, reference: &Reference) -> Vec<String> {
    let mut what = Vec::new();
    let mut differ = |about: String, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
        let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
        if found != expected {
            what.push(format!("{about}: the engine says {found}, the reference model {expected}"));
        }
    };
    persons(reader, reference, &mut differ);
    devices(reader, reference, &mut differ);
    events(reader, reference, &mut differ);
    what
}

type Differ<'d> = dyn FnMut(String, &dyn std::fmt::Debug, &dyn std::fmt::Debug) + 'd;

fn persons(reader: &Reader, reference: &Reference, differ: &mut Differ<'_>) {
    let found: Result<Vec<_>, _> = reader.persons().collect();
    let Ok(found) = found else {
        return differ("persons".to_owned(), &"unreadable", &"readable");
    };
    let expected: Vec<_> = reference.persons().collect();
    differ("the number of persons".to_owned(), &found.len(), &expected.len());
    let told = told(reader);
    let person_id = |called: PersonIdBasis| match called {
        PersonIdBasis::Founding(text) => PersonId::founded_by(reader.tenant(), &text),
        PersonIdBasis::Defined(text) => {
            let defined = reader.id_no(&text).map_or(Seq(0), |id| reader.state().defined_by(id));
            PersonId::founded_at(reader.tenant(), &text, defined)
        }
        PersonIdBasis::After(text, seq) => PersonId::founded_at(reader.tenant(), &text, Seq(seq)),
        PersonIdBasis::At(text, place) => PersonId::founded_at(reader.tenant(), &text, told[place]),
        PersonIdBasis::Erased(number, split) => {
            let split = split.map_or_else(String::new, |place| format!(":{}", told[place]));
            let name = format!("{}:{number}{split}", reader.ledger_id());
            PersonId(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()))
        }
    };
    for (found, expected) in found.iter().zip(expected) {
        let about = |what: &str| format!("{what} of the person founded by `{}`", expected.identity.founding);
        differ(about("the id"), &found.person_id, &person_id(reference.called(&expected.identity)));
        let mut ids = found.distinct_ids.clone();
        ids.sort_unstable();
        differ(about("the ids"), &ids, &expected.ids.iter().collect::<Vec<_>>());
        differ(about("the flag"), &found.is_identified, &expected.is_identified);
        differ(about("the time"), &found.created_at, &expected.created_at);
        let erased = erased_value();
        let value =
            |answer: &'_ PropertyAnswer| answer.value.clone().or(answer.erased_by.map(|_| erased.clone()));
        let properties: BTreeMap<&String, Option<Value>> =
            found.properties.iter().map(|(key, property)| (key, value(property))).collect();
        let expected_properties: BTreeMap<&String, Option<Value>> =
            expected.properties.iter().map(|(key, value)| (key, Some(value.clone()))).collect();
        differ(about("the properties"), &properties, &expected_properties);
        let theirs = || reference.events().iter().filter(|event| expected.ids.contains(&event.goes_with));
        let counts = (theirs().count() as u64, theirs().filter(|event| event.full).count() as u64);
        differ(about("the counts"), &(found.events, found.identified_events), &counts);
    }
    for identity in reference.identities() {
        let expected = Some(person_id(reference.called(&reference.became(identity))));
        let found = reader.survivor_of(person_id(reference.called(identity)));
        differ(format!("who {identity:?} became"), &found, &expected);
    }
}

/// The records that the model was told, in order: it knows their places, not their numbers.
fn told(reader: &Reader) -> Vec<Seq> {
    let mut told = Vec::new();
    let walked = reader.replay(|step| {
        let of_model =
            matches!(step.record.body(), Body::Genesis(_) | Body::SetPolicy(_) | Body::DefineDevice(..));
        if of_model || step.record.is_operation() {
            told.push(step.record.seq());
        }
    });
    walked.expect("a log that was just checked");
    told
}

fn devices(reader: &Reader, reference: &Reference, differ: &mut Differ<'_>) {
    differ("the number of devices".to_owned(), &reader.state().devices().len(), &reference.devices().len());
    let found: BTreeMap<String, _> = (0..)
        .map(DeviceNo)
        .zip(reader.state().devices())
        .map(|(number, device)| {
            let (current, anonymous) = (reader.id_name(device.current), reader.id_name(device.anonymous));
            (reader.device_name(number), (current, anonymous, device.identified, device.profiled))
        })
        .collect();
    for (id, expected) in reference.devices() {
        let found = found.get(id).cloned();
        let expected =
            (expected.current.clone(), expected.anonymous.clone(), expected.identified, expected.profiled);
        differ(format!("device `{id}`"), &found, &Some(expected));
    }
}

fn events(reader: &Reader, reference: &Reference, differ: &mut Differ<'_>) {
    let mut found = Vec::new();
    let walked = reader.events(|event| {
        let goes_with = event.goes_with.unwrap_or_else(|| event.distinct_id.clone());
        found.push((event.distinct_id, goes_with, event.mode == crate::query::answer::EventMode::Full));
    });
    differ("the events".to_owned(), &walked.is_ok(), &true);
    let expected: Vec<_> = { reference.events().iter() }
        .map(|event| (event.distinct_id.clone(), event.goes_with.clone(), event.full))
        .collect();
    differ("the events".to_owned(), &found, &expected);
}
