//! Lists: all persons, and the events of an id or person, page by page.

use std::collections::BTreeMap;

use crate::fold::PersonNo;
use crate::log::body::{AskedVerb, Flags, IdNo};
use crate::model::id::Seq;
use crate::query::answer::{EventAnswer, EventMode, Profile};
use crate::query::history::Subject;
use crate::query::page::{Cursor, Page, PageError, PageRequest};
use crate::query::reader::Reader;
use crate::store::segments::Fault;

impl Reader {
    /// All persons, in the order of their founding, page by page: as they were right after the record at which the first page was asked
    /// for. [`Reader::persons`] gives those of now one by one.
    ///
    /// Cost: a look at every id; and if something was recorded since the first page, folding the component of each person of the page
    /// once more. Ask for large pages.
    ///
    /// ```
    /// use identity_ledger::{PageRequest, DistinctId, Ledger, Operation, Policy, Tenant, Timestamp};
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let mut add = |ledger: &mut Ledger, id: &str| {
    ///     let _ = ledger.append(Operation::properties(Timestamp::from_micros(0)?, DistinctId::new(id)?))?;
    ///     Ok::<(), Box<dyn std::error::Error>>(())
    /// };
    /// add(&mut ledger, "ann")?;
    /// add(&mut ledger, "bob")?;
    /// let first = ledger.reader().persons_page(PageRequest::first(1))?;
    /// add(&mut ledger, "carl")?; // in no page of this answer
    /// let second = ledger.reader().persons_page(PageRequest::next(first.next.ok_or("there is more")?, 1))?;
    /// assert_eq!(second.items[0].distinct_ids, ["bob"]);
    /// assert_eq!(second.next, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PageError`].
    pub fn persons_page(&self, ask: PageRequest) -> Result<Page<Profile>, PageError> {
        let (as_of, after) = ask.place(self.state().records())?;
        let skipped = usize::try_from(after.unwrap_or(0)).unwrap_or(usize::MAX);
        let (items, more) = if as_of.0 + 1 == self.state().records() {
            let mut views = self.state().persons().skip(skipped);
            (self.profiles(views.by_ref().take(ask.items()).collect())?, views.next().is_some())
        } else {
            let mut persons = self.persons_as_of(as_of).into_iter().skip(skipped);
            let mut items = Vec::new();
            for id in persons.by_ref().take(ask.items()) {
                items.extend(self.profile_of_id_as_of(id, as_of)?);
            }
            (items, persons.next().is_some())
        };
        let next = more.then_some(Cursor { as_of, after: (skipped + ask.items()) as u64 });
        Ok(Page { items, next })
    }

    /// An id each of the persons right after a record, in the order of their founding.
    fn persons_as_of(&self, as_of: Seq) -> Vec<IdNo> {
        let state = self.state();
        let mut persons: BTreeMap<PersonNo, IdNo> = BTreeMap::new();
        for id in state.ids().take_while(|id| state.defined_by(*id) <= as_of) {
            if let Some(person) = state.person_as_of(id, as_of) {
                persons.entry(person).or_insert(id);
            }
        }
        let mut persons: Vec<(PersonNo, IdNo)> = persons.into_iter().collect();
        persons.sort_by_key(|(person, _)| state.age(*person));
        persons.into_iter().map(|(_, id)| id).collect()
    }

    /// The events of an id or a person, in the order of the log, page by page; `None` if the id was never written. Of an id these are the
    /// events captured under it, of a person those that go with its ids (G2).
    ///
    /// Cost: the records that name these ids, of which only those of the page are read; and if a shared id ever spoke for one of them, the
    /// records of their component.
    ///
    /// ```
    /// use identity_ledger::{PageRequest, DistinctId, Ledger, Operation, OperationId, Policy, Tenant, Timestamp};
    /// use identity_ledger::explain::Subject;
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// for number in 1..=5 {
    ///     let event = OperationId(uuid::Uuid::from_u128(number));
    ///     let _ = ledger.append(Operation::capture(Timestamp::from_micros(0)?, DistinctId::new("ann")?, event))?;
    /// }
    /// let (mut ask, mut all) = (PageRequest::first(2), Vec::new());
    /// loop {
    ///     let page = ledger.reader().events_of(Subject::Person("ann"), ask)?.ok_or("never written")?;
    ///     all.extend(page.items);
    ///     match page.next {
    ///         Some(next) => ask = PageRequest::next(next, 2),
    ///         None => break,
    ///     }
    /// }
    /// assert_eq!(all.len(), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PageError`].
    pub fn events_of(
        &self,
        of: Subject<'_>,
        ask: PageRequest,
    ) -> Result<Option<Page<EventAnswer>>, PageError> {
        let (as_of, after) = ask.place(self.state().records())?;
        let Some((_, ids)) = self.subject(of, as_of)? else { return Ok(None) };
        let mut naming = Vec::new();
        for id in &ids {
            naming.extend(self.naming(*id, as_of)?);
            if matches!(of, Subject::Person(_)) {
                let is_theirs =
                    |seq: &Seq| ids.binary_search(&self.state().speaks_for_as_of(*id, *seq, as_of)).is_ok();
                naming.retain(is_theirs);
            }
        }
        if matches!(of, Subject::Person(_)) {
            naming.extend(self.said_for(&ids, as_of)?);
        }
        naming.sort_unstable();
        naming.dedup();
        let mut page = Page::empty();
        for seq in naming.into_iter().filter(|seq| after.is_none_or(|after| seq.0 > after)) {
            let Some(event) = self.event_of_record(seq, as_of)? else { continue };
            // A capture names T and a device; only T's events are meant.
            if page.items.len() == ask.items() {
                page.next = page.items.last().map(|last: &EventAnswer| Cursor { as_of, after: last.seq.0 });
                break;
            }
            page.items.push(event);
        }
        Ok(Some(page))
    }

    /// The event of a record, and whose it was right after `as_of`; `None` if it is not an event.
    pub(crate) fn event_of_record(&self, seq: Seq, as_of: Seq) -> Result<Option<EventAnswer>, Fault> {
        if self.state().is_retracted_as_of(seq, as_of) {
            return Ok(None); // H1
        }
        let window = self.log.window(seq, self.state().erasures())?;
        let record = window.checked(seq)?;
        let body = record.body();
        let (Some(AskedVerb::Capture(name)), Some(head)) = (body.verb(), body.head()) else {
            return Ok(None);
        };
        let off = head.flags.has(Flags::PROCESSING_OFF);
        let [now, then] = [as_of, seq].map(|as_of| self.state().speaks_for_as_of(head.id, seq, as_of));
        Ok(Some(EventAnswer {
            seq,
            event_id: record.operation_id(),
            event: name.and_then(|name| self.event_name(name)).map(str::to_owned),
            time: head.time(),
            recorded_at: window.recorded_at(),
            distinct_id: self.id_name(head.id),
            goes_with: (now != head.id).then(|| self.id_name(now)),
            person_id: self.resolution(now, Some(as_of)).person_id,
            person_id_then: self.resolution(then, Some(seq)).person_id,
            mode: if off { EventMode::Propertyless } else { EventMode::Full },
        }))
    }
}
