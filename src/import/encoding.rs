//! Inputs that are not text once their layers are off, named by their first bytes.

/// What an input is that cannot be read as JSON, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding {
    pub(super) found: &'static str,
    /// What to do, as the end of a sentence.
    pub(super) remedy: &'static str,
}

/// Names an encoding by the first line of an input, whose layers are off already.
pub(super) fn encoding(line: &[u8]) -> Option<Encoding> {
    const UTF_32: &str = "convert it first, for example with `iconv -f UTF-32 -t UTF-8`";
    #[rustfmt::skip]
    const MAGIC: [(&[u8], &str, &str); 10] = [
        (b"\x1F\x8B", "compressed more than three times", "decompress it once, for example with `zcat`"),
        (b"\x28\xB5\x2F\xFD", "compressed more than three times", "decompress it once, for example with `zstdcat`"),
        (b"BZh", "compressed with bzip2", "decompress it first, for example with `bzcat`"),
        (b"\xFD7zXZ\0", "compressed with xz", "decompress it first, for example with `xzcat`"),
        (b"\x04\x22\x4D\x18", "compressed with lz4", "decompress it first, for example with `lz4cat`"),
        (b"PK\x03\x04", "a zip archive", "unpack it first, for example with `unzip -p`"),
        (b"PAR1", "a Parquet file", "give the command its file, not a pipe; elsewhere write its rows as JSON Lines first, for example with DuckDB"),
        (b"Obj\x01", "an Avro file", "write its rows as JSON Lines first"),
        (b"\xFF\xFE\0\0", "UTF-32", UTF_32),
        (b"\0\0\xFE\xFF", "UTF-32", UTF_32),
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
        let four_times = (0..4).fold(event.as_bytes().to_vec(), |bytes, _| gzip(&bytes));
        #[rustfmt::skip]
        let table: [(&[u8], &str); 4] = [
            (b"\xFF\xFE\0\0{\0\0\0\n\0\0\0", "UTF-32"),
            (&four_times, "compressed more than three times"),
            (b"PAR1\x15\x04", "a Parquet file"),
            (b"BZh91AY&SY", "compressed with bzip2"),
        ];
        for (input, found) in table {
            let said = import(input, &AUTO);
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
    fn a_byte_order_mark_may_begin_any_document() {
        let event = r#"{"op":"set","distinct_id":"a","ts":"2026-01-01T00:00:00Z"}"#;
        let marked = format!("\u{FEFF}{event}\r\n");
        let members = [gzip(marked.as_bytes()), gzip(marked.as_bytes())].concat();
        assert_eq!(import(&members, &AUTO), ["1 set a", "2 set a"]);
        // Files without a last line end, joined; in one member, too.
        let joined = format!("\u{FEFF}{event}").repeat(3);
        for input in [joined.clone().into_bytes(), gzip(joined.as_bytes())] {
            assert_eq!(import(&input, &AUTO), ["1[0] set a", "1[1] set a", "1[2] set a"]);
        }
        let spaced = format!("{event} {event}\n{event}{event}x\n{event}\n");
        let found = import(spaced.as_bytes(), &AUTO);
        assert_eq!(
            (&found[..2], &found[3..]),
            (&["1[0] set a".to_owned(), "1[1] set a".to_owned()][..], &["3 set a".to_owned()][..])
        );
        assert!(found[2].starts_with("2 not JSON at column "), "{}", found[2]);
    }
}
