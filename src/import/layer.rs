//! Layers: what lies around the text of an input. gzip, zstd and UTF-16 are taken off as the input is read.
//!
//! Knows nothing of lines. Memory is bounded whatever the input: by a window of each layer, and by [`Unpacked`] in what comes out.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How much is read at once: large enough that calls do not show, small enough for the cache.
const READ_BYTES: usize = 128 * 1_024;

/// What every gzip member starts with (RFC 1952).
pub(super) const GZIP: [u8; 2] = [0x1F, 0x8B];

/// What every zstd frame starts with (RFC 8878).
pub(super) const ZSTD: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// How many times its size an input may unpack to. gzip reaches 1,032 at most, so one layer of it never crosses this; events shrink to a
/// tenth. Bounds what gzip inside gzip and zstd can make of a small file.
pub(super) const MAX_UNPACKED_TIMES: u64 = 1_100;

/// What any input may unpack to, however small it is.
const FREE_UNPACKED_BYTES: u64 = 64 * 1_024 * 1_024;

/// The text of an input with all its layers off: gzip inside gzip, and UTF-16 in that, is the most that is looked for.
pub(super) struct Unpacked<R> {
    layers: Layer<Layer<Layer<Counted<R>>>>,
    bytes: u64,
    is_too_dense: bool,
}

impl<R: Read> Unpacked<R> {
    pub(super) fn new(input: R) -> Unpacked<R> {
        let counted = Counted { inner: input, count: 0 };
        Unpacked { layers: Layer::new(Layer::new(Layer::new(counted))), bytes: 0, is_too_dense: false }
    }

    /// Bytes taken from the input.
    pub(super) fn taken(&self) -> u64 {
        let counted = self.layers.inner().and_then(Layer::inner).and_then(Layer::inner);
        counted.map_or(0, |counted| counted.count)
    }

    /// What the input is compressed with, the outermost layer that is.
    pub(super) fn compression(&self) -> Option<&'static str> {
        let second = self.layers.inner();
        let first = second.and_then(Layer::inner);
        first.and_then(Layer::compression).or(second.and_then(Layer::compression))
    }

    /// Whether reading failed because the input unpacks to too much.
    pub(super) fn is_too_dense(&self) -> bool {
        self.is_too_dense
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.layers.read(out)?;
        self.bytes += read as u64;
        if self.bytes > FREE_UNPACKED_BYTES && self.bytes / MAX_UNPACKED_TIMES > self.taken() {
            self.is_too_dense = true;
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(read)
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.count += read as u64;
        Ok(read)
    }
}

/// One layer of an input, found by its first bytes.
enum Layer<R> {
    Unopened(R),
    Opening,
    Plain(Peeked<R>),
    Gzip(Box<Members<BufReader<Peeked<R>>>>),
    Zstd(Box<Frames<BufReader<Peeked<R>>>>),
    Utf16(Box<Utf16<Peeked<R>>>),
}

/// The first bytes, looked at and put back.
type Peeked<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

impl<R: Read> Layer<R> {
    fn new(input: R) -> Layer<R> {
        Layer::Unopened(input)
    }

    /// What lies below; `None` only while the layer is opened.
    fn inner(&self) -> Option<&R> {
        Some(match self {
            Layer::Unopened(inner) => inner,
            Layer::Opening => return None,
            Layer::Plain(peeked) => peeked.get_ref().1,
            Layer::Gzip(members) => members.input()?.get_ref().get_ref().1,
            Layer::Zstd(frames) => frames.input.get_ref().get_ref().1,
            Layer::Utf16(utf16) => utf16.input.get_ref().1,
        })
    }

