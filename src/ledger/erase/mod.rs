//! Erasing: requests to forget, as records with explicit numbers (H3), and the receipts that can be filed
//! about them.
//!
//! `Ledger::begin_erasures` makes it durable that something is erased: from there on every answer says so.
//! `Ledger::finish_erasures` takes it out of the files (`removal.rs`); opening does that too, should a crash come between.

pub(crate) mod receipt;
pub(crate) mod request;
pub(crate) mod rewrite;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::Peekable;
use std::vec::IntoIter;

use crate::ledger::erase::receipt::Receipt;
#[cfg(feature = "encryption")]
use std::io;

use crate::ledger::Ledger;
use crate::ledger::append::end;
use crate::ledger::delivery::{Delivery, chance};
use crate::ledger::draft::{Draft, Finished, KnownIds};
use crate::ledger::erase::request::{ErasureRequest, ErasureSubject, Touched, Wanted};
use crate::ledger::erase::rewrite::{Rewritten, Stopped};
use crate::ledger::error::{AppendError, EraseError};
use crate::ledger::trace;
use crate::log::body::{Body, DeviceNo, ErasedDevice, Erasure, ErasureCompletion, Removal, Restated};
#[cfg(feature = "encryption")]
use crate::log::payload::KeysError;
use crate::log::record::Row;
use crate::model::id::{DeviceId, Seq};
use crate::model::limits::{
    MAX_DONE_ENTRIES, MAX_ERASE_IDS, MAX_ERASE_RECORDS, MAX_FRAME_BYTES, MAX_FRAME_RECORDS,
};
use crate::model::operation::{Operation, Request};
use crate::model::time::Timestamp;
use crate::query::reader::{Destroyed, Reader};
use crate::store::receipts::Taken;

impl From<Stopped> for EraseError {
    fn from(stopped: Stopped) -> EraseError {
        match stopped {
            Stopped::Fault(fault) => EraseError::Unreadable(fault),
            Stopped::Io(source) | Stopped::Unknown(source) => EraseError::Removal { source },
            Stopped::Keys(error) => EraseError::KeysLeft(error),
        }
    }
}

/// Room that a frame of erasures may take: far below the bound, so that one record more always fits.
const FRAME_BYTES: usize = MAX_FRAME_BYTES / 2;

/// The same for records.
const FRAME_RECORDS: u32 = MAX_FRAME_RECORDS / 2;

impl Ledger {
    /// Erases: first for every answer, durably, then in every file. Several requests together rewrite each segment once, and those
    /// for keys read the log once.
    ///
    /// What stays is structure: numbers, links, events and their persons, counts, times, property keys, and the hashes and
    /// digests of everything so far. Devices that spoke for an erased id are reset (F4).
    ///
    /// # Errors
    /// [`EraseError`]. If it is `Removal`, or `Unreadable` after a first success, answers say "erased" and files do not yet.
    pub fn erase(&mut self, requests: &[ErasureRequest]) -> Result<Vec<Receipt>, EraseError> {
        let begun: BTreeSet<Seq> = self.begin_erasures(requests)?.into_iter().collect();
        let receipts = self.finish_erasures(&mut |_| {})?;
        Ok(receipts.into_iter().filter(|receipt| begun.contains(&receipt.seq)).collect())
    }

    /// Erases for every answer, durably, and leaves the files for [`Ledger::finish_erasures`], the next snapshot or the next
    /// opening. Gives the erase records: at least one for each request, more if it covers very much.
    ///
    /// A ledger that was opened from a snapshot is held against its log first, once ([`Reader::prove_snapshot`]): what is erased
    /// is gone for good.
    ///
    /// # Errors
    /// [`EraseError`]; unless it is `Append` with `Indeterminate` or `Poisoned`, nothing was erased.
    pub fn begin_erasures(&mut self, requests: &[ErasureRequest]) -> Result<Vec<Seq>, EraseError> {
        self.check_local()?;
        let Planned { wanted, said, devices, resets } = self.plan(requests)?;
        let (mut resets, mut none) = (resets.into_iter().peekable(), Vec::new().into_iter().peekable());
        let mut begun = Vec::new();
        let mut pieces: VecDeque<Piece> = VecDeque::new();
        for (wanted, devices) in wanted.iter().zip(devices) {
            if wanted.is_scoped() {
                begun.extend(self.write_erasures(&mut resets, &mut pieces, requests)?); // it may leave fewer values
                let mut said = said.get(&wanted.index).into_iter().flatten();
                while let Some(piece) = self.reader.rectified(wanted, &mut said)? {
                    begun.extend(self.write_erasures(&mut none, &mut [piece].into(), requests)?);
                }
            } else {
                pieces.extend(whole_pieces(wanted, &devices));
            }
        }
        begun.extend(self.write_erasures(&mut resets, &mut pieces, requests)?);
        self.reader.log.rewrites().begin(); // no detached reader shows it from here on
        self.flush()?;
        Ok(begun)
    }

