//! Tenants: a ledger each, opened when its first event comes, closed when none came for a while, opened again after a failure. The tenant
//! of a node is another matter: its ledger is open for as long as the server is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use identity_ledger::import::{FutureTimes, RequestOptions};
use identity_ledger::storage::KeyProvider;
use identity_ledger::{LedgerOptions, Policy, SharedLedger};

use crate::clock::Clock;
use crate::failure::Failure;
use crate::key_ring;
use crate::serve::recorder::Recorder;
use crate::serve::tokens::TenantName;

/// The ledgers of all tenants.
pub(crate) struct Tenants {
    dir: PathBuf,
    /// That of ledgers which are created.
    policy: Policy,
    /// Where the key rings are, one for each tenant; `None` leaves ledgers unsealed.
    rings: Option<PathBuf>,
    merge_dangerously: bool,
    future_times: FutureTimes,
    max_bytes: usize,
    clock: Clock,
    slots: Mutex<BTreeMap<TenantName, Arc<Slot>>>,
    /// The only tenant of a node, with its ledger.
    node: Option<(TenantName, Arc<Tenant>)>,
}

/// A tenant's place. Its lock is held while the ledger is opened or closed, so that only one thread does either.
#[derive(Default)]
struct Slot(Mutex<Place>);

#[derive(Default)]
struct Place {
    open: Option<Arc<Tenant>>,
    /// Whether the ledger was open before. Then it is never created: one that is missing was moved away.
    is_known: bool,
}

