//! Records: what stands in the log, in numbers. Texts and values are elsewhere, in the payload.
//!
//! A [`Body`] is only a claim. The chain turns it into a [`crate::log::Record`], and there is no other way to get one. Stored types: the order of variants and fields is set in stone.

use crate::log::codec::{Decode, Encode};
use crate::log::kind::Kind;
pub use crate::log::stored_policy::StoredPolicy;
use crate::model::id::LogName;
use crate::model::kind::KindNo;
use crate::model::limits::{
    MAX_DONE_ENTRIES, MAX_ERASE_IDS, MAX_ERASE_RECORDS, MAX_ID_KINDS, MAX_OPERATION_KEYS,
};
use crate::model::policy::{IdClass, Policy};
use crate::model::time::Timestamp;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name(pub u32);

    };
}

number!(
    /// The number of a distinct id: its place in the order in which ids were first written.
    IdNo
);
number!(
    /// The number of a device.
    DeviceNo
);
number!(
    /// The number of a property key.
    KeyNo
);
number!(
    /// The number of an event name.
    NameNo
);

macro_rules! indexed {
    ($($name:ident)*) => {
        $(impl $name {
            pub(crate) fn index(self) -> usize {
                self.0 as usize
            }
        })*
    };
}

indexed!(IdNo DeviceNo NameNo);

/// BLAKE3 over ledger, record number, salt, length and bytes of a payload item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Commitment(pub [u8; 32]);

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// The first record: the policy the ledger starts with.
    Genesis(Box<StoredPolicy>),
    /// Another policy from here on (A3).
    SetPolicy(Box<StoredPolicy>),
    /// Recovery cut bytes off the end of the log that were never acknowledged.
    Recovered(CutOff),
    /// Introduces a distinct id; its text is the payload item.
    DefineId(StoredClass, Commitment),
    /// Introduces a device and the id that is its anonymous and current id at first (F1); its text is the payload item.
    DefineDevice(IdNo, Commitment),
    /// Introduces a property key; its text is the payload item.
    DefineKey(Commitment),
    /// Introduces an event name; its text is the payload item.
    DefineName(Commitment),
    /// What was asked (A4).
    Operation(Box<Asked>),
    /// Texts and values are to be forgotten; from here on every answer says so (H3).
    Erase(Box<Erasure>),
    /// What these erasures cover is gone from every file (H3).
    EraseDone(Box<Removal>),
    /// The values of an earlier record that a key-scoped erasure left, at their old place in the order (H3).
    Restate(Box<Restated>),
    /// Everything up to a position of a log that this ledger follows is in here. It ends the frame of what stands at that position.
    Followed(Box<Followed>),
}

/// An operation, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// For whom, by which device, when.
    pub head: OperationHeader,
    /// What was asked.
    pub verb: AskedVerb,
    /// Property changes, strictly ascending by key, then verb.
    pub changes: Vec<Change>,
    /// The commitment to the payload item. Present if the record has a derived id or a change with a value.
    pub item: Option<Commitment>,
}

/// What an operation asks of T, the id in its head.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskedVerb {
    /// An event (C1), and its name.
    Capture(Option<NameNo>),
    /// Identify T, with S (C2, F3).
    Identify(LinkSource),
    /// Alias S to T (C3).
    Alias(LinkSource),
    /// Merge S into T whatever is known (C4).
    Merge(LinkSource),
    /// Property changes (C5).
    Set,
    /// A device speaks for T from now on, and nothing is linked (F3, dialect `browser`).
    Switch,
    /// A device forgets its user and speaks for T, a fresh id (F4); with a device, that is its new number.
    Reset(Option<DeviceNo>),
    /// The record of this number, which speaks for the same T, counts as never asked (H1).
    Retract(u64),
    /// Ids leave the person of T (H2).
    Split(SplitOff),
    /// T counts as an id of this class, from its definition on (H5).
    Reclassify(StoredClass),
}

/// A position of a log that a ledger follows.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, serde::Serialize)]
pub struct Followed {
    /// The name of the log: 1 to 255 bytes.
    pub log: String,
    /// The position: everything up to it, and nothing behind it, is in the ledger. Each record has a higher one than the record before.
    pub position: u64,
}

