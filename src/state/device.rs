//! Devices: for whom each one speaks (section F).
//!
//! The shell resolves a device before it writes; the fold follows what was written. Both take the same step,
//! [`Device::follow`], so they cannot disagree.

use crate::record::{Body, DeviceNo, Flags, IdNo, Other};

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
    pub(crate) fn follow(&mut self, body: &Body) {
        let Some(head) = body.head() else { return };
        let on = !head.flags.has(Flags::PROCESSING_OFF);
        match body {
            Body::Reset(..) => *self = Device::anonymous(head.id),
            Body::Identify(..) if on => {
                if self.current != head.id {
                    // What it spoke for before is what dialect `core` links next (F3).
                    self.anonymous = self.current;
                    self.current = head.id;
                }
                self.identified = true;
                self.profiled = true;
            }
            Body::Switch(..) if on => self.current = head.id,
            Body::Alias(..) | Body::Merge(..) | Body::Set(..) if on => self.profiled = true,
            _ => {}
        }
    }

    /// Whether a record that this device spoke may name these ids, given what the device is before it (F2, F3).
    pub(crate) fn could_say(&self, body: &Body) -> bool {
        let Some(head) = body.head() else { return false };
        match (body, body.other()) {
            (Body::Capture(..) | Body::Alias(..) | Body::Merge(..) | Body::Set(..), _) => {
                head.id == self.current
            }
            (Body::Identify(..), Other::Id(id)) => {
                head.id == self.current || id == self.current || id == self.anonymous
            }
            _ => true,
        }
    }
}

/// The devices a record speaks for or makes anew.
pub(crate) fn devices_of(body: &Body) -> impl Iterator<Item = DeviceNo> {
    let speaker = body.head().and_then(|head| head.device);
    let fresh = if let Body::Reset(_, fresh, _) = body { *fresh } else { None };
    [speaker, fresh].into_iter().flatten()
}
