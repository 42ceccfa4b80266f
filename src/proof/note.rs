//! Signed notes, as C2SP has them: a text, and lines that say who signed it. Keys are lines of text too.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::model::time::Timestamp;
use crate::model::visible::visible;
use crate::store::entropy::Entropy;

/// Kind of a key that signs a note's text.
const ED25519: u8 = 1;
/// Kind of a key of a witness: it signs a note's text and when it saw it.
const COSIGNATURE: u8 = 4;
const PRIVATE: &str = "PRIVATE+KEY+";
/// Begins a line of a signature.
const DASH: &str = "\u{2014} ";
/// Most bytes of a note, and most signatures under one.
const MAX_NOTE_BYTES: usize = 64 * 1_024;
const MAX_SIGNATURES: usize = 64;

/// What tells one key from others of the same name.
type KeyId = [u8; 4];

/// Why a text is not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not the shape of a verifier's key.
    #[error(
        "`{found}` is not a verifier's key; expected NAME+ID+KEY, as `identity-ledger keys signer` prints it"
    )]
    NoVerifier {
        /// What was found, shortened.
        found: String,
    },
    /// Not the shape of a signing key. What was found is not shown: it may be one.
    #[error(
        "this is not a signing key; expected PRIVATE+KEY+NAME+ID+KEY, as `identity-ledger keys signer` writes it"
    )]
    NoSigner,
    /// The name cannot stand in a note.
    #[error(
        "the name of a key is `{found}`; expected 1 to 255 bytes without blanks, control characters or `+`"
    )]
    Name {
        /// What was found, shortened.
        found: String,
    },
}

fn check_name(name: &str) -> Result<(), KeyError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.len() > 255 || name.chars().any(bad) {
        return Err(KeyError::Name { found: excerpt(name) });
    }
    Ok(())
}

fn excerpt(text: &str) -> String {
    visible(&text.chars().take(80).collect::<String>()).into_owned()
}

