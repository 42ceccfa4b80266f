//! Why two ids are one person, why a property has its value, and what keeps two ids apart.

pub(crate) mod ids;
pub(crate) mod property;
pub(crate) mod why_not;
