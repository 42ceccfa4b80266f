//! Classes of ids: what an id may do.

/// What an id may do, decided when it is first written (B4), unless it is reclassified (H5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdClass {
    /// A user may sign in as it. From the first sign-in on it counts as a user (D9).
    Named,
    /// It was made for a device or a visitor, and is never a user (D9).
    Anonymous,
    /// It may not take part in a merge (B2).
    Unmergeable,
    /// It stands for a device that people use one after the other: users sign in on it, and it is never one of theirs (D13).
    Shared,
}

impl IdClass {
    /// All of them.
    pub const ALL: [IdClass; 4] = [IdClass::Named, IdClass::Anonymous, IdClass::Unmergeable, IdClass::Shared];

    /// Whether the id may take part in a merge (B2, D13).
    pub fn is_mergeable(self) -> bool {
        matches!(self, IdClass::Named | IdClass::Anonymous)
    }

    /// Its name: `named`, `anonymous`, `unmergeable` or `shared`.
    pub fn name(self) -> &'static str {
        match self {
            IdClass::Named => "named",
            IdClass::Anonymous => "anonymous",
            IdClass::Unmergeable => "unmergeable",
            IdClass::Shared => "shared",
        }
    }

    /// The class of a name.
    pub fn by_name(name: &str) -> Option<IdClass> {
        IdClass::ALL.into_iter().find(|class| class.name() == name)
    }
}
