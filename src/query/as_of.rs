//! As of a record: whole answers as they were right after it. Who an id was is in the links themselves; a profile is folded again
//! from its component's records up to there.

use crate::fold::{ComponentFold, PersonNo};
use crate::log::body::IdNo;
use crate::log::component::{ComponentRecords, Node};
use crate::model::id::{OperationId, PersonId, Seq};
use crate::query::answer::{EventAnswer, Profile};
use crate::query::reader::Reader;
use crate::store::segments::Fault;

impl Reader {
    /// The ledger as it was right after record `seq`: a reader of the records up to there, from which every question can be asked;
    /// after the last one, of all of them. Its answers are those of a ledger that holds only these records. Texts and values that
    /// are erased by now stay so, and persons are called as they are now (D11).
    ///
    /// For one question about one id [`Reader::person_as_of`] and [`Reader::profile_as_of`] are cheaper.
    ///
    /// Cost: a replay up to there, and the memory of a ledger of that size. [`Reader::checkpoint`] is that of the frame in which the
    /// record stands. `progress` is called with the bytes of log that are read.
    ///
    /// ```
    /// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let at = Timestamp::from_micros(0)?;
    /// let [ann, phone] = ["ann", "phone"].map(DistinctId::new);
    /// let before = ledger.append(Operation::properties(at, phone?))?.seq().ok_or("recorded")?;
    /// let _ = ledger.append(Operation::identify(at, ann?, Some(Source::new("phone"))))?;
    ///
    /// let then = ledger.reader().as_of(before, &mut |_| {})?;
    /// assert_eq!(then.explain("ann", "phone")?, None); // nothing linked the two yet
    /// assert!(ledger.explain("ann", "phone")?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn as_of(&self, seq: Seq, progress: &mut dyn FnMut(u64)) -> Result<Reader, Fault> {
        let records = seq.0.saturating_add(1).min(self.state().records());
        let mut then = Reader::of(self.log.again(), self.identity.clone());
        let witnesses = [self.checkpoint()];
        // Items that are missing were judged when this reader was opened, by all erasures.
        then.fold(self.walk_first(records, &witnesses, progress)).walked?;
        then.replay.erased_since(self.state().erasures());
        Ok(then)
    }

    /// Everything that was known of the person of an id right after record `seq`; `None` if it had none then. Texts and values that
    /// are erased by now stay so.
    ///
    /// Cost: folding the component of possible links once more, up to there.
    ///
    /// ```
    /// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let at = Timestamp::from_micros(0)?;
    /// let ann = || DistinctId::new("ann");
    /// let before = ledger.append(Operation::properties(at, ann()?).set("plan", "free")?)?.seq().ok_or("recorded")?;
    /// let _ = ledger.append(Operation::properties(at, ann()?).set("plan", "team")?)?;
    ///
    /// let then = ledger.reader().profile_as_of("ann", before)?.ok_or("it had a person")?;
    /// assert_eq!(then.properties["plan"].value, Some("free".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn profile_as_of(&self, distinct_id: &str, seq: Seq) -> Result<Option<Profile>, Fault> {
        match self.id_no(distinct_id) {
            Some(id) if self.state().defined_by(id) <= seq => self.profile_of_id_as_of(id, seq),
            _ => Ok(None),
        }
    }

    pub(crate) fn profile_of_id_as_of(&self, id: IdNo, seq: Seq) -> Result<Option<Profile>, Fault> {
        let Some((ComponentFold { state, ids, .. }, small)) = self.alone_as_of(id, seq)? else {
            return Ok(None);
        };
        let Some(person) = state.person(small) else { return Ok(None) };
        let view = state.view(person);
        let values = self.values(&view.standing().collect::<Vec<_>>())?;
        let theirs = state.ids_of(person).into_iter().map(|id| ids[id.index()]).collect();
        let person_id = self.resolution(id, Some(seq)).person_id;
        Ok(Some(self.profile_with(view, theirs, state.events_of(person), person_id, values)))
    }

    /// Which person a public person id stood for right after record `seq`: itself, or the one that had
    /// absorbed it by then. `None` if no person had this id then. Compare [`Reader::survivor_of`].
    ///
    /// Cost: as [`Reader::profile_as_of`].
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn survivor_as_of(&self, person_id: PersonId, seq: Seq) -> Result<Option<PersonId>, Fault> {
        let Some(person) = self.person_of(person_id) else { return Ok(None) };
        let (founding, key) = (self.state().founding(person), self.state().origin(person).key());
        if self.state().defined_by(founding) > seq {
            return Ok(None);
        }
        // Folded as it was recorded, generation by generation: a person whose founding was retracted by then
        // redirects too.
        let ComponentFold { state, ids, .. } =
            self.state().retell(&self.component_as_of(founding, seq)?, |_, _, _| {});
        let Ok(small) = ids.binary_search(&founding) else { return Ok(None) };
        let small = IdNo(small as u32); // as many as there are ids
        let then = (0..state.persons_founded() as u32).map(PersonNo); // MAX_RECORDS bounds it
        // What a split let stay comes after the person it was part of, and has its id.
        let same = |person: &PersonNo| state.founding(*person) == small && state.origin(*person).key() == key;
        Ok(then.rev().find(same).map(|person| {
            let survivor = state.survivor(person);
            let founding = ids[state.founding(survivor).index()];
            if state.is_retired(survivor) {
                return self.id_called(self.state().implied(founding)); // no person then: the implied one
            }
            self.id_called(self.state().called_alone(founding, state.origin(survivor)))
        }))
    }

    /// The event of an id, and whose we now know it is; `None` if there is none, or it was retracted (H1).
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn event(&self, event_id: OperationId) -> Result<Option<EventAnswer>, Fault> {
        self.event_as_of(event_id, Seq(self.state().records() - 1)) // there is always the genesis record
    }

    /// The event of an id, and whose we thought it was right after record `seq` (G1); `None` if there was
    /// none yet, or it was retracted by then (H1).
    ///
    /// Cost: the frame of the event's record, and a short climb through the links.
    ///
    /// # Errors
    /// [`Fault`] when the log cannot be read back.
    pub fn event_as_of(&self, event_id: OperationId, seq: Seq) -> Result<Option<EventAnswer>, Fault> {
        match self.recorded(event_id)? {
            Some(record) if record <= seq => self.event_of_record(record, seq),
            _ => Ok(None),
        }
    }

    /// The component of an id as it was right after a record, folded alone, and the id's number in it; `None` if no record named it
    /// yet but its definition.
    fn alone_as_of(&self, id: IdNo, seq: Seq) -> Result<Option<(ComponentFold, IdNo)>, Fault> {
        let alone = self.state().alone(&self.component_as_of(id, seq)?);
        let small = alone.ids.binary_search(&id).ok();
        Ok(small.map(|small| (alone, IdNo(small as u32)))) // as many as there are ids
    }

    fn component_as_of(&self, id: IdNo, seq: Seq) -> Result<ComponentRecords, Fault> {
        self.log.component(Node::Id(id), seq.0.saturating_add(1).min(self.state().records()))
    }
}
