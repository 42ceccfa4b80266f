//! What a ring's files ask of the system beyond std: which file a name leads to, who may read it, who owns it, and that a name is
//! durable. Where the system has none of it, nothing is checked and nothing is kept.

use std::fs::{Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// What tells a file from every other one: its device and its number there. `None` where std cannot say.
#[cfg(unix)]
pub(super) fn identity(of: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((of.dev(), of.ino()))
}

/// A new file is its owner's alone.
#[cfg(unix)]
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600)
}

/// Gives a new file the mode and the owner of the ring at `path`.
#[cfg(unix)]
pub(super) fn keep(made: &Path, ring: &Metadata, path: &Path) -> io::Result<()> {
    use std::fs::{Permissions, set_permissions, symlink_metadata};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let now = symlink_metadata(made)?;
    let (user, group) = (ring.uid(), ring.gid());
    if (now.uid(), now.gid()) != (user, group) {
        chown(made, Some(user), Some(group)).map_err(|error| {
            let what = format!(
                "{} belongs to user {user} and group {group}, which this process cannot give to the ring that replaces it ({error}); run it as that user",
                path.display()
            );
            io::Error::new(error.kind(), what)
        })?;
    }
    set_permissions(made, Permissions::from_mode(ring.mode() & 0o7777))
}

/// Makes the names in a directory durable.
#[cfg(unix)]
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).open(dir)?.sync_all()
}

#[cfg(not(unix))]
pub(super) fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn identity(_of: &Metadata) -> Option<(u64, u64)> {
    None
}

#[cfg(not(unix))]
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(not(unix))]
pub(super) fn keep(_made: &Path, _ring: &Metadata, _path: &Path) -> io::Result<()> {
    Ok(())
}