    fn compression(&self) -> Option<&'static str> {
        match self {
            Layer::Gzip(_) => Some("gzip"),
            Layer::Zstd(_) => Some("zstd"),
            _ => None,
        }
    }

    /// Looks at the first bytes and chooses how to read the rest. Where that fails, what lies below is still there to be asked about.
    fn open(&mut self) -> io::Result<()> {
        let Layer::Unopened(inner) = self else { return Ok(()) };
        let mut head = Vec::with_capacity(4);
        inner.by_ref().take(4).read_to_end(&mut head)?;
        let Layer::Unopened(inner) = std::mem::replace(self, Layer::Opening) else { return Ok(()) };
        let utf16 = Order::of(&head);
        let (is_gzip, is_zstd) = (head.starts_with(&GZIP), head.starts_with(&ZSTD));
        let peeked = io::Cursor::new(head).chain(inner);
        let buffered = |peeked| BufReader::with_capacity(READ_BYTES, peeked);
        *self = match utf16 {
            _ if is_gzip => Layer::Gzip(Box::new(Members::new(buffered(peeked)))),
            _ if is_zstd => Layer::Zstd(Box::new(Frames::new(buffered(peeked)))),
            Some(order) => Layer::Utf16(Box::new(Utf16::new(peeked, order))),
            None => Layer::Plain(peeked),
        };
        Ok(())
    }
}

impl<R: Read> Read for Layer<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.open()?;
        match self {
            Layer::Unopened(_) | Layer::Opening => Ok(0), // open() leaves neither
            Layer::Plain(reader) => reader.read(out),
            Layer::Gzip(reader) => reader.read(out),
            Layer::Zstd(reader) => reader.read(out),
            Layer::Utf16(reader) => reader.read(out),
        }
    }
}

/// Whether an input has no layer.
#[cfg(test)]
pub(super) fn is_plain(input: &[u8]) -> bool {
    let mut layer = Layer::new(input);
    layer.open().is_ok() && matches!(layer, Layer::Plain(_))
}

/// The members of a gzip file, with zeros between and behind them: some tools pad files to a whole block.
pub(super) struct Members<R>(Member<R>);

enum Member<R> {
    Inside(GzDecoder<R>),
    Between(R),
    Changing,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(input: R) -> Members<R> {
        Members(Member::Between(input))
    }

    fn input(&self) -> Option<&R> {
        match &self.0 {
            Member::Inside(decoder) => Some(decoder.get_ref()),
            Member::Between(input) => Some(input),
            Member::Changing => None,
        }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.0 {
                Member::Inside(decoder) => {
                    let read = decoder.read(out)?;
                    if read > 0 || out.is_empty() {
                        return Ok(read);
                    }
                }
                Member::Between(input) => {
                    if !skip_zeros(input)? {
                        return Ok(0);
                    }
                }
                Member::Changing => return Ok(0),
            }
            self.0 = match std::mem::replace(&mut self.0, Member::Changing) {
                Member::Inside(decoder) => Member::Between(decoder.into_inner()),
                Member::Between(input) => Member::Inside(GzDecoder::new(input)),
                Member::Changing => Member::Changing,
            };
        }
    }
}

/// Whether anything but zeros is left.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        let is_over = zeros < bytes.len();
        input.consume(zeros);
        if is_over {
            return Ok(true);
        }
    }
}

/// The frames of a zstd file. The decoder takes no window above 128 MiB; `zstd --long=28` and more needs one.
struct Frames<R> {
    input: R,
    decoder: FrameDecoder,
    is_inside: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(input: R) -> Frames<R> {
        Frames { input, decoder: FrameDecoder::new(), is_inside: false }
    }

    /// Begins the next frame, unless there is none; passes over frames that hold no data.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.input) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = io::copy(&mut self.input.by_ref().take(length.into()), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(damaged(error)),
            }
        }
        Ok(false)
    }

    fn end(&mut self) -> io::Result<()> {
        let (written, read) = (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum());
        if written.is_some() && written != read {
            return Err(damaged("the checksum of a frame does not fit"));
        }
        self.is_inside = false;
        Ok(())
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_inside {
                self.is_inside = self.begin()?;
                if !self.is_inside {
                    return Ok(0);
                }
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(out);
            }
            if self.decoder.is_finished() {
                self.end()?;
                continue;
            }
            let one = BlockDecodingStrategy::UptoBlocks(1);
            self.decoder.decode_blocks(&mut self.input, one).map_err(damaged)?;
        }
    }
}

fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Which byte of a unit of UTF-16 comes first.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    /// That of a text which starts so: with a byte order mark, or with a document. UTF-32 begins like UTF-16 and is not.
    fn of(head: &[u8]) -> Option<Order> {
        match head {
            [0xFF, 0xFE, 0, 0] | [0, 0, 0xFE, 0xFF] => None,
            [0xFF, 0xFE, ..] | [b'{' | b'[', 0, ..] => Some(Order::Little),
            [0xFE, 0xFF, ..] | [0, b'{' | b'[', ..] => Some(Order::Big),
            _ => None,
        }
    }
}

/// UTF-16 as UTF-8. What is half of a surrogate pair, or half of a unit, becomes bytes that are not UTF-8: so it costs its line.
struct Utf16<R> {
    input: R,
    order: Order,
    /// Bytes that were read and belong to a unit or a pair that is not whole yet.
    rest: Vec<u8>,
    text: Vec<u8>,
    /// How much of `text` was given.
    given: usize,
}

impl<R: Read> Utf16<R> {
    fn new(input: R, order: Order) -> Utf16<R> {
        Utf16 { input, order, rest: Vec::new(), text: Vec::new(), given: 0 }
    }

    fn fill(&mut self) -> io::Result<()> {
        const CHUNK: u64 = 8 * 1_024;
        let read = self.input.by_ref().take(CHUNK).read_to_end(&mut self.rest)?;
        let is_last = (read as u64) < CHUNK;
        (self.given, self.text) = (0, Vec::new());
        let whole = self.rest.chunks_exact(2);
        let is_odd = !whole.remainder().is_empty();
        let mut units: Vec<u16> = whole
            .map(|pair| match self.order {
                Order::Little => u16::from_le_bytes([pair[0], pair[1]]),
                Order::Big => u16::from_be_bytes([pair[0], pair[1]]),
            })
            .collect();
        let is_high = units.last().is_some_and(|unit| (0xD800..0xDC00).contains(unit));
        if is_high && !is_last {
            units.pop(); // its other half is yet to come
        }
        self.rest.drain(..2 * units.len());
        for unit in char::decode_utf16(units) {
            match unit {
                Ok(char) => self.text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(_) => self.text.push(0xFF),
            }
        }
        if is_last && is_odd {
            self.text.push(0xFF);
        }
        if is_last {
            self.rest.clear();
        }
        Ok(())
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given == self.text.len() {
            self.fill()?;
        }
        let read = (&self.text[self.given..]).read(out)?;
        self.given += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::importer::tests::{AUTO, gzip, import};
    use super::*;

    const EVENT: &str = r#"{"op":"set","distinct_id":"\u00e4\ud83d\ude00","ts":"2026-01-01T00:00:00Z"}"#;

    /// The event with its characters themselves, not their escapes.
    fn event() -> String {
        EVENT.replace(r"\u00e4\ud83d\ude00", "ä😀")
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        // One frame of one raw block, as RFC 8878 has it: a single segment whose size takes four bytes.
        let len = u32::try_from(text.len()).unwrap();
        let block = (len << 3 | 1).to_le_bytes();
        [&ZSTD[..], &[0b1010_0000], &len.to_le_bytes(), &block[..3], text].concat()
    }

    #[test]
    fn layers_are_taken_off_in_any_order() {
        let event = event();
        let line = format!("{event}\n");
        let little = utf16(&format!("\u{FEFF}{line}"), u16::to_le_bytes);
        let skippable = [&[0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let padded =
            [gzip(line.as_bytes()), vec![0; 1_000], gzip(line.as_bytes()), vec![0; 300_000]].concat();
        #[rustfmt::skip]
        let table = [
            ("gzip in gzip", gzip(&gzip(line.as_bytes())), 1),
            ("UTF-16, little end first", little.clone(), 1),
            ("UTF-16 without a mark", utf16(&line, u16::to_le_bytes), 1),
            ("UTF-16, big end first", utf16(&format!("\u{FEFF}{line}"), u16::to_be_bytes), 1),
            ("UTF-16, big end first, without a mark", utf16(&line, u16::to_be_bytes), 1),
            ("UTF-16 in gzip in gzip", gzip(&gzip(&little)), 1),
            ("zstd", zstd(line.as_bytes()), 1),
            ("frames of zstd, one of them without data", [zstd(line.as_bytes()), skippable, zstd(line.as_bytes())].concat(), 2),
            ("zstd in gzip", gzip(&zstd(line.as_bytes())), 1),
            ("padded gzip", padded, 2),
        ];
        for (what, input, events) in table {
            let expected: Vec<_> = (1..=events).map(|line| format!("{line} set ä😀")).collect();
            assert_eq!(import(&input, &AUTO), expected, "{what}");
        }
    }

    #[test]
    fn a_pair_of_utf16_may_lie_across_two_reads() {
        // Behind the mark each character takes two units, so that each read of 8 KiB ends inside a pair.
        let text = format!("\u{FEFF}{}", "😀".repeat(20_000));
        let mut read = String::new();
        Unpacked::new(&utf16(&text, u16::to_le_bytes)[..]).read_to_string(&mut read).unwrap();
        assert!(read == text);
    }

    #[test]
    fn half_a_character_of_utf16_costs_its_line() {
        let line = format!("{}\n", event());
        let mut input = utf16("{\"a\":\"", u16::to_le_bytes);
        input.extend([0x3D, 0xD8]); // half of a pair
        input.extend(utf16(&format!("\"}}\n{line}"), u16::to_le_bytes));
        input.push(b'{'); // half of a unit
        let found = import(&input, &AUTO);
        assert_eq!(
            found,
            [
                "1 byte 6 is not UTF-8; expected UTF-8 text",
                "2 set ä😀",
                "3 byte 0 is not UTF-8; expected UTF-8 text"
            ]
        );
    }

    #[test]
    fn what_is_damaged_says_in_what() {
        let line = format!("{}\n", event());
        let mut checked = zstd(line.as_bytes());
        checked[4] |= 0b100; // the frame has a checksum, four bytes at its end
        checked.extend([1, 2, 3, 4]);
        #[rustfmt::skip]
        let table = [
            (zstd(line.as_bytes())[..30].to_vec(), "damaged zstd after line 0, near byte 30 of the input: "),
            (checked, "damaged zstd after line 1, "),
            ([&zstd(line.as_bytes())[..], b"junk"].concat(), "damaged zstd after line 1, "),
            ([&gzip(line.as_bytes())[..], b"\0\0junk"].concat(), "damaged gzip after line 1, "),
            (gzip(&gzip(line.as_bytes())[..40]), "damaged gzip after line 0, "),
        ];
        for (input, said) in table {
            let found = import(&input, &AUTO);
            assert!(found.last().is_some_and(|last| last.starts_with(said)), "{said}: {found:?}");
        }
    }

    #[test]
    fn a_small_file_that_unpacks_to_too_much_is_read_no_further() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let mut blank = vec![b' '; 1 << 20];
        blank[0] = b'\n';
        (0..80).for_each(|_| encoder.write_all(&blank).unwrap());
        let once = encoder.finish().unwrap();
        let bomb = gzip(&once);
        let mut unpacked = Unpacked::new(&bomb[..]);
        assert!(io::copy(&mut unpacked, &mut io::sink()).is_err());
        assert!(unpacked.is_too_dense() && unpacked.bytes <= FREE_UNPACKED_BYTES + (1 << 20));
        assert_eq!(
            io::copy(&mut Unpacked::new(&once[..]), &mut io::sink()).unwrap(),
            80 << 20,
            "one layer passes"
        );
        let found = import(&bomb, &AUTO);
        assert!(found[0].contains("has unpacked to more than 1100 times its size"), "{found:?}");
    }
}
