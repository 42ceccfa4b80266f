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

/// Where a text is left in a file, and in which spelling.
pub(crate) fn found_in(file: &[u8], text: &str) -> Option<(&'static str, usize)> {
    spellings(text).into_iter().find_map(|(spelling, bytes)| {
        let first = bytes[0];
        let at = file.windows(bytes.len()).position(|window| window[0] == first && window == &bytes[..])?;
        Some((spelling, at))
    })
}
