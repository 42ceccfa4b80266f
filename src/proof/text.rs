//! A proof as a file of text. One proof has one spelling; a reader takes no other.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::log::frame::SALT_BYTES;
use crate::proof::note::{Note, NoteError};
use crate::proof::texts::{TextLeaf, Turns};
use crate::proof::tree::Hash;

const TITLE: &str = "identity-ledger proof 1";
/// Most bytes of a proof, of one record in it, and most lines.
pub(crate) const MAX_PROOF_BYTES: usize = 4 << 20;
pub(crate) const MAX_LEAF_BYTES: usize = 64 * 1_024;
pub(crate) const MAX_STEPS: usize = 1_000;
/// Most records that touch an id whose list is shown to be complete.
pub(crate) const MAX_TOUCHES: usize = 2_000;
/// How deep the steps before a split may lie in those before another.
pub(crate) const MAX_DEPTH: u32 = 64;

/// What a proof says, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Two ids, by their numbers, ascending.
    Same(u32, u32),
    NotSame(u32, u32),
    /// The record of an event.
    Event(u64),
    /// The number of an id, and of a key.
    Property(u32, u32),
    /// The number of an id.
    Erased(u32),
    /// The number of an id.
    Complete(u32),
    /// A text, and its place in the index: one way shows of many texts that they are not there.
    Absent(String, Hash),
    /// How many records the earlier note has.
    Consistent(u64),
}

/// A leaf, and the hashes that lead from it to its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) data: Vec<u8>,
    pub(crate) path: Vec<Hash>,
}

/// A payload item with its salt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) salt: [u8; SALT_BYTES],
    pub(crate) bytes: Vec<u8>,
}

/// Where the way of a text ends in the index of texts, and that way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextWay {
    /// The leaf there; `None` if it is that of the text that is asked about, or there is none.
    pub(crate) leaf: Option<TextLeaf>,
    pub(crate) turns: Turns,
}

/// An earlier note, and the hashes that lead from its tree of records to the later one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Earlier {
    pub(crate) note: Note,
    pub(crate) path: Vec<Hash>,
}

/// A step of the way from one id to another: the record that links them. Steps of greater depth behind it are what made the two one before
/// a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) depth: u32,
    pub(crate) seq: u64,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// A proof of one answer: a signed checkpoint, the records that the answer cites, and what leads from these to that.
///
/// [`Prover::prove`](crate::proof::Prover::prove) makes one, [`Proof::check`] checks it without a ledger. Its text is what is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub(crate) claim: Claim,
    pub(crate) records: BTreeMap<u64, Leaf>,
    pub(crate) items: BTreeMap<u64, Item>,
    pub(crate) ids: BTreeMap<u32, Leaf>,
    /// That a record touches an id: by the id, and the place among the records that touch it.
    pub(crate) touches: BTreeMap<(u32, u32), Leaf>,
    /// A property, by its place among the person's properties.
    pub(crate) properties: BTreeMap<u32, Leaf>,
    pub(crate) text: Option<TextWay>,
    pub(crate) earlier: Option<Earlier>,
    pub(crate) steps: Vec<Step>,
    pub(crate) note: Note,
}

/// Why a text is not a proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofTextError {
    /// A line is not one of a proof.
    #[error("line {line} is not one of a proof")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// There is no note at its end.
    #[error("it has no line `note` with a signed note behind it: it is not a proof, or its end is cut off")]
    NoNote,
    /// The parts are read, and are not spelled or ordered as a proof's.
    #[error("it is not spelled as a proof is: lines are out of order, or one stands twice")]
    Spelling,
    /// It is longer than any proof.
    #[error("it is longer than 4 MiB")]
    TooLong,
    /// The note in it is none.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Same(a, b) => write!(f, "same {a} {b}"),
            Claim::NotSame(a, b) => write!(f, "not-same {a} {b}"),
            Claim::Event(seq) => write!(f, "event {seq}"),
            Claim::Property(id, key) => write!(f, "property {id} {key}"),
            Claim::Erased(id) => write!(f, "erased {id}"),
            Claim::Complete(id) => write!(f, "complete {id}"),
            Claim::Absent(text, place) => {
                write!(f, "absent {} {}", STANDARD.encode(text), STANDARD.encode(place))
            }
            Claim::Consistent(records) => write!(f, "consistent {records}"),
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Proof { claim, records, items, ids, touches, properties, text, earlier, steps, note } = self;
        writeln!(f, "{TITLE}\nclaim {claim}")?;
        records.iter().try_for_each(|(seq, leaf)| writeln!(f, "record {seq} {leaf}"))?;
        for (seq, Item { salt, bytes }) in items {
            writeln!(f, "item {seq} {} {}", STANDARD.encode(salt), base64(bytes))?;
        }
        ids.iter().try_for_each(|(id, leaf)| writeln!(f, "id {id} {leaf}"))?;
        touches.iter().try_for_each(|((id, place), leaf)| writeln!(f, "touch {id} {place} {leaf}"))?;
        properties.iter().try_for_each(|(place, leaf)| writeln!(f, "property {place} {leaf}"))?;
        if let Some(TextWay { leaf, turns }) = text {
            let leaf = leaf.map_or_else(Vec::new, |(place, value)| [place, value].concat());
            let turns: Vec<u8> = turns.iter().flat_map(|(bit, hash)| [&[*bit][..], hash].concat()).collect();
            writeln!(f, "text {} {}", base64(&leaf), base64(&turns))?;
        }
        if let Some(Earlier { note, path }) = earlier {
            writeln!(f, "earlier {} {}", STANDARD.encode(note.to_string()), base64(&path.concat()))?;
        }
        for Step { depth, seq, from, to } in steps {
            writeln!(f, "step {depth} {seq} {from} {to}")?;
        }
        write!(f, "note\n{note}")
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", base64(&self.data), base64(&self.path.concat()))
    }
}