fn key_id(name: &str, kind: u8, key: &[u8; 32]) -> KeyId {
    let hash = Sha256::new().chain_update(name).chain_update([b'\n', kind]).chain_update(key).finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

fn hex(id: KeyId) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

/// A key that signs notes. A person who has it can sign anything: keep it away from the ledger.
pub struct Signer {
    name: String,
    key: SigningKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Signer {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn generate(name: &str, entropy: &mut dyn Entropy) -> Result<Signer, KeyError> {
        check_name(name)?;
        Ok(Signer { name: name.to_owned(), key: SigningKey::from_bytes(&entropy.array()) })
    }

    /// The line of text to keep it by.
    pub fn secret(&self) -> String {
        let id = hex(self.verifier().id);
        let key = [&[ED25519][..], self.key.as_bytes()].concat();
        format!("{PRIVATE}{}+{id}+{}", self.name, STANDARD.encode(key))
    }

    /// What others check its signatures with.
    pub fn verifier(&self) -> Verifier {
        let key = self.key.verifying_key();
        let id = key_id(&self.name, ED25519, key.as_bytes());
        Verifier { name: self.name.clone(), id, witness: false, key }
    }

    /// What others check its cosignatures with, where it is a witness.
    pub fn witness(&self) -> Verifier {
        let key = self.key.verifying_key();
        let id = key_id(&self.name, COSIGNATURE, key.as_bytes());
        Verifier { name: self.name.clone(), id, witness: true, key }
    }

    /// The note with the signature of a witness, who saw it at this time (C2SP tlog-cosignature; whole seconds, none before 1970). By it a
    /// witness says that the note continues every one that it signed before: check first that a proof of
    /// [`Fact::Consistent`](crate::proof::Fact::Consistent) holds, and keep the note.
    pub fn cosign(&self, note: &Note, time: Timestamp) -> Note {
        let seconds = u64::try_from(time.as_micros() / 1_000_000).unwrap_or(0);
        let message = format!("cosignature/v1\ntime {seconds}\n{}", note.text);
        let Verifier { name, id, .. } = self.witness();
        let signature = [&seconds.to_be_bytes()[..], &self.key.sign(message.as_bytes()).to_bytes()].concat();
        let mut cosigned = note.clone();
        cosigned.signatures.push(SignatureLine { name, id, signature });
        cosigned
    }

    /// A note of a text, signed. The text is lines, each ended.
    pub(crate) fn sign(&self, text: String) -> Note {
        let signature = self.key.sign(text.as_bytes()).to_bytes().to_vec();
        let Verifier { name, id, .. } = self.verifier();
        Note { text, signatures: vec![SignatureLine { name, id, signature }] }
    }
}

impl FromStr for Signer {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Signer, KeyError> {
        let (name, id, bytes) = text
            .trim_end_matches('\n')
            .strip_prefix(PRIVATE)
            .and_then(|rest| parts(rest))
            .ok_or(KeyError::NoSigner)?;
        check_name(name)?;
        let signer = match bytes.split_first() {
            Some((&ED25519, seed)) => seed.try_into().ok(),
            _ => None,
        };
        let signer = signer.map(|seed| Signer { name: name.to_owned(), key: SigningKey::from_bytes(seed) });
        signer.filter(|signer| hex(signer.verifier().id) == id).ok_or(KeyError::NoSigner)
    }
}

/// Name, id and key of a key's text.
fn parts(text: &str) -> Option<(&str, &str, Vec<u8>)> {
    let mut parts = text.splitn(3, '+'); // base64 may have a `+`, names have none
    let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
    Some((name, id, STANDARD.decode(key).ok()?))
}

/// A key that signatures of notes are checked with: of a log's owner, or of a witness (C2SP tlog-cosignature).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: KeyId,
    witness: bool,
    key: VerifyingKey,
}

impl Verifier {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a witness's: its signatures say when it saw the note, and that it saw no other history before.
    pub fn is_witness(&self) -> bool {
        self.witness
    }

    fn is_of(&self, line: &SignatureLine) -> bool {
        self.name == line.name && self.id == line.id
    }

    /// What a signature says, if it is this key's over this text.
    fn verify(&self, text: &str, signature: &[u8]) -> Option<Signed> {
        let name = self.name.clone();
        if !self.witness {
            let signature = Signature::from_slice(signature).ok()?;
            self.key.verify_strict(text.as_bytes(), &signature).ok()?;
            return Some(Signed { name, time: None });
        }
        let (time, signature) = signature.split_first_chunk::<8>()?;
        let seconds = u64::from_be_bytes(*time);
        let signature = Signature::from_slice(signature).ok()?;
        let message = format!("cosignature/v1\ntime {seconds}\n{text}");
        self.key.verify_strict(message.as_bytes(), &signature).ok()?;
        let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
        Some(Signed { name, time: Some(Timestamp::from_micros(micros).ok()?) })
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.witness { COSIGNATURE } else { ED25519 };
        let key = [&[kind][..], self.key.as_bytes()].concat();
        write!(f, "{}+{}+{}", self.name, hex(self.id), STANDARD.encode(key))
    }
}

impl FromStr for Verifier {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Verifier, KeyError> {
        let wrong = || KeyError::NoVerifier { found: excerpt(text) };
        if text.starts_with(PRIVATE) {
            return Err(KeyError::NoVerifier { found: "a signing key".to_owned() });
        }
        let (name, found, bytes) = parts(text.trim_end_matches('\n')).ok_or_else(wrong)?;
        check_name(name)?;
        let (kind, key) = bytes.split_first().ok_or_else(wrong)?;
        let key: [u8; 32] = key.try_into().map_err(|_| wrong())?;
        let id = key_id(name, *kind, &key);
        let witness = match *kind {
            ED25519 => false,
            COSIGNATURE => true,
            _ => return Err(wrong()),
        };
        if hex(id) != found {
            return Err(wrong());
        }
        let key = VerifyingKey::from_bytes(&key).map_err(|_| wrong())?;
        Ok(Verifier { name: name.to_owned(), id, witness, key })
    }
}

/// Who signed a note, and of a witness when.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Signed {
    /// The key's name.
    pub name: String,
    /// When a witness saw the note, by its clock; `None` of the log's owner.
    pub time: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SignatureLine {
    name: String,
    id: KeyId,
    signature: Vec<u8>,
}

/// A text and its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

/// Why a text is not a signed note, or not one to believe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Not the shape of a note.
    #[error("this is not a signed note: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// A key that was given did not sign it.
    #[error("the note is not signed by the key of `{name}` that was given")]
    NotSigned {
        /// The key's name.
        name: String,
    },
    /// No key was given.
    #[error("no key was given to check the note with")]
    NoKey,
    /// It carries a signature of a key that was not given.
    #[error(
        "the note carries a signature of `{name}` that cannot be checked: no key of that name and id was given"
    )]
    Unchecked {
        /// The key's name.
        name: String,
    },
}

