//! Tickets: what was written and is not known to be durable yet.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::ledger::error::AppendError;
use crate::ledger::group::Shared;

/// Something that was written and is not known to be durable yet, with its answer ([`SharedLedger::submit`](crate::SharedLedger::submit)).
///
/// Wait for it with [`Ticket::wait`], ask with [`Ticket::is_ready`], or await it: it is a future of any runtime. A ticket that is dropped
/// takes nothing back: what was written becomes durable with the next sync, or when the ledger is closed. The ledger stays open for as
/// long as one of its tickets is there.
#[must_use = "what was written is not durable before the ticket says so"]
pub struct Ticket<T> {
    shared: Arc<Shared>,
    /// How many records must be durable.
    records: u64,
    number: u64,
    /// `None` once it was given.
    answer: Option<T>,
}

impl<T> Ticket<T> {
    pub(crate) fn new(shared: Arc<Shared>, records: u64, answer: T) -> Ticket<T> {
        let number = shared.group().new_ticket();
        Ticket { shared, records, number, answer: Some(answer) }
    }

    /// The answer, which is not durable yet: tell no sender of it. `None` after the ticket, as a future, has given it.
    pub fn answer(&self) -> Option<&T> {
        self.answer.as_ref()
    }

    /// Whether [`Ticket::wait`] would return at once. If not, a sync is under way or begins.
    pub fn is_ready(&self) -> bool {
        self.shared.group().poll(self.records, self.number, None).is_some()
    }

    /// Returns the answer once it is durable.
    ///
    /// # Errors
    /// [`AppendError::Indeterminate`] if a sync failed: whether it is durable is known only when the ledger is opened again.
    ///
    /// # Panics
    /// If the ticket, as a future, has given its answer.
    pub fn wait(mut self) -> Result<T, AppendError> {
        self.shared.group().wait(self.records)?;
        Ok(self.take())
    }

    fn take(&mut self) -> T {
        self.answer.take().expect("a ticket gives its answer once")
    }
}

impl<T: Unpin> Future for Ticket<T> {
    type Output = Result<T, AppendError>;

    /// # Panics
    /// If it has given its answer already.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.shared.group().poll(self.records, self.number, Some(context.waker())) {
            None => Poll::Pending,
            Some(ended) => Poll::Ready(ended.map(|()| self.take())),
        }
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        self.shared.group().forget_ticket(self.records, self.number);
    }
}

impl<T> fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("records", &self.records).finish_non_exhaustive()
    }
}
