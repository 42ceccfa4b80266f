//! First mentions: how an id came into the log, which is part of its class (B4, D9). A record does not say it; the records
//! around the definition do. The audit and what-if ask here. It knows no texts, and so no classes.

use std::collections::BTreeSet;

use crate::log::body::IdNo;
use crate::log::kind::Kind;
use crate::log::record::Row;
use crate::model::policy::FirstMention;

/// What was defined since the last record that defines nothing: that record is the one that needed it.
#[derive(Debug, Default)]
pub(crate) struct PendingDefinitions {
    ids: Vec<IdNo>,
    /// The ids that new devices begin with.
    devices: BTreeSet<IdNo>,
}

impl PendingDefinitions {
    /// Notes an id.
    pub(crate) fn id(&mut self, id: IdNo) {
        self.ids.push(id);
    }

    /// Notes a device, which begins with `id` (F1).
    pub(crate) fn device(&mut self, id: IdNo) {
        self.devices.insert(id);
    }

    /// Whether nothing waits for its first mention.
    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.devices.is_empty()
    }

    /// How `next`, the record after the definitions (or the log's end), mentions `id` first: as an id made for a device, or
    /// plainly.
    pub(crate) fn first_mention(&self, id: IdNo, next: Option<&Row>) -> FirstMention {
        if self.begins_device(id, next) { FirstMention::Device } else { FirstMention::Plain }
    }

    /// Whether a device begins with `id`: one that is defined here, or one that `next` resets (F1, F4).
    pub(crate) fn begins_device(&self, id: IdNo, next: Option<&Row>) -> bool {
        self.devices.contains(&id) || next.is_some_and(|row| row.kind == Kind::Reset && row.id == id)
    }

    /// The ids that `next` mentions first, each with how; nothing waits any more then.
    pub(crate) fn settle(&mut self, next: Option<&Row>, mut each: impl FnMut(IdNo, FirstMention)) {
        for id in &self.ids {
            each(*id, self.first_mention(*id, next));
        }
        self.ids.clear();
        self.devices.clear();
    }
}
