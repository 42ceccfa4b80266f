//! `apply`: the only writer of [`State`]. One record in, one outcome out, by the rules of `docs/semantics.md`.

use crate::fold::delta::Known;
use crate::fold::device::{DeviceState, Said};
use crate::fold::links::{NONE, PersonNo, near};
use crate::fold::outcome::{DeviceEffect, Link, Outcome, Refusal, SharedEffect};
use crate::fold::profile::{Profile, PropertyCounts};
use crate::fold::{Past, Person, State};
use crate::log::body::{AskedVerb, Body, Change, DeviceNo, Flags, IdNo, LinkSource, StoredClass};
use crate::log::kind::Kind;
use crate::log::record::{Record, Row};
use crate::model::id::Seq;
use crate::model::kind::KindNo;
use crate::model::policy::{IdClass, Survivor, ValuesBy};

/// Who asks to link two ids; each rule of section D looks at it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// Identify or alias.
    Ordinary,
    /// `merge_dangerously`: D3 strict, D6, D9 and D12 do not apply (C4).
    Merge,
}

/// How many records [`State::prefetch`] looks at together: more than any processor has reads under way, and few enough that
/// what was read is still near when it is used.
pub(crate) const FORESEEN: usize = 16;

/// One operation's record on its way through the fold.
#[derive(Clone, Copy)]
struct Asked<'a> {
    record: Record<'a>,
    row: &'a Row,
    /// The id that it speaks for: T, or for whom T speaks (D13).
    id: IdNo,
    changes: &'a [Change],
}

impl Asked<'_> {
    fn processing(&self) -> bool {
        !self.row.flags.has(Flags::PROCESSING_OFF)
    }

    fn own(&self) -> Seq {
        Seq(self.row.seq.into())
    }
}

/// What an operation did to the device that spoke it.
fn device_effect(row: &Row, device: DeviceNo) -> Option<DeviceEffect> {
    let on = !row.flags.has(Flags::PROCESSING_OFF);
    match row.kind {
        Kind::Reset => Some(DeviceEffect::Reset(row.fresh_device().unwrap_or(device), row.id)),
        Kind::Identify | Kind::Switch if on => Some(DeviceEffect::SpeaksFor(device, row.id)),
        _ => None,
    }
}

impl State {
    /// Folds one record into the state. Gives the outcome of an operation; `None` for definitions, policies and the like,
    /// which are not operations (A4).
    ///
    /// Total and pure: it depends on nothing but its arguments. Only the rare records that refold a component
    /// look at `past` (section H).
    ///
    /// # Panics
    /// When the record is not the next one, or `past` lacks what it needs. Records come from a walk, which gives them in order and
    /// with their past.
    pub(crate) fn apply(&mut self, record: Record<'_>, past: &Past) -> Option<Outcome> {
        let mut outcome = Outcome::NOTHING;
        self.apply_to(record, past, &mut outcome).then_some(outcome)
    }

    /// As [`State::apply`], and says in `outcome`, where nothing stands yet, what an operation did: handed from function to
    /// function, an outcome costs more than what it tells. Gives whether the record was an operation.
    #[inline]
    pub(crate) fn apply_to(&mut self, record: Record<'_>, past: &Past, outcome: &mut Outcome) -> bool {
        let row = record.row;
        assert!(row.seq == self.records, "records are folded in the order of the chain");
        self.records += 1;
        if !row.is_operation() {
            self.define(record);
            return false;
        }
        if row.refolds() {
            *outcome = self.refold(record, past);
        } else {
            self.operation(record, outcome);
        }
        true
    }

    /// Folds a record that does nothing but count an event, as most do, and whose outcome is [`Outcome::NOTHING`]. `false` for
    /// any other: then nothing was done, and [`State::apply`] is due.
    #[inline] // a few instructions with the walk's loop around them: most records' waits for memory overlap
    pub(crate) fn count_alone(&mut self, row: &Row) -> bool {
        assert!(row.seq == self.records, "records are folded in the order of the chain");
        if row.kind != Kind::Capture || row.has_changes() || row.flags.has_notices() {
            return false;
        }
        let off = row.flags.has(Flags::PROCESSING_OFF);
        let leaf = self.links.leaf_mut(row.id);
        if leaf.class() == IdClass::Unmergeable.into() && !self.shared.is_empty() {
            return false; // it may go with another id (D13)
        }
        let alone = off | leaf.has_person(); // C1
        if alone {
            leaf.events += 1;
            leaf.identified_events += u32::from(!off);
            self.records += 1;
        }
        alone
    }

