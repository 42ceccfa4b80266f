//! Request bodies that are text around JSON: forms, base64, gzip inside base64.

use std::io::Read;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::layer::{GZIP, Members};
use super::rejection::{Rejection, excerpt};

/// Some senders leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether a line is a form with a body in it, as old posthog-js posts it: `data=<base64>&...`.
pub(super) fn is_form(text: &str) -> bool {
    !is_json(text) && field(text, "data").is_some()
}

/// The JSON text inside a body; `max` bounds what is decompressed.
pub(super) fn decode(text: &str, max: usize) -> Result<String, Rejection> {
    let text = text.trim();
    if is_json(text) {
        return Ok(text.to_owned());
    }
    let Some(data) = field(text, "data") else { return from_base64(text, max) };
    let compression = field(text, "compression").unwrap_or_default();
    if !matches!(compression, "" | "base64" | "gzip" | "gzip-js") {
        return Err(Rejection::UnknownCompression { found: excerpt(compression) });
    }
    let data = percent_decoded(data)?;
    // Base64 has no blanks: a blank was a plus that the sender did not escape.
    if is_json(&data) { Ok(data) } else { from_base64(&data.trim().replace(' ', "+"), max) }
}

fn is_json(text: &str) -> bool {
    text.starts_with(['{', '['])
}

/// The value of a field of a form or query, as it stands there.
pub(super) fn field<'a>(form: &'a str, name: &str) -> Option<&'a str> {
    form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// The user name of `Authorization: Basic`, which is where senders put a key.
pub(super) fn basic_user(encoded: &str) -> Option<String> {
    let text = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    let user = text.split_once(':').map_or(&text[..], |(user, _)| user);
    Some(user.to_owned()).filter(|user| !user.is_empty())
}

fn from_base64(text: &str, max: usize) -> Result<String, Rejection> {
    let bytes = BASE64.decode(text).map_err(|source| Rejection::NotBase64 { source })?;
    let bytes = if bytes.starts_with(&GZIP) { gunzip(&bytes, max)? } else { bytes };
    String::from_utf8(bytes).map_err(|error| Rejection::NotUtf8 { at: error.utf8_error().valid_up_to() })
}

/// Decompresses at most `max` bytes: a small bomb is still a large document.
pub(super) fn gunzip(bytes: &[u8], max: usize) -> Result<Vec<u8>, Rejection> {
    let mut out = Vec::new();
    Members::new(bytes)
        .take(max as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|error| Rejection::NotGzip { what: error.to_string() })?;
    if out.len() > max { Err(Rejection::TooLarge) } else { Ok(out) }
}

/// The value of a form field, unescaped (WHATWG, application/x-www-form-urlencoded).
fn percent_decoded(text: &str) -> Result<String, Rejection> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let escaped = match (byte, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        out.push(match (escaped, byte) {
            (Some((high, low)), _) => {
                rest = &tail[2..];
                high << 4 | low
            }
            (None, b'+') => b' ',
            (None, byte) => *byte,
        });
    }
    String::from_utf8(out).map_err(|error| Rejection::NotUtf8 { at: error.utf8_error().valid_up_to() })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::super::lines::MAX_DOCUMENT_BYTES;
    use super::*;

    fn decode(text: &str) -> Result<String, Rejection> {
        super::decode(text, MAX_DOCUMENT_BYTES)
    }

    /// `{"a":"ÿ?>"}`, whose base64 holds a plus and a slash.
    const JSON: &str = r#"{"a":"ÿ?>","b":"~~~"}"#;

    fn gzip(text: &str) -> Vec<u8> {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_wrapping_is_opened() {
        let plain = BASE64.encode(JSON);
        let zipped = BASE64.encode(gzip(JSON));
        let escaped = plain.replace('+', "%2B").replace('/', "%2f").replace('=', "%3D");
        for body in [
            JSON.to_owned(),
            format!(" {JSON}\n"),
            plain.clone(),
            plain.trim_end_matches('=').to_owned(),
            zipped.clone(),
            format!("data={plain}"),
            format!("data={escaped}&compression=base64&ip=1"),
            format!("ip=1&data={}", zipped.replace('+', " ")),
            format!("compression=gzip-js&data={zipped}"),
            format!("data={}", JSON.replace('"', "%22").replace(':', "%3a").replace('ÿ', "%C3%BF")),
        ] {
            assert_eq!(decode(&body).as_deref(), Ok(JSON), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_opened_says_why() {
        assert!(matches!(decode("data=%%%"), Err(Rejection::NotBase64 { .. })));
        assert!(matches!(decode("data=/////w=="), Err(Rejection::NotUtf8 { at: 0 })));
        assert!(matches!(decode("data=%ff"), Err(Rejection::NotUtf8 { at: 0 })));
        assert!(matches!(decode("data=e30&compression=lz64"), Err(Rejection::UnknownCompression { .. })));
        let cut = BASE64.encode(&gzip(JSON)[..12]);
        assert!(matches!(decode(&cut), Err(Rejection::NotGzip { .. })));
    }
}
