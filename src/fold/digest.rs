//! The state digest: one number that two equal states share and two different ones do not (A2).
//!
//! It covers structure - numbers, links, flags, times, counts, and for each profile key the record that won it - and no
//! salt, value, text or derived id. So erasure leaves it as it was. The order and width of fields are set in stone:
//! `docs/format.md`, "State digest".

use std::collections::{BTreeMap, BTreeSet};

use crate::fold::State;
use crate::fold::delta::{Deltas, Mark, Write};
use crate::fold::erasures::{Erasures, Left};
use crate::fold::generations::{Former, Generations, Reclassified};
use crate::fold::links::PersonNo;
use crate::fold::shared::{Interval, Intervals, SharedIds};
use crate::log::body::{IdNo, StoredPolicy};
use crate::log::codec;
use crate::log::digest::{Digest, Hasher, Purpose};

impl State {
    /// The digest of this state.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new(Purpose::State);
        self.canonical(|piece| {
            hasher.update(piece);
        });
        hasher.finish()
    }

    /// Shows the state's canonical bytes, piece by piece. Two equal states have the same bytes, and
    /// [`State::from_canonical`] reads them back.
    pub(crate) fn canonical(&self, each: impl FnMut(&[u8])) {
        let mut out = Out { each, buffer: Vec::with_capacity(BUFFER + 256) };
        out.u64(self.records.into());
        out.u32(self.policy_seq);
        StoredPolicy::from(&self.policy).write(&mut out.buffer);

        out.u64(self.links.ids().len() as u64);
        for id in self.links.ids() {
            let leaf = self.links.leaf(id);
            let (first, since) = self.links.first(id);
            let (proof, proof_seq) =
                self.links.proof(id).map_or((u32::MAX, u32::MAX), |(id, seq)| (id.0, seq));
            out.byte(leaf.class_or_user() | self.kinds.of(id) << 2);
            [self.links.defined(id), first, since, proof, proof_seq, leaf.events, leaf.identified_events]
                .into_iter()
                .for_each(|field| out.u32(field));
        }
        out.u64(self.persons.len() as u64);
        for (number, person) in (0..).map(PersonNo).zip(&self.persons) {
            let (parent, since, carries) = self.links.slot(number);
            [
                person.founding.0,
                self.origin(number).founded,
                person.identified_by,
                person.users,
                person.first_user,
            ]
            .into_iter()
            .chain([parent, since, carries])
            .for_each(|field| out.u32(field));
            out.u64(person.created_at as u64);
            let entries = self.profiles.entries(person.profile);
            out.u64(entries.len() as u64);
            for property in entries {
                out.u32(property.key.0);
                out.u32(property.seq);
                out.u32(property.place.into());
            }
        }
        out.u64(self.links.carried().count() as u64);
        for (slot, since, person) in self.links.carried() {
            [slot, since, person.0].into_iter().for_each(|field| out.u32(field));
        }
        out.u64(self.devices.len() as u64);
        for device in &self.devices {
            out.u32(device.current.0);
            out.u32(device.anonymous.0);
            out.byte(u8::from(device.identified) | u8::from(device.profiled) << 1);
        }
        out.u32(self.keys);
        if !self.generations.is_empty() {
            self.canonical_generations(&mut out);
        }
        if !self.erasures.is_empty() {
            self.canonical_erasures(&mut out);
        }
        if let Some(followed) = &self.followed {
            out.u32(FOLLOWED);
            codec::encode(&**followed, &mut out.buffer);
        }
        if !self.shared.is_empty() {
            self.canonical_shared(&mut out);
        }
        if !self.generations.reclassified.is_empty() {
            self.canonical_classes(&mut out);
        }
        if !self.deltas.is_empty() {
            self.canonical_deltas(&mut out);
        }
        if !self.marks.is_empty() {
            self.canonical_marks(&mut out);
        }
        (out.each)(&out.buffer);
    }

    /// Which ids are or were shared, and for whom they speak (D13).
    fn canonical_shared(&self, out: &mut Out<impl FnMut(&[u8])>) {
        let SharedIds { ids, intervals, .. } = &self.shared;
        let all: BTreeSet<IdNo> = ids.iter().chain(intervals.keys()).copied().collect();
        out.u32(SHARED);
        out.u64(all.len() as u64);
        let none = Intervals::default();
        for id in all {
            let Intervals { stand, former, .. } = intervals.get(&id).unwrap_or(&none);
            out.u32(id.0);
            out.byte(u8::from(ids.contains(&id)));
            out.u64(stand.len() as u64);
            for Interval { begin, since, whom } in stand {
                [*begin, *since, *whom].into_iter().for_each(|field| out.u32(field));
            }
            out.u64(former.len() as u64);
            for (Interval { begin, since, whom }, until) in former {
                [*begin, *since, *whom, *until].into_iter().for_each(|field| out.u32(field));
            }
        }
    }

    /// What is known of event times (E8).
    fn canonical_marks(&self, out: &mut Out<impl FnMut(&[u8])>) {
        out.u32(EVENT_TIMES);
        out.u64(self.marks.values().map(BTreeMap::len).sum::<usize>() as u64);
        for (person, marks) in &self.marks {
            for (key, Mark { floor, sets, once }) in marks {
                out.u32(person.0);
                out.u32(key.0);
                out.byte(u8::from(floor.is_some()) | u8::from(*sets) << 1 | u8::from(once.is_some()) << 2);
                [floor, once].into_iter().flatten().for_each(|write| out.write(*write));
            }
        }
    }

    /// The relative changes that count (E9).
    fn canonical_deltas(&self, out: &mut Out<impl FnMut(&[u8])>) {
        out.u32(RELATIVE);
        out.u64(self.deltas.values().map(BTreeMap::len).sum::<usize>() as u64);
        for (person, deltas) in &self.deltas {
            for (key, Deltas { alone, list }) in deltas {
                out.u32(person.0);
                out.u32(key.0);
                out.byte((*alone).into());
                out.u64(list.len() as u64);
                list.iter().for_each(|write| out.write(*write));
            }
        }
    }

    /// What retracts and splits left behind; nothing is written where there were none.
    fn canonical_generations(&self, out: &mut Out<impl FnMut(&[u8])>) {
        let Generations {
            retired,
            origins,
            former,
            retractions,
            latest: _,
            anchors: _,
            reclassified: _, // a part of their own
            devices: _,
            due_resets: _,
            moved: _,
            refolded: _,
        } = &self.generations;
        out.u32(GENERATIONS);
        out.u64(retired.len() as u64);
        for (person, successor) in retired {
            out.u32(person.0);
            out.u32(successor.map_or(u32::MAX, |successor| successor.0));
        }
        out.u64(origins.len() as u64);
        for (person, origin) in origins {
            out.u32(person.0);
            out.u32(origin.founded);
            out.byte(origin.split.into());
        }
        out.u64(former.values().map(Vec::len).sum::<usize>() as u64);
        for (id, formers) in former {
            for Former { until, slot, since } in formers {
                [id.0, *until, *slot, *since].into_iter().for_each(|field| out.u32(field));
            }
        }
        let pairs = retractions.iter().flat_map(|(target, by)| by.iter().map(move |by| (*target, *by)));
        out.pairs(retractions.values().map(Vec::len).sum(), pairs);
        out.pairs(self.links.left().len(), self.links.left());
    }
}

