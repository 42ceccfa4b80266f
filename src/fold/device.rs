//! Devices: for whom each one speaks (section F).
//!
//! The shell resolves a device before it writes; the fold follows what was written. Both take the same step,
//! [`Device::follow`], so they cannot disagree.

use crate::log::body::{Asked, AskedVerb, DeviceNo, Flags, IdNo, LinkSource};
use crate::log::kind::Kind;
use crate::log::record::Row;

/// What is known of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// The id it speaks for (F2).
    pub current: IdNo,
    /// The id it had before anybody identified; dialect `core` links it again and again (F3).
    pub anonymous: IdNo,
    /// Whether a user was identified on it since the last reset.
    pub identified: bool,
    /// Whether an identify, alias or set asked for a profile since the last reset (F8).
    pub profiled: bool,
}

impl DeviceState {
    /// A device that speaks for `id` and has no user (F1, F4).
    pub(crate) fn anonymous(id: IdNo) -> DeviceState {
        DeviceState { current: id, anonymous: id, identified: false, profiled: false }
    }

    /// What an operation that this device spoke makes of it. With processing off nothing but a reset changes it (C7).
    pub(crate) fn follow(&mut self, said: Said) {
        let on = !said.flags.has(Flags::PROCESSING_OFF);
        match said.kind {
            Kind::Reset => *self = DeviceState::anonymous(said.id),
            Kind::Identify if on => {
                if self.current != said.id {
                    // What it spoke for before is what dialect `core` links next (F3).
                    self.anonymous = self.current;
                    self.current = said.id;
                }
                self.identified = true;
                self.profiled = true;
            }
            Kind::Switch if on => {
                // A device that switches has a user, also if the identify before it was retracted (H1).
                self.current = said.id;
                self.identified = true;
                self.profiled = true;
            }
            Kind::Alias | Kind::Merge | Kind::Set if on => self.profiled = true,
            _ => {}
        }
    }

    /// Whether a record that this device spoke may name these ids, given what the device is before it (F2, F3).
    pub(crate) fn could_say(&self, said: Said) -> bool {
        match (said.kind, said.other) {
            (Kind::Capture | Kind::Alias | Kind::Merge | Kind::Set, _) => said.id == self.current,
            (Kind::Identify, LinkSource::Id(id)) => {
                said.id == self.current || id == self.current || id == self.anonymous
            }
            _ => true,
        }
    }
}

/// What a device needs to know of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    kind: Kind,
    id: IdNo,
    other: LinkSource,
    flags: Flags,
    /// The devices it concerns: the speaker, and the one a reset makes.
    devices: [Option<DeviceNo>; 2],
}

impl Said {
    pub(crate) fn devices(self) -> impl Iterator<Item = DeviceNo> {
        self.devices.into_iter().flatten()
    }

    pub(crate) fn of(row: &Row) -> Said {
        let devices = [row.device(), row.fresh_device()];
        Said { kind: row.kind, id: row.id, other: row.other(), flags: row.flags, devices }
    }

    /// As [`Said::of`], for a record that is about to be written.
    pub(crate) fn of_asked(asked: &Asked) -> Said {
        let Asked { head, verb, .. } = asked;
        let fresh = if let AskedVerb::Reset(fresh) = verb { *fresh } else { None };
        let devices = [head.device, fresh];
        Said { kind: verb.kind(), id: head.id, other: verb.other(), flags: head.flags, devices }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F2, F3: a device speaks for the id it has. An identify may name another, and links one that it had.
    #[test]
    fn a_device_says_what_it_could() {
        let [current, anonymous, other] = [IdNo(1), IdNo(2), IdNo(3)];
        let device = DeviceState { current, anonymous, identified: true, profiled: true };
        let could = |kind, id, other| {
            device.could_say(Said { kind, id, other, flags: Flags::default(), devices: [None; 2] })
        };
        for kind in [Kind::Capture, Kind::Alias, Kind::Merge, Kind::Set] {
            let found = [current, anonymous, other].map(|id| could(kind, id, LinkSource::None));
            assert_eq!(found, [true, false, false], "{kind:?}");
        }
        for kind in [Kind::Switch, Kind::Reset] {
            assert!(could(kind, other, LinkSource::None), "{kind:?}: it speaks for another id from here on");
        }
        // T and S of an identify: who it is now comes first, and what is linked is one of its own.
        let links = [
            (current, LinkSource::Id(other), true),
            (other, LinkSource::Id(current), true),
            (other, LinkSource::Id(anonymous), true),
            (anonymous, LinkSource::Id(other), false),
            (other, LinkSource::Id(IdNo(4)), false),
            (other, LinkSource::None, true),
        ];
        for (id, linked, expected) in links {
            assert_eq!(could(Kind::Identify, id, linked), expected, "{id:?} {linked:?}");
        }
    }
}