impl Followed {
    /// Whether it is spelled as a writer spells it.
    pub(crate) fn is_canonical(&self) -> bool {
        LogName::check(&self.log).is_ok()
    }
}

/// What is to be forgotten, by number. It covers the payload items of
///
/// * every operation before it whose T is one of `ids`, and every restated record of such;
/// * every definition of one of `ids` and `devices`;
/// * every record in `records`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Erasure {
    /// When the erasure was asked for, by the asker's clock, in microseconds.
    pub(crate) time: i64,
    /// Whose text and values, strictly ascending.
    pub ids: Vec<IdNo>,
    /// Devices whose text equals that of an erased id, strictly ascending.
    pub devices: Vec<ErasedDevice>,
    /// Records by number, strictly ascending.
    pub records: Vec<u32>,
    /// The keys whose values were to go, strictly ascending; empty unless the erasure is key-scoped.
    pub keys: Vec<KeyNo>,
    /// The reason is a payload item as all texts are: it may name a person, and be erased itself.
    pub reason: Option<Commitment>,
}

impl Erasure {
    /// When the erasure was asked for, by the asker's clock.
    pub fn time(&self) -> Timestamp {
        Timestamp::from_micros(self.time).expect("Chain::accept checked the range")
    }

    /// Whether this is how a writer spells an erasure.
    fn is_canonical(&self) -> bool {
        let Erasure { time, ids, devices, records, keys, .. } = self;
        Timestamp::from_micros(*time).is_ok()
            && ids.is_sorted_by(|a, b| a < b)
            && devices.is_sorted_by(|a, b| a.device < b.device)
            && records.is_sorted_by(|a, b| a < b)
            && keys.is_sorted_by(|a, b| a < b)
            && ids.len() + devices.len() + records.len() > 0
            && ids.len() <= MAX_ERASE_IDS
            && devices.len() <= MAX_ERASE_IDS
            && records.len() <= MAX_ERASE_RECORDS
            && keys.len() <= MAX_OPERATION_KEYS
            && (keys.is_empty() || ids.is_empty() && devices.is_empty())
    }
}

/// A device whose text is erased, and the record that defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct ErasedDevice {
    /// The number of the device.
    pub device: DeviceNo,
    /// The number of its definition: nothing else in the fold knows it.
    pub defined: u32,
}

/// What a removal completed. Written when all of it is durable.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Removal {
    /// The erasures, strictly ascending; none if more such records follow.
    pub erasures: Vec<ErasureCompletion>,
    /// The segments that were rewritten for them, strictly ascending. One that a crash cut short rewrote some
    /// before it.
    pub segments: Vec<RewrittenSegment>,
}

/// An erasure that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct ErasureCompletion {
    /// The number of the erasure's record.
    pub erase: u32,
    /// How many payload items it covers that no earlier one does: all are gone.
    pub items: u64,
}

/// A segment that was rewritten: the same frames under the same hashes, without erased items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct RewrittenSegment {
    /// Its first record.
    pub first_seq: u64,
    /// How long it was.
    pub bytes_before: u64,
    /// How long it is.
    pub bytes_after: u64,
    /// The digest of the file as it was.
    pub before: [u8; 32],
    /// And as it is.
    pub after: [u8; 32],
}

/// What a key-scoped erasure left of a record's values.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Restated {
    /// The number of the record whose values were erased in part.
    pub record: u32,
    /// The number of T, the id that this record speaks for.
    pub id: IdNo,
    /// Which of its values are erased, counted from 0 in the order of its changes; strictly ascending, at least one. Its derived
    /// operation id is erased too: it is a hash over what was erased.
    pub erased: Vec<u16>,
    /// The other values, in their order; `None` if there are none.
    pub item: Option<Commitment>,
}

/// The ids that a split takes out of a person (H2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitOff {
    /// Whether they leave as one person, and not each for itself.
    pub together: bool,
    /// Which; strictly ascending, at least one.
    pub ids: Vec<IdNo>,
}

