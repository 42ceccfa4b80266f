//! The picture of a person: an identity graph as SVG, and as a page that needs nothing else.
//!
//! Ids are the senders' words: every text is made visible and escaped before it is drawn. The same ledger gives the same bytes on
//! every machine.

mod html;
mod layout;
mod svg;
#[cfg(test)]
mod tests;
mod text;

/// A person's picture as a page: search, a slider through the log, all records in a table.
pub(crate) use html::page;
/// A person's picture as SVG.
pub(crate) use svg::document;
