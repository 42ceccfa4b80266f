//! Checkpoints and proofs made, by one walk through the log: a snapshot has no say in them.

use std::ops::Deref;

use crate::fold::FOLD_VERSION;
use crate::model::id::Seq;
use crate::proof::checkpoint::TreeCheckpoint;
use crate::proof::note::{Note, Signer, Verifier};
use crate::proof::prove::{Asked, Maker, ProveError};
use crate::proof::text::{MAX_PROOF_BYTES, Proof};
use crate::proof::trees::Trees;
use crate::query::reader::Reader;

/// A reader, or one that was folded up to a note.
enum Held<'a> {
    Now(&'a Reader),
    Then(Box<Reader>),
}

impl Deref for Held<'_> {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        match self {
            Held::Now(reader) => reader,
            Held::Then(reader) => reader,
        }
    }
}

/// A ledger's trees: makes checkpoints and any number of proofs from one walk through the log.
///
/// ```
/// use identity_ledger::proof::{Asked, Signer};
/// use identity_ledger::storage::OsEntropy;
/// use identity_ledger::{DistinctId, Ledger, Operation, Policy, Source, Tenant, Timestamp};
/// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
/// let at = Timestamp::from_micros(0)?;
/// let _ = ledger.append(Operation::identify(at, DistinctId::new("ann")?, Some(Source::new("phone"))))?;
///
/// let signer = Signer::generate("shop.example/ledger", &mut OsEntropy::default())?;
/// let (prover, key) = (ledger.reader().prover()?, [signer.verifier()]);
/// let note = prover.sign(&signer)?;
/// let proof = prover.prove(Asked::Same("ann", "phone"), &note, &key)?.to_string();
///
/// // Elsewhere, without the ledger:
/// let proven = proof.parse::<identity_ledger::proof::Proof>()?.check(&key)?;
/// assert!(proven.fact.to_string().contains(" are one person"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Prover<'a> {
    reader: Held<'a>,
    trees: Trees,
}

impl Reader {
    /// This ledger's trees as they are now.
    ///
    /// Cost: a walk through the log, and some 80 bytes of memory for each record. A ledger that was opened from a snapshot is first held
    /// against its log ([`Reader::prove_snapshot`]).
    ///
    /// # Errors
    /// [`ProveError::Fault`] when the log cannot be read back.
    pub fn prover(&self) -> Result<Prover<'_>, ProveError> {
        self.prove_snapshot()?;
        let trees = Trees::of(self)?;
        match trees.lacking {
            0 => Ok(Prover { reader: Held::Now(self), trees }),
            ids => Err(ProveError::NoIndex { ids }),
        }
    }

    /// This ledger's trees as of a note that all of these keys signed, if the note is of this ledger's records: its head and its roots are
    /// computed again from the log. Signatures of other keys are not looked at.
    ///
    /// Cost: as [`Reader::prover`]; for a note of fewer records than there are also a replay up to there.
    ///
    /// # Errors
    /// [`ProveError`], the first.
    pub fn prover_as_of(&self, note: &Note, keys: &[Verifier]) -> Result<Prover<'_>, ProveError> {
        note.verify(keys)?;
        let noted: TreeCheckpoint = note.text().parse()?;
        let (records, fold) = (noted.checkpoint.records, noted.persons.fold);
        let other = |[found, expected]: [String; 2]| Err(ProveError::OtherHistory { found, expected });
        if noted.ledger != self.ledger_id() {
            return other([noted.ledger, self.ledger_id()].map(|ledger| format!("ledger {ledger}")));
        }
        if records > self.state().records() || records == 0 {
            return Err(ProveError::Ahead { noted: records, records: self.state().records() });
        }
        if fold != FOLD_VERSION {
            return Err(ProveError::OtherRules { found: fold, known: FOLD_VERSION });
        }
        let reader = match records < self.state().records() {
            true => Held::Then(Box::new(self.as_of(Seq(records - 1), &mut |_| {})?)),
            false => Held::Now(self),
        };
        if reader.checkpoint() != noted.checkpoint {
            return other([noted.checkpoint, reader.checkpoint()].map(|checkpoint| checkpoint.to_string()));
        }
        reader.prove_snapshot()?;
        let mut trees = Trees::of(&reader)?;
        if trees.lacking > 0 {
            trees.checkpoint.texts = noted.texts;
        }
        let differs = |(found, expected): &(&str, &str)| found != expected;
        let ours = trees.checkpoint.to_string();
        match note.text().lines().zip(ours.lines()).find(differs) {
            Some((found, expected)) => other([found, expected].map(str::to_owned)),
            None => Ok(Prover { reader, trees }),
        }
    }
}

impl Prover<'_> {
    /// What a note says of this ledger: its head, and the roots of the trees that proofs lead to.
    pub fn checkpoint(&self) -> &TreeCheckpoint {
        &self.trees.checkpoint
    }

    /// How many ids had a text then that is not there now. Without them nothing can be said of the index of texts, which is then taken from
    /// the note; all else is computed from the log.
    pub fn lacking(&self) -> u32 {
        self.trees.lacking
    }

    /// A signed note of [`Prover::checkpoint`], to be filed or given to others.
    ///
    /// # Errors
    /// [`ProveError::NoIndex`] if [`Prover::lacking`] is not 0: what was not computed is not signed.
    pub fn sign(&self, signer: &Signer) -> Result<Note, ProveError> {
        match self.trees.lacking {
            0 => Ok(signer.sign(self.trees.checkpoint.to_string())),
            ids => Err(ProveError::NoIndex { ids }),
        }
    }

    /// A proof of one answer, as of a note of these trees that all of these keys signed. It shows the cited records, and of texts and values
    /// only what was asked about.
    ///
    /// # Errors
    /// [`ProveError`], the first.
    pub fn prove(&self, asked: Asked<'_>, note: &Note, keys: &[Verifier]) -> Result<Proof, ProveError> {
        let note = note.only(keys)?;
        let (found, expected) = (note.text().to_owned(), self.trees.checkpoint.to_string());
        if found != expected {
            return Err(ProveError::OtherHistory { found, expected });
        }
        let earlier;
        let asked = match asked {
            Asked::Consistent(note) => {
                earlier = note.only(keys)?;
                Asked::Consistent(&earlier)
            }
            asked => asked,
        };
        let proof = Maker::new(&self.reader, &self.trees, note).prove(asked)?;
        if proof.to_string().len() > MAX_PROOF_BYTES {
            return Err(ProveError::TooLong { what: "it has more than 4 MiB" });
        }
        proof.check(keys).map_err(ProveError::Wrong)?;
        Ok(proof)
    }
}
