//! Frames behind a fault: found by their headers, and proven by hashes. Knows nothing of what their records say.
//!
//! A frame's hash binds its header and body to the hash before it. Which hash that was is a *claim*: of the frame before it, of
//! a segment's header, of `HEAD`. If a claim, header and body give the hash that the frame carries, or the one that another
//! claim says stands behind it, then only a collision of BLAKE3 could deceive, and the frame is proven. So
//! one damaged hash loses nothing as long as the next one, which was made with it, is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::log::chain::Checkpoint;
use crate::log::digest::Digest;
use crate::log::frame::{Frame, HEADER_BYTES, Header};
use crate::model::id::LedgerId;
use crate::model::limits::MAX_RECORDS;
use crate::store::layout::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::store::segments::Log;

/// Read at a time while looking for headers.
const READ_BYTES: usize = 64 * 1_024;
/// The hash before a frame begins at most this number of bytes before it: padding is shorter than 8.
const NEAR_BYTES: usize = 32 + 7;
/// Claims about one place that are tried. Each damaged frame adds one; more than this many together, and what follows them
/// must be proven by claims of its own.
const MAX_CLAIMS: usize = 16;

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: usize,
    pub(super) offset: u64,
}

/// What became of a frame that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing proves it.
    Unproven,
    /// Proven, and its records are taken.
    Chosen,
    /// Another proven frame holds its records.
    Aside,
    /// Proven, but its records cannot be read: no writer of this version wrote it.
    Unreadable,
}

/// The hashes around a proven frame.
#[derive(Clone, Copy, Debug)]
struct Proof {
    previous: Digest,
    hash: Digest,
}

/// A frame whose header is whole.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) header: Header,
    /// Whether the file reaches to its end.
    is_whole: bool,
    proof: Option<Proof>,
    standing: Standing,
}

impl Found {
    /// How many records there are with it.
    pub(super) fn end(&self) -> u64 {
        self.header.first_seq + u64::from(self.header.records) // Header::parse checked the sum
    }

    pub(super) fn place_behind(&self) -> Place {
        Place { offset: self.place.offset + self.header.frame_len() as u64, ..self.place }
    }

    pub(super) fn is_chosen(&self) -> bool {
        self.standing == Standing::Chosen
    }

    /// Whether its records are its own, intact or lost.
    pub(super) fn counts(&self) -> bool {
        self.standing != Standing::Aside
    }

    /// Why its records are lost; `None` if they are not.
    pub(super) fn why_lost(&self) -> Option<&'static str> {
        match self.standing {
            Standing::Chosen | Standing::Aside => None,
            Standing::Unreadable => Some("as it was written, but no record of this version"),
            Standing::Unproven if !self.is_whole => Some("the file ends inside the frame"),
            Standing::Unproven => Some("changed, or the hash before it is lost"),
        }
    }

    /// Whether these bytes are what was proven.
    pub(super) fn is_still(&self, bytes: &Frame<'_>) -> bool {
        self.proof.is_some_and(|Proof { previous, hash }| bytes.hash_after(&previous) == hash)
    }

    pub(super) fn set_unreadable(&mut self) {
        self.standing = Standing::Unreadable;
    }

    /// Reads the frame's bytes.
    pub(super) fn read<'b>(&self, log: &Log, buffer: &'b mut Vec<u8>) -> io::Result<Option<Frame<'b>>> {
        let len = self.header.frame_len();
        buffer.resize(len, 0);
        let name = &log.segments()[self.place.segment].name;
        let read = log.storage().read_at(name, self.place.offset, buffer)?;
        Ok((read == len).then(|| Frame::split(self.header, self.header.payload_len as usize, buffer).0))
    }
}

/// Finds every whole frame header from `at` on, but for those of records before `first`, in the order of their records.
pub(super) fn scan(
    log: &Log,
    ledger: LedgerId,
    at: Place,
    first: u64,
    progress: &mut dyn FnMut(u64),
) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut done: u64 = log.segments().iter().take(at.segment).map(|segment| segment.len).sum();
    for segment in at.segment..log.segments().len() {
        let start = if segment == at.segment { at.offset } else { 0 };
        scan_segment(log, ledger, Place { segment, offset: start }, &mut found)?;
        done += log.segments()[segment].len;
        progress(done);
    }
    found.retain(|frame| frame.header.first_seq >= first && frame.end() <= MAX_RECORDS);
    found.sort_by_key(|frame| (frame.header.first_seq, frame.place));
    Ok(found)
}

fn scan_segment(log: &Log, ledger: LedgerId, from: Place, found: &mut Vec<Found>) -> io::Result<()> {
    let segment = &log.segments()[from.segment];
    let mut at = from.offset.max(SEGMENT_HEADER_BYTES as u64).next_multiple_of(8); // frames are padded to 8 bytes
    let mut buffer = vec![0; READ_BYTES + HEADER_BYTES];
    while at < segment.len {
        let read = log.storage().read_at(&segment.name, at, &mut buffer)?;
        let mut step = 0;
        while step < read.min(READ_BYTES) {
            let Ok(header) = Header::parse(&buffer[step..read], ledger) else {
                step += 8;
                continue;
            };
            let place = Place { offset: at + step as u64, ..from };
            let len = header.frame_len();
            let is_whole = place.offset + len as u64 <= segment.len;
            found.push(Found { place, header, is_whole, proof: None, standing: Standing::Unproven });
            step += len; // its checksum holds, so its lengths do
        }
        at += step.max(8) as u64;
    }
    Ok(())
}