    fn define(&mut self, record: Record<'_>) {
        let row = record.row;
        match row.kind {
            Kind::DefineId => self.define_id(row.seq, row.class()),
            Kind::DefineDevice => self.devices.push(DeviceState::anonymous(row.id)),
            Kind::DefineKey => self.keys += 1,
            Kind::Erase | Kind::EraseDone | Kind::Restate => self.erase(row.seq, &record.body()),
            Kind::Followed => {
                if let Body::Followed(followed) = record.body() {
                    self.followed = Some(followed);
                }
            }
            _ if self.supposed => {} // H4: the log's policies do not count
            _ => {
                if let Body::Genesis(policy) | Body::SetPolicy(policy) = record.body() {
                    self.policy = policy.policy().expect("Chain::accept checked the policy");
                    self.policy_seq = row.seq;
                }
            }
        }
    }

    pub(super) fn define_id(&mut self, seq: u32, class: StoredClass) {
        let id = IdNo(self.links.ids().len() as u32); // MAX_RECORDS bounds it
        self.links.define(seq, class);
        self.kinds.set(id, class.kind());
        if IdClass::from(class) == IdClass::Shared {
            self.shared.set(id, true);
        }
    }

    fn operation(&mut self, record: Record<'_>, outcome: &mut Outcome) {
        let row = record.row;
        if let Some(device) = row.device() {
            self.leave_device(row, device, outcome);
            let said = Said::of(row);
            for device in said.devices() {
                self.devices[device.index()].follow(said);
                if row.kind == Kind::Reset {
                    self.generations.due_resets.remove(&device);
                }
            }
            outcome.device = device_effect(row, device);
        }
        let changes = if row.has_changes() { record.changes() } else { &[] };
        let asked = Asked { record, row, id: self.speaks_for(row.id, record.seq()), changes };
        match row.kind {
            Kind::Capture => self.capture(asked, outcome),
            Kind::Identify | Kind::Alias => self.link(asked, row.other(), Asker::Ordinary, outcome),
            Kind::Merge => self.link(asked, row.other(), Asker::Merge, outcome),
            Kind::Set => self.set(asked, outcome),
            Kind::Switch => self.switch(asked, outcome),
            _ => {} // a reset concerns its device alone
        }
        if row.flags.has_notices() {
            outcome.notices.invalid_processing = row.flags.has(Flags::INVALID_PROCESSING);
            outcome.notices.shortened_id = row.flags.has(Flags::SHORTENED_ID);
            outcome.notices.replaced_nul = row.flags.has(Flags::REPLACED_NUL);
            outcome.notices.clamped_time = row.flags.has(Flags::CLAMPED_TIME);
        }
    }

