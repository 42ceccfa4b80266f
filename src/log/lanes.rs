//! Many short messages hashed at once. What comes out is BLAKE3 of each message, as `blake3` gives it; only how it is computed differs.
//!
//! One short hash after the other leaves most of a processor idle: each step of a block waits for the step before. Here eight messages
//! of equally many blocks go side by side, one in each lane, in plain loops over lanes that the compiler makes vector instructions of.

use crate::log::digest::{Digest, Hasher, Purpose};

/// Messages side by side.
const LANES: usize = 8;
/// Blocks of the longest message that goes into a lane. A longer one has work for a whole processor by itself.
const MAX_BLOCKS: usize = 4;
const BLOCK: usize = 64;

const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 1 << 1;
const ROOT: u32 = 1 << 3;
const KEYED_HASH: u32 = 1 << 4;
const DERIVE_KEY_MATERIAL: u32 = 1 << 6;

const IV: [u32; 4] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a];

/// A number of each lane.
type Lane<T> = [T; LANES];
/// One message, with room for the longest.
type Room = [[u8; BLOCK]; MAX_BLOCKS];

/// How messages are hashed.
#[derive(Clone, Copy)]
enum Mode {
    Keyed([u8; 32]),
    Purpose(Purpose),
}

/// Hashes of one kind. Each message has a tag, which comes back with its hash, in no promised order.
pub(crate) struct Lanes {
    mode: Mode,
    flags: u32,
    key: [u32; 8],
    /// By their number of blocks, the messages that wait for others of that length.
    waiting: [Waiting; MAX_BLOCKS],
}

#[derive(Clone, Copy)]
struct Waiting {
    count: usize,
    tags: Lane<u32>,
    lens: Lane<u32>,
    messages: Lane<Room>,
}

impl Lanes {
    /// Hashes under a key, as [`blake3::keyed_hash`] gives them.
    pub(crate) fn keyed(key: &[u8; 32]) -> Lanes {
        Lanes::new(Mode::Keyed(*key), KEYED_HASH, key)
    }

    /// Digests of one purpose, as a [`Hasher`] gives them.
    pub(crate) fn of(purpose: Purpose) -> Lanes {
        Lanes::new(Mode::Purpose(purpose), DERIVE_KEY_MATERIAL, purpose.key())
    }

    fn new(mode: Mode, flags: u32, key: &[u8; 32]) -> Lanes {
        let waiting = Waiting {
            count: 0,
            tags: [0; LANES],
            lens: [0; LANES],
            messages: [[[0; BLOCK]; MAX_BLOCKS]; LANES],
        };
        Lanes { mode, flags, key: words(key), waiting: [waiting; MAX_BLOCKS] }
    }