/// A hash that an unproven frame would have if a claim about the hash before it is true. Should the next frame fit it, both
/// are proven.
struct Guess {
    frame: usize,
    previous: Digest,
    hash: Digest,
    /// The guess that the claim was.
    from: Option<usize>,
}

/// What is claimed about the hash after a number of records.
#[derive(Clone, Copy)]
struct PredecessorHash {
    hash: Digest,
    guess: Option<usize>,
}

/// Every claim found so far about the hash after a number of records, by that number.
pub(super) struct Claims {
    /// Claims of segment headers, `HEAD`, a checkpoint and the prefix.
    outside: BTreeMap<u64, Vec<Digest>>,
    /// Claims that frames make.
    inside: BTreeMap<u64, Vec<PredecessorHash>>,
    guesses: Vec<Guess>,
    last_segment: Option<u64>,
}

impl Claims {
    /// Collects what is claimed outside of frames.
    pub(super) fn new(
        log: &Log,
        ledger: LedgerId,
        seen: &[Checkpoint],
        prefix: Checkpoint,
    ) -> io::Result<Claims> {
        let mut claims = Claims {
            outside: BTreeMap::new(),
            inside: BTreeMap::new(),
            guesses: Vec::new(),
            last_segment: None,
        };
        for said in seen.iter().chain([&prefix]) {
            claims.outside.entry(said.records).or_default().push(said.head);
        }
        for segment in log.segments() {
            let mut bytes = [0; SEGMENT_HEADER_BYTES];
            let read = log.storage().read_at(&segment.name, 0, &mut bytes)?;
            let header = SegmentHeader::parse(&bytes[..read]).filter(|header| header.ledger == ledger);
            if let Some(SegmentHeader { first_seq, previous, .. }) = header {
                claims.outside.entry(first_seq).or_default().push(previous);
                claims.last_segment = claims.last_segment.max(Some(first_seq));
            }
        }
        Ok(claims)
    }

    /// The highest record count at which a segment begins.
    pub(super) fn last_segment(&self) -> Option<u64> {
        self.last_segment
    }

    /// Proves what can be proven of frames that come in the order of their records.
    pub(super) fn prove(&mut self, log: &Log, mut found: Vec<Found>) -> io::Result<Vec<Found>> {
        let mut buffer = Vec::new();
        for at in 0..found.len() {
            let frame = &found[at];
            let (first, end) = (frame.header.first_seq, frame.end());
            self.inside = self.inside.split_off(&first); // earlier places are not asked for again
            let near = near(log, frame.place)?;
            let Some(bytes) = frame.read(log, &mut buffer)? else { continue };
            match self.proof(&bytes, end, &near) {
                Some((proof, guess)) => {
                    found[at].proof = Some(proof);
                    self.claim(end, PredecessorHash { hash: proof.hash, guess: None });
                    self.confirm(guess, &mut found);
                }
                None => self.guess(at, &bytes, end),
            }
        }
        Ok(found)
    }

    fn about(&self, records: u64) -> Vec<PredecessorHash> {
        let outside = self.outside.get(&records).into_iter().flatten();
        let outside = outside.map(|hash| PredecessorHash { hash: *hash, guess: None });
        outside.chain(self.inside.get(&records).into_iter().flatten().copied()).collect()
    }

    fn claim(&mut self, records: u64, claim: PredecessorHash) {
        let claims = self.inside.entry(records).or_default();
        if claims.len() < MAX_CLAIMS && claims.iter().all(|other| other.hash != claim.hash) {
            claims.push(claim);
        }
    }

    /// The proof of a frame, and the guess that it confirms.
    fn proof(&self, frame: &Frame<'_>, end: u64, near: &[u8]) -> Option<(Proof, Option<usize>)> {
        let behind = self.outside.get(&end);
        let near = near
            .windows(32)
            .map(|bytes| PredecessorHash { hash: Digest(bytes.try_into().expect("32 bytes")), guess: None });
        self.about(frame.header.first_seq).into_iter().chain(near).find_map(
            |PredecessorHash { hash: previous, guess }| {
                let hash = frame.hash_after(&previous);
                let fits = hash == frame.hash || behind.is_some_and(|claims| claims.contains(&hash));
                fits.then_some((Proof { previous, hash }, guess))
            },
        )
    }

    /// The frame is not proven yet: what it carries is a claim, and so is what it would carry.
    fn guess(&mut self, at: usize, frame: &Frame<'_>, end: u64) {
        self.claim(end, PredecessorHash { hash: frame.hash, guess: None });
        for PredecessorHash { hash: previous, guess: from } in self.about(frame.header.first_seq) {
            let hash = frame.hash_after(&previous);
            let guess = Some(self.guesses.len());
            self.guesses.push(Guess { frame: at, previous, hash, from });
            self.claim(end, PredecessorHash { hash, guess });
        }
    }