/// What every operation's record begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationHeader {
    /// T, resolved by the shell (F2).
    pub id: IdNo,
    /// The device that spoke, if one did.
    pub device: Option<DeviceNo>,
    /// The sender's clock, in microseconds.
    pub(crate) time: i64,
    /// The operation id, if the sender gave one; else zeros.
    pub(crate) operation: [u8; 16],
    /// What else is to know.
    pub flags: Flags,
}

impl OperationHeader {
    /// The sender's clock.
    pub fn time(&self) -> Timestamp {
        Timestamp::from_micros(self.time).expect("Chain::accept checked the range")
    }
}

/// Yes and no about an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub(crate) u16);

impl Flags {
    /// Processing is off (C1, C7).
    pub const PROCESSING_OFF: Flags = Flags(1);
    /// The sender gave the operation id that stands in the head.
    pub const GIVEN_ID: Flags = Flags(1 << 1);
    /// The operation id was derived and stands in the payload item (G4).
    pub const DERIVED_ID: Flags = Flags(1 << 2);
    /// Notice: the processing flag was no boolean.
    pub const INVALID_PROCESSING: Flags = Flags(1 << 3);
    /// Notice: T or S was shortened at import.
    pub const SHORTENED_ID: Flags = Flags(1 << 4);
    /// Notice: U+0000 in T, or half of a surrogate pair in a stored value or key, was replaced at import.
    pub const REPLACED_NUL: Flags = Flags(1 << 5);
    /// The event is `$groupidentify`: no property change applies (E3).
    pub const GROUP_IDENTIFY: Flags = Flags(1 << 6);
    /// The event is `$exception` or `$$heatmap`: it changes no existing person's properties (E3).
    pub const QUIET: Flags = Flags(1 << 7);

    /// Notice: the time lay too far in the future and became the time of recording (G5).
    pub const CLAMPED_TIME: Flags = Flags(1 << 8);

    /// Some of its changes are relative (E9), so the verbs of its list take three bits each.
    pub const RELATIVE: Flags = Flags(1 << 9);

    /// All that this version knows.
    pub(crate) const KNOWN: Flags = Flags((1 << 10) - 1);

    /// Whether all of `flags` are set.
    pub const fn has(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of the four notices is set.
    pub(crate) const fn has_notices(self) -> bool {
        const NOTICES: u16 = Flags::INVALID_PROCESSING.0
            | Flags::SHORTENED_ID.0
            | Flags::REPLACED_NUL.0
            | Flags::CLAMPED_TIME.0;
        self.0 & NOTICES != 0
    }

    /// Whether the event is one that changes no property of a person who is there (E3).
    pub(crate) const fn is_special_event(self) -> bool {
        self.0 & (Flags::GROUP_IDENTIFY.0 | Flags::QUIET.0) != 0
    }

    /// Whether they say no more than whether processing is on and who gave the operation id.
    pub(crate) const fn are_usual(self) -> bool {
        self.0 & !(Flags::PROCESSING_OFF.0 | Flags::GIVEN_ID.0) == 0
    }

    /// These and, if `when`, also `flags`.
    #[must_use]
    pub const fn with(self, flags: Flags, when: bool) -> Flags {
        if when { Flags(self.0 | flags.0) } else { self }
    }

    /// The flags that an event's name decides (E3).
    pub(crate) fn of_event(name: &str) -> Flags {
        Flags::default()
            .with(Flags::GROUP_IDENTIFY, name == "$groupidentify")
            .with(Flags::QUIET, name == "$exception" || name == "$$heatmap")
    }
}

/// S of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkSource {
    /// There is none.
    None,
    /// There was one whose text cannot be stored (B1); the text is not recorded.
    Unstorable,
    /// The number of S.
    Id(IdNo),
}

/// One key and what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The number of the property key.
    pub key: KeyNo,
    /// What happens to the key's value.
    pub verb: Verb,
}

/// What happens to a key; two stored bits, three in a record with [`Flags::RELATIVE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Verb(pub(crate) u8);

impl Verb {
    /// Write, also over a present value.
    pub const SET: Verb = Verb(0);
    /// Write where absent.
    pub const SET_ONCE: Verb = Verb(1);
    /// Remove the value if there is one.
    pub const UNSET: Verb = Verb(2);
    /// No change to the person: the event's own property, kept.
    pub const KEPT: Verb = Verb(3);

