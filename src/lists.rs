//! Lists: the events of an id or person, page by page.

use crate::answer::{EventAnswer, EventMode};
use crate::book::Book;
use crate::history::Subject;
use crate::id::Seq;
use crate::log::Fault;
use crate::page::{Ask, Cursor, Page, PageError};
use crate::record::{Body, Flags};

impl Book {
    /// The events of an id or a person, in the order of the log, page by page; `None` if the id was never written.
    ///
    /// Cost: the records that name these ids, of which only those of the page are read.
    ///
    /// ```
    /// use identity_ledger::{Ask, DistinctId, Ledger, Operation, OperationId, Policy, Subject, Tenant, Timestamp};
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// for number in 1..=5 {
    ///     let event = OperationId(uuid::Uuid::from_u128(number));
    ///     ledger.append(Operation::capture(Timestamp::from_micros(0)?, DistinctId::new("ann")?, event))?;
    /// }
    /// let (mut ask, mut all) = (Ask::first(2), Vec::new());
    /// loop {
    ///     let page = ledger.events_of(Subject::Person("ann"), ask)?.ok_or("never written")?;
    ///     all.extend(page.items);
    ///     match page.next {
    ///         Some(next) => ask = Ask::next(next, 2),
    ///         None => break,
    ///     }
    /// }
    /// assert_eq!(all.len(), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PageError`].
    pub fn events_of(&self, of: Subject<'_>, ask: Ask) -> Result<Option<Page<EventAnswer>>, PageError> {
        let (as_of, after) = ask.place(self.checkpoint().records)?;
        let Some((_, ids)) = self.subject(of, as_of)? else { return Ok(None) };
        let mut naming = Vec::new();
        for id in &ids {
            naming.extend(self.naming(*id, as_of)?);
        }
        naming.sort_unstable();
        naming.dedup();
        let mut page = Page::empty();
        for seq in naming.into_iter().filter(|seq| after.is_none_or(|after| seq.0 > after)) {
            let Some(event) = self.event_as_of(seq, as_of)? else { continue };
            // A capture names T and a device; only T's events are meant.
            if page.items.len() == ask.items() {
                page.next = page.items.last().map(|last: &EventAnswer| Cursor { as_of, after: last.seq.0 });
                break;
            }
            page.items.push(event);
        }
        Ok(Some(page))
    }

    /// The event of a record, and whose it was right after `as_of`; `None` if it is no event.
    pub(crate) fn event_as_of(&self, seq: Seq, as_of: Seq) -> Result<Option<EventAnswer>, Fault> {
        if self.state().is_retracted_as_of(seq, as_of) {
            return Ok(None); // H1
        }
        let window = self.log.window(seq, self.state().erasures())?;
        let record = window.checked(seq)?;
        let Body::Capture(head, name, _) = record.body() else { return Ok(None) };
        let off = head.flags.has(Flags::PROCESSING_OFF);
        Ok(Some(EventAnswer {
            seq,
            event_id: record.operation_id(),
            event: name.and_then(|name| self.event_name(name)).map(str::to_owned),
            time: head.time(),
            distinct_id: self.id_name(head.id),
            person_id: self.resolution(head.id, Some(as_of)).person_id,
            person_id_then: self.resolution(head.id, Some(seq)).person_id,
            mode: if off { EventMode::Propertyless } else { EventMode::Full },
        }))
    }
}
