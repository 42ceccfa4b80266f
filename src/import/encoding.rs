//! Inputs that are not JSON in UTF-8, named by their first bytes.

/// What an input is that cannot be read as JSON, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding {
    pub(super) found: &'static str,
    /// What to do, as the end of a sentence.
    pub(super) remedy: &'static str,
}

/// Names an encoding by the first line of an input, which is gunzipped already.
pub(super) fn encoding(line: &[u8]) -> Option<Encoding> {
    const UTF_16: &str = "convert it first, for example with `iconv -f UTF-16 -t UTF-8`";
    #[rustfmt::skip]
    const MAGIC: [(&[u8], &str, &str); 14] = [
        (b"\x1F\x8B", "gzip inside gzip", "decompress it once, for example with `zcat`"),
        (b"\x28\xB5\x2F\xFD", "compressed with zstd", "decompress it first, for example with `zstdcat`"),
        (b"BZh", "compressed with bzip2", "decompress it first, for example with `bzcat`"),
        (b"\xFD7zXZ\0", "compressed with xz", "decompress it first, for example with `xzcat`"),
        (b"\x04\x22\x4D\x18", "compressed with lz4", "decompress it first, for example with `lz4cat`"),
        (b"PK\x03\x04", "a zip archive", "unpack it first, for example with `unzip -p`"),
        (b"PAR1", "a Parquet file", "write its rows as JSON Lines first, for example with DuckDB"),
        (b"Obj\x01", "an Avro file", "write its rows as JSON Lines first"),
        (b"\xFF\xFE", "UTF-16", UTF_16),
        (b"\xFE\xFF", "UTF-16", UTF_16),
        (b"\0{", "UTF-16", UTF_16),
        (b"{\0", "UTF-16", UTF_16),
        (b"\0[", "UTF-16", UTF_16),
        (b"[\0", "UTF-16", UTF_16),
    ];
    let (_, found, remedy) = MAGIC.iter().find(|(magic, ..)| line.starts_with(magic))?;
    Some(Encoding { found, remedy })
}

/// Whether a line names the columns of a CSV file: two words at least, and one of them such as tables of events have.
pub(super) fn is_header(line: &str) -> bool {
    #[rustfmt::skip]
    const COLUMNS: [&str; 10] = [
        "event", "distinct_id", "timestamp", "uuid", "user_id", "anonymous_id", "properties", "event_type", "id", "email",
    ];
    let columns = || line.trim().split([',', ';', '\t']).map(|column| column.trim().trim_matches('"'));
    let is_word = |column: &str| {
        !column.is_empty() && column.chars().all(|char| char.is_alphanumeric() || "_$. ".contains(char))
    };
    columns().nth(1).is_some() && columns().all(is_word) && columns().any(|column| COLUMNS.contains(&column))
}

#[cfg(test)]
mod tests {
    use super::super::importer::tests::{AUTO, gzip, import};

    #[test]
    fn an_input_in_another_encoding_is_named_and_read_no_further() {
        let event = r#"{"op":"set","distinct_id":"a","ts":"2026-01-01T00:00:00Z"}"#;
        let little: Vec<u8> = event.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = event.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let plain = format!("{event}\n").into_bytes();
        #[rustfmt::skip]
        let table: [(Vec<u8>, &str); 7] = [
            (little.clone(), "UTF-16"), ([&b"\xFF\xFE"[..], &little].concat(), "UTF-16"),
            (big.clone(), "UTF-16"), ([&b"\xFE\xFF"[..], &big].concat(), "UTF-16"),
            (b"\x28\xB5\x2F\xFD\x04\x58\n\n".to_vec(), "compressed with zstd"),
            (gzip(&gzip(&plain)), "gzip inside gzip"),
            (b"PAR1\x15\x04".to_vec(), "a Parquet file"),
        ];
        for (input, found) in table {
            let said = import(&input, &AUTO);
            assert_eq!(said.len(), 1, "{found}: {said:?}");
            assert!(said[0].starts_with(&format!("the input is {found}; expected JSON")), "{}", said[0]);
        }
    }

    #[test]
    fn a_header_of_csv_is_named_and_costs_no_other_line() {
        let event = r#"{"op":"set","distinct_id":"a","ts":"2026-01-01T00:00:00Z"}"#;
        for header in [
            "uuid,event,distinct_id",
            "\u{FEFF}\"event\";\"distinct_id\"\r",
            "anonymous_id\tuser_id",
            "\"event\",\"x\"",
            "id,email",
        ] {
            let found = import(format!("{header}\n{event}").as_bytes(), &AUTO);
            let said = "1 the input looks like CSV; expected JSON: write its rows as JSON Lines first";
            assert_eq!(found, [said, "2 set a"]);
        }
        for line in ["a,b", "event", "event,{"] {
            assert!(
                import(line.as_bytes(), &AUTO)[0].starts_with("1 not JSON"),
                "{line} names no columns of events"
            );
        }
    }

    #[test]
    fn a_byte_order_mark_may_begin_any_line() {
        let event = r#"{"op":"set","distinct_id":"a","ts":"2026-01-01T00:00:00Z"}"#;
        let marked = format!("\u{FEFF}{event}\r\n");
        let members = [gzip(marked.as_bytes()), gzip(marked.as_bytes())].concat();
        assert_eq!(import(&members, &AUTO), ["1 set a", "2 set a"]);
    }
}
