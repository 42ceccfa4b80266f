//! What the integration tests share. A directory of its own for those that are programs of their own, too: they and the fuzz targets
//! name the one file they need.

pub(crate) mod checked;
pub(crate) mod compare;
pub(crate) mod counting;
pub(crate) mod failing;
pub(crate) mod forge;
pub(crate) mod gate;
pub(crate) mod hand_on;
#[cfg(feature = "import")]
pub(crate) mod import;
pub(crate) mod js;
#[cfg(feature = "testing")]
pub(crate) mod markers;
pub(crate) mod page;
pub(crate) mod run;
#[cfg(all(feature = "import", feature = "testing"))]
pub(crate) mod scenario;
pub(crate) mod sdk;
pub(crate) mod short;
