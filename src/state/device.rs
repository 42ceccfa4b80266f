//! Devices: for whom each one speaks (section F).
//!
//! The shell resolves a device before it writes; the fold follows what was written. Both take the same step,
//! [`Device::follow`], so they cannot disagree.

use crate::record::{Body, DeviceNo, Flags, IdNo, Other};
use crate::row::{Kind, Row};

/// What is known of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// The id it speaks for (F2).
    pub current: IdNo,
    /// The id it had before anybody identified; dialect `core` links it again and again (F3).
    pub anonymous: IdNo,
    /// Whether somebody identified on it since the last reset.
    pub identified: bool,
    /// Whether an identify, alias or set asked for a profile since the last reset (F8).
    pub profiled: bool,
}

impl Device {
    /// A device that speaks for `id` and has no user (F1, F4).
    pub(crate) fn anonymous(id: IdNo) -> Device {
        Device { current: id, anonymous: id, identified: false, profiled: false }
    }

    /// What an operation that this device spoke makes of it. With processing off nothing but a reset changes it (C7).
    pub(crate) fn follow(&mut self, said: Said) {
        let on = !said.flags.has(Flags::PROCESSING_OFF);
        match said.kind {
            Kind::Reset => *self = Device::anonymous(said.id),
            Kind::Identify if on => {
                if self.current != said.id {
                    // What it spoke for before is what dialect `core` links next (F3).
                    self.anonymous = self.current;
                    self.current = said.id;
                }
                self.identified = true;
                self.profiled = true;
            }
            Kind::Switch if on => self.current = said.id,
            Kind::Alias | Kind::Merge | Kind::Set if on => self.profiled = true,
            _ => {}
        }
    }

    /// Whether a record that this device spoke may name these ids, given what the device is before it (F2, F3).
    pub(crate) fn could_say(&self, said: Said) -> bool {
        match (said.kind, said.other) {
            (Kind::Capture | Kind::Alias | Kind::Merge | Kind::Set, _) => said.id == self.current,
            (Kind::Identify, Other::Id(id)) => {
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
    other: Other,
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

    /// As [`Said::of`], for a record that is about to be written; `None` if it is no operation.
    pub(crate) fn of_body(body: &Body) -> Option<Said> {
        let head = body.head()?;
        let (kind, fresh) = match body {
            Body::Capture(..) => (Kind::Capture, None),
            Body::Identify(..) => (Kind::Identify, None),
            Body::Alias(..) => (Kind::Alias, None),
            Body::Merge(..) => (Kind::Merge, None),
            Body::Set(..) => (Kind::Set, None),
            Body::Switch(..) => (Kind::Switch, None),
            Body::Reset(_, fresh, _) => (Kind::Reset, *fresh),
            Body::Retract(..) => (Kind::Retract, None),
            Body::Split(..) => (Kind::Split, None),
            _ => return None,
        };
        let devices = [head.device, fresh];
        Some(Said { kind, id: head.id, other: body.other(), flags: head.flags, devices })
    }
}
