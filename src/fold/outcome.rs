//! Outcomes: what an operation did, what is worth a notice, and what was refused and why (A4).

use crate::fold::links::PersonNo;
use crate::fold::profile::PropertyCounts;
use crate::log::body::{DeviceNo, IdNo};
use crate::model::id::Seq;
use crate::model::kind::KindNo;
use crate::model::policy::IdClass;

/// What one recorded operation did. Derivable again at any time from the log alone.
///
/// All fields empty: the operation was fine and changed nothing (a propertyless event, a repeated link).
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The person that the operation founded, linked or wrote to; `None` if it touched no person.
    pub person: Option<PersonNo>,
    /// Whether that person was founded by this operation.
    pub founded: bool,
    /// The link that was made.
    pub link: Option<Link>,
    /// Whether the person became identified by this operation (D1).
    pub identified: bool,
    /// Property keys written and removed.
    pub written: PropertyCounts,
    /// What happened to the device that spoke.
    pub device: Option<DeviceEffect>,
    /// Who signed in on a shared id, or out (D13).
    pub shared: Option<SharedEffect>,
    /// What was retracted, split or reclassified (section H).
    pub undone: Option<Correction>,
    /// What deserves a look although nothing was refused.
    pub notices: Notices,
    /// Why the link was refused.
    pub refusal: Option<Refusal>,
}

impl Outcome {
    /// The outcome of what was fine and changed nothing.
    pub(crate) const NOTHING: Outcome = Outcome {
        person: None,
        founded: false,
        link: None,
        identified: false,
        written: PropertyCounts { set: 0, removed: 0 },
        device: None,
        shared: None,
        undone: None,
        notices: Notices {
            joins_identified: None,
            users_exceed_limit: None,
            invalid_processing: false,
            shortened_id: false,
            replaced_nul: false,
            clamped_time: false,
            changes_dropped: false,
            not_parted: None,
        },
        refusal: None,
    };
}

/// A link that an operation made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// This id, which had no person, joined (D2, D3, D4).
    Joined(IdNo),
    /// This person was absorbed with all its ids (D7).
    Absorbed {
        /// Whose person id now redirects to the survivor.
        person: PersonNo,
        /// How many ids moved.
        moved_ids: u32,
    },
}

/// What an operation of section H did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// H1: this record counts as never asked.
    Retracted {
        /// The retracted record.
        seq: Seq,
        /// How many ids belong to another person than before.
        moved_ids: u32,
    },
    /// H2: ids left their person, which continues without them.
    Split {
        /// How many ids left.
        left: u32,
    },
    /// H5: T counts as an id of another class, from its definition on.
    Reclassified {
        /// What it counted as.
        from: IdClass,
        /// What it counts as.
        to: IdClass,
        /// How many ids belong to another person than before.
        moved_ids: u32,
    },
}

/// What happened to a device (section F).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceEffect {
    /// It now speaks for this id.
    SpeaksFor(DeviceNo, IdNo),
    /// It forgot its user and speaks for this fresh id.
    Reset(DeviceNo, IdNo),
}

/// What happened to a shared id (D13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedEffect {
    /// T signed in on this one, which speaks for T from here on.
    SignedIn(IdNo),
    /// This one speaks for itself again.
    SignedOut(IdNo),
}

/// What is worth knowing about an operation that was not refused for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// D3: T joined a person that this record had identified.
    pub joins_identified: Option<Seq>,
    /// D9: T signed in, and its person had `max_user_ids` users already. The record by which the first of them got its person.
    pub users_exceed_limit: Option<Seq>,
    /// The processing flag was no boolean and counted as true.
    pub invalid_processing: bool,
    /// T or S was cut to 200 scalar values at import.
    pub shortened_id: bool,
    /// U+0000 in T or S, or half of a surrogate pair in a stored value or key, was replaced at import.
    pub replaced_nul: bool,
    /// G5: the time lay too far in the future and became the time of recording.
    pub clamped_time: bool,
    /// E3: the event is about a group, and its property changes were not applied.
    pub changes_dropped: bool,
    /// H2: a split named ids that are not the person's. They stay where they are.
    pub not_parted: Option<NotParted>,
}

/// The ids that a split named and did not part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotParted {
    /// The first of them.
    pub id: IdNo,
    /// The record by which it is with its person, or that defined it.
    pub by: Seq,
    /// How many there are.
    pub ids: u32,
}

impl Notices {
    /// The name of the notice of D3.
    pub const JOINS_IDENTIFIED: &'static str = "joins_identified_person";
    /// The name of the notice of D9.
    pub const USERS_EXCEED_LIMIT: &'static str = "users_exceed_limit";
    /// The name of the notice of H2.
    pub const NOT_PARTED: &'static str = "id_of_another_person";

