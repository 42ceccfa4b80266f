//! Lists: the events of an id or person, page by page.

use crate::answer::EventAnswer;
use crate::book::Book;
use crate::history::Subject;
use crate::page::{Ask, Cursor, Filling, Page, PageError};
use crate::row::Kind;

impl Book {
    /// The events of an id or a person, in the order of the log, page by page; `None` if the id was never written.
    ///
    /// Whose an event is, is told as of the record after which the first page was asked for.
    ///
    /// Cost: one replay of the log for each page. Ask for large pages.
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
        let Some(ids) = self.subject(of, as_of) else { return Ok(None) };
        let mut page = Filling::new(ask);
        self.replay_to(as_of, |step| {
            let (seq, row) = (step.record.seq(), step.record.row);
            let theirs = row.kind == Kind::Capture && ids.contains(&row.id);
            if theirs && after.is_none_or(|after| seq.0 > after) {
                page.offer(Cursor { as_of, after: seq.0 }, || {
                    self.event(step, Some(as_of)).expect("a capture is an event")
                });
            }
        })?;
        Ok(Some(page.page()))
    }
}