    /// Drafts one request as it stands at a position of a followed log: one frame, which is there or not, and so the same for every
    /// follower. What else depends on this copy alone, such as its key ring, is an error before anything is drafted.
    pub(super) fn draft_erasure(
        &mut self,
        delivery: &Delivery<'_>,
        request: &ErasureRequest,
    ) -> Result<(Vec<Seq>, Finished), EraseError> {
        let requests = std::slice::from_ref(request);
        let Planned { wanted, said, devices, resets } = self.plan(requests)?;
        let (mut pieces, mut bytes) = (VecDeque::new(), 0);
        for (wanted, devices) in wanted.iter().zip(devices) {
            if !wanted.is_scoped() {
                pieces.extend(whole_pieces(wanted, &devices));
                continue;
            }
            let mut said = said.get(&wanted.index).into_iter().flatten();
            while bytes <= MAX_FRAME_BYTES // more is too large for a frame, however much there is
                && let Some(piece) = self.reader.rectified(wanted, &mut said)?
            {
                bytes += piece.restated.iter().map(|(_, values)| values.len()).sum::<usize>();
                pieces.push_back(piece);
            }
        }
        let mut resets = resets.into_iter().peekable();
        let drafted = self.erasure_frame(&mut resets, &mut pieces, requests, Some(delivery));
        drafted.map_err(|error| match error {
            AppendError::BatchTooLarge { records, bytes, .. } => {
                EraseError::TooLarge { index: 0, records, bytes }
            }
            error => error.into(),
        })
    }

    /// What requests come to, and that it can be done: nothing is recorded before all of that is certain.
    fn plan(&self, requests: &[ErasureRequest]) -> Result<Planned, EraseError> {
        self.reader.prove_snapshot()?;
        let wanted = requests.iter().enumerate().map(|(index, request)| self.reader.wanted(index, request));
        let wanted = wanted.collect::<Result<Vec<Wanted>, EraseError>>()?;
        let said = self.reader.said(wanted.iter().filter(|wanted| wanted.is_scoped()))?;
        for Wanted { index, keys, .. } in wanted.iter().filter(|wanted| wanted.is_scoped()) {
            let mut touches = false;
            for seq in said.get(index).into_iter().flatten() {
                touches = touches || self.reader.touches(*seq, keys)?.is_some();
            }
            if !touches {
                return Err(EraseError::NoValues { index: *index });
            }
        }
        let devices =
            wanted.iter().map(|wanted| self.reader.devices_of(wanted)).collect::<Result<Vec<_>, _>>()?;
        let resets = self.reader.resets(&wanted, &devices, requests);
        self.prepare_keys(&wanted)?;
        Ok(Planned { wanted, said, devices, resets })
    }

    /// An erasure is not begun if its keys could not be destroyed. Texts that are not to come back are remembered before they are
    /// forgotten here. One that is remembered and, should this fail, not erased, is known, and is not refused.
    fn prepare_keys(&self, wanted: &[Wanted]) -> Result<(), EraseError> {
        let Some(sealer) = self.reader.log.keys() else { return Ok(()) };
        sealer.probe().map_err(EraseError::Keys)?;
        let whole = wanted.iter().filter(|wanted| !wanted.is_scoped());
        let mut texts = whole.flat_map(|wanted| &wanted.ids).filter_map(|id| self.reader.id_text(*id));
        sealer.remember(&mut texts).map_err(EraseError::Keys)
    }

