//! What a storage of a test hands on to the one behind it.

/// Methods of `Storage` that ask a field the same.
macro_rules! hands_on {
    ($field:ident: $($method:ident)*) => {
        $($crate::support::hand_on::hands_on! { @ $field $method })*
    };
    (@ $field:ident list) => {
        fn list(&self, dir: &str) -> std::io::Result<Vec<String>> {
            self.$field.list(dir)
        }
    };
    (@ $field:ident len) => {
        fn len(&self, file: &str) -> std::io::Result<Option<u64>> {
            self.$field.len(file)
        }
    };
    (@ $field:ident read_at) => {
        fn read_at(&self, file: &str, offset: u64, out: &mut [u8]) -> std::io::Result<usize> {
            self.$field.read_at(file, offset, out)
        }
    };
    (@ $field:ident create) => {
        fn create(&self, file: &str) -> std::io::Result<()> {
            self.$field.create(file)
        }
    };
    (@ $field:ident write_at) => {
        fn write_at(&self, file: &str, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            self.$field.write_at(file, offset, bytes)
        }
    };
    (@ $field:ident sync) => {
        fn sync(&self, file: &str) -> std::io::Result<()> {
            self.$field.sync(file)
        }
    };
    (@ $field:ident sync_dir) => {
        fn sync_dir(&self, dir: &str) -> std::io::Result<()> {
            self.$field.sync_dir(dir)
        }
    };
    (@ $field:ident remove) => {
        fn remove(&self, file: &str) -> std::io::Result<()> {
            self.$field.remove(file)
        }
    };
    (@ $field:ident rename) => {
        fn rename(&self, file: &str, to: &str) -> std::io::Result<()> {
            self.$field.rename(file, to)
        }
    };
    (@ $field:ident lock) => {
        fn lock(&self) -> std::io::Result<Option<identity_ledger::storage::Lock>> {
            self.$field.lock()
        }
    };
    (@ $field:ident describe) => {
        fn describe(&self) -> String {
            self.$field.describe()
        }
    };
}
pub(crate) use hands_on;
