//! What the reference model knows of operations it saw before: whether another says the same (G4), whatever was erased of it.

use std::collections::BTreeSet;

use crate::model::operation::{Actor, Changes, ImportFixups, Operation, Processing, Request, Source};

/// What was recorded under an operation id.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) operation: Operation,
    /// What its processing came to.
    pub(super) processing: Processing,
    /// Its place among all that was recorded.
    pub(super) place: usize,
    /// T: the id that the operation speaks for.
    pub(super) spoke: String,
    /// Texts of it that were erased: they may have been any.
    pub(super) forgotten: BTreeSet<String>,
    /// Whether its values were erased: they may have been any.
    pub(super) values_forgotten: bool,
    /// Whether its own id was erased.
    pub(super) is_forgotten: bool,
}

impl Seen {
    /// H3: `goes` says whether it is one that these ids take with them.
    pub(super) fn erase(&mut self, ids: &BTreeSet<String>, keys: &BTreeSet<String>, goes: bool) {
        if keys.is_empty() {
            self.forgotten.extend(ids.iter().cloned());
        }
        let valued = self.operation.changes.valued().into_iter().flat_map(|(_, all)| all.keys());
        let valued = valued.into_iter().any(|key| keys.contains(key.as_str()));
        let touched = keys.is_empty() || valued && self.processing != Processing::Off;
        if goes && touched {
            self.values_forgotten = true;
            self.is_forgotten |= self.operation.derived_id;
        }
    }

    /// G4: whether `other` says the same. What a device left unsaid says whatever F8 made of it then; with processing off,
    /// property changes say nothing; how an SDK is set up is not part of what it says.
    pub(super) fn says(&self, other: &Operation) -> bool {
        let reset = matches!(
            other.request,
            Request::Reset { .. }
                | Request::Retract { .. }
                | Request::Split { .. }
                | Request::Reclassify { .. }
        );
        let invalid = |processing| processing == Processing::Invalid;
        let processing = match other.processing {
            Processing::Unsaid if other.device().is_some() => !invalid(self.processing),
            _ if reset => invalid(other.processing) == invalid(self.processing),
            Processing::Unsaid => self.processing == Processing::On,
            said => self.processing == said,
        };
        let changes = reset || self.processing == Processing::Off || self.same_changes(&other.changes);
        let mine = &self.operation;
        let asked = |request: &Request| {
            let (kind, mut texts) = self.without_forgotten(&mine.request, request);
            if let Request::Capture { .. } = request {
                texts.truncate(2); // a copy's own properties do not count
            }
            (kind, texts)
        };
        if other.is_copy {
            return asked(&mine.request) == asked(&other.request);
        }
        let is_clamped = mine.bent.clamped_time || other.bent.clamped_time; // G5: by when each of the two came
        let bent = |bent: ImportFixups| ImportFixups { clamped_time: is_clamped, ..bent };
        processing
            && changes
            && (mine.time == other.time || other.time_by_arrival || is_clamped)
            && (mine.derived_id, bent(mine.bent)) == (other.derived_id, bent(other.bent))
            && self.without_forgotten(&mine.request, &mine.request)
                == self.without_forgotten(&mine.request, &other.request)
    }

    pub(super) fn same_changes(&self, other: &Changes) -> bool {
        let mine = &self.operation.changes;
        let keys = |changes: &Changes| {
            let valued = changes.valued().map(|(_, all)| all.keys().cloned().collect::<Vec<_>>());
            (valued, changes.unset.clone())
        };
        if self.values_forgotten { keys(mine) == keys(other) } else { mine == other }
    }

    /// A request with a blank in each place where `mine` has a text that was erased.
    pub(super) fn without_forgotten(
        &self,
        mine: &Request,
        request: &Request,
    ) -> (std::mem::Discriminant<Request>, Vec<Option<String>>) {
        let theirs = texts_of(request);
        let mine = texts_of(mine);
        let blank = |(mine, theirs): (Option<String>, Option<String>)| {
            let forgotten = mine.is_some_and(|mine| self.forgotten.contains(&mine[1..]));
            theirs.map(|theirs| if forgotten { theirs[..1].to_owned() } else { theirs })
        };
        let same_length = mine.len() == theirs.len();
        let texts = if same_length { mine.into_iter().zip(theirs).map(blank).collect() } else { theirs };
        (std::mem::discriminant(request), texts)
    }
}

/// Whatever a request says in texts, each in its place, with a letter for what it is.
fn texts_of(request: &Request) -> Vec<Option<String>> {
    let who_of = |who: &Actor| match who {
        Actor::Id(id) => Some(format!("i{id}")),
        Actor::Device(device) => Some(format!("d{device}")),
    };
    let source = |source: &Option<Source>| match source {
        None => None,
        Some(Source::Unstorable) => Some("?".to_owned()),
        Some(Source::Id(id)) => Some(format!("i{id}")),
    };
    match request {
        Request::Capture { who, event, properties } => {
            let event = event.as_ref().map(|event| format!("e{event}"));
            vec![who_of(who), event, Some(format!("p{properties:?}"))]
        }
        Request::Identify { who, anonymous } => vec![who_of(who), source(anonymous)],
        Request::Alias { who, alias } | Request::Merge { who, alias } => vec![who_of(who), source(alias)],
        Request::Set { who } => vec![who_of(who)],
        Request::DeviceIdentify { device, user } => {
            vec![Some(format!("d{device}")), Some(format!("i{user}"))]
        }
        Request::Reset { device, reset_device, new_id } => vec![
            Some(format!("d{device}")),
            Some(format!("r{reset_device}")),
            new_id.as_ref().map(|id| format!("i{id}")),
        ],
        Request::Reclassify { id, class } => vec![Some(format!("i{id}")), Some(format!("c{class:?}"))],
        Request::Retract { target } => vec![Some(format!("t{target:?}"))],
        Request::Split { id, ids, mode } => {
            let ids = ids.iter().map(|id| Some(format!("i{id}")));
            [Some(format!("i{id}")), Some(format!("m{mode:?}"))].into_iter().chain(ids).collect()
        }
    }
}