    /// Reads ahead what folding these records will read. Each record's memory is somewhere else, and waiting for one after
    /// the other is what a replay's time goes into: asked for together, the waits overlap. Changes nothing.
    ///
    /// Without branches that depend on the records, which a processor would guess wrong every few records.
    pub(crate) fn prefetch<'r>(&self, rows: impl Iterator<Item = &'r Row>) {
        let (mut seen, mut count) = (0, 0);
        // One step after the other, each for all of them: what a step finds the next one asks for, and none waits in between.
        let mut slots = [[0_u32; 2]; FORESEEN];
        let mut profiles = [[Profile::default(); 2]; FORESEEN];
        for (slots, row) in slots.iter_mut().zip(rows) {
            let ids = [row.id, row.other_end()];
            *slots = ids.map(|id| self.links.prefetch(id));
            seen ^= self.links.foresee_branch(ids[0]) ^ self.links.foresee_branch(ids[1]);
            count += 1;
        }
        for (profiles, slots) in profiles.iter_mut().zip(&slots[..count]) {
            // The person that a slot carries is nearly always the one it was founded for.
            *profiles = slots.map(|slot| {
                near(&self.persons, slot).map_or(Profile::default(), |person| {
                    seen ^= person.first_user;
                    person.profile
                })
            });
            seen ^= self.links.foresee_slot(slots[0]) ^ self.links.foresee_slot(slots[1]);
        }
        for profile in profiles[..count].as_flattened() {
            seen ^= self.profiles.prefetch(*profile);
        }
        std::hint::black_box(seen);
    }

    /// G3: counts an event of an id. Whether that is all it does: most captures touch one leaf, and no person.
    #[inline]
    fn count(&mut self, row: &Row, id: IdNo) -> bool {
        let processing = !row.flags.has(Flags::PROCESSING_OFF);
        let leaf = self.links.leaf_mut(id);
        leaf.events += 1;
        leaf.identified_events += u32::from(processing);
        // C1
        !processing || leaf.has_person() && (!row.has_changes() || row.flags.is_special_event())
    }

    /// C1, E3. A quiet event's changes apply if it is what founds the person.
    fn capture(&mut self, asked: Asked<'_>, outcome: &mut Outcome) {
        let unchanging = asked.row.flags.has(Flags::GROUP_IDENTIFY);
        outcome.notices.changes_dropped = unchanging && asked.row.has_changes() && asked.processing();
        if self.count(asked.row, asked.id) {
            return;
        }
        self.write(if unchanging { Asked { changes: &[], ..asked } } else { asked }, outcome);
    }

    /// C5; through a device with processing off it is a refusal (F8, `never`).
    fn set(&mut self, asked: Asked<'_>, outcome: &mut Outcome) {
        if asked.processing() {
            self.write(asked, outcome);
        } else {
            outcome.refusal = asked.row.device().map(|_| Refusal::ProcessingOff { by: asked.own() });
        }
    }

    /// F3, dialect `browser`: the device speaks for another id, and nothing is linked. Without property
    /// changes no person is founded: the SDK sends nothing either.
    fn switch(&mut self, asked: Asked<'_>, outcome: &mut Outcome) {
        if !asked.processing() {
            outcome.refusal = Some(Refusal::ProcessingOff { by: asked.own() });
            return;
        }
        self.sign_in(asked.row.id, self.links.person(asked.row.id), outcome);
        if !asked.changes.is_empty() {
            self.write(asked, outcome);
        }
    }

    /// D9: a sign-in as T, which from here on is a user if it is a named id.
    fn sign_in(&mut self, target: IdNo, to: Option<PersonNo>, outcome: &mut Outcome) {
        let leaf = self.links.leaf_mut(target);
        if leaf.is_user() || leaf.class() != IdClass::Named.into() {
            return;
        }
        leaf.sign_in();
        let Some(to) = to else { return };
        let person = &mut self.persons[to.index()];
        person.count_user(target);
        let Person { users, first_user, .. } = *person;
        if self.policy.max_user_ids.is_some_and(|limit| users > limit) {
            let since = self.links.since(IdNo(first_user)).expect("an id of a person came to it");
            outcome.notices.users_exceed_limit = Some(Seq(since.into()));
        }
    }

    /// Property changes on P(T), which is founded if need be.
    fn write(&mut self, asked: Asked<'_>, outcome: &mut Outcome) {
        let known = self.links.person(asked.id);
        let person = known.unwrap_or_else(|| self.found(asked));
        outcome.founded = known.is_none();
        outcome.written = self.change(person, asked);
        outcome.person = Some(person);
    }

    fn change(&mut self, person: PersonNo, asked: Asked<'_>) -> PropertyCounts {
        if asked.changes.is_empty() {
            return PropertyCounts::default(); // most records: no look at the person's memory
        }
        let by_time = self.policy.values_by == ValuesBy::EventTime;
        if !by_time && !asked.row.flags.has(Flags::RELATIVE) && self.is_plain(person) {
            let profile = &mut self.persons[person.index()].profile;
            return self.profiles.change(profile, asked.changes, asked.row.seq);
        }
        let mut known = self.take_known(person);
        let written = match by_time {
            true => known.change_by_time(asked.changes, (asked.record.time(), asked.row.seq)), // E8
            false => known.change(asked.changes, asked.row.seq),
        };
        self.put_known(person, known);
        written
    }

    /// Whether nothing is known of a person's keys but its profile, as of most persons.
    fn is_plain(&self, person: PersonNo) -> bool {
        !self.marks.contains_key(&person) && !self.deltas.contains_key(&person)
    }

    /// Gives the survivor what P(T) and P(S) have as one, by event time (E8) or as P(T) has it (E2).
    fn merge_profiles(&mut self, [to, from]: [PersonNo; 2], [survivor, absorbed]: [PersonNo; 2]) {
        if self.is_plain(to) && self.is_plain(from) {
            let [target, source] =
                [to, from].map(|person| std::mem::take(&mut self.persons[person.index()].profile));
            self.persons[survivor.index()].profile = self.profiles.merge(target, source);
            return;
        }
        let [mut known, theirs] = [to, from].map(|person| self.take_known(person));
        known.merge(theirs, self.policy.values_by == ValuesBy::EventTime);
        let profile = std::mem::take(&mut self.persons[absorbed.index()].profile);
        self.profiles.drop(profile);
        self.put_known(survivor, known);
    }

    fn found(&mut self, asked: Asked<'_>) -> PersonNo {
        let id = asked.id;
        let person = self.links.found(id, asked.row.seq);
        assert!(person.index() == self.persons.len(), "persons are numbered in the order of their founding");
        let mut founded = Person {
            founding: id,
            created_at: asked.record.time(),
            identified_by: NONE,
            users: 0,
            first_user: NONE,
            profile: Profile::default(),
        };
        if self.is_user(id) {
            founded.count_user(id);
        }
        self.persons.push(founded);
        self.kinds.join(id, person);
        person
    }

    /// Identify, alias and merge in A6's order of checks: C7; C3; C8; B2 of T; D13; B2 of S; D3 strict and D6; D8; D9; D12.
    fn link(&mut self, asked: Asked<'_>, other: LinkSource, asker: Asker, outcome: &mut Outcome) {
        let target = asked.row.id;
        if !asked.processing() {
            outcome.refusal = Some(Refusal::ProcessingOff { by: asked.own() });
            return;
        }
        let shared = match other {
            LinkSource::Id(source) if asker == Asker::Ordinary && self.is_shared(source) => Some(source),
            _ => None,
        };
        if let Some(shared) = shared.filter(|_| !self.class(target).is_mergeable()) {
            self.sign_out(shared, asked.row.seq, outcome); // D13: no user is signed in
        }
        let mergeable = |id: IdNo| self.class(id).is_mergeable();
        let unmergeable = match other {
            LinkSource::None => return self.write(asked, outcome), // C2, C3
            LinkSource::Id(source) if source == target => {
                // C8; a shared id that just signed out speaks for itself (D13).
                let id = shared.unwrap_or(asked.id);
                return self.write(Asked { id, ..asked }, outcome);
            }
            _ if !mergeable(target) => Some(target),
            LinkSource::Id(source) if shared.is_some() => return self.sign_in_on(source, asked, outcome),
            LinkSource::Id(source) if mergeable(source) => {
                return self.assert_identity(asked, source, asker, outcome);
            }
            LinkSource::Id(source) => Some(source),
            LinkSource::Unstorable => None,
        };
        let by = unmergeable.map_or(asked.own(), |id| self.classed_by(id));
        outcome.refusal = Some(Refusal::Unmergeable { id: unmergeable, by });
        self.write(asked, outcome); // B3
    }

    /// D13: a shared id speaks for itself again.
    fn sign_out(&mut self, shared: IdNo, seq: u32, outcome: &mut Outcome) {
        if self.shared.begin(shared, seq, None) {
            outcome.shared = Some(SharedEffect::SignedOut(shared));
        }
    }

    /// D13: a reset or switch of a device ends the interval of a shared id that is its anonymous id.
    fn leave_device(&mut self, row: &Row, device: DeviceNo, outcome: &mut Outcome) {
        let leaves = match row.kind {
            Kind::Reset => true,
            Kind::Switch => !row.flags.has(Flags::PROCESSING_OFF),
            _ => false,
        };
        let anonymous = self.devices[device.index()].anonymous;
        if leaves && self.is_shared(anonymous) {
            self.sign_out(anonymous, row.seq, outcome);
        }
    }

    /// D13: T signs in on a shared id, which speaks for T from here on. Nothing is linked.
    fn sign_in_on(&mut self, shared: IdNo, asked: Asked<'_>, outcome: &mut Outcome) {
        self.shared.begin(shared, asked.row.seq, Some(asked.row.id));
        outcome.shared = Some(SharedEffect::SignedIn(shared));
        self.sign_in(asked.row.id, self.links.person(asked.row.id), outcome);
        self.write(asked, outcome);
        outcome.identified = outcome.person.is_some_and(|person| self.identify(person, asked.row));
    }

    /// Asserts that T and S are one person: section D, after the checks of sections B and C.
    fn assert_identity(&mut self, asked: Asked<'_>, source: IdNo, asker: Asker, outcome: &mut Outcome) {
        let target = asked.row.id;
        let (to, from) = (self.links.person(target), self.links.person(source));
        let refusal = self.refusal(target, source, to, from, asker);
        if refusal.is_some() {
            outcome.refusal = refusal;
            if let Some(Refusal::TooManyIds { .. } | Refusal::TooManyMovedIds { .. }) = refusal {
                return; // D8: before any effect
            }
        }
        if asker == Asker::Ordinary {
            self.sign_in(target, to, outcome);
        }
        let person = match (to, from) {
            (None, Some(from)) if refusal.is_none() => {
                outcome.notices.joins_identified = self.identified_by(from); // D3
                outcome.link = Some(Link::Joined(target));
                self.join(target, source, from, asked.row.seq);
                from
            }
            (Some(to), Some(from)) if refusal.is_none() && to != from => {
                self.merge(asked, source, to, from, outcome)
            }
            _ => {
                let person = to.unwrap_or_else(|| {
                    outcome.founded = true;
                    self.found(asked)
                });
                if refusal.is_none() && from.is_none() {
                    outcome.link = Some(Link::Joined(source)); // D2, D4
                    self.join(source, target, person, asked.row.seq);
                }
                person
            }
        };
        outcome.identified = self.identify(person, asked.row);
        outcome.written = self.change(person, asked);
        outcome.person = Some(person);
    }

    /// D1: a link identifies P(T), if it asserts identity and is the first. Gives whether it does.
    fn identify(&mut self, person: PersonNo, row: &Row) -> bool {
        let identifies = self.persons[person.index()].identified_by == NONE && self.identifies(row);
        if identifies {
            self.persons[person.index()].identified_by = row.seq;
        }
        identifies
    }

    /// D1: whether a link asserts identity, and by that identifies P(T). Where users are counted (D9), an identify or alias of two
    /// anonymous ids does not, nor one of an anonymous and a shared id (D13).
    pub(super) fn identifies(&self, row: &Row) -> bool {
        let LinkSource::Id(source) = row.other() else { return false };
        let (target, other) = (self.class(row.id), self.class(source));
        let ordinary = row.kind != Kind::Merge;
        let names_no_user = ordinary
            && self.policy.max_user_ids.is_some()
            && target == IdClass::Anonymous
            && matches!(other, IdClass::Anonymous | IdClass::Shared);
        let may_be_named = other.is_mergeable() || ordinary && other == IdClass::Shared;
        row.id != source && target.is_mergeable() && may_be_named && !names_no_user
    }

    /// How many property keys P(T) would have after this record (E4's bound on them); 0 if nothing is written. An id that is new is
    /// taken to join, whatever refuses it.
    pub(crate) fn keys_after(&self, body: &Body) -> usize {
        let Some(head) = body.head() else { return 0 };
        if head.flags.has(Flags::PROCESSING_OFF) || head.flags.has(Flags::GROUP_IDENTIFY) {
            return 0; // nothing is written
        }
        let known = |id: IdNo| id.index() < self.links.ids().len();
        let person = |id: IdNo| if known(id) { self.person(id) } else { None };
        let of = |person: Option<PersonNo>| person.map_or_else(Known::default, |person| self.known(person));
        let is_merge = matches!(body.verb(), Some(AskedVerb::Merge(_)));
        let signs_out = body.other() == LinkSource::Id(head.id) && !is_merge; // C8, D13
        let to = person(if signs_out { head.id } else { self.speaks_for_now(head.id) });
        let mut after = of(to);
        if let LinkSource::Id(source) = body.other()
            && known(source)
            && source != head.id
        {
            let from = person(source);
            let mergeable =
                self.class(source).is_mergeable() && (!known(head.id) || self.class(head.id).is_mergeable());
            let asker = if is_merge { Asker::Merge } else { Asker::Ordinary };
            let refusal = (mergeable && known(head.id))
                .then(|| self.refusal(head.id, source, to, from, asker))
                .flatten();
            match refusal {
                Some(Refusal::TooManyIds { .. } | Refusal::TooManyMovedIds { .. }) => return 0,
                None if mergeable && from != to => after.join(of(from)),
                _ => {}
            }
        }
        match self.policy.values_by {
            ValuesBy::EventTime => drop(after.change_by_time(body.changes(), (head.time, u32::MAX))),
            ValuesBy::Record => drop(after.change(body.changes(), u32::MAX)),
        }
        after.keys()
    }

    /// The first of D3 strict and D6, D8, D9, D12 that hits.
    fn refusal(
        &self,
        target: IdNo,
        source: IdNo,
        to: Option<PersonNo>,
        from: Option<PersonNo>,
        asker: Asker,
    ) -> Option<Refusal> {
        if to.is_some() && to == from {
            return None; // D5
        }
        if let (Some(person), Asker::Ordinary) = (from, asker)
            && let Some(by) = self.identified_by(person)
        {
            match to {
                Some(_) => return Some(Refusal::SourceIdentified { person, by }),
                None if self.policy.refuse_joining_identified => {
                    return Some(Refusal::JoinsIdentified { person, by });
                }
                None => {}
            }
        }
        let size = |person: Option<PersonNo>| person.map_or(1, |person| self.links.size(person));
        let by = Seq(self.policy_seq.into());
        if let (Some(to), Some(from), Some(limit)) = (to, from, self.policy.max_moved_ids) {
            let found = self.links.size(self.survivor_and_absorbed(to, from).1);
            if found > limit {
                return Some(Refusal::TooManyMovedIds { found, limit, by });
            }
        }
        if let Some(limit) = self.policy.max_ids_per_person {
            let found = size(to) + size(from);
            if found > limit {
                return Some(Refusal::TooManyIds { found, limit, by });
            }
        }
        if let (Some(limit), Asker::Ordinary) = (self.policy.max_user_ids, asker) {
            let signs_in = self.class(target) == IdClass::Named && !self.is_user(target);
            let ((ours, first), (theirs, held)) = (self.users(target, to), self.users(source, from));
            let ours = ours + u32::from(signs_in);
            // Both sides must bring one: a side without a user may always join, whatever a merge has piled up.
            if let (1.., Some(held)) = (ours, held)
                && ours + theirs > limit
            {
                // The user id that stays where it is: P(S)'s if S has a person, else T's own side.
                let held = if from.is_some() { held } else { first.unwrap_or(target) };
                let since = self.links.since(held).unwrap_or(self.links.defined(held));
                return Some(Refusal::TooManyUserIds { held, limit, by: Seq(since.into()) });
            }
        }
        if asker == Asker::Ordinary { self.too_many_of_kind([(target, to), (source, from)]) } else { None }
    }

    /// D12: the first kind of which both sides bring an id, and together more than its limit.
    fn too_many_of_kind(&self, sides: [(IdNo, Option<PersonNo>); 2]) -> Option<Refusal> {
        let kinds = (0..).map(KindNo).zip(&self.policy.id_kinds);
        kinds.filter_map(|(kind, named)| Some((kind, named.max_per_person?))).find_map(|(kind, limit)| {
            let [of_target, of_source] = sides.map(|(id, person)| match person {
                Some(person) => self.kinds.held(kind, person),
                None => u32::from(self.kind(id) == Some(kind)),
            });
            let over = of_target > 0 && of_source > 0 && of_target + of_source > limit;
            let by = Seq(self.policy_seq.into());
            over.then_some(Refusal::TooManyOfKind { kind, limit, of_target, of_source, by })
        })
    }

    /// How many user ids a person has, or an id without person would bring; and the first of them.
    fn users(&self, id: IdNo, person: Option<PersonNo>) -> (u32, Option<IdNo>) {
        match person {
            Some(person) => {
                let person = &self.persons[person.index()];
                (person.users, (person.first_user != NONE).then_some(IdNo(person.first_user)))
            }
            None if self.is_user(id) => (1, Some(id)),
            None => (0, None),
        }
    }

    /// `id`, which has no person, joins `person` through `with`.
    fn join(&mut self, id: IdNo, with: IdNo, person: PersonNo, seq: u32) {
        self.links.join(id, with, seq);
        self.kinds.join(id, person);
        if self.is_user(id) {
            self.persons[person.index()].count_user(id);
        }
    }

    /// D7: whose person id stays, and whose redirects.
    fn survivor_and_absorbed(&self, to: PersonNo, from: PersonNo) -> (PersonNo, PersonNo) {
        match self.policy.survivor {
            Survivor::Elder if self.age(from) < self.age(to) => (from, to),
            _ => (to, from),
        }
    }

    /// Who was founded first; of those that one split founded, the one whose founding id was defined first. A person's number does not
    /// decide: after a refold one that stayed has a lower number than one that came.
    pub(crate) fn age(&self, person: PersonNo) -> (u32, IdNo) {
        (self.origin(person).founded, self.founding(person))
    }

    /// Merges the persons of T and S (D7) and their properties (E2); returns the survivor.
    fn merge(
        &mut self,
        asked: Asked<'_>,
        source: IdNo,
        to: PersonNo,
        from: PersonNo,
        outcome: &mut Outcome,
    ) -> PersonNo {
        let (survivor, absorbed) = self.survivor_and_absorbed(to, from);
        let moved_ids = self.links.size(absorbed);
        self.links.merge(asked.row.id, source, survivor, asked.row.seq);
        outcome.link = Some(Link::Absorbed { person: absorbed, moved_ids });

        self.kinds.merge(survivor, absorbed);
        let (target, source) = (self.persons[to.index()], self.persons[from.index()]);
        self.merge_profiles([to, from], [survivor, absorbed]);
        let person = &mut self.persons[survivor.index()];
        person.created_at = target.created_at.min(source.created_at);
        person.users = target.users + source.users;
        person.first_user = if target.first_user == NONE { source.first_user } else { target.first_user };
        person.identified_by = target.identified_by; // D1 follows; P(S)'s own flag can only be there in a merge
        survivor
    }

    fn identified_by(&self, person: PersonNo) -> Option<Seq> {
        let by = self.persons[person.index()].identified_by;
        (by != NONE).then_some(Seq(by.into()))
    }
}

