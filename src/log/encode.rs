//! Writing records: a frame's body in the making. `docs/format.md`, "Bodies", has the layout; [`crate::log::decode`] reads it.

use crate::log::body::{Asked, AskedVerb, Body, Flags, LinkSource};
use crate::log::codec;
use crate::log::decode::{self, BLOCK_RECORDS, HAS_CHANGES, HAS_DEVICE, HAS_OTHER, verb_bits};
use crate::log::kind::Kind;
use crate::log::record::Lists;
use crate::log::tail;
use crate::log::varint;

/// Records one after the other, as a frame's body has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct BodyWriter {
    bytes: Vec<u8>,
    records: usize,
    /// Where each block begins.
    blocks: Vec<usize>,
    /// The time of the operation before in the block.
    time: i64,
    lists: Lists,
}

impl BodyWriter {
    /// The body that holds these records.
    pub(crate) fn of(bodies: &[Body]) -> Vec<u8> {
        let mut writer = BodyWriter::default();
        bodies.iter().for_each(|body| writer.push(body));
        writer.finish()
    }

    /// How many records there are.
    pub(crate) fn records(&self) -> u32 {
        self.records as u32 // a frame is at most 16 MiB
    }

    /// How many bytes they take.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The frame's body.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// What the record at a place says; a block's records are read for it.
    pub(crate) fn record(&self, place: usize) -> Body {
        let begin = self.blocks[place / BLOCK_RECORDS];
        let within = place % BLOCK_RECORDS;
        let said = decode::bodies(&self.bytes[begin..]).nth(within);
        said.expect("the place of a record").expect("what is written is read")
    }

    /// Appends a record.
    pub(crate) fn push(&mut self, body: &Body) {
        if self.records.is_multiple_of(BLOCK_RECORDS) {
            self.blocks.push(self.bytes.len());
            self.lists.begin_block();
            self.time = 0;
        }
        self.records += 1;
        let out = &mut self.bytes;
        let mut kind = |kind: Kind| out.push(kind as u8);
        match body {
            Body::Genesis(policy) => {
                kind(Kind::Genesis);
                policy.write(out);
            }
            Body::SetPolicy(policy) => {
                kind(Kind::SetPolicy);
                policy.write(out);
            }
            Body::Recovered(cut) => {
                kind(Kind::Recovered);
                codec::encode(cut, out);
            }
            Body::DefineId(class, commitment) => {
                kind(Kind::DefineId);
                out.push(class.0);
                out.extend_from_slice(&commitment.0);
            }
            Body::DefineDevice(id, commitment) => {
                kind(Kind::DefineDevice);
                varint::write(id.0.into(), out);
                out.extend_from_slice(&commitment.0);
            }
            Body::DefineKey(commitment) => {
                kind(Kind::DefineKey);
                out.extend_from_slice(&commitment.0);
            }
            Body::DefineName(commitment) => {
                kind(Kind::DefineName);
                out.extend_from_slice(&commitment.0);
            }
            Body::Operation(asked) => self.operation(asked),
            Body::Erase(erasure) => {
                kind(Kind::Erase);
                codec::encode(&**erasure, out);
            }
            Body::EraseDone(removal) => {
                kind(Kind::EraseDone);
                codec::encode(&**removal, out);
            }
            Body::Restate(restated) => {
                kind(Kind::Restate);
                codec::encode(&**restated, out);
            }
            Body::Followed(followed) => {
                kind(Kind::Followed);
                codec::encode(&**followed, out);
            }
        }
    }