    /// Chooses whether texts of ids that are erased from here on are refused when they are sent again, as
    /// [`crate::OperationError::Erased`]: nothing of such an operation is recorded. With `false` all that were remembered are forgotten.
    ///
    /// They are remembered in the key ring, as keyed hashes of 16 bytes. Only with the ring can texts be
    /// tried against them. The choice is stored in the ring and holds for every later opening.
    ///
    /// # Errors
    /// [`KeysError::NotSealed`]; `Follows` for a ledger that follows a log; and `NotStored` or `Changed` when the ring cannot be stored.
    #[cfg(feature = "encryption")]
    pub fn refuse_erased_ids(&mut self, refuse: bool) -> Result<(), KeysError> {
        let place = self.reader.log.storage().describe();
        let Some(sealer) = self.reader.log.keys() else { return Err(KeysError::NotSealed { place }) };
        if self.reader.followed().is_some() {
            return Err(KeysError::Follows { place });
        }
        if let Err(poisoned) = self.check_health() {
            return Err(KeysError::Io { keys: sealer.describe(), source: io::Error::other(poisoned) });
        }
        sealer.set_refusing(refuse)
    }

    /// Takes everything that is erased out of every file: affected segments are rewritten, one at a time, and
    /// snapshots and quarantined bytes from before are removed. A last record says so; of a ledger that follows a log, a file beside the
    /// chain. If there was a snapshot, a new one is made. `progress` hears how many bytes of log were looked through.
    ///
    /// Needs room for a copy of the largest affected segment, and memory for its largest frame.
    ///
    /// # Errors
    /// [`EraseError`]; it can be tried again, unless the ledger is poisoned. Opening tries too.
    pub fn finish_erasures(&mut self, progress: &mut dyn FnMut(u64)) -> Result<Vec<Receipt>, EraseError> {
        let pending: Vec<u32> = self.reader.state().erasures().pending().collect();
        if pending.is_empty() {
            return Ok(Vec::new());
        }
        self.flush()?;
        let rewritten = self.remove(progress)?;
        let had_snapshot = rewritten.had_snapshot;
        let removals = removals(&pending, rewritten);
        if self.reader.followed().is_some() {
            let taken = Taken { checkpoint: self.checkpoint(), removals };
            let storage = &**self.reader.log.storage();
            let filed = taken.write(storage, self.reader.ledger_id());
            filed.map_err(|source| EraseError::Removal { source })?;
            self.reader.replay.done_beside(taken.last());
        } else {
            for removal in removals {
                self.append_record(&Body::EraseDone(Box::new(removal)))?;
            }
            self.flush()?;
        }
        trace::erased(self.reader.ledger_id(), pending.len());
        if had_snapshot {
            self.renew_snapshot();
        }
        Ok(self.reader.receipts(|erase| pending.binary_search(&erase).is_ok())?)
    }

    /// Records as erased what was erased, as its destroyed keys say, after this copy of the ledger was made.
    pub(crate) fn erase_destroyed(&mut self, destroyed: Vec<Destroyed>) -> Result<(), EraseError> {
        let Some(last) = destroyed.iter().filter_map(|gone| gone.time).max().or(destroyed.first().map(|_| 0))
        else {
            return Ok(());
        };
        self.reader.prove_snapshot()?;
        let at = Timestamp::from_micros(last).expect("Chain::accept checked the range");
        let (mut ids, mut devices, mut records) = (Vec::new(), Vec::new(), Vec::new());
        for Destroyed { row, id, device, .. } in destroyed {
            match (id, device) {
                (Some(id), _) => ids.push(id),
                (None, Some(device)) => devices.push(ErasedDevice { device, defined: row.seq }),
                (None, None) => records.push(row),
            }
        }
        ids.sort_unstable();
        devices.sort_unstable();
        records.retain(|row: &Row| !row.speaks_for_id() || ids.binary_search(&row.id).is_err());
        let records = records.iter().map(|row| row.seq).collect();
        let reason = "erased before this copy was restored: the keys are destroyed";
        let request = ErasureRequest::new(at, ErasureSubject::Ids(BTreeSet::new()), reason);
        let wanted = [Wanted { index: 0, ids, keys: Vec::new(), records }];
        let resets =
            self.reader.resets(&wanted, std::slice::from_ref(&devices), std::slice::from_ref(&request));
        let mut pieces = whole_pieces(&wanted[0], &devices).into();
        self.write_erasures(&mut resets.into_iter().peekable(), &mut pieces, &[request])?;
        self.flush()?;
        Ok(())
    }