impl Note {
    /// What was signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Checks that each of these keys signed it. Signatures of other keys are neither checked nor believed.
    ///
    /// # Errors
    /// [`NoteError::NotSigned`] or [`NoteError::NoKey`].
    pub fn verify(&self, keys: &[Verifier]) -> Result<Vec<Signed>, NoteError> {
        if keys.is_empty() {
            return Err(NoteError::NoKey);
        }
        let signed = |key: &Verifier| {
            let mut lines = self.signatures.iter().filter(|line| key.is_of(line));
            let signed = lines.find_map(|line| key.verify(&self.text, &line.signature));
            signed.ok_or_else(|| NoteError::NotSigned { name: key.name.clone() })
        };
        keys.iter().map(signed).collect()
    }

    /// As [`Note::verify`], and nothing else may stand under it: one signature for each key, in order.
    pub(crate) fn verify_all(&self, keys: &[Verifier]) -> Result<Vec<Signed>, NoteError> {
        let signed = self.verify(keys)?;
        if let Some(line) = self.signatures.iter().find(|line| !keys.iter().any(|key| key.is_of(line))) {
            return Err(NoteError::Unchecked { name: line.name.clone() });
        }
        let in_order = self.signatures.is_sorted_by(|a, b| (&a.name, a.id) < (&b.name, b.id));
        if !in_order {
            return Err(NoteError::Malformed {
                what: "its signatures are out of order, or one stands twice",
            });
        }
        Ok(signed)
    }

