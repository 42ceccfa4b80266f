//! Made-up histories: a policy and operations over an alphabet so small that everything meets everything again.
//!
//! A history is read from bytes, five an operation, so that any bytes are one: a fuzzer's, or those of a seed.

use std::collections::BTreeSet;
use std::fmt;

use uuid::Uuid;

use crate::ledger::Ledger;
use crate::ledger::appended::Appended;
use crate::ledger::error::AppendError;
use crate::model::id::{DeviceId, DistinctId, EventName, OperationId, PropertyKey};
use crate::model::kind::{IdForm, IdKind};
use crate::model::operation::{
    Actor, Changes, Dialect, Operation, OperationError, PersonProfiles, Processing, Request, Sdk, Source,
    SplitMode, Target,
};
use crate::model::policy::{IdClass, Policy, Preset, Survivor, ValuesBy};
use crate::model::time::Timestamp;
use crate::model::value::{Properties, Value};
use crate::testing::chance::Chance;
use crate::testing::notation;

/// Ids. "anonymous" is unmergeable (B2); the UUIDv7 and "$device:x" are anonymous ids (D9); "d1" is a device's id too (F1).
pub const IDS: [&str; 8] = [
    "ann",
    "bob",
    "cat",
    "visitor-1",
    "anonymous",
    "01a208fa-c605-7008-8d6e-36525068c2e7",
    "$device:x",
    "d1",
];
/// The devices of made-up histories.
pub const DEVICES: [&str; 2] = ["d1", "d2"];
/// The property keys of made-up histories.
pub const KEYS: [&str; 3] = ["a", "b", "c"];
/// Event names; E3 knows two of them.
pub const EVENTS: [&str; 4] = ["$pageview", "$groupidentify", "$exception", "order placed"];

/// Operations to be folded under a policy.
///
/// Shown as a page of `tests/scenarios/` would show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The policy of the genesis record.
    pub policy: Policy,
    /// The operations, in order. Resets name their fresh id.
    pub operations: Vec<Operation>,
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match notation::page(&self.policy, &self.operations) {
            Ok(page) => f.write_str(&page),
            Err(error) => write!(f, "{error}"),
        }
    }
}

impl History {
    /// Any bytes are a history: three for the policy, then five an operation. What is missing is zero.
    pub fn from_bytes(bytes: &[u8]) -> History {
        let mut bytes = Bytes(bytes);
        let policy = bytes.policy();
        History { policy, operations: bytes.operations() }
    }

    /// A history made up from a seed, under `policy`.
    ///
    /// ```
    /// use identity_ledger::Policy;
    /// use identity_ledger::testing::history::History;
    /// let history = History::seeded(&Policy::default(), 7);
    /// assert_eq!(history, History::seeded(&Policy::default(), 7));
    /// ```
    pub fn seeded(policy: &Policy, seed: u64) -> History {
        let mut chance = Chance::new(seed);
        let bytes = made_up(&mut chance);
        History { policy: policy.clone(), operations: Bytes(&bytes).operations() }
    }

    /// Appends all operations, each as [`append`] does.
    ///
    /// # Errors
    /// [`AppendError`], the first.
    pub fn append_to(&self, ledger: &mut Ledger) -> Result<Vec<Option<Appended>>, AppendError> {
        self.operations.iter().map(|operation| append(ledger, operation)).collect()
    }
}

/// Appends one operation of a made-up history; `None` if it cannot be recorded, which only a ledger can know:
/// the fresh id of a reset is in use (F4), or what is retracted or split was never written (H1, H2).
///
/// # Errors
/// Any other [`AppendError`].
pub fn append(ledger: &mut Ledger, operation: &Operation) -> Result<Option<Appended>, AppendError> {
    match ledger.append(operation.clone()) {
        Err(AppendError::Operation {
            source:
                OperationError::NotFresh { .. }
                | OperationError::UnknownId { .. }
                | OperationError::UnknownOperation { .. },
            ..
        }) => Ok(None),
        appended => appended.map(Some),
    }
}

/// What a history is mostly about. What a byte asks for is its remainder by 9; see `Bytes::operation`.
const TOPICS: [&[u8]; 6] = [
    // Everything.
    &[0, 1, 2, 3, 4, 5, 6, 7, 8],
    // Links only: long chains, and hairballs that have every id. Rules D3 to D9 need persons that are there already.
    &[2, 3, 4, 4, 5],
    // Devices that several people use: F3 and F4 need one device to speak several times.
    &[0, 2, 7, 7, 7, 8],
    // Events and late links: attribution (G1, G2) needs events before the link that moves them.
    &[0, 0, 1, 1, 2, 7],
    // Properties: E1 and E2 need keys that were written by several operations.
    &[0, 2, 4, 6, 6, 6],
    // Minds changed: H1 and H2 need persons of several ids, and operations to retract; half of the 6 are
    // such.
    &[1, 2, 4, 5, 6, 6, 6, 6, 7],
];