/// Begins the part of the state that retracts and splits make, before that of erasures; likewise.
pub(super) const GENERATIONS: u32 = 1;
/// Begins the part of the state that erasures make. A state without any has no such part, and the bytes it always had.
pub(super) const ERASURES: u32 = 2;
/// Begins the part of a state that follows a log; likewise.
pub(super) const FOLLOWED: u32 = 3;
/// Begins the part that reclassifications make; likewise.
pub(super) const RECLASSIFIED: u32 = 4;
/// Begins the part that values by event time make; likewise, and the last. Number 5 was that of a part which knew less.
pub(super) const EVENT_TIMES: u32 = 7;
/// Begins the part that relative changes make, before that of event times; likewise.
pub(super) const RELATIVE: u32 = 8;
/// Begins the part that shared ids make, before that of reclassifications; likewise.
pub(super) const SHARED: u32 = 6;

impl State {
    fn canonical_classes(&self, out: &mut Out<impl FnMut(&[u8])>) {
        out.u32(RECLASSIFIED);
        out.u64(self.generations.reclassified.len() as u64);
        for (id, Reclassified { defined, by }) in &self.generations.reclassified {
            out.u32(id.0);
            out.u32(*by);
            out.byte(defined.0);
        }
    }

    fn canonical_erasures(&self, out: &mut Out<impl FnMut(&[u8])>) {
        let Erasures {
            list,
            ids,
            devices,
            records,
            restated,
            renamed,
            called_after: _,
            remaining: _,
            done_beside: _,
            looked_through: _,
        } = &self.erasures;
        out.u32(ERASURES);
        out.pairs(list.len(), list.iter().map(|(seq, done)| (*seq, *done)));
        out.pairs(ids.len(), ids.iter().copied());
        out.pairs(devices.len(), devices.iter().map(|(device, by)| (*device, *by)));
        out.pairs(records.len(), records.iter().map(|(record, by)| (*record, *by)));
        out.u64(restated.len() as u64);
        for (record, Left { by, erased }) in restated {
            out.u32(*record);
            out.u32(*by);
            out.u64(erased.len() as u64);
            erased.iter().for_each(|place| out.u32((*place).into()));
        }
        out.u64(renamed.len() as u64);
        for (person, (id, by)) in renamed {
            [*person, *id, *by].into_iter().for_each(|field| out.u32(field));
        }
    }
}

/// Hashed at a time: BLAKE3 is at its fastest over large blocks.
const BUFFER: usize = 64 * 1_024;

struct Out<F> {
    each: F,
    buffer: Vec<u8>,
}

impl<F: FnMut(&[u8])> Out<F> {
    fn byte(&mut self, byte: u8) {
        self.buffer.push(byte);
    }

    fn u32(&mut self, number: u32) {
        self.buffer.extend_from_slice(&number.to_le_bytes());
        self.spill();
    }

    fn u64(&mut self, number: u64) {
        self.buffer.extend_from_slice(&number.to_le_bytes());
        self.spill();
    }

    fn write(&mut self, Write { time, seq, place }: Write) {
        self.u64(time as u64);
        self.u32(seq);
        self.u32(place.into());
    }

    fn pairs(&mut self, count: usize, pairs: impl Iterator<Item = (u32, u32)>) {
        self.u64(count as u64);
        for (first, second) in pairs {
            self.u32(first);
            self.u32(second);
        }
    }

    fn spill(&mut self) {
        if self.buffer.len() >= BUFFER {
            (self.each)(&self.buffer);
            self.buffer.clear();
        }
    }
}