    /// The same note under the signatures of these keys alone, in order.
    pub(crate) fn only(&self, keys: &[Verifier]) -> Result<Note, NoteError> {
        self.verify(keys)?;
        let by_one = |line: &&SignatureLine| {
            keys.iter().any(|key| key.is_of(line) && key.verify(&self.text, &line.signature).is_some())
        };
        let mut signatures: Vec<SignatureLine> = self.signatures.iter().filter(by_one).cloned().collect();
        signatures.sort();
        signatures.dedup_by(|a, b| (&a.name, a.id) == (&b.name, b.id));
        Ok(Note { text: self.text.clone(), signatures })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|SignatureLine { name, id, signature }| {
            writeln!(f, "{DASH}{name} {}", STANDARD.encode([&id[..], signature].concat()))
        })
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(all: &str) -> Result<Note, NoteError> {
        let wrong = |what| Err(NoteError::Malformed { what });
        if all.len() > MAX_NOTE_BYTES {
            return wrong("it is longer than 64 KiB");
        }
        if all.chars().any(|c| c.is_control() && c != '\n') {
            return wrong("it has control characters in it");
        }
        let Some(blank) = all.rfind("\n\n") else { return wrong("no blank line ends its text") };
        let (text, lines) = (&all[..=blank], &all[blank + 2..]);
        let Some(lines) = lines.strip_suffix('\n') else { return wrong("its last line is not ended") };
        let signature = |line: &str| {
            let (name, all) = line.strip_prefix(DASH)?.split_once(' ')?;
            check_name(name).ok()?;
            let bytes = STANDARD.decode(all).ok()?;
            let (id, signature) = bytes.split_first_chunk::<4>()?;
            Some(SignatureLine { name: name.to_owned(), id: *id, signature: signature.to_vec() })
        };
        let signatures: Option<Vec<SignatureLine>> =
            lines.split('\n').take(MAX_SIGNATURES + 1).map(signature).collect();
        match signatures {
            Some(signatures) if signatures.len() <= MAX_SIGNATURES => {
                Ok(Note { text: text.to_owned(), signatures })
            }
            _ => wrong("a line behind the blank one is not a signature, or there are more than 64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entropy::SeededEntropy;

    fn signer(name: &str, seed: u64) -> Signer {
        Signer::generate(name, &mut SeededEntropy::new(seed)).unwrap()
    }

    #[test]
    fn keys_and_notes_read_back() {
        let signer = signer("shop.example/ledger", 1);
        let verifier = signer.verifier();
        assert_eq!(verifier.to_string().parse(), Ok(verifier.clone()));
        let again: Signer = signer.secret().parse().unwrap();
        assert_eq!(again.verifier(), verifier);
        let note = signer.sign("a\nb\n".to_owned());
        assert_eq!(note.to_string().parse(), Ok(note.clone()));
        assert_eq!(note.verify(std::slice::from_ref(&verifier)).unwrap()[0].name, "shop.example/ledger");
        assert_eq!(note.verify(&[]), Err(NoteError::NoKey));
    }

    /// The example of another implementation: golang.org/x/mod/sumdb/note.
    #[test]
    fn a_note_of_another_implementation_is_read() {
        let key: Verifier =
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
        let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let line = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let note: Note = format!("{text}\n{line}").parse().unwrap();
        assert_eq!(note.verify(&[key]).unwrap()[0].name, "PeterNeumann");
    }

    #[test]
    fn a_witness_says_when() {
        let (owner, witness) = (signer("log", 1), signer("witness.example", 2));
        let note = owner.sign("log\n1\n".to_owned());
        let cosigner = witness.witness();
        assert_eq!(cosigner.to_string().parse(), Ok(cosigner.clone()));
        let cosigned = witness.cosign(&note, Timestamp::from_micros(1_764_000_000_900_000).unwrap());
        let both = [owner.verifier(), cosigner.clone()];
        assert_eq!(note.verify(&both), Err(NoteError::NotSigned { name: "witness.example".to_owned() }));
        let signed = cosigned.verify(&both).unwrap();
        assert_eq!(signed[1].time.unwrap().as_micros(), 1_764_000_000_000_000);
        assert!(cosigned.verify(&both[..1]).is_ok());
        assert!(cosigned.verify_all(&both[..1]).is_err());
        assert!(cosigned.verify_all(&both).is_ok());
        assert_eq!(cosigned.only(&both[..1]), Ok(note));
        assert_eq!(cosigned.to_string().parse::<Note>(), Ok(cosigned));
    }

    #[test]
    fn no_other_text_passes_for_a_note_or_a_key() {
        let note = signer("log", 1).sign("log\n1\n".to_owned());
        let (key, good) = (signer("log", 1).verifier(), note.to_string());
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1;
            let read = String::from_utf8(bytes).ok().and_then(|text| text.parse::<Note>().ok());
            assert!(read.is_none_or(|read| read.verify(std::slice::from_ref(&key)).is_err()), "byte {at}");
        }
        for bad in ["", "a", "a+b", "a+00000000+AAAA", "a b+00000000+AAAA", &signer("log", 1).secret()] {
            assert!(bad.parse::<Verifier>().is_err(), "{bad}");
        }
        assert!(Signer::generate("a b", &mut SeededEntropy::new(1)).is_err());
    }
}
