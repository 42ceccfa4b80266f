//! Devices: for whom each one speaks (section F). The shell resolves a device before it writes; the fold only follows.

use crate::record::IdNo;

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
    pub(super) fn anonymous(id: IdNo) -> Device {
        Device { current: id, anonymous: id, identified: false, profiled: false }
    }

    /// F3: somebody identified as `user`. What the device spoke for before becomes the id that dialect `core` links next.
    pub(super) fn identify(&mut self, user: IdNo) {
        if user != self.current {
            self.anonymous = self.current;
            self.current = user;
        }
        self.identified = true;
        self.profiled = true;
    }
}