/// A tenant whose ledger is open.
pub(crate) struct Tenant {
    pub(crate) ledger: SharedLedger,
    /// What its events and corrections are given to.
    pub(crate) recorder: Box<dyn Recorder>,
    /// How many records the snapshot covers that it was opened from.
    pub(crate) from_snapshot: Option<u64>,
    /// When something was asked of it last.
    used: Mutex<Duration>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tenants {
    pub(crate) fn new(
        dir: PathBuf,
        policy: Policy,
        rings: Option<PathBuf>,
        merge_dangerously: bool,
        future_times: FutureTimes,
        max_bytes: usize,
    ) -> Result<Tenants, Failure> {
        if key_ring::given().is_some() {
            return Err(Failure::SealedServer);
        }
        fs::create_dir_all(&dir).map_err(Failure::write(&dir))?;
        if let Some(rings) = &rings {
            fs::create_dir_all(rings).map_err(Failure::write(rings))?;
        }
        Ok(Tenants {
            dir,
            policy,
            rings,
            merge_dangerously,
            future_times,
            max_bytes,
            clock: Clock::new(),
            slots: Mutex::default(),
            node: None,
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<TenantName, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses the directory of a node: what was recorded beside its ledger would be in no other node.
    pub(crate) fn check_alone(&self) -> Result<(), Failure> {
        for file in ["ledger", "trail"].map(|name| self.dir.join(name)) {
            if !fs::exists(&file).map_err(Failure::read(&file))? {
                return Ok(());
            }
        }
        Err(Failure::IsNode { dir: self.dir.clone() })
    }

    /// Serves a node's tenant, and no other.
    #[cfg(feature = "jetstream")]
    pub(crate) fn follow(&mut self, name: TenantName, ledger: SharedLedger, recorder: Box<dyn Recorder>) {
        let found = ledger.write(|ledger| Ok::<_, Failure>(ledger.recovery().from_snapshot));
        let from_snapshot = found.ok().flatten();
        let tenant = Tenant { ledger, recorder, from_snapshot, used: Mutex::default() };
        self.node = Some((name, Arc::new(tenant)));
    }

    /// A tenant, its ledger open: opens it, or creates it, if need be. Blocks.
    pub(crate) fn tenant(&self, name: &TenantName) -> Result<Arc<Tenant>, Failure> {
        if let Some((_, tenant)) = &self.node {
            return Ok(Arc::clone(tenant));
        }
        let slot = Arc::clone(self.slots().entry(name.clone()).or_default());
        let mut place = slot.lock();
        // A ledger that stopped writing has released its lock, and what was acknowledged is in its files: it is opened again.
        if place.open.as_ref().is_some_and(|tenant| tenant.ledger.sync_counts().failed) {
            place.open = None;
        }
        let tenant = match &place.open {
            Some(tenant) => Arc::clone(tenant),
            None => {
                let opened = Arc::new(self.open(name, place.is_known)?);
                place.is_known = true;
                Arc::clone(place.open.insert(opened))
            }
        };
        *tenant.used.lock().unwrap_or_else(PoisonError::into_inner) = self.clock.elapsed();
        Ok(tenant)
    }

    /// A tenant, unless it has no ledger yet. Blocks.
    pub(crate) fn existing(&self, name: &TenantName) -> Result<Option<Arc<Tenant>>, Failure> {
        let place = self.place(name);
        let exists = fs::exists(&place).map_err(Failure::read(&place))?;
        if exists { self.tenant(name).map(Some) } else { Ok(None) }
    }

    pub(crate) fn place(&self, name: &TenantName) -> PathBuf {
        match self.node {
            Some(_) => self.dir.join("ledger"),
            None => self.dir.join(format!("{name}.ledger")),
        }
    }

    fn open(&self, name: &TenantName, is_known: bool) -> Result<Tenant, Failure> {
        let place = self.place(name);
        let ledger = match is_known || fs::exists(&place).map_err(Failure::read(&place))? {
            true => self.ledger_options(name)?.open(&place)?,
            false => self.ledger_options(name)?.create(&place, name.tenant(), self.policy.clone())?,
        };
        let from_snapshot = ledger.recovery().from_snapshot;
        let ledger = SharedLedger::new(ledger);
        let recorder = Box::new(ledger.clone());
        Ok(Tenant { ledger, recorder, from_snapshot, used: Mutex::default() })
    }

    /// How the ledger of a tenant is opened, or created: with its key ring.
    pub(crate) fn ledger_options(&self, name: &TenantName) -> Result<LedgerOptions<'static>, Failure> {
        Ok(with_keys(self.keys(name, &self.place(name))?))
    }

    /// The key ring of a tenant whose ledger has this place; `None` if ledgers are not sealed.
    pub(crate) fn keys(
        &self,
        name: &TenantName,
        place: &Path,
    ) -> Result<Option<Arc<dyn KeyProvider>>, Failure> {
        let Some(rings) = &self.rings else { return Ok(None) };
        let ring = rings.join(format!("{name}.ring"));
        key_ring::expect_outside(place, &ring)?;
        key_ring::stored(&ring).map(Some)
    }

    /// How requests of a tenant are read: as the policy of its ledger says now.
    pub(crate) fn options(&self, tenant: &Tenant) -> RequestOptions {
        tenant.ledger.read(|reader| self.options_by(reader.policy()))
    }

    fn options_by(&self, policy: &Policy) -> RequestOptions {
        RequestOptions {
            merge_dangerously: self.merge_dangerously,
            future_times: self.future_times,
            max_bytes: self.max_bytes,
            ..RequestOptions::from(policy)
        }
    }

    /// How requests are read for a ledger that is created.
    pub(crate) fn new_options(&self) -> RequestOptions {
        self.options_by(&self.policy)
    }

    /// The tenants whose ledgers are open.
    pub(crate) fn open_tenants(&self) -> Vec<(TenantName, Arc<Tenant>)> {
        let slots: Vec<_> =
            self.slots().iter().map(|(name, slot)| (name.clone(), Arc::clone(slot))).collect();
        // A slot that is locked is being opened, which may take long: it is left out.
        let open = |slot: &Slot| slot.0.try_lock().ok()?.open.clone();
        let open = slots.into_iter().filter_map(|(name, slot)| Some((name, open(&slot)?)));
        open.chain(self.node.clone()).collect()
    }

    /// Closes the ledgers that nothing was asked of for a while. Blocks.
    pub(crate) fn close_idle(&self, idle: Duration) {
        let now = self.clock.elapsed();
        let slots: Vec<_> = self.slots().values().cloned().collect();
        for slot in slots {
            let Ok(mut place) = slot.0.try_lock() else { continue };
            let is_idle = |tenant: &Arc<Tenant>| {
                let used = *tenant.used.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::strong_count(tenant) == 1 && now.saturating_sub(used) >= idle
            };
            // Closed while the slot is locked: the next request waits, and then finds the lock of the ledger free.
            if place.open.as_ref().is_some_and(is_idle) {
                place.open = None;
            }
        }
    }

    /// Flushes and closes every ledger; gives those that failed. Blocks.
    pub(crate) fn close_all(&self) -> Vec<(TenantName, String)> {
        let slots = std::mem::take(&mut *self.slots());
        let open = slots.into_iter().filter_map(|(name, slot)| Some((name, slot.lock().open.take()?)));
        let open = open.chain(self.node.clone());
        open.filter_map(|(name, tenant)| Some((name, tenant.recorder.close().err()?))).collect()
    }
}

/// Options with a key ring, if there is one.
pub(crate) fn with_keys(keys: Option<Arc<dyn KeyProvider>>) -> LedgerOptions<'static> {
    let options = LedgerOptions::new();
    match keys {
        Some(keys) => options.keys(keys),
        None => options,
    }
}
