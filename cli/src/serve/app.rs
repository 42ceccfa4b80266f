//! What the handlers of a server share.

use tokio::sync::{Semaphore, watch};

use crate::serve::admin::Admin;
use crate::serve::metrics::Metrics;
use crate::serve::tenants::Tenants;
use crate::serve::tokens::Tokens;

/// Everything that handlers share.
pub(crate) struct App {
    pub(crate) tokens: Tokens,
    pub(crate) tenants: Tenants,
    pub(crate) metrics: Metrics,
    pub(crate) admin: Admin,
    /// Requests that are under way.
    pub(crate) slots: Semaphore,
    /// Questions that read a whole log, at the same time.
    pub(crate) log_readers: Semaphore,
    pub(crate) max_bytes: usize,
    /// Whether the admin may retract, split and erase.
    pub(crate) allow_corrections: bool,
    pub(crate) is_demo: bool,
    /// Whether the server is about to stop.
    pub(crate) stopping: watch::Receiver<bool>,
}
