//! A directory of files that is either complete or says that it is not: files get their names when they are whole, and the last one says so.
#![expect(clippy::disallowed_types, reason = "the shell: files of an export")]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::failure::Failure;
use crate::output::expect_free;

/// What the name of a file ends with until it is whole.
const PARTIAL: &str = ".partial";
/// Bytes that are written together.
const BUFFER: usize = 1 << 20;

/// The directory. What is begun in it and not complete is removed when it is dropped.
pub(crate) struct Directory {
    place: PathBuf,
    /// Whether it was created here, and goes with its files.
    created: bool,
    /// Names of files that are begun, and those that are whole but have not got their names yet.
    begun: Vec<String>,
    /// The file that says what the others are.
    last: Option<Unfinished>,
}

/// A file that is being written: counts and digests what goes into it.
pub(crate) struct Unfinished {
    name: String,
    file: BufWriter<File>,
    sha256: Sha256,
    bytes: u64,
    lines: u64,
}

/// A file that is whole.
pub(crate) struct Finished {
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl Unfinished {
    /// How many lines were written.
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        self.bytes += written as u64;
        self.lines += bytes[..written].iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Directory {
    /// Takes a directory that is new or empty, for this run alone: `last`, the file that is written last, is begun at once, and who finds
    /// it there does not begin.
    pub(crate) fn claim(place: &Path, last: &str) -> Result<Directory, Failure> {
        expect_free(place)?;
        let failed = Failure::write(place);
        let created = match fs::create_dir(place) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(failed(error)),
        };
        // Dropped where it fails: what was created here goes again.
        let mut directory = Directory { place: place.to_owned(), created, begun: Vec::new(), last: None };
        if let Some(entry) = place.read_dir().map_err(&failed)?.next() {
            directory.created = false;
            let found = entry.map_err(&failed)?.file_name().to_string_lossy().into_owned();
            let left = if found.ends_with(PARTIAL) {
                ", which an export writes, or left when it was killed"
            } else {
                ""
            };
            return Err(Failure::NotEmpty { place: place.to_owned(), found: format!("`{found}`{left}") });
        }
        directory.last = Some(directory.begin(last)?);
        Ok(directory)
    }

    /// Says where writing failed.
    pub(crate) fn failed(&self, error: io::Error) -> Failure {
        Failure::write(&self.place)(error)
    }

    fn partial(&self, name: &str) -> PathBuf {
        self.place.join(format!("{name}{PARTIAL}"))
    }

    /// Begins a file.
    pub(crate) fn begin(&mut self, name: &str) -> Result<Unfinished, Failure> {
        let file = File::create_new(self.partial(name)).map_err(|error| self.failed(error))?;
        self.begun.push(name.to_owned());
        let file = BufWriter::with_capacity(BUFFER, file);
        Ok(Unfinished { name: name.to_owned(), file, sha256: Sha256::new(), bytes: 0, lines: 0 })
    }

    /// Makes a file durable.
    pub(crate) fn complete(&self, file: Unfinished) -> Result<Finished, Failure> {
        let Unfinished { name, file, sha256, bytes, .. } = file;
        let file = file.into_inner().map_err(|error| self.failed(error.into_error()))?;
        file.sync_all().map_err(|error| self.failed(error))?;
        let sha256 = sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Finished { file: name, bytes, sha256 })
    }

    /// Gives all files their names, and then, in the last file, says what they are.
    pub(crate) fn finish(mut self, text: &[u8]) -> Result<(), Failure> {
        let mut last = self.last.take().expect("it was begun first");
        last.write_all(text).map_err(|error| self.failed(error))?;
        self.complete(last)?;
        let renamed = self.begun.iter().rev().try_for_each(|name| {
            fs::rename(self.partial(name), self.place.join(name))?;
            File::open(&self.place)?.sync_all()
        });
        renamed.map_err(|error| self.failed(error))?;
        self.begun.clear();
        self.created = false;
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A failure was told of already; what cannot be removed has a name that says what it is.
        for name in &self.begun {
            fs::remove_file(self.partial(name)).ok();
        }
        if self.created {
            fs::remove_dir(&self.place).ok();
        }
    }
}