impl Person {
    /// One of its ids is a user now (D9).
    fn count_user(&mut self, id: IdNo) {
        self.users += 1;
        if self.first_user == NONE {
            self.first_user = id.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DistinctId, EventName, Ledger, Operation, OperationId, Policy, Processing, PropertyKey};
    use crate::{Source, Tenant, Timestamp};

    const NAMES: [&str; 5] = ["ann", "phone", "seen", "blocked", "new"];

    fn id(text: &str) -> DistinctId {
        DistinctId::new(text).unwrap()
    }

    fn time() -> Timestamp {
        Timestamp::from_micros(5).unwrap()
    }

    fn capture(text: &str, number: u128) -> Operation {
        Operation::capture(time(), id(text), OperationId(uuid::Uuid::from_u128(number)))
    }

    /// Ann, identified, with two ids; a phone's anonymous person; an id without a person; a person that may not merge.
    fn ledger(policy: Policy) -> Ledger {
        let policy = Policy { blocked_ids: ["blocked".to_owned()].into(), ..policy };
        let mut ledger = Ledger::in_memory(Tenant::default(), policy).unwrap();
        let set = |who: &str| Operation::properties(time(), id(who)).set("plan", "pro").unwrap();
        let ann = Operation::identify(time(), id("ann"), Some(Source::new("web")));
        let batch = [
            ann.set("plan", "pro").unwrap().set("email", "a@example.com").unwrap(),
            set("phone").set("city", "Ulm").unwrap(),
            capture("seen", 1).with_processing(Processing::Off),
            set("blocked"),
        ];
        drop(ledger.append_batch(&batch).unwrap());
        ledger
    }

    /// E4's bound is asked of every operation before it is recorded. So it is asked of each kind, about each two of the ids above,
    /// under policies that let them join or not.
    #[test]
    fn how_many_keys_a_person_will_have_is_known_before_it_has_them() {
        let (mut asked, mut grown, mut refused) = (0, 0, 0);
        let mut ask = |policy: &Policy, operation: Operation, nothing: bool, target: &str| {
            let mut ledger = ledger(policy.clone());
            let before = ledger.reader().state().clone();
            let appended = ledger.append(operation).unwrap();
            let mut last = None;
            ledger.reader().replay(|step| last = Some(step.record.body())).unwrap();
            let found = before.keys_after(&last.unwrap());
            let refusal = appended.outcome().and_then(|outcome| outcome.refusal);
            let target = ledger.reader().id_no(target).unwrap();
            let unfit = matches!(refusal, Some(Refusal::TooManyIds { .. } | Refusal::TooManyMovedIds { .. }));
            let expected = if nothing || unfit { 0 } else { ledger.reader().state().keys_of(target) };
            let is_new = before.ids().len() < ledger.reader().state().ids().len();
            let taken_to_join = is_new && refusal.is_some() && found > expected;
            assert!(found == expected || taken_to_join, "{found}, not {expected}: {appended:?}");
            let had = if target.index() < before.ids().len() { before.keys_of(target) } else { 0 };
            (asked, grown, refused) = (asked + 1, grown + u32::from(found > had), refused + u32::from(unfit));
        };
        let policies = [
            Policy::default(),
            Policy { max_ids_per_person: Some(2), ..Policy::default() },
            Policy { max_moved_ids: Some(1), ..Policy::default() },
            Policy { refuse_joining_identified: true, ..Policy::default() },
        ];
        let changed: [fn(Operation) -> Operation; 3] = [
            |operation| operation,
            |operation| operation.set("tier", "one").unwrap(),
            |mut operation| {
                operation.changes.unset.insert(PropertyKey::new("plan").unwrap());
                operation
            },
        ];
        for (policy, change) in policies.iter().flat_map(|policy| changed.map(|change| (policy, change))) {
            for target in NAMES {
                for source in NAMES {
                    let (who, source) = (id(target), Source::new(source));
                    let links = [
                        Operation::identify(time(), who.clone(), Some(source.clone())),
                        Operation::alias(time(), who.clone(), source.clone()),
                        Operation::merge_dangerously(time(), who, source),
                    ];
                    links.into_iter().for_each(|link| ask(policy, change(link), false, target));
                }
                ask(policy, change(Operation::properties(time(), id(target))), false, target);
                ask(policy, change(capture(target, 9)), false, target);
                let link = Operation::alias(time(), id(target), Source::new("phone"));
                ask(policy, change(link).with_processing(Processing::Off), true, target);
                let mut groups = change(capture(target, 9));
                if let crate::Request::Capture { event, .. } = &mut groups.request {
                    *event = Some(EventName::new("$groupidentify").unwrap());
                }
                ask(policy, groups, true, target);
            }
        }
        assert!(asked > 1_000 && grown > 200 && refused > 20, "{asked} {grown} {refused}");
    }
}