    /// Add a number to the value (E9).
    pub const ADD: Verb = Verb(4);
    /// Append elements to the list.
    pub const APPEND: Verb = Verb(5);
    /// Append those elements to the list that are not in it.
    pub const UNION: Verb = Verb(6);
    /// Take elements out of the list.
    pub const REMOVE: Verb = Verb(7);

    /// Those of the changes that bring values, in the order of [`Changes::valued`](crate::model::operation::Changes::valued).
    pub(crate) const VALUED: [Verb; 6] =
        [Verb::SET, Verb::SET_ONCE, Verb::ADD, Verb::APPEND, Verb::UNION, Verb::REMOVE];

    /// Whether the payload item holds a value for it.
    pub(crate) fn has_value(self) -> bool {
        self != Verb::UNSET
    }

    /// Whether what it makes of a key depends on what the key has (E9).
    pub(crate) fn is_relative(self) -> bool {
        self >= Verb::ADD
    }

    /// Its name in answers.
    pub(crate) fn name(self) -> &'static str {
        ["set", "set_once", "unset", "kept", "add", "append", "union", "remove"][usize::from(self.0 & 7)]
    }
}

/// What recovery cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CutOff {
    /// How many bytes.
    pub bytes: u64,
    /// Their digest; the bytes themselves lie in `quarantine/`.
    pub digest: [u8; 32],
}

/// The class of an id and its kind, one stored byte (B4, D12): 0 named, 1 unmergeable, 2 anonymous, 3 shared; and four times one more than the
/// place of the kind in the policy's list, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredClass(pub(crate) u8);

impl StoredClass {
    const ALL: [IdClass; 4] = [IdClass::Named, IdClass::Unmergeable, IdClass::Anonymous, IdClass::Shared];

    /// Of an id of this class and kind.
    pub(crate) fn of(class: IdClass, kind: Option<KindNo>) -> StoredClass {
        StoredClass(StoredClass::from(class).0 | kind.map_or(0, |kind| kind.0 + 1) << 2)
    }

    /// What the policy makes of an id of this class.
    pub(crate) fn under(policy: &Policy, class: IdClass, text: &str) -> StoredClass {
        StoredClass::of(class, policy.kind_of(text, class))
    }

    /// Whether it stands for a class and a kind.
    pub(crate) fn is_known(self) -> bool {
        usize::from(self.0 & 3) < StoredClass::ALL.len() && usize::from(self.0 >> 2) <= MAX_ID_KINDS
    }

    /// The class alone.
    pub(crate) fn bare(self) -> StoredClass {
        StoredClass(self.0 & 3)
    }

    /// The kind.
    #[cfg(feature = "testing")]
    pub(crate) fn kind_no(self) -> Option<KindNo> {
        self.kind().checked_sub(1).map(KindNo)
    }

    /// One more than the place of the kind; 0 for none.
    pub(crate) fn kind(self) -> u8 {
        self.0 >> 2
    }
}

impl From<IdClass> for StoredClass {
    fn from(class: IdClass) -> StoredClass {
        StoredClass(match class {
            IdClass::Named => 0,
            IdClass::Unmergeable => 1,
            IdClass::Anonymous => 2,
            IdClass::Shared => 3,
        })
    }
}

impl From<StoredClass> for IdClass {
    fn from(class: StoredClass) -> IdClass {
        StoredClass::ALL[usize::from(class.bare().0)] // Chain::accept checked it
    }
}

impl AskedVerb {
    /// S of a link.
    pub fn other(&self) -> LinkSource {
        match self {
            AskedVerb::Identify(other) | AskedVerb::Alias(other) | AskedVerb::Merge(other) => *other,
            _ => LinkSource::None,
        }
    }

    /// The same with another S, if it links.
    #[must_use]
    pub(crate) fn with_source(self, other: LinkSource) -> AskedVerb {
        match self {
            AskedVerb::Identify(_) => AskedVerb::Identify(other),
            AskedVerb::Alias(_) => AskedVerb::Alias(other),
            AskedVerb::Merge(_) => AskedVerb::Merge(other),
            verb => verb,
        }
    }