/// Bytes as one word; no bytes as `-`.
fn base64(bytes: &[u8]) -> String {
    if bytes.is_empty() { "-".to_owned() } else { STANDARD.encode(bytes) }
}

fn bytes(word: &str) -> Option<Vec<u8>> {
    if word == "-" { Some(Vec::new()) } else { STANDARD.decode(word).ok() }
}

impl FromStr for Proof {
    type Err = ProofTextError;

    fn from_str(text: &str) -> Result<Proof, ProofTextError> {
        if text.len() > MAX_PROOF_BYTES {
            return Err(ProofTextError::TooLong);
        }
        let (parts, note) = text.split_once("\nnote\n").ok_or(ProofTextError::NoNote)?;
        let mut lines = parts.split('\n').enumerate();
        let first = lines.next().is_some_and(|(_, line)| line == TITLE);
        let claim = lines.next().and_then(|(_, line)| claim(line)).filter(|_| first);
        let claim = claim.ok_or(ProofTextError::Line { line: if first { 2 } else { 1 } })?;
        let mut proof = Proof::of(claim, note.parse()?);
        for (at, line) in lines {
            proof.take(line).ok_or(ProofTextError::Line { line: at + 1 })?;
        }
        if proof.to_string() == text { Ok(proof) } else { Err(ProofTextError::Spelling) }
    }
}

fn claim(line: &str) -> Option<Claim> {
    let words: Vec<&str> = line.strip_prefix("claim ")?.split(' ').collect();
    let number = |word: &str| word.parse::<u32>().ok();
    Some(match words[..] {
        ["same", a, b] => Claim::Same(number(a)?, number(b)?),
        ["not-same", a, b] => Claim::NotSame(number(a)?, number(b)?),
        ["event", seq] => Claim::Event(seq.parse().ok()?),
        ["property", id, key] => Claim::Property(number(id)?, number(key)?),
        ["erased", id] => Claim::Erased(number(id)?),
        ["complete", id] => Claim::Complete(number(id)?),
        ["absent", text, place] => {
            Claim::Absent(String::from_utf8(bytes(text)?).ok()?, bytes(place)?.try_into().ok()?)
        }
        ["consistent", records] => Claim::Consistent(records.parse().ok()?),
        _ => return None,
    })
}

impl Proof {
    /// Of which nothing is known yet but what it claims, and as of which note.
    pub(crate) fn of(claim: Claim, note: Note) -> Proof {
        let (records, items, ids, touches, properties) = Default::default();
        let (text, earlier, steps) = Default::default();
        Proof { claim, records, items, ids, touches, properties, text, earlier, steps, note }
    }

    /// Of a proof that a note continues an earlier one: the body of the request by which a witness is asked to sign it (C2SP tlog-witness,
    /// add-checkpoint).
    pub fn add_checkpoint(&self) -> Option<String> {
        let (Claim::Consistent(records), Some(Earlier { path, .. })) = (&self.claim, &self.earlier) else {
            return None;
        };
        let path: String = path.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
        Some(format!("old {records}\n{path}\n{}", self.note))
    }

    /// Takes one line.
    fn take(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["record", seq, data, path] => drop(self.records.insert(seq.parse().ok()?, leaf(data, path)?)),
            ["item", seq, salt, item] => {
                let item = Item { salt: bytes(salt)?.try_into().ok()?, bytes: bytes(item)? };
                self.items.insert(seq.parse().ok()?, item);
            }
            ["id", id, data, path] => drop(self.ids.insert(id.parse().ok()?, leaf(data, path)?)),
            ["touch", id, place, data, path] => {
                self.touches.insert((id.parse().ok()?, place.parse().ok()?), leaf(data, path)?);
            }
            ["property", place, data, path] => {
                self.properties.insert(place.parse().ok()?, leaf(data, path)?);
            }
            ["text", leaf, turns] => self.text = Some(text_way(leaf, turns)?),
            ["earlier", note, path] => {
                let note = String::from_utf8(bytes(note)?).ok()?.parse().ok()?;
                self.earlier = Some(Earlier { note, path: hashes(path)? });
            }
            ["step", depth, seq, from, to] if self.steps.len() < MAX_STEPS => self.steps.push(Step {
                depth: depth.parse().ok().filter(|depth| *depth <= MAX_DEPTH)?,
                seq: seq.parse().ok()?,
                from: from.parse().ok()?,
                to: to.parse().ok()?,
            }),
            _ => return None,
        }
        Some(())
    }
}

fn leaf(data: &str, path: &str) -> Option<Leaf> {
    let (data, path) = (bytes(data)?, hashes(path)?);
    (data.len() <= MAX_LEAF_BYTES).then_some(Leaf { data, path })
}

/// The hashes of a path; consistency takes twice as many as inclusion.
fn hashes(path: &str) -> Option<Vec<Hash>> {
    let path = bytes(path)?;
    let (path, rest) = path.as_chunks::<32>();
    (path.len() <= 128 && rest.is_empty()).then(|| path.to_vec())
}

fn text_way(leaf: &str, turns: &str) -> Option<TextWay> {
    let (leaf, turns) = (bytes(leaf)?, bytes(turns)?);
    let (turns, rest) = turns.as_chunks::<33>();
    let leaf = match leaf.as_chunks::<32>() {
        ([], []) => None,
        ([place, value], []) => Some((*place, *value)),
        _ => return None,
    };
    let turns = turns.iter().map(|[bit, hash @ ..]| (*bit, *hash)).collect();
    rest.is_empty().then_some(TextWay { leaf, turns })
}
