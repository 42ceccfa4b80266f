//! Every bound in one place, each with its reason.
//!
//! Crossing a bound at the border is an error that names it; nothing is logged. Tests stand on both sides of each.

/// Longest distinct id, device id or person-founding text, in Unicode scalar values (B1).
///
/// PostHog's columns are `varchar(400)`; a longer text could never be one of its ids.
pub const MAX_ID_SCALARS: usize = 400;

/// Length to which an importer of PostHog traffic shortens an id, in Unicode scalar values.
///
/// PostHog's capture keeps the first 200 and drops the rest; so do we, with a notice.
pub const CAPTURE_ID_SCALARS: usize = 200;

/// How far ahead of the time of recording a time may lie, in microseconds: 23 hours (G5). PostHog's bound: less than a day, so that a
/// clock in another time zone that was taken for UTC passes, and a wrong unit or year does not.
pub const MAX_AHEAD_MICROS: i64 = 23 * 60 * 60 * 1_000_000;

/// Longest event name or property key, in bytes of UTF-8. Real keys are below 100; 1 KiB leaves room for paths.
pub const MAX_NAME_BYTES: usize = 1_024;

/// Longest tenant name, in bytes. It is hashed into every person id, so it is short on purpose.
pub const MAX_TENANT_BYTES: usize = 255;

/// Longest name of a log that a ledger follows, in bytes: as long as the names of streams are elsewhere.
pub const MAX_LOG_NAME_BYTES: usize = 255;

/// Longest single property value in its canonical bytes. PostHog caps a whole person at 640 KiB.
pub const MAX_VALUE_BYTES: usize = 256 * 1_024;

/// Deepest nesting of a property value: a scalar is depth 1, a list of scalars depth 2.
///
/// Keeps every recursion over values bounded, whatever the input.
pub const MAX_VALUE_DEPTH: usize = 32;

/// Most property keys one operation may name, all verbs together.
pub const MAX_OPERATION_KEYS: usize = 1_024;

/// Most bytes of canonical values one operation may carry. With [`MAX_FRAME_BYTES`] it bounds a read.
pub const MAX_OPERATION_BYTES: usize = 1_024 * 1_024;

/// Most property keys one person may have. Bounds the cost of a merge: two sorted lists of this length.
pub const MAX_PERSON_KEYS: usize = 10_000;

/// Most ids one split may name (H2). Their numbers stand in the record's body; with [`MAX_RECORD_BODY_BYTES`] it bounds that.
pub const MAX_SPLIT_IDS: usize = 65_536;

/// Most kinds of ids in one policy (D12). A person has a count for each kind, and an id's kind stands in the byte of its class.
pub const MAX_ID_KINDS: usize = 16;

/// Longest name of a kind of ids, in bytes.
pub const MAX_KIND_NAME_BYTES: usize = 64;

/// Most operations in one atomic batch.
pub const MAX_BATCH_OPERATIONS: usize = 10_000;

/// Most records that may wait for the disk without a thread that waits for them
/// ([`SharedLedger::submit`](crate::SharedLedger::submit)). A tenth of a second of a fast writer: a server that is further behind its
/// disk should say so to its senders.
pub const MAX_WAITING_RECORDS: u64 = 65_536;

/// Largest frame: header, body, payload, hash and padding together. A reader never allocates more for a length field.
pub const MAX_FRAME_BYTES: usize = 16 * 1_024 * 1_024;

/// Most records in one frame: a batch of operations, each with its definitions.
pub const MAX_FRAME_RECORDS: u32 = 1 << 18;

/// Largest body of one record: a policy with all its texts is the biggest.
pub const MAX_RECORD_BODY_BYTES: usize = 512 * 1_024;

/// Most records in one ledger: a thousand million. The state stamps links with 32-bit record numbers and keeps an id's class
/// in two bits beside one, which halves its memory; the format itself counts in 64 bits.
pub const MAX_RECORDS: u64 = (1 << 30) - 1;

