//! The kinds of records.

/// What a record is. Its number begins the record's bytes: set in stone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Genesis,
    SetPolicy,
    Recovered,
    DefineId,
    DefineDevice,
    DefineKey,
    DefineName,
    Capture,
    Identify,
    Alias,
    Merge,
    Set,
    Switch,
    Reset,
    Retract,
    Split,
    Erase,
    EraseDone,
    Restate,
    Followed,
    Reclassify,
}

impl Kind {
    /// All, by their numbers.
    pub(crate) const ALL: [Kind; 21] = [
        Kind::Genesis,
        Kind::SetPolicy,
        Kind::Recovered,
        Kind::DefineId,
        Kind::DefineDevice,
        Kind::DefineKey,
        Kind::DefineName,
        Kind::Capture,
        Kind::Identify,
        Kind::Alias,
        Kind::Merge,
        Kind::Set,
        Kind::Switch,
        Kind::Reset,
        Kind::Retract,
        Kind::Split,
        Kind::Erase,
        Kind::EraseDone,
        Kind::Restate,
        Kind::Followed,
        Kind::Reclassify,
    ];

    /// Its name in answers and scenarios.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Genesis => "genesis",
            Kind::SetPolicy => "set_policy",
            Kind::Recovered => "recovered",
            Kind::DefineId => "define_id",
            Kind::DefineDevice => "define_device",
            Kind::DefineKey => "define_key",
            Kind::DefineName => "define_name",
            Kind::Capture => "capture",
            Kind::Identify => "identify",
            Kind::Alias => "alias",
            Kind::Merge => "merge_dangerously",
            Kind::Set => "set",
            Kind::Switch => "switch",
            Kind::Reset => "reset",
            Kind::Retract => "retract",
            Kind::Split => "split",
            Kind::Erase => "erase",
            Kind::EraseDone => "erase_done",
            Kind::Restate => "restate",
            Kind::Followed => "followed",
            Kind::Reclassify => "reclassify",
        }
    }

    /// Whether it is an operation (A4).
    pub(crate) fn is_operation(self) -> bool {
        let first = (self as u8).wrapping_sub(Kind::Capture as u8) < Kind::Erase as u8 - Kind::Capture as u8;
        first | (self as u8 == Kind::Reclassify as u8)
    }

    /// Whether it gives a text a number.
    pub(crate) fn defines(self) -> bool {
        (self as u8).wrapping_sub(Kind::DefineId as u8) < Kind::Capture as u8 - Kind::DefineId as u8
    }

    /// Whether S of a link may stand in it.
    pub(crate) fn links(self) -> bool {
        matches!(self, Kind::Identify | Kind::Alias | Kind::Merge)
    }
}
