//! Policy files, and what a policy is called.

use std::io::Read;
use std::path::Path;

use identity_ledger::{Policy, Preset};

use crate::failure::Failure;
use crate::input::Input;

/// Longest file of a policy or of tokens, in bytes; the largest policy is a quarter of it.
const MAX_POLICY_BYTES: u64 = 1_024 * 1_024;

/// Reads a policy file.
pub(crate) fn read(file: &Path) -> Result<Policy, Failure> {
    let text = text(file)?;
    if text.trim().is_empty() {
        return Err(Failure::EmptyPolicy { file: file.to_owned() });
    }
    serde_json::from_str(&text).map_err(|source| Failure::BadPolicy { file: file.to_owned(), source })
}

/// Reads a small text file.
pub(crate) fn text(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let Input { reader, .. } = Input::open(file)?;
    reader.take(MAX_POLICY_BYTES).read_to_string(&mut text).map_err(Failure::read(file))?;
    Ok(text)
}

/// The name of the preset that a policy is, if it is one.
pub(crate) fn preset_of(policy: &Policy) -> Option<&'static str> {
    Preset::ALL.iter().find(|(_, preset)| Policy::preset(*preset) == *policy).map(|(name, _)| *name)
}

/// What a policy is called.
pub(crate) fn name_of(policy: &Policy) -> &'static str {
    preset_of(policy).unwrap_or("its own")
}