/// Most blocked ids, blocked prefixes and anonymous prefixes a policy may list, each.
pub const MAX_POLICY_ENTRIES: usize = 64;

/// Size at which a segment is closed and the next begun, unless the caller chooses another, in bytes.
pub const DEFAULT_SEGMENT_BYTES: u64 = 64 * 1_024 * 1_024;

/// Smallest segment size a caller may choose: a header and one small frame.
pub const MIN_SEGMENT_BYTES: u64 = 1_024;

/// Most segments in one ledger: the reader lists them all in memory.
pub const MAX_SEGMENTS: usize = 1 << 20;

/// Snapshots kept: the newest, and one before it in case the newest is damaged.
pub const KEPT_SNAPSHOTS: usize = 2;

/// Most ids one erase record may name, and most devices. A person with more is erased by several records, one after the other
/// in one frame.
pub const MAX_ERASE_IDS: usize = 25_000;

/// Most records one erase record may name by their own numbers: those that a key-scoped erasure rewrites, or that shared ids said for an
/// erased one.
pub const MAX_ERASE_RECORDS: usize = 10_000;

/// Longest reason of an erasure, in bytes of UTF-8: a sentence and the number of a request, not its text.
pub const MAX_REASON_BYTES: usize = 1_024;

/// Most erasures that one erase_done record completes, and most segments it lists; what is more goes into further ones.
pub const MAX_DONE_ENTRIES: usize = 4_096;
/// Most items of one page of a long answer: what a server holds in memory for one request.
pub const MAX_PAGE_ITEMS: usize = 10_000;

/// Most ids and devices that a picture of a person draws: more would be a wall, not a picture. It says how many it leaves out.
pub const MAX_GRAPH_NODES: usize = 400;

/// Most records that a picture draws. Each is a row of the page's table; of more, those are left out that only repeat.
pub const MAX_GRAPH_RECORDS: usize = 2_000;
/// Most ids that a mapping of another system may name: each takes some 100 bytes of memory while it is compared.
pub const MAX_MAPPED_IDS: usize = 20_000_000;

/// Most ids that a diff names of each part of a merged or split person. All that moved are listed beside; this is for people.
pub const MAX_PART_IDS: usize = 10;
/// Most ids that an outcome names of those that it moved; the number is exact. With more, N merges into one person would name N² / 2
/// ids. A diff between two records names all.
pub const MAX_MOVED_NAMES: usize = 100;

/// Most bytes of records that one component of possible links may have if it is refolded or asked about (H1,
/// H2): some fifty million plain captures. Numbers of 32 bits find their places, and splits among them are
/// written once more.
pub const MAX_COMPONENT_BYTES: usize = 2 << 30;

const _: () = assert!(MAX_OPERATION_BYTES < MAX_FRAME_BYTES, "one operation fits a frame");
const _: () = assert!(4 * MAX_SPLIT_IDS + 128 < MAX_RECORD_BODY_BYTES, "a split fits a record");
const _: () = assert!(MAX_VALUE_BYTES <= MAX_OPERATION_BYTES, "one value fits an operation");
const _: () = assert!(
    (MAX_FRAME_RECORDS as usize) > 2 * MAX_BATCH_OPERATIONS,
    "a batch fits a frame with its definitions"
);
// A policy's texts fit a record: four lists of MAX_POLICY_ENTRIES texts, and as many patterns of kinds, of at most 4 bytes a scalar.
const _: () = assert!(5 * MAX_POLICY_ENTRIES * (4 * MAX_ID_SCALARS + 8) + 64 < MAX_RECORD_BODY_BYTES);
// An erase record: ids of 4 bytes, devices of 8, records and keys of 4; an erase_done record: 12 bytes an erasure, 80 a segment.
const _: () =
    assert!(12 * MAX_ERASE_IDS + 4 * (MAX_ERASE_RECORDS + MAX_OPERATION_KEYS) + 256 < MAX_RECORD_BODY_BYTES);
const _: () = assert!((12 + 80) * MAX_DONE_ENTRIES + 256 < MAX_RECORD_BODY_BYTES);