    fn operation(&mut self, asked: &Asked) {
        let Asked { head, verb, changes, item } = asked;
        let other = match verb {
            AskedVerb::Capture(name) => name.map(|name| name.0.into()),
            AskedVerb::Reset(fresh) => fresh.map(|fresh| fresh.0.into()),
            verb => match verb.other() {
                LinkSource::None => None,
                LinkSource::Unstorable => Some(0),
                LinkSource::Id(id) => Some(u64::from(id.0) + 1),
            },
        };
        let mark = |has: bool, mark: u8| if has { mark } else { 0 };
        let out = &mut self.bytes;
        out.push(
            verb.kind() as u8
                | mark(other.is_some(), HAS_OTHER)
                | mark(head.device.is_some(), HAS_DEVICE)
                | mark(!changes.is_empty(), HAS_CHANGES),
        );
        varint::write(head.flags.0.into(), out);
        varint::write(head.id.0.into(), out);
        let target = match verb {
            AskedVerb::Retract(target) => Some(*target),
            AskedVerb::Reclassify(class) => Some(class.0.into()),
            _ => None,
        };
        let device = head.device.map(|device| device.0.into());
        [other, target, device].into_iter().flatten().for_each(|number| varint::write(number, out));
        let later = head.time.wrapping_sub(self.time); // both are in the years 0001 to 9999
        self.time = head.time;
        let step = if later % 1_000 == 0 {
            varint::zigzag(later / 1_000) << 1
        } else {
            varint::zigzag(later) << 1 | 1
        };
        varint::write(step, out);
        if !changes.is_empty() {
            self.changes(asked);
        }
        let out = &mut self.bytes;
        if head.flags.has(Flags::GIVEN_ID) {
            out.extend_from_slice(&head.operation);
        }
        if let Some(item) = item {
            out.extend_from_slice(&item.0);
        }
        if let AskedVerb::Split(split) = verb {
            tail::write_leavers(split, out);
        }
    }

