//! Changes of a profile by name, as Mixpanel and Amplitude have them. What is not of its kind is rejected and never read as nothing.

use std::collections::BTreeSet;

use super::json::Object;
use super::ops::{self, properties};
use super::rejection::Rejection;
use crate::model::id::PropertyKey;
use crate::model::value::{Properties, Value};

/// The values of a change, by property; none if the update does not have it.
pub(super) fn values(members: &Object<'_>, key: &'static str) -> Result<Properties, Rejection> {
    members.get(key).map_or_else(|| Ok(Properties::new()), |json| properties(key, json))
}

/// The elements that a change appends or takes out, by property.
pub(super) fn elements(
    members: &Object<'_>,
    key: &'static str,
    of: impl Fn(Value) -> Option<Value>,
) -> Result<Properties, Rejection> {
    let listed = |(name, value): (PropertyKey, Value)| {
        let found = value.kind();
        let list = of(value).ok_or_else(|| Rejection::ProfileValue { key, name: name.to_string(), found })?;
        Ok((name, list))
    };
    values(members, key)?.into_iter().map(listed).collect()
}

/// Refuses what no operation can say, also where it says nothing.
pub(super) fn refuse(members: &Object<'_>, unmapped: &[&'static str]) -> Result<(), Rejection> {
    match unmapped.iter().find(|key| members.get(key).is_some()) {
        Some(key) => Err(Rejection::ProfileOperation { key }),
        None => Ok(()),
    }
}

/// One value as a list of one.
pub(super) fn one(value: Value) -> Option<Value> {
    Some(Value::List(vec![value]))
}

/// A list as it is.
pub(super) fn list(value: Value) -> Option<Value> {
    Some(value).filter(|value| matches!(value, Value::List(_)))
}

/// A list as it is, or one value as a list of one.
pub(super) fn list_or_one(value: Value) -> Option<Value> {
    list(value.clone()).or_else(|| one(value))
}

/// The keys to remove.
pub(super) fn unset(members: &Object<'_>) -> Result<BTreeSet<PropertyKey>, Rejection> {
    members.get("$unset").map_or_else(|| Ok(BTreeSet::new()), |json| ops::unset("$unset", json))
}