    fn remove(&mut self, progress: &mut dyn FnMut(u64)) -> Result<Rewritten, EraseError> {
        self.reader.prove_snapshot()?; // it says what is to be removed
        let no_snapshot = self.writer.site.clear(); // one that is being made holds it
        let ran = rewrite::run(&mut self.reader, progress);
        drop(no_snapshot); // who stops the ledger takes the site too
        match ran {
            Ok(rewritten) => Ok(rewritten),
            Err(Stopped::Unknown(source)) => {
                let seq = self.checkpoint().records;
                Err(self.writer.poison(seq, source).into())
            }
            Err(stopped) => Err(stopped.into()),
        }
    }

    /// Continues what a former writer began. A snapshot from before an erasure that is done does not come from a writer:
    /// what it brought back goes again. With `again`, so does everything that was erased: the key ring is another.
    pub(crate) fn roll_erasures_forward(&mut self, again: bool) -> Result<(), EraseError> {
        let Some(last) = self.reader.state().erasures().last() else { return Ok(()) };
        if self.reader.state().erasures().is_pending() {
            return self.finish_erasures(&mut |_| {}).map(drop);
        }
        if again || self.recovery.from_snapshot.is_some_and(|at| at <= last.into()) {
            return self.remove(&mut |_| {}).map(drop);
        }
        let purged = crate::ledger::snapshot::purge(&**self.reader.log.storage(), last.into());
        purged.map(drop).map_err(|source| EraseError::Removal { source })
    }

    /// H3: resets the devices that a retract or split made speak for an erased id. It is recorded already, whatever comes of this. A
    /// device whose reset cannot be written now is reset before it speaks again (`Draft`), so no error is lost.
    pub(crate) fn reset_devices(&mut self, at: Timestamp) {
        let devices: Vec<_> = self.reader.state().due_resets().map(|device| (at, device)).collect();
        let mut resets = devices.into_iter().peekable();
        while resets.peek().is_some() {
            if self.write_frame(&mut resets, &mut VecDeque::new(), &[]).is_err() {
                return;
            }
        }
    }

    /// Writes resets, then erasures, in as few frames as hold them.
    fn write_erasures(
        &mut self,
        resets: &mut Peekable<IntoIter<(Timestamp, DeviceNo)>>,
        pieces: &mut VecDeque<Piece>,
        requests: &[ErasureRequest],
    ) -> Result<Vec<Seq>, EraseError> {
        let mut begun = Vec::new();
        while !pieces.is_empty() {
            begun.extend(self.write_frame(resets, pieces, requests)?);
        }
        trace::erasing(self.reader.ledger_id(), begun.len());
        Ok(begun)
    }

    fn write_frame(
        &mut self,
        resets: &mut Peekable<IntoIter<(Timestamp, DeviceNo)>>,
        pieces: &mut VecDeque<Piece>,
        requests: &[ErasureRequest],
    ) -> Result<Vec<Seq>, AppendError> {
        let (begun, finished) = self.erasure_frame(resets, pieces, requests, None)?;
        self.commit(finished)?;
        Ok(begun)
    }

    /// Drafts resets and erasures: as many as a frame holds, or all of them if a log delivered them.
    fn erasure_frame(
        &mut self,
        resets: &mut Peekable<IntoIter<(Timestamp, DeviceNo)>>,
        pieces: &mut VecDeque<Piece>,
        requests: &[ErasureRequest],
        delivery: Option<&Delivery<'_>>,
    ) -> Result<(Vec<Seq>, Finished), AppendError> {
        let Ledger { reader, writer, .. } = self;
        let ledger = reader.ledger_id();
        let mut delivered = delivery.map(Delivery::entropy);
        let (entropy, nonces) = chance(&mut delivered, &mut *writer.entropy);
        let Reader { log, replay, dictionaries, .. } = reader;
        let mut draft = Draft::new(ledger, replay.state(), dictionaries, entropy, log.keys());
        draft.nonces = nonces;
        let full = |draft: &Draft<'_>| {
            let is_long =
                draft.body.len() + draft.payload.len() > FRAME_BYTES || draft.body.records() > FRAME_RECORDS;
            is_long && delivery.is_none()
        };
        while !full(&draft)
            && let Some((at, device)) = resets.next()
        {
            let text = draft.dictionaries().devices.text(device.0).map(str::to_owned);
            let Some(device) = text.and_then(|text| DeviceId::new(text).ok()) else { continue };
            let request = Request::Reset { device, reset_device: false, new_id: None };
            draft.operation(&Operation::new(at, request), KnownIds::default(), None, &BTreeMap::new());
        }
        let mut begun = Vec::new();
        while !full(&draft)
            && resets.peek().is_none()
            && let Some(Piece { index, erasure, restated }) = pieces.pop_front()
        {
            let request = &requests[index];
            begun.push(draft.erase(Erasure { time: request.at.as_micros(), ..erasure }, &request.reason));
            for (restated, values) in restated {
                draft.restate(restated, &values);
            }
        }
        Ok((begun, end(draft, delivery, 0)?))
    }
}

