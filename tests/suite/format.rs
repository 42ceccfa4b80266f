//! The bytes on the disk: the worked example of docs/format.md, taken apart here with nothing of the crate's own readers.

use std::fmt::Write as _;
use std::sync::Arc;

use identity_ledger::follow::{Delivery, LogName};
use identity_ledger::log::Digest;
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::*;

const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/format.md");
const BEGIN: &str = "<!-- dump:begin -->\n";
const END: &str = "<!-- dump:end -->";
const SEGMENT: &str = "log/00000000000000000000.seg";

fn example() -> (Arc<Memory>, Ledger) {
    let storage = Arc::new(Memory::new());
    let mut ledger = LedgerOptions::new()
        .seeded(7)
        .create_in(storage.clone(), Tenant::default(), Policy::default())
        .unwrap();
    let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let id = OperationId(uuid::Uuid::from_u128(0x0190c0de_0000_7000_8000_0000000000aa));
    let capture = Operation::capture(at, DistinctId::new("ann").unwrap(), id);
    assert!(
        ledger.append(capture.with_event(EventName::new("$pageview").unwrap())).unwrap().outcome().is_some()
    );
    (storage, ledger)
}

fn read(storage: &Memory, file: &str) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(storage.len(file).unwrap().unwrap()).unwrap()];
    storage.read_at(file, 0, &mut bytes).unwrap();
    bytes
}

/// Walks through bytes and writes them down, field by field.
struct Dump<'a> {
    bytes: &'a [u8],
    at: usize,
    out: String,
}

impl<'a> Dump<'a> {
    fn new(bytes: &'a [u8]) -> Dump<'a> {
        Dump { bytes, at: 0, out: String::new() }
    }

    fn title(&mut self, text: &str) {
        writeln!(self.out, "\n{text}").unwrap();
    }

    fn field(&mut self, len: usize, what: &str) -> &'a [u8] {
        let field = &self.bytes[self.at..self.at + len];
        for (row, bytes) in field.chunks(16).enumerate() {
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let what = if row == 0 { what } else { "" };
            let line = format!("{:04x}  {:<47}  {what}", self.at + 16 * row, hex.join(" "));
            writeln!(self.out, "{}", line.trim_end()).unwrap();
        }
        self.at += len;
        field
    }

    fn number(&mut self, len: usize, what: &str) -> u64 {
        let field = self.field(len, what);
        field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// A number of one to nine bytes: the first says by its low bits how many.
    fn short(&mut self, what: &str) -> u64 {
        let len = self.bytes[self.at].trailing_zeros() as usize + 1;
        self.number(len, what) >> len
    }

    fn item(&mut self, what: &str) -> &'a [u8] {
        let len = self.short(&format!("length of the item of {what}, and 1")) as usize - 1;
        self.field(16, "salt");
        self.field(len, what)
    }
}