fn made_up(chance: &mut Chance) -> Vec<u8> {
    let topic = *chance.pick(&TOPICS);
    // Few ids make links that repeat, merge and are refused; many make persons that never meet.
    let ids = 1 + chance.below(8);
    let mut history: Vec<[u8; 5]> = Vec::new();
    for _ in 0..chance.below(40) {
        let (high, request) = (chance.below(28), *chance.pick(topic));
        let [_, who, changes, how, number] = *chance.bytes(5).first_chunk().expect("five were drawn");
        let what = u8::try_from(9 * high).expect("9 * 27 + 8 fits") + request;
        let (t, s) = (chance.below(ids), chance.below(ids));
        let speaks = u8::try_from(t | s << 3).expect("three bits and three bits") | (who & 0xc0);
        // Most senders say nothing of processing: else most links would be refused by C7 (A6 looks at it first).
        let how = if chance.one_in(4) { how } else { how & 0xfc };
        let operation = [what, speaks, changes, how, number];
        // At least once means sometimes twice, and not always in order (G4, A1).
        match chance.below(10) {
            0 if !history.is_empty() => {
                let again = *chance.pick(&history);
                history.push(again);
            }
            1 => {
                let at = chance.below(history.len() + 1);
                history.insert(at, operation);
            }
            _ => history.push(operation),
        }
    }
    history.concat()
}

/// Kinds of the ids of made-up histories (D12); none for 0.
pub fn id_kinds(which: u8) -> Vec<IdKind> {
    let kind = |name: &str, matches: &[&str], max_per_person| IdKind {
        name: name.to_owned(),
        matches: matches.iter().map(|pattern| (*pattern).to_owned()).collect(),
        max_per_person,
        ..IdKind::default()
    };
    let visitors = |max_per_person| IdKind {
        looks_like: Some(IdForm::Anonymous),
        ..kind("visitor", &["visitor-*"], max_per_person)
    };
    match which {
        0 => Vec::new(),
        1 => vec![kind("login", &["*n*"], Some(1)), visitors(Some(2))],
        2 => vec![kind("login", &["bob", "*t"], None), visitors(Some(1)), kind("rest", &["*"], Some(2))],
        _ => vec![kind("any", &["*"], Some(2))],
    }
}

/// Which ids of made-up histories are shared (D13); none for 0 and 1.
pub fn shared_ids(which: u8) -> BTreeSet<String> {
    let patterns: &[&str] = match which {
        2 => &["d1", "visitor-*"],
        3 => &["*at", "$device:*"],
        _ => &[],
    };
    patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
}