impl Reader {
    /// The next erase record of a request for some keys: of as many records as one names. `None` if nothing is left to go.
    fn rectified<'s>(
        &self,
        wanted: &Wanted,
        said: &mut impl Iterator<Item = &'s Seq>,
    ) -> Result<Option<Piece>, EraseError> {
        let erasure = Erasure { keys: wanted.keys.clone(), ..erasure() };
        let (mut piece, mut bytes) = (Piece { index: wanted.index, erasure, restated: Vec::new() }, 0);
        while piece.restated.len() < MAX_ERASE_RECORDS
            && bytes <= FRAME_BYTES / 2
            && let Some(seq) = said.next()
        {
            let Some(Touched { holder, restated, values }) = self.touches(*seq, &wanted.keys)? else {
                continue;
            };
            bytes += values.len();
            piece.erasure.records.push(holder);
            piece.restated.push((restated, values));
        }
        piece.erasure.records.sort_unstable();
        Ok((!piece.restated.is_empty()).then_some(piece))
    }

    /// How many erasures are recorded and not taken out of the files of this copy yet.
    pub fn erasures_pending(&self) -> usize {
        self.state().erasures().pending().count()
    }
}

/// What requests come to.
struct Planned {
    wanted: Vec<Wanted>,
    /// By request for some keys, the records that may hold values of them.
    said: BTreeMap<usize, Vec<Seq>>,
    /// By request, the devices that go with its ids.
    devices: Vec<Vec<ErasedDevice>>,
    /// The devices that are reset, and when.
    resets: Vec<(Timestamp, DeviceNo)>,
}

/// The tutorial's program runs as an example.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/erasure.md")]
struct Tutorial;

/// One erase record in the making, and what goes with it.
struct Piece {
    index: usize,
    erasure: Erasure,
    restated: Vec<(Restated, Vec<u8>)>,
}

fn erasure() -> Erasure {
    let (ids, devices, records, keys) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Erasure { time: 0, ids, devices, records, keys, reason: None }
}

/// The erase records of one request that is not key-scoped: each within its bounds.
fn whole_pieces(wanted: &Wanted, devices: &[ErasedDevice]) -> Vec<Piece> {
    let piece = |erasure| Piece { index: wanted.index, erasure, restated: Vec::new() };
    let mut pieces = Vec::new();
    let (mut ids, mut devices) = (wanted.ids.chunks(MAX_ERASE_IDS), devices.chunks(MAX_ERASE_IDS));
    let mut records = wanted.records.chunks(MAX_ERASE_RECORDS);
    loop {
        let (ids, devices, records) = (ids.next(), devices.next(), records.next());
        if (ids, devices, records) == (None, None, None) {
            return pieces;
        }
        pieces.push(piece(Erasure {
            ids: ids.unwrap_or_default().to_vec(),
            devices: devices.unwrap_or_default().to_vec(),
            records: records.unwrap_or_default().to_vec(),
            ..erasure()
        }));
    }
}

/// What the last records say: each within its bounds, and only when nothing is left to list are erasures done.
fn removals(pending: &[u32], rewritten: Rewritten) -> Vec<Removal> {
    let Rewritten { segments, items, .. } = rewritten;
    let removed =
        |erase: &u32| ErasureCompletion { erase: *erase, items: items.get(erase).copied().unwrap_or(0) };
    let removed: Vec<ErasureCompletion> = pending.iter().map(removed).collect();
    let mut segments = segments.chunks(MAX_DONE_ENTRIES).peekable();
    let mut removals = Vec::new();
    while segments.len() > 1
        && let Some(segments) = segments.next()
    {
        removals.push(Removal { erasures: Vec::new(), segments: segments.to_vec() });
    }
    let mut last = segments.next().unwrap_or_default();
    for erasures in removed.chunks(MAX_DONE_ENTRIES) {
        removals.push(Removal { erasures: erasures.to_vec(), segments: std::mem::take(&mut last).to_vec() });
    }
    removals
}
