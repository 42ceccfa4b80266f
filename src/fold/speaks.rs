//! Whom a record speaks for (D13): the id that it names, or the user who was signed in on that.

use crate::fold::State;
use crate::fold::links::NONE;
use crate::fold::shared::Interval;
use crate::log::body::IdNo;
use crate::model::id::Seq;

impl State {
    /// The id for which record `seq`, under `id`, speaks (D13): that id, unless it is a shared one that a user was signed in on.
    pub fn speaks_for(&self, id: IdNo, seq: Seq) -> IdNo {
        self.speaks_for_as_of(id, seq, Seq(NONE.into()))
    }

    /// The id for which the next record under `id` speaks.
    pub(crate) fn speaks_for_now(&self, id: IdNo) -> IdNo {
        self.speaks_for(id, Seq(self.records.into()))
    }

    /// As [`State::speaks_for`], as things were right after record `as_of`.
    pub fn speaks_for_as_of(&self, id: IdNo, seq: Seq, as_of: Seq) -> IdNo {
        self.interval(id, seq, as_of).map_or(id, |(whom, _)| whom)
    }

    /// The user who was signed in on an id at record `seq`, and the record by which it was.
    pub(crate) fn signed_in(&self, id: IdNo, seq: Seq) -> Option<(IdNo, Seq)> {
        self.interval(id, seq, Seq(NONE.into()))
    }

    fn interval(&self, id: IdNo, seq: Seq, as_of: Seq) -> Option<(IdNo, Seq)> {
        if self.shared.intervals.is_empty() {
            return None; // most ledgers
        }
        let number = |seq: Seq| u32::try_from(seq.0).unwrap_or(NONE);
        let Interval { begin, whom, .. } = self.shared.intervals.get(&id)?.at(number(seq), number(as_of))?;
        let erased = self.erasures.of_id(IdNo(whom)).is_some_and(|by| by < number(seq)); // H3
        (whom != NONE && !erased).then_some((IdNo(whom), Seq(begin.into())))
    }

    /// From which record on a shared id speaks for whom (D13), as things stand: from its definition on for itself. Empty for an id that never was shared.
    pub(crate) fn shared_periods(&self, id: IdNo) -> Vec<(Seq, IdNo)> {
        let stand = self.shared.intervals.get(&id).map_or(&[][..], |intervals| &intervals.stand);
        let mut periods = Vec::new();
        if !stand.is_empty() || self.is_shared(id) {
            periods.push((self.defined_by(id), id));
        }
        let ends = stand.iter().skip(1).map(|next| next.begin).chain([NONE]);
        for (Interval { begin, whom, .. }, end) in stand.iter().zip(ends) {
            let erased = self.erasures.of_id(IdNo(*whom)).filter(|by| by < &end); // H3
            if *whom != NONE && erased.is_none_or(|by| by > *begin) {
                periods.push((Seq((*begin).into()), IdNo(*whom)));
            }
            if let Some(from) = if *whom == NONE { Some(*begin) } else { erased } {
                periods.push((Seq(from.max(*begin).into()), id));
            }
        }
        periods.dedup_by_key(|(_, whom)| *whom);
        periods
    }

    /// The shared ids that ever spoke for an id.
    pub(crate) fn speakers(&self, id: IdNo) -> impl Iterator<Item = IdNo> {
        self.shared.speakers.range((id, IdNo(0))..=(id, IdNo(NONE))).map(|(_, shared)| *shared)
    }

    /// Whether records under some shared id speak for others in `other`, a state in which ids have the same numbers.
    pub(crate) fn is_spoken_for_as_in(&self, other: &State) -> bool {
        let erased = |state: &State| state.erasures.ids.len();
        self.shared.intervals == other.shared.intervals
            && (self.shared.intervals.is_empty() || erased(self) == erased(other))
    }

    /// Whether an id of a component that was folded alone speaks for whom it speaks in this state, where the component's ids are `ids`.
    pub(crate) fn speaks_as_alone(&self, id: IdNo, (small, number): (&State, IdNo), ids: &[IdNo]) -> bool {
        let stand = |state: &'_ State, id| -> Vec<(u32, u32)> {
            let intervals = state.shared.intervals.get(&id).map_or(&[][..], |intervals| &intervals.stand);
            intervals.iter().map(|interval| (interval.begin, interval.whom)).collect()
        };
        let whole = |whom: u32| if whom == NONE { NONE } else { ids[whom as usize].0 };
        let alone = stand(small, number);
        stand(self, id) == alone.into_iter().map(|(begin, whom)| (begin, whole(whom))).collect::<Vec<_>>()
    }

    /// Whether an id is shared.
    pub(super) fn is_shared(&self, id: IdNo) -> bool {
        self.shared.ids.contains(&id)
    }

    /// Takes over which ids of a component are erased: no shared id speaks for one of them.
    pub(super) fn learn_erasures(&mut self, whole: &State, ids: &[IdNo]) {
        if self.shared.is_empty() || whole.erasures.is_empty() {
            return;
        }
        let erased = (0..).zip(ids).filter_map(|(number, id)| Some((number, whole.erasures.of_id(*id)?)));
        self.erasures.ids.extend(erased);
    }
}