    /// The list of changes: one of the last ones if it is the same.
    fn changes(&mut self, asked: &Asked) {
        let (changes, out) = (&asked.changes, &mut self.bytes);
        if let Some(back) = self.lists.find(changes) {
            return varint::write(back as u64, out);
        }
        self.lists.add(changes);
        let bits = verb_bits(asked.head.flags);
        varint::write((Lists::RECENT + changes.len()) as u64, out);
        let mut before = 0;
        for change in changes {
            // A list that is out of order gives bytes that no reader takes.
            varint::write(
                u64::from(change.key.0).wrapping_sub(before) << bits | u64::from(change.verb.0),
                out,
            );
            before = change.key.0.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::body::{
        Change, Commitment, CutOff, DeviceNo, ErasedDevice, Erasure, ErasureCompletion, Followed, IdNo,
        KeyNo, NameNo, OperationHeader, Removal, Restated, RewrittenSegment, SplitOff, StoredClass,
        StoredPolicy, Verb,
    };
    use crate::model::policy::Policy;

    /// What is written, put together from the page alone: no table, no step that another record needs but those the page names.
    fn by_the_page(bodies: &[Body]) -> Vec<u8> {
        fn number(number: u64) -> Vec<u8> {
            (1..=8_u32).find(|bytes| number >> (7 * bytes) == 0).map_or_else(
                || [&[0][..], &number.to_le_bytes()].concat(),
                |bytes| ((number << bytes) + (1 << (bytes - 1))).to_le_bytes()[..bytes as usize].to_vec(),
            )
        }
        fn signed(number: i64) -> u64 {
            if number < 0 { number.unsigned_abs() * 2 - 1 } else { number as u64 * 2 }
        }
        let mut out = Vec::new();
        for (place, body) in bodies.iter().enumerate() {
            let block = &bodies[place / 64 * 64..place];
            let Body::Operation(asked) = body else {
                let (kind, rest) = match body {
                    Body::DefineId(class, item) => (3, [&[class.0][..], &item.0].concat()),
                    Body::DefineDevice(id, item) => (4, [number(id.0.into()), item.0.to_vec()].concat()),
                    Body::DefineKey(item) => (5, item.0.to_vec()),
                    Body::DefineName(item) => (6, item.0.to_vec()),
                    rare => (rare_kind(rare), by_the_codec(rare)),
                };
                out.push(kind);
                out.extend(rest);
                continue;
            };
            let Asked { head, verb, changes, item } = &**asked;
            let source = |kind, source: &LinkSource| match source {
                LinkSource::None => (kind, None),
                LinkSource::Unstorable => (kind, Some(0)),
                LinkSource::Id(id) => (kind, Some(u64::from(id.0) + 1)),
            };
            let (kind, other) = match verb {
                AskedVerb::Capture(name) => (7, name.map(|name| u64::from(name.0))),
                AskedVerb::Identify(other) => source(8, other),
                AskedVerb::Alias(other) => source(9, other),
                AskedVerb::Merge(other) => source(10, other),
                AskedVerb::Set => (11, None),
                AskedVerb::Switch => (12, None),
                AskedVerb::Reset(fresh) => (13, fresh.map(|fresh| u64::from(fresh.0))),
                AskedVerb::Retract(_) => (14, None),
                AskedVerb::Split(_) => (15, None),
                AskedVerb::Reclassify(_) => (20, None),
            };
            out.push(
                kind + 32 * u8::from(other.is_some())
                    + 64 * u8::from(head.device.is_some())
                    + 128 * u8::from(!changes.is_empty()),
            );
            out.extend(number(head.flags.0.into()));
            out.extend(number(head.id.0.into()));
            out.extend(other.map(number).unwrap_or_default());
            if let AskedVerb::Retract(target) = verb {
                out.extend(number(*target));
            }
            if let AskedVerb::Reclassify(class) = verb {
                out.extend(number(class.0.into()));
            }
            out.extend(head.device.map(|device| number(device.0.into())).unwrap_or_default());
            let before = block.iter().rev().find_map(Body::head).map_or(0, |head| head.time);
            let later = head.time - before;
            out.extend(number(match later % 1_000 {
                0 => signed(later / 1_000) * 2,
                _ => signed(later) * 2 + 1,
            }));
            if !changes.is_empty() {
                let mut listed: Vec<&[Change]> = Vec::new(); // in this block, each when it was listed
                for before in block.iter().map(Body::changes).filter(|changes| !changes.is_empty()) {
                    if !listed.iter().rev().take(8).any(|list| *list == before) {
                        listed.push(before);
                    }
                }
                match listed.iter().rev().take(8).position(|list| *list == &changes[..]) {
                    Some(back) => out.extend(number(back as u64)),
                    None => {
                        out.extend(number(8 + changes.len() as u64));
                        let keys = [0].into_iter().chain(changes.iter().map(|change| change.key.0));
                        for (change, before) in changes.iter().zip(keys) {
                            let verbs = if head.flags.0 & 512 == 0 { 4 } else { 8 };
                            out.extend(number(
                                verbs * u64::from(change.key.0 - before) + u64::from(change.verb.0),
                            ));
                        }
                    }
                }
            }
            if head.flags.has(Flags::GIVEN_ID) {
                out.extend(head.operation);
            }
            out.extend(item.map(|item| item.0.to_vec()).unwrap_or_default());
            if let AskedVerb::Split(SplitOff { together, ids }) = verb {
                out.extend(number(2 * ids.len() as u64 + u64::from(*together)));
                for (place, id) in ids.iter().enumerate() {
                    let skipped = place.checked_sub(1).map_or(id.0, |before| id.0 - ids[before].0 - 1);
                    out.extend(number(skipped.into()));
                }
            }
        }
        out
    }

    fn rare_kind(body: &Body) -> u8 {
        match body {
            Body::Genesis(_) => 0,
            Body::SetPolicy(_) => 1,
            Body::Recovered(_) => 2,
            Body::Erase(_) => 16,
            Body::EraseDone(_) => 17,
            Body::Restate(_) => 18,
            _ => 19,
        }
    }

    /// A codec of other people, for what the page says stands as bincode writes it.
    fn by_the_codec(body: &Body) -> Vec<u8> {
        #[derive(wincode::SchemaWrite)]
        struct Device(u32, u32);
        #[derive(wincode::SchemaWrite)]
        struct Segment(u64, u64, u64, [u8; 32], [u8; 32]);
        let number = |number: &IdNo| number.0;
        match body {
            Body::Recovered(CutOff { bytes, digest }) => wincode::serialize(&(*bytes, *digest)),
            Body::Followed(followed) => wincode::serialize(&(followed.log.clone(), followed.position)),
            Body::Erase(erasure) => wincode::serialize(&(
                erasure.time,
                erasure.ids.iter().map(number).collect::<Vec<u32>>(),
                erasure
                    .devices
                    .iter()
                    .map(|device| Device(device.device.0, device.defined))
                    .collect::<Vec<_>>(),
                erasure.records.clone(),
                erasure.keys.iter().map(|key| key.0).collect::<Vec<u32>>(),
                erasure.reason.map(|reason| reason.0),
            )),
            Body::EraseDone(removal) => wincode::serialize(&(
                removal.erasures.iter().map(|done| (done.erase, done.items)).collect::<Vec<_>>(),
                removal
                    .segments
                    .iter()
                    .map(|at| Segment(at.first_seq, at.bytes_before, at.bytes_after, at.before, at.after))
                    .collect::<Vec<_>>(),
            )),
            Body::Restate(at) => {
                wincode::serialize(&(at.record, at.id.0, at.erased.clone(), at.item.map(|item| item.0)))
            }
            policy => {
                let mut out = Vec::new();
                let (Body::Genesis(policy) | Body::SetPolicy(policy)) = policy else { unreachable!() };
                policy.write(&mut out);
                return out;
            }
        }
        .expect("it is written")
    }

    fn operation() -> impl Strategy<Value = Body> {
        let small = |count: u32| prop_oneof![4 => 0..count, 1 => 0..u32::MAX - 3];
        let verb = (
            0..10_u8,
            prop::option::of(small(300)),
            any::<bool>(),
            prop::collection::btree_set(small(9), 1..5),
        );
        let time = prop_oneof![
            (-3..3_i64).prop_map(|time| 1_774_000_000_000_000 + time * 500),
            -62_135_596_800_000_000..253_402_300_799_999_999_i64,
        ];
        let verbs = prop_oneof![3 => 0..4_u8, 1 => 0..8_u8];
        let changes = prop::collection::btree_set((small(6), verbs), 0..4);
        let head = (small(300), prop::option::of(small(3)), time, any::<[u8; 16]>(), any::<u8>());
        (head, verb, changes).prop_map(|((id, device, time, operation, flags), verb, changes)| {
            let (kind, number, flag, ids) = verb;
            let other = match number {
                None if flag => LinkSource::Unstorable,
                None => LinkSource::None,
                Some(number) => LinkSource::Id(IdNo(number)),
            };
            let verb = match kind {
                0 => AskedVerb::Capture(number.map(NameNo)),
                1 => AskedVerb::Identify(other),
                2 => AskedVerb::Alias(other),
                3 => AskedVerb::Merge(other),
                4 => AskedVerb::Set,
                5 => AskedVerb::Switch,
                6 => AskedVerb::Reset(number.map(DeviceNo)),
                7 => AskedVerb::Retract(number.unwrap_or(0).into()),
                8 => AskedVerb::Reclassify(StoredClass((number.unwrap_or(0) % 4) as u8)),
                _ => AskedVerb::Split(SplitOff { together: flag, ids: ids.into_iter().map(IdNo).collect() }),
            };
            let changes: Vec<Change> =
                changes.into_iter().map(|(key, verb)| Change { key: KeyNo(key), verb: Verb(verb) }).collect();
            let relative = changes.iter().any(|change| change.verb.is_relative());
            let flags = Flags(flags.into()).with(Flags::RELATIVE, relative);
            let has_item =
                flags.has(Flags::DERIVED_ID) || changes.iter().any(|change| change.verb.has_value());
            let operation = if flags.has(Flags::GIVEN_ID) { operation } else { [0; 16] };
            let head = OperationHeader { id: IdNo(id), device: device.map(DeviceNo), time, operation, flags };
            let item = has_item.then_some(Commitment([7; 32]));
            Body::Operation(Box::new(Asked { head, verb, changes, item }))
        })
    }

    fn rare() -> Vec<Body> {
        let item = Commitment([9; 32]);
        let segment = RewrittenSegment {
            first_seq: 0,
            bytes_before: 9,
            bytes_after: 8,
            before: [1; 32],
            after: [2; 32],
        };
        vec![
            Body::Genesis(Box::new(StoredPolicy::from(&Policy::default()))),
            Body::SetPolicy(Box::new(StoredPolicy::from(&Policy::default()))),
            Body::Recovered(CutOff { bytes: 5, digest: [1; 32] }),
            Body::DefineId(StoredClass(2), item),
            Body::DefineDevice(IdNo(400), item),
            Body::DefineKey(item),
            Body::DefineName(item),
            Body::Erase(Box::new(Erasure {
                time: -4,
                ids: vec![IdNo(1), IdNo(2)],
                devices: vec![ErasedDevice { device: DeviceNo(1), defined: 5 }],
                records: vec![9],
                keys: Vec::new(),
                reason: Some(item),
            })),
            Body::EraseDone(Box::new(Removal {
                erasures: vec![ErasureCompletion { erase: 10, items: 3 }],
                segments: vec![segment],
            })),
            Body::Restate(Box::new(Restated { record: 4, id: IdNo(7), erased: vec![1], item: Some(item) })),
            Body::Followed(Box::new(Followed { log: "shop".to_owned(), position: 7 })),
        ]
    }

    fn body() -> impl Strategy<Value = Body> {
        prop_oneof![6 => operation(), 1 => prop::sample::select(rare())]
    }

    /// A record of these changes that a writer would let point back.
    fn listed(key: u32, out: &mut Vec<u8>) {
        out.extend([Kind::Set as u8 | HAS_CHANGES, 1, 1, 1]); // no flags, T is id 0, no time behind
        varint::write(Lists::RECENT as u64 + 1, out);
        varint::write(u64::from(key) << 2 | u64::from(Verb::UNSET.0), out);
    }

    #[test]
    fn a_list_has_as_many_changes_as_an_operation_names_keys() {
        let limit = crate::model::limits::MAX_OPERATION_KEYS as u32;
        for (count, is_read) in [(limit, true), (limit + 1, false)] {
            let changes = (0..count).map(|key| Change { key: KeyNo(key), verb: Verb::UNSET }).collect();
            let head = OperationHeader {
                id: IdNo(0),
                device: None,
                time: 0,
                operation: [0; 16],
                flags: Flags::default(),
            };
            let asked = Asked { head, verb: AskedVerb::Set, changes, item: None };
            let bytes = BodyWriter::of(&[Body::Operation(Box::new(asked))]);
            assert_eq!(decode::bodies(&bytes).all(|body| body.is_ok()), is_read, "{count} changes");
        }
    }

    #[test]
    fn a_list_is_not_listed_again_as_long_as_a_record_can_point_to_it() {
        for between in 0..10 {
            let mut bytes = Vec::new();
            [7].into_iter().chain(20..20 + between).chain([7]).for_each(|key| listed(key, &mut bytes));
            let last = decode::bodies(&bytes).last().unwrap();
            assert_eq!(last.is_ok(), between >= Lists::RECENT as u32, "{between} lists between");
        }
    }

    proptest! {
        #[test]
        fn records_read_back_and_are_spelled_as_the_page_says(bodies in prop::collection::vec(body(), 0..150)) {
            let bytes = BodyWriter::of(&bodies);
            prop_assert_eq!(&bytes, &by_the_page(&bodies));
            let read: Result<Vec<Body>, _> = decode::bodies(&bytes).collect();
            prop_assert_eq!(read.unwrap(), bodies);
        }

        /// One record has one spelling, whatever the bytes.
        #[test]
        fn what_is_read_is_written_as_it_was(
            bodies in prop::collection::vec(body(), 1..10), at: prop::sample::Index, byte: u8, cut: prop::sample::Index
        ) {
            let mut bytes = BodyWriter::of(&bodies);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            let read: Vec<Body> = decode::bodies(&bytes).map_while(Result::ok).collect();
            prop_assert!(bytes.starts_with(&BodyWriter::of(&read)));
        }

        /// The reader of what most records are says of them what the careful one says.
        #[test]
        fn a_plain_capture_is_read_as_any_other(bodies in prop::collection::vec(body(), 1..5), at: prop::sample::Index, byte: u8) {
            let mut bytes = BodyWriter::of(&bodies);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.extend([1; 64]); // the next record
            decode::tests::plain_and_careful_agree(&bytes);
        }
    }
}
