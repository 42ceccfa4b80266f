//! Texts that nothing else can be: what of them is left on a disk, in whatever spelling, is what was not erased.

/// A text of 24 letters and digits, the same for the same number; 120 bits of it are chance.
pub(crate) fn marker(number: u64) -> String {
    let digest = blake3::hash(&[&b"marker"[..], &number.to_le_bytes()].concat());
    digest.as_bytes()[..24]
        .iter()
        .map(|byte| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(byte % 32)]))
        .collect()
}

/// The spellings in which a text might be left: as it is, in UTF-16 of both orders, in hexadecimal of both cases, in base64 at
/// each of three places, backwards.
pub(crate) fn spellings(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = text.as_bytes();
    let hex = |upper: bool| -> Vec<u8> {
        let digits = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
        bytes
            .iter()
            .flat_map(|byte| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]])
            .collect()
    };
    let mut all = vec![
        ("UTF-8", bytes.to_vec()),
        ("UTF-16 LE", text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("UTF-16 BE", text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        ("hex", hex(false)),
        ("HEX", hex(true)),
        ("backwards", bytes.iter().rev().copied().collect()),
    ];
    for skip in 0..3 {
        all.push(("base64", base64(&bytes[skip..bytes.len() - (bytes.len() - skip) % 3])));
    }
    all
}

/// Whole groups of three bytes only.
fn base64(bytes: &[u8]) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks_exact(3)
        .flat_map(|group| {
            let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
            [18, 12, 6, 0].map(|shift| alphabet[(bits >> shift & 63) as usize])
        })
        .collect()
}

/// A search for many texts in all their spellings at once.
pub(crate) struct Search {
    /// The first eight bytes of each spelling, sorted, and the rest of it.
    heads: Vec<([u8; 8], Vec<u8>, String)>,
}

impl Search {
    pub(crate) fn new<'s>(texts: impl IntoIterator<Item = &'s String>) -> Search {
        let mut heads = Vec::new();
        for text in texts {
            for (spelling, bytes) in spellings(text) {
                let (head, rest) = bytes.split_first_chunk().expect("a marker is longer than eight bytes");
                heads.push((*head, rest.to_vec(), format!("{text} in {spelling}")));
            }
        }
        heads.sort();
        Search { heads }
    }

    /// What is left in these bytes, and where.
    pub(crate) fn found_in(&self, file: &[u8]) -> Option<(&str, usize)> {
        for (at, window) in file.windows(8).enumerate() {
            let from = self.heads.partition_point(|(head, ..)| head[..] < *window);
            for (head, rest, what) in &self.heads[from..] {
                if head != window {
                    break;
                }
                if file[at + 8..].starts_with(rest) {
                    return Some((what, at));
                }
            }
        }
        None
    }
}

#[test]
fn every_spelling_is_found() {
    let text = marker(5);
    let search = Search::new([&text]);
    for (spelling, bytes) in spellings(&text) {
        for before in 0..10 {
            let file = [&vec![b'x'; before][..], &bytes, b"y"].concat();
            let (what, at) = search.found_in(&file).unwrap_or_else(|| panic!("{spelling} is not found"));
            assert!(what.contains(spelling) && at == before, "{what} at {at}");
        }
        assert!(search.found_in(&bytes[1..]).is_none(), "{spelling}");
    }
}
