//! The rules of the house: what may import what, which names are public, which words are plain. Reads files, runs nothing.

mod api;
mod layering;
mod links;
mod prose;