    /// The record that the notice of this name speaks of, if it speaks of one.
    pub fn record_of(&self, name: &str) -> Option<Seq> {
        match name {
            Self::JOINS_IDENTIFIED => self.joins_identified,
            Self::USERS_EXCEED_LIMIT => self.users_exceed_limit,
            Self::NOT_PARTED => self.not_parted.map(|ids| ids.by),
            _ => None,
        }
    }

    /// Stable names, as the command line prints them.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.joins_identified.is_some(), Self::JOINS_IDENTIFIED),
            (self.users_exceed_limit.is_some(), Self::USERS_EXCEED_LIMIT),
            (self.invalid_processing, "invalid_process_person_profile"),
            (self.shortened_id, "distinct_id_shortened"),
            (self.replaced_nul, "nul_replaced"),
            (self.clamped_time, "time_from_future"),
            (self.changes_dropped, "property_changes_dropped"),
            (self.not_parted.is_some(), Self::NOT_PARTED),
        ]
        .into_iter()
        .filter_map(|(there, name)| there.then_some(name))
    }
}

/// Why a link or a record of section H was refused: data, with the record that blocks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// C7: the operation itself switched processing off.
    ProcessingOff {
        /// The operation's own record.
        by: Seq,
    },
    /// B2: an id may not take part in merges.
    Unmergeable {
        /// Which id; `None` for an S whose text cannot be stored (B1).
        id: Option<IdNo>,
        /// The record by which the id is of its class (B4, H5), or the operation's own.
        by: Seq,
    },
    /// D3 under `strict`: S's person is identified already.
    JoinsIdentified {
        /// The person of S.
        person: PersonNo,
        /// The record that identified it.
        by: Seq,
    },
    /// D6: S's person is identified already.
    SourceIdentified {
        /// The person of S.
        person: PersonNo,
        /// The record that identified it.
        by: Seq,
    },
    /// D8: too many ids would move.
    TooManyMovedIds {
        /// How many ids would move.
        found: u32,
        /// The policy's `max_moved_ids`.
        limit: u32,
        /// The record of the policy.
        by: Seq,
    },
    /// D8: the person would have too many ids.
    TooManyIds {
        /// How many ids the person would have.
        found: u32,
        /// The policy's `max_ids_per_person`.
        limit: u32,
        /// The record of the policy.
        by: Seq,
    },
    /// D9: the person would have too many user ids.
    TooManyUserIds {
        /// A user id that is held already.
        held: IdNo,
        /// The policy's `max_user_ids`.
        limit: u32,
        /// The record by which that id came to its person, or which defined it.
        by: Seq,
    },
    /// D12: the person would have too many ids of a kind.
    TooManyOfKind {
        /// Which kind, by its place in the policy's list.
        kind: KindNo,
        /// Its `max_per_person`.
        limit: u32,
        /// How many ids of it the person of T has, or T would bring.
        of_target: u32,
        /// How many the person of S has, or S would bring.
        of_source: u32,
        /// The record of the policy.
        by: Seq,
    },
    /// H1: the record named is not an operation of T's component.
    NotRetractable {
        /// The operation's own record.
        by: Seq,
    },
    /// H1: the record named counts as never asked already.
    AlreadyRetracted {
        /// The retract that took it back.
        by: Seq,
    },
    /// H2: T has no person that could be parted.
    NoPerson {
        /// The record that defined T.
        by: Seq,
    },
    /// H2: no id named belongs to the person of T.
    OtherPerson {
        /// The first of them.
        id: IdNo,
        /// The record by which it is with its person, or which defined it.
        by: Seq,
    },
    /// H5: the id is of this class already.
    AlreadyOfClass {
        /// The reclassification by which it is, or the record that defined it.
        by: Seq,
    },
    /// H2: all ids of the person are named; none would stay.
    WholePerson {
        /// The operation's own record.
        by: Seq,
    },
}