/// A frame's dump; gives its hash as recomputed from the bytes alone.
fn frame(
    dump: &mut Dump<'_>,
    previous: [u8; 32],
    body: impl Fn(&mut Dump<'_>),
    payload: impl Fn(&mut Dump<'_>),
) -> [u8; 32] {
    dump.title("frame header");
    dump.field(4, "marker");
    let start = dump.at;
    dump.field(2, "frame version, codec id");
    dump.field(2, "zeros");
    let body_len = dump.number(4, "body length");
    dump.number(4, "payload length");
    let first = dump.number(8, "first record");
    let recorded_at = dump.number(8, "recorded at");
    dump.number(8, "durable records");
    let records = dump.number(4, "records");
    dump.number(4, "CRC-32C");
    dump.title("body");
    let body_at = dump.at;
    body(dump);
    assert_eq!((dump.at - body_at) as u64, body_len);
    let mut history = previous.to_vec();
    history.extend_from_slice(&dump.bytes[start..start + 2]);
    history.extend_from_slice(&first.to_le_bytes());
    history.extend_from_slice(&recorded_at.to_le_bytes());
    history.extend_from_slice(&u32::try_from(records).unwrap().to_le_bytes());
    history.extend_from_slice(&u32::try_from(body_len).unwrap().to_le_bytes());
    history.extend_from_slice(&dump.bytes[body_at..dump.at]);
    dump.title("payload");
    payload(dump);
    dump.title("end of the frame");
    let hash = blake3::derive_key("identity-ledger 2026-11-29 v2 frame", &history);
    assert_eq!(dump.field(32, "frame hash"), hash);
    let padding = dump.at.next_multiple_of(8) - dump.at;
    dump.field(padding, "padding");
    hash
}

fn dump(bytes: &[u8], ledger: &Ledger) -> String {
    let id = ledger.reader().ledger_id().0.into_bytes();
    let mut dump = Dump::new(bytes);
    dump.title("segment header");
    dump.field(8, "magic");
    dump.number(2, "format version");
    dump.field(6, "zeros");
    assert_eq!(dump.field(16, "ledger id"), id);
    dump.number(8, "first record");
    let mut genesis = 16u64.to_le_bytes().to_vec();
    genesis.extend_from_slice(&id);
    genesis.extend_from_slice(&1u64.to_le_bytes());
    genesis.push(b'1');
    let previous = blake3::derive_key("identity-ledger 2026-11-23 v1 genesis", &genesis);
    assert_eq!(dump.field(32, "hash before the first frame"), previous);
    dump.field(20, "zeros");
    dump.number(4, "CRC-32C");
    let hash = frame(
        &mut dump,
        previous,
        |dump| {
            dump.number(1, "record 0: genesis");
            dump.field(3, "switches (lift), uuid_ids, person_profiles");
            dump.field(3, "no limit of ids moved, ids, user ids");
            dump.field(24, "no anonymous prefixes, blocked ids, blocked prefixes");
        },
        |_| {},
    );
    let hash = frame(
        &mut dump,
        hash,
        |dump| {
            dump.number(1, "record 1: define_name");
            dump.field(32, "commitment to its text");
            dump.number(1, "record 2: define_id");
            dump.number(1, "class: named");
            dump.field(32, "commitment to its text");
            assert_eq!(dump.number(1, "record 3: capture, with an event name"), 7 + 32);
            assert_eq!(dump.short("flags: the id was given"), 2);
            assert_eq!(dump.short("T is id 0"), 0);
            assert_eq!(dump.short("the event name is name 0"), 0);
            assert_eq!(dump.short("time: milliseconds since 1970, times 4"), 4 * 1_767_225_600_000);
            dump.field(16, "operation id");
        },
        |dump| {
            assert_eq!(dump.item("name 0"), b"$pageview");
            assert_eq!(dump.item("id 0"), b"ann");
        },
    );
    assert_eq!(ledger.checkpoint(), Checkpoint { records: 4, head: Digest(hash) });
    assert_eq!(dump.at, bytes.len());
    format!("```text{}```\n", dump.out)
}

#[test]
fn the_worked_example_is_what_is_written() {
    let (storage, ledger) = example();
    let found = dump(&read(&storage, SEGMENT), &ledger);
    let doc = std::fs::read_to_string(DOC).unwrap();
    let (before, rest) = doc.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(DOC, format!("{before}{BEGIN}{found}{END}{after}")).unwrap();
    } else {
        assert!(
            shown == found,
            "docs/format.md shows other bytes; UPDATE=1 rewrites them on purpose\n{found}"
        );
    }
}

/// The first frame of a follower, taken apart: all that it says comes from the delivery that it was created by.
#[test]
fn a_follower_begins_as_its_first_delivery_says() {
    let log = LogName::new("shop").unwrap();
    let (recorded_at, seed) = ("2026-03-03T00:00:00Z".parse().unwrap(), [7; 32]);
    let delivery = Delivery { log: &log, position: 42, recorded_at, seed };
    let storage = Arc::new(Memory::new());
    let options = LedgerOptions::new().follow(&delivery);
    let ledger = options.create_in(storage.clone(), Tenant::default(), Policy::default()).unwrap();

    let mut id = [0; 16];
    blake3::Hasher::new_derive_key("identity-ledger 2026-11-23 v1 seeded entropy")
        .update(&seed)
        .finalize_xof()
        .fill(&mut id);
    let id = uuid::Builder::from_random_bytes(id).into_uuid();
    assert_eq!(ledger.reader().ledger_id().0, id);

    let bytes = read(&storage, SEGMENT);
    let mut frame = Dump::new(&bytes[96..]);
    assert_eq!(frame.field(8, "marker, versions, zeros"), b"\xf5il\x1a\x02\x02\0\0");
    let body = usize::try_from(frame.number(4, "body length")).unwrap();
    assert_eq!([frame.number(4, "payload length"), frame.number(8, "first record")], [0, 0]);
    assert_eq!(frame.number(8, "recorded at"), 1_772_496_000_000_000);
    assert_eq!([frame.number(8, "durable records"), frame.number(4, "records")], [0, 2]);
    frame.number(4, "CRC-32C");
    let genesis = 31;
    frame.field(genesis, "record 0: genesis, as in the example");
    assert_eq!(frame.number(1, "record 1: followed"), 19);
    assert_eq!(frame.number(8, "length of the name"), 4);
    assert_eq!(frame.field(4, "name of the log"), b"shop");
    assert_eq!(frame.number(8, "position"), 42);
    assert_eq!(body, genesis + 1 + 8 + 4 + 8);
    assert_eq!(frame.field(32, "frame hash"), ledger.checkpoint().head.0);
}

#[test]
fn a_plain_capture_takes_twenty_seven_bytes() {
    let (storage, _) = example();
    let bytes = read(&storage, SEGMENT);
    let body_len = u32::from_le_bytes(bytes[96 + 112 + 8..][..4].try_into().unwrap());
    assert_eq!(body_len, 33 + 34 + 27); // of which the time takes 7, as it does once a block
}

#[test]
fn the_same_seed_and_batches_give_the_same_bytes() {
    let (a, _) = example();
    let (b, _) = example();
    for file in [SEGMENT, "LEDGER", "HEAD"] {
        assert_eq!(read(&a, file), read(&b, file), "{file}");
    }
}
