//! What can be asked of a log. Queries read; they never write.

pub(crate) mod accumulator;
pub(crate) mod answer;
pub(crate) mod apart;
pub(crate) mod as_of;
pub(crate) mod content_digest;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod find;
pub(crate) mod graph;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod mapping;
pub(crate) mod outcomes;
pub(crate) mod page;
pub(crate) mod proof;
pub(crate) mod prove;
pub(crate) mod reader;
pub(crate) mod recorded_at;
pub(crate) mod report;
pub(crate) mod stats;
pub(crate) mod values;