    /// A later frame fits a guess: the guessed frame is proven, and so is what it was guessed from.
    fn confirm(&self, mut guess: Option<usize>, found: &mut [Found]) {
        while let Some(confirmed) = guess {
            let Guess { frame, previous, hash, from } = self.guesses[confirmed];
            found[frame].proof = Some(Proof { previous, hash });
            guess = from;
        }
    }
}

/// The bytes before a frame in which the hash of the frame before it ends.
fn near(log: &Log, place: Place) -> io::Result<Vec<u8>> {
    let start = place.offset.saturating_sub(NEAR_BYTES as u64).max(SEGMENT_HEADER_BYTES as u64);
    let mut bytes = vec![0; place.offset.saturating_sub(start) as usize]; // at most NEAR_BYTES
    let read = log.storage().read_at(&log.segments()[place.segment].name, start, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Decides whose records are taken where proven frames stand in the same place or do not fit their neighbours, as happens if a
/// file of another history of this ledger lies in the log: those that are linked to a head that was seen come first, then those
/// linked to the prefix, then the order of the files. Gives how many contradict what was taken.
pub(super) fn choose(found: &mut [Found], seen: &[Checkpoint], prefix: Checkpoint) -> u64 {
    let ranks = ranks(found, seen, prefix);
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by_key(|at| (ranks[*at], found[*at].place));
    let mut taken = Taken(BTreeMap::new());
    let mut contradicting = 0;
    let mut refuted = BTreeSet::new(); // hashes that only frames left aside follow
    for at in order {
        let frame = &mut found[at];
        let (first, end) = (frame.header.first_seq, frame.end());
        let there = taken.overlapping(first, end);
        match frame.proof {
            Some(proof) if there.is_none() && taken.fits(first, end, proof, prefix) => {
                frame.standing = Standing::Chosen;
                taken.0.insert(first, (end, proof));
            }
            Some(proof) => {
                frame.standing = Standing::Aside;
                if there.is_none_or(|there| there.hash != proof.hash) {
                    contradicting += 1; // else it is the same frame, twice
                    refuted.insert((first, proof.previous.0));
                }
            }
            None if there.is_some() => frame.standing = Standing::Aside,
            None => {}
        }
    }
    for at in (0..found.len()).rev().filter(|at| ranks[*at] > 0) {
        let frame = &mut found[at];
        let Some(proof) = frame.proof.filter(|_| frame.is_chosen()) else { continue };
        if refuted.contains(&(frame.end(), proof.hash.0)) {
            frame.standing = Standing::Aside; // it leads to another history
            contradicting += 1;
            refuted.insert((frame.header.first_seq, proof.previous.0));
        }
    }
    contradicting
}

/// Frames whose records are taken: by first record, the end and the hashes around.
struct Taken(BTreeMap<u64, (u64, Proof)>);

impl Taken {
    fn overlapping(&self, first: u64, end: u64) -> Option<Proof> {
        let (_, (there, proof)) = self.0.range(..end).next_back()?;
        (*there > first).then_some(*proof)
    }

    /// Whether the frames that touch this one, if they are known, are its neighbours in one chain.
    fn fits(&self, first: u64, end: u64, proof: Proof, prefix: Checkpoint) -> bool {
        let behind = self.0.get(&end).is_none_or(|(_, behind)| behind.previous == proof.hash);
        let before = self.0.range(..first).next_back().filter(|(_, (there, _))| *there == first);
        let before = before.is_none_or(|(_, (_, before))| before.hash == proof.previous);
        let begins = first != prefix.records || proof.previous == prefix.head;
        behind && before && begins
    }
}

/// How well each frame is linked: 0 frame by frame to a head that was seen, 1 to the prefix, 2 to neither, 3 not even proven.
fn ranks(found: &[Found], seen: &[Checkpoint], prefix: Checkpoint) -> Vec<u8> {
    let mut ranks: Vec<u8> = found.iter().map(|frame| if frame.proof.is_some() { 2 } else { 3 }).collect();
    let mut heads: BTreeMap<u64, Vec<Digest>> = BTreeMap::from([(prefix.records, vec![prefix.head])]);
    for (at, frame) in found.iter().enumerate() {
        let Some(Proof { previous, hash }) = frame.proof else { continue };
        if heads.get(&frame.header.first_seq).is_some_and(|heads| heads.contains(&previous)) {
            ranks[at] = 1;
            heads.entry(frame.end()).or_default().push(hash);
        }
    }
    let mut heads: BTreeMap<u64, Vec<Digest>> = BTreeMap::new();
    for Checkpoint { records, head } in seen {
        heads.entry(*records).or_default().push(*head);
    }
    for (at, frame) in found.iter().enumerate().rev() {
        let Some(Proof { previous, hash }) = frame.proof else { continue };
        if heads.get(&frame.end()).is_some_and(|heads| heads.contains(&hash)) {
            ranks[at] = 0;
            heads.entry(frame.header.first_seq).or_default().push(previous);
        }
    }
    ranks
}