/// Bytes, taken from the front; what is missing is zero.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn policy(&mut self) -> Policy {
        let (preset, bits, limits) = (self.next(), self.next(), self.next());
        let preset = of(&[Preset::Posthog, Preset::Strict, Preset::OneUser], preset);
        let base = Policy::preset(preset);
        let limit = |shift: u8| Some(u32::from(limits >> shift & 3)).filter(|limit| *limit > 0);
        Policy {
            max_moved_ids: limit(0),
            max_ids_per_person: limit(2),
            max_user_ids: limit(4).or(base.max_user_ids),
            id_kinds: id_kinds(limits >> 6),
            shared_ids: shared_ids(bits >> 5 & 3),
            survivor: if bits & 1 == 1 { Survivor::Elder } else { Survivor::Target },
            dialect: if bits & 2 == 2 { Dialect::Core } else { Dialect::Browser },
            person_profiles: of(&PROFILES, bits >> 2),
            values_by: if bits & 0x80 == 0 { ValuesBy::Record } else { ValuesBy::EventTime },
            ..base
        }
    }

    fn operations(&mut self) -> Vec<Operation> {
        let (mut operations, mut said) = (Vec::new(), Vec::new());
        while !self.0.is_empty() {
            let operation = self.operation(&said);
            said.extend(operation.id);
            operations.push(operation);
        }
        operations
    }

    /// An operation; `said` are the ids of those before it.
    fn operation(&mut self, said: &[OperationId]) -> Operation {
        let (what, who, changes, how, number) =
            (self.next(), self.next(), self.next(), self.next(), self.next());
        let device = DeviceId::new(of(&DEVICES, who)).expect("an id");
        let speaker =
            if who & 0x40 == 0 { Actor::Id(id(of(&IDS, who))) } else { Actor::Device(device.clone()) };
        let other = of(&IDS, who >> 3);
        let source = match who >> 6 {
            3 if what & 0x80 != 0 => None,
            2 if what & 0x80 != 0 => Some(Source::Unstorable),
            _ => Some(Source::new(other)),
        };
        let request = match what % 9 {
            0 | 1 => {
                let event =
                    (what & 0x40 == 0).then(|| EventName::new(of(&EVENTS, what >> 4)).expect("a name"));
                Request::Capture { who: speaker, event, properties: Properties::new() }
            }
            2 | 3 => Request::Identify { who: speaker, anonymous: source },
            4 => Request::Alias { who: speaker, alias: source },
            5 => Request::Merge { who: speaker, alias: source },
            6 if what >= 0xc0 && !said.is_empty() => {
                Request::Retract { target: Target::Operation(said[usize::from(changes) % said.len()]) }
            }
            6 if what >= 0x80 && how & 0x30 == 0x30 => {
                let class = of(&IdClass::ALL, changes);
                Request::Reclassify { id: id(of(&IDS, who)), class }
            }
            6 if what >= 0x80 => Request::Split {
                id: id(of(&IDS, who)),
                // One or two of a few: the ids of small persons are named often enough.
                ids: [of(&IDS, who >> 3), of(&IDS, changes)]
                    .map(id)
                    .into_iter()
                    .take(1 + usize::from(how >> 6 & 1))
                    .collect(),
                mode: if how & 0x80 == 0 { SplitMode::Each } else { SplitMode::Together },
            },
            6 => Request::Set { who: speaker },
            7 => Request::DeviceIdentify { device, user: id(other) },
            _ => Request::Reset { device, reset_device: what & 0x80 != 0, new_id: Some(id(other)) },
        };
        let bare = matches!(
            request,
            Request::Reset { .. }
                | Request::Retract { .. }
                | Request::Split { .. }
                | Request::Reclassify { .. }
        );
        // A record does not hold whether a device asked with its own identify or with a link or set that came to the same;
        // the reference model compares what was asked. So repeats under one id (G4) stay on one side of that.
        let range = if matches!(request, Request::DeviceIdentify { .. }) { 64 } else { 0 };
        let time = Timestamp::from_micros((number >> 6).into()).expect("a time");
        Operation {
            id: Some(number % 64).filter(|n| *n < 40).map(|n| operation_id(n + range)),
            changes: if bare { Changes::default() } else { changes_of(changes) },
            processing: of(&[Processing::Unsaid, Processing::On, Processing::Off, Processing::Invalid], how),
            sdk: Sdk {
                dialect: of(&[None, None, Some(Dialect::Browser), Some(Dialect::Core)], how >> 2),
                person_profiles: (how & 0x80 != 0).then(|| of(&PROFILES, how >> 4)),
            },
            ..Operation::new(time, request)
        }
    }
}

fn operation_id(number: u8) -> OperationId {
    OperationId(Uuid::from_u128(number.into()))
}

const PROFILES: [PersonProfiles; 3] =
    [PersonProfiles::IdentifiedOnly, PersonProfiles::Always, PersonProfiles::Never];

/// Two bits for each key are too few to say everything about it, and enough to let the verbs meet.
fn changes_of(byte: u8) -> Changes {
    let value = |bit: u8| if byte & bit == 0 { Value::Null } else { Value::from(i64::from(bit)) };
    let key = |shift: u8| PropertyKey::new(of(&KEYS, byte >> shift)).expect("a key");
    let mut changes = Changes::default();
    if byte & 7 == 6 {
        // A relative change (E9) of the key that others set.
        let element = Value::from(i64::from(byte >> 3 & 1));
        let (operands, operand) = match byte >> 6 {
            0 => (&mut changes.add, Value::from(3)),
            1 => (&mut changes.append, Value::List(vec![element, Value::Null])),
            2 => (&mut changes.union, Value::List(vec![element, Value::from(0)])),
            _ => (&mut changes.remove, Value::List(vec![element])),
        };
        operands.insert(key(3), operand);
        return changes;
    }
    if byte & 1 != 0 {
        changes.set.insert(key(3), value(0x80));
    }
    if byte & 2 != 0 {
        changes.set_once.insert(key(4), value(0x40));
    }
    if byte & 4 != 0 {
        changes.unset = BTreeSet::from([key(5)]);
    }
    changes
}

fn of<T: Copy>(list: &[T], byte: u8) -> T {
    list[usize::from(byte) % list.len()]
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).expect("an id")
}