impl Outcome {
    /// The same with ids and devices numbered by what `ids` and `devices` hold in their places. Persons keep their numbers.
    pub(crate) fn relabelled(self, ids: &[IdNo], devices: &[DeviceNo]) -> Outcome {
        let id = |of: IdNo| ids[of.index()];
        let device = |of: DeviceNo| devices[of.index()];
        Outcome {
            link: self.link.map(|link| match link {
                Link::Joined(joined) => Link::Joined(id(joined)),
                absorbed @ Link::Absorbed { .. } => absorbed,
            }),
            device: self.device.map(|effect| match effect {
                DeviceEffect::SpeaksFor(of, spoken) => DeviceEffect::SpeaksFor(device(of), id(spoken)),
                DeviceEffect::Reset(of, fresh) => DeviceEffect::Reset(device(of), id(fresh)),
            }),
            shared: self.shared.map(|effect| match effect {
                SharedEffect::SignedIn(shared) => SharedEffect::SignedIn(id(shared)),
                SharedEffect::SignedOut(shared) => SharedEffect::SignedOut(id(shared)),
            }),
            notices: Notices {
                not_parted: self.notices.not_parted.map(|ids| NotParted { id: id(ids.id), ..ids }),
                ..self.notices
            },
            refusal: self.refusal.map(|refusal| refusal.of(id)),
            ..self
        }
    }
}

impl Refusal {
    /// The same with ids numbered by what `ids` gives for them.
    pub(crate) fn of(self, ids: impl Fn(IdNo) -> IdNo) -> Refusal {
        match self {
            Refusal::Unmergeable { id, by } => Refusal::Unmergeable { id: id.map(ids), by },
            Refusal::TooManyUserIds { held, limit, by } => {
                Refusal::TooManyUserIds { held: ids(held), limit, by }
            }
            Refusal::OtherPerson { id, by } => Refusal::OtherPerson { id: ids(id), by },
            without_ids => without_ids,
        }
    }

    /// The id it speaks of.
    pub(crate) fn id(&self) -> Option<IdNo> {
        match self {
            Refusal::Unmergeable { id, .. } => *id,
            Refusal::TooManyUserIds { held, .. } => Some(*held),
            Refusal::OtherPerson { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// The person it speaks of.
    pub(crate) fn person(&self) -> Option<PersonNo> {
        match self {
            Refusal::JoinsIdentified { person, .. } | Refusal::SourceIdentified { person, .. } => {
                Some(*person)
            }
            _ => None,
        }
    }

    /// The rule's number in `docs/semantics.md`.
    pub fn rule(&self) -> &'static str {
        match self {
            Refusal::ProcessingOff { .. } => "C7",
            Refusal::Unmergeable { .. } => "B2",
            Refusal::JoinsIdentified { .. } => "D3",
            Refusal::SourceIdentified { .. } => "D6",
            Refusal::TooManyMovedIds { .. } | Refusal::TooManyIds { .. } => "D8",
            Refusal::TooManyUserIds { .. } => "D9",
            Refusal::TooManyOfKind { .. } => "D12",
            Refusal::NotRetractable { .. } | Refusal::AlreadyRetracted { .. } => "H1",
            Refusal::NoPerson { .. } | Refusal::OtherPerson { .. } | Refusal::WholePerson { .. } => "H2",
            Refusal::AlreadyOfClass { .. } => "H5",
        }
    }

    /// A stable name, as the command line prints it.
    pub fn name(&self) -> &'static str {
        match self {
            Refusal::ProcessingOff { .. } => "processing_off",
            Refusal::Unmergeable { .. } => "unmergeable_id",
            Refusal::JoinsIdentified { .. } => "joins_identified_person",
            Refusal::SourceIdentified { .. } => "source_identified",
            Refusal::TooManyMovedIds { .. } => "too_many_moved_ids",
            Refusal::TooManyIds { .. } => "too_many_ids",
            Refusal::TooManyUserIds { .. } => "too_many_user_ids",
            Refusal::TooManyOfKind { .. } => "too_many_ids_of_kind",
            Refusal::NotRetractable { .. } => "not_retractable",
            Refusal::AlreadyRetracted { .. } => "already_retracted",
            Refusal::NoPerson { .. } => "no_person",
            Refusal::OtherPerson { .. } => "id_of_another_person",
            Refusal::WholePerson { .. } => "whole_person",
            Refusal::AlreadyOfClass { .. } => "already_of_class",
        }
    }

    /// The record that blocks it.
    pub fn blocking(&self) -> Seq {
        match self {
            Refusal::ProcessingOff { by }
            | Refusal::Unmergeable { by, .. }
            | Refusal::JoinsIdentified { by, .. }
            | Refusal::SourceIdentified { by, .. }
            | Refusal::TooManyMovedIds { by, .. }
            | Refusal::TooManyIds { by, .. }
            | Refusal::TooManyUserIds { by, .. }
            | Refusal::TooManyOfKind { by, .. }
            | Refusal::NotRetractable { by }
            | Refusal::AlreadyRetracted { by }
            | Refusal::NoPerson { by }
            | Refusal::OtherPerson { by, .. }
            | Refusal::WholePerson { by }
            | Refusal::AlreadyOfClass { by } => *by,
        }
    }
}