    /// Takes the message that these parts are together. Shows the hashes that are done by now.
    pub(crate) fn push(&mut self, tag: u32, parts: &[&[u8]], mut done: impl FnMut(u32, Digest)) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > MAX_BLOCKS * BLOCK {
            return done(tag, self.mode.alone(parts));
        }
        let blocks = len.div_ceil(BLOCK).max(1);
        let Waiting { count, tags, lens, messages } = &mut self.waiting[blocks - 1];
        (tags[*count], lens[*count]) = (tag, len as u32); // at most MAX_BLOCKS blocks
        let room = messages[*count].as_flattened_mut();
        let mut at = 0;
        for part in parts {
            room[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        room[at..blocks * BLOCK].fill(0);
        *count += 1;
        if *count == LANES {
            self.run(blocks, done);
        }
    }

    /// Shows the hashes of all messages that still wait.
    pub(crate) fn finish(&mut self, mut done: impl FnMut(u32, Digest)) {
        for blocks in 1..=MAX_BLOCKS {
            let Waiting { count, tags, lens, messages } = &mut self.waiting[blocks - 1];
            if *count > 2 {
                self.run(blocks, &mut done);
                continue;
            }
            for at in 0..std::mem::take(count) {
                let message = &messages[at].as_flattened()[..lens[at] as usize];
                done(tags[at], self.mode.alone(&[message]));
            }
        }
    }

    /// Hashes the messages of `blocks` blocks that wait.
    fn run(&mut self, blocks: usize, mut done: impl FnMut(u32, Digest)) {
        let Waiting { count, tags, lens, messages } = &mut self.waiting[blocks - 1];
        let mut chained = self.key.map(|word| [word; LANES]);
        for block in 0..blocks {
            let (is_first, is_last) = (block == 0, block + 1 == blocks);
            let first = if is_first { CHUNK_START } else { 0 };
            let last = if is_last { CHUNK_END | ROOT } else { 0 };
            // A lane that is empty has the length of an earlier message, and its hash is not looked at.
            let size =
                lens.map(|len| if is_last { len.wrapping_sub((block * BLOCK) as u32) } else { BLOCK as u32 });
            compress(&mut chained, &transposed(messages, block), &size, self.flags | first | last);
        }
        for lane in 0..std::mem::take(count) {
            let mut digest = [0; 32];
            for (bytes, word) in digest.chunks_exact_mut(4).zip(&chained) {
                bytes.copy_from_slice(&word[lane].to_le_bytes());
            }
            done(tags[lane], Digest(digest));
        }
    }
}

impl Mode {
    /// One hash by itself.
    fn alone(self, parts: &[&[u8]]) -> Digest {
        match self {
            Mode::Keyed(key) => {
                let mut hasher = blake3::Hasher::new_keyed(&key);
                for part in parts {
                    hasher.update(part);
                }
                Digest(*hasher.finalize().as_bytes())
            }
            Mode::Purpose(purpose) => {
                let mut hasher = Hasher::new(purpose);
                for part in parts {
                    hasher.update(part);
                }
                hasher.finish()
            }
        }
    }
}

fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// The words of one block of each message, each word of all lanes together.
fn transposed(messages: &Lane<Room>, block: usize) -> [Lane<u32>; 16] {
    let mut out = [[0; LANES]; 16];
    for (lane, message) in messages.iter().enumerate() {
        let words: [u32; 16] = words(&message[block]);
        for (out, word) in out.iter_mut().zip(words) {
            out[lane] = word;
        }
    }
    out
}

/// The mixing function of BLAKE3, on four words of one lane.
#[inline(always)]
fn mix(state: &mut [u32; 16], [a, b, c, d]: [usize; 4], first: u32, second: u32) {
    state[a] = state[a].wrapping_add(state[b]).wrapping_add(first);
    state[d] = (state[d] ^ state[a]).rotate_right(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_right(12);
    state[a] = state[a].wrapping_add(state[b]).wrapping_add(second);
    state[d] = (state[d] ^ state[a]).rotate_right(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_right(7);
}

/// One of seven rounds on one lane; gives the words of the block in the order of the next.
#[inline(always)]
fn round(state: &mut [u32; 16], m: [u32; 16]) -> [u32; 16] {
    mix(state, [0, 4, 8, 12], m[0], m[1]);
    mix(state, [1, 5, 9, 13], m[2], m[3]);
    mix(state, [2, 6, 10, 14], m[4], m[5]);
    mix(state, [3, 7, 11, 15], m[6], m[7]);
    mix(state, [0, 5, 10, 15], m[8], m[9]);
    mix(state, [1, 6, 11, 12], m[10], m[11]);
    mix(state, [2, 7, 8, 13], m[12], m[13]);
    mix(state, [3, 4, 9, 14], m[14], m[15]);
    [m[2], m[6], m[3], m[10], m[7], m[0], m[4], m[13], m[1], m[11], m[12], m[5], m[9], m[14], m[15], m[8]]
}

/// The compression function of BLAKE3 in all lanes, for the first chunk of a message. The loop over lanes is the outer one, and nothing in it
/// is a loop or a branch: so the compiler makes one loop over vectors of it. With loops over rounds in it, it takes six times as long.
fn compress(chained: &mut [Lane<u32>; 8], block: &[Lane<u32>; 16], size: &Lane<u32>, flags: u32) {
    let ([c0, c1, c2, c3, c4, c5, c6, c7], b) = (*chained, block);
    for i in 0..LANES {
        let mut s = [
            c0[i], c1[i], c2[i], c3[i], c4[i], c5[i], c6[i], c7[i], IV[0], IV[1], IV[2], IV[3], 0, 0,
            size[i], flags,
        ];
        let m = [
            b[0][i], b[1][i], b[2][i], b[3][i], b[4][i], b[5][i], b[6][i], b[7][i], b[8][i], b[9][i],
            b[10][i], b[11][i], b[12][i], b[13][i], b[14][i], b[15][i],
        ];
        let m = round(&mut s, m);
        let m = round(&mut s, m);
        let m = round(&mut s, m);
        let m = round(&mut s, m);
        let m = round(&mut s, m);
        let m = round(&mut s, m);
        round(&mut s, m);
        for (word, out) in chained.iter_mut().enumerate() {
            out[i] = s[word] ^ s[word + 8];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every length up to beyond the longest that goes into a lane; and few messages of any lengths, which leave lanes empty.
    #[test]
    fn what_comes_out_is_blake3() {
        let bytes: Vec<u8> = (0..2_000_u32).map(|i| (i * 7 + i / 256) as u8).collect();
        let message = |tag: u32, step: usize| &bytes[tag as usize % 13..][..tag as usize * step % 271];
        let key = [9; 32];
        for (count, step) in
            (0..40).flat_map(|count| [(count, 1), (count, 37), (count, 64)]).chain([(271, 1)])
        {
            let mut found = vec![[None, None]; count as usize];
            for (mode, mut lanes) in [Lanes::keyed(&key), Lanes::of(Purpose::Event)].into_iter().enumerate() {
                let mut note = |tag: u32, digest| {
                    let before = found[tag as usize][mode].replace(digest);
                    assert_eq!(before, None, "each comes once");
                };
                for tag in 0..count {
                    let (begin, end) = message(tag, step).split_at(message(tag, step).len() / 3);
                    lanes.push(tag, &[begin, &[], end], &mut note);
                }
                lanes.finish(&mut note);
                lanes.finish(|_, _| panic!("nothing waits any more"));
            }
            for (tag, found) in (0..count).zip(found) {
                let message = message(tag, step);
                let keyed = Digest(*blake3::keyed_hash(&key, message).as_bytes());
                let event = Hasher::new(Purpose::Event).update(message).finish();
                assert_eq!(found, [Some(keyed), Some(event)], "{tag} of {count}");
            }
        }
    }
}