    /// The operation's name in answers and scenarios.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            AskedVerb::Capture(_) => Kind::Capture,
            AskedVerb::Identify(_) => Kind::Identify,
            AskedVerb::Alias(_) => Kind::Alias,
            AskedVerb::Merge(_) => Kind::Merge,
            AskedVerb::Set => Kind::Set,
            AskedVerb::Switch => Kind::Switch,
            AskedVerb::Reset(_) => Kind::Reset,
            AskedVerb::Retract(_) => Kind::Retract,
            AskedVerb::Split(_) => Kind::Split,
            AskedVerb::Reclassify(_) => Kind::Reclassify,
        }
    }

    /// Whether it folds a component again (section H).
    pub(crate) fn refolds(&self) -> bool {
        matches!(self, AskedVerb::Retract(_) | AskedVerb::Split(_) | AskedVerb::Reclassify(_))
    }
}

impl Body {
    /// What was asked; `None` for records that are not operations (A4).
    pub fn asked(&self) -> Option<&Asked> {
        match self {
            Body::Operation(asked) => Some(asked),
            _ => None,
        }
    }

    /// What an operation asks of T.
    pub fn verb(&self) -> Option<&AskedVerb> {
        Some(&self.asked()?.verb)
    }

    /// Head of an operation's record; `None` for records that are not operations (A4).
    pub fn head(&self) -> Option<&OperationHeader> {
        Some(&self.asked()?.head)
    }

    /// Property changes of an operation's record.
    pub fn changes(&self) -> &[Change] {
        self.asked().map_or(&[], |asked| &asked.changes)
    }

    /// The commitment to this record's payload item, if it has one.
    pub(crate) fn commitment(&self) -> Option<&Commitment> {
        match self {
            Body::DefineId(_, commitment)
            | Body::DefineDevice(_, commitment)
            | Body::DefineKey(commitment)
            | Body::DefineName(commitment) => Some(commitment),
            Body::Operation(asked) => asked.item.as_ref(),
            Body::Erase(erasure) => erasure.reason.as_ref(),
            Body::Restate(restated) => restated.item.as_ref(),
            _ => None,
        }
    }

    /// S of a link.
    pub fn other(&self) -> LinkSource {
        self.verb().map_or(LinkSource::None, AskedVerb::other)
    }

    /// The event's name, if it is an event and has one.
    pub fn event_name(&self) -> Option<NameNo> {
        match self.verb()? {
            AskedVerb::Capture(name) => *name,
            _ => None,
        }
    }

    /// The record's name in answers and scenarios.
    pub fn name(&self) -> &'static str {
        let kind = match self {
            Body::Genesis(_) => Kind::Genesis,
            Body::SetPolicy(_) => Kind::SetPolicy,
            Body::Recovered(_) => Kind::Recovered,
            Body::DefineId(..) => Kind::DefineId,
            Body::DefineDevice(..) => Kind::DefineDevice,
            Body::DefineKey(_) => Kind::DefineKey,
            Body::DefineName(_) => Kind::DefineName,
            Body::Operation(asked) => asked.verb.kind(),
            Body::Erase(_) => Kind::Erase,
            Body::EraseDone(_) => Kind::EraseDone,
            Body::Restate(_) => Kind::Restate,
            Body::Followed(_) => Kind::Followed,
        };
        kind.name()
    }

    /// Whether a record of an erasure is spelled as a writer spells it; `true` for any other.
    pub(crate) fn is_canonical_erasure(&self) -> bool {
        match self {
            Body::Erase(erasure) => erasure.is_canonical(),
            Body::EraseDone(removal) => {
                let Removal { erasures, segments } = &**removal;
                erasures.is_sorted_by(|a, b| a.erase < b.erase)
                    && segments.is_sorted_by(|a, b| a.first_seq < b.first_seq)
                    && erasures.len() <= MAX_DONE_ENTRIES
                    && segments.len() <= MAX_DONE_ENTRIES
                    && erasures.len() + segments.len() > 0
            }
            Body::Restate(restated) => {
                let erased = &restated.erased;
                erased.is_sorted_by(|a, b| a < b) && !erased.is_empty() && erased.len() <= MAX_OPERATION_KEYS
            }
            _ => true,
        }
    }
}
