//! `--demo`: made-up people in a directory that is removed at the end.

use std::fs;
use std::path::{Path, PathBuf};

use identity_ledger::import::{Importer, Options, Tally, run};
use identity_ledger::storage::{Entropy, OsEntropy};

use crate::failure::Failure;
use crate::serve::tenants::Tenants;
use crate::serve::tokens::{TenantName, pair};

/// The token that the demo's page sends, and its tenant.
pub(crate) const TOKEN: &str = "phc_demo=demo";

/// What the people did: sign-ups, a second browser, a shared computer, a claim that is refused, hostile texts.
const PEOPLE: &str = include_str!("demo.jsonl");

/// A directory that is removed when it is dropped.
pub(crate) struct DemoDir(PathBuf);

impl DemoDir {
    pub(crate) fn new() -> Result<DemoDir, Failure> {
        let mut name = [0; 8];
        OsEntropy::default().fill(&mut name);
        let dir =
            std::env::temp_dir().join(format!("identity-ledger-demo-{:016x}", u64::from_be_bytes(name)));
        fs::create_dir(&dir).map_err(Failure::write(&dir))?;
        Ok(DemoDir(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for DemoDir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok(); // it is in the directory for temporary files
    }
}

/// Records the people.
pub(crate) fn fill(tenants: &Tenants) -> Result<(), Failure> {
    let name: TenantName = pair(TOKEN).expect("the token of the demo is one").1.tenant;
    let tenant = tenants.tenant(&name)?;
    let options = tenant.ledger.read(|reader| Options::from(reader.policy()));
    let importer = Importer::new(PEOPLE.as_bytes(), options);
    let failed =
        |source| Failure::Import { file: PathBuf::from("the demo's people"), source: Box::new(source) };
    run(&mut tenant.ledger.clone(), importer, &mut Tally::default(), &mut ()).map_err(failed)
}
