//! What becomes of a ledger when other programs move, link or replace its files, while it is open or before.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use identity_ledger::audit::AuditRemark;
use identity_ledger::backup::Backup;
use identity_ledger::erase::{EraseError, ErasureRequest, ErasureSubject};
use identity_ledger::storage::{Access, Displaced};
use identity_ledger::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};

fn operation(number: u64) -> Operation {
    let at = Timestamp::from_micros(i64::try_from(number).unwrap()).unwrap();
    let id = OperationId(uuid::Uuid::from_u128(number.into()));
    let ann = DistinctId::new(format!("id-{}", number % 5)).unwrap();
    Operation::capture(at, ann, id).set("text", "x".repeat(60)).unwrap()
}

fn append(ledger: &mut Ledger, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let _ = ledger.append(operation(number)).unwrap();
    }
}

/// A ledger of several segments with a snapshot, open.
fn create(dir: &Path) -> Ledger {
    let options = LedgerOptions::new().segment_bytes(1_024);
    let mut ledger = options.create(dir, Tenant::default(), Policy::default()).unwrap();
    append(&mut ledger, 0..20);
    ledger.snapshot().unwrap();
    ledger
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            drop(fs::copy(entry.path(), target))
        }
    }
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let (dirs, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let here = files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap()));
    here.chain(dirs.iter().flat_map(|dir| self::files(dir))).collect()
}

fn last_segment(dir: &Path) -> PathBuf {
    let log = fs::read_dir(dir.join("log")).unwrap();
    log.map(|entry| entry.unwrap().path()).max().unwrap()
}

fn erase(ledger: &mut Ledger, id: &str) -> Result<(), EraseError> {
    let at = Timestamp::from_micros(1_000_000).unwrap();
    let subject = ErasureSubject::Ids([DistinctId::new(id).unwrap()].into());
    ledger.begin_erasures(&[ErasureRequest::new(at, subject, "asked")])?;
    ledger.finish_erasures(&mut |_| {}).map(drop)
}

/// What is inside an error, however deep.
fn displaced<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Displaced> {
    let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
    let inner = inner.and_then(|inner| inner.downcast_ref::<Displaced>());
    inner.or_else(|| error.source().and_then(displaced))
}

#[test]
fn a_copy_restored_over_an_open_ledger_is_not_written_and_the_old_one_loses_nothing() {
    type Write = fn(&mut Ledger) -> Box<dyn std::error::Error>;
    let writes: [(&str, Write); 4] = [
        ("append", |ledger| Box::new(ledger.append(operation(900)).unwrap_err())),
        ("flush", |ledger| Box::new(ledger.flush().unwrap_err())),
        ("erase", |ledger| Box::new(erase(ledger, "id-1").unwrap_err())),
        ("snapshot", |ledger| Box::new(ledger.snapshot().unwrap_err())),
    ];
    for (name, write) in writes {
        let home = tempfile::tempdir().unwrap();
        let (place, old) = (home.path().join("L"), home.path().join("L.old"));
        let mut ledger = create(&place);
        copy(&place, &home.path().join("restored"));
        append(&mut ledger, 20..40);
        let acknowledged = ledger.checkpoint().records;
        fs::rename(&place, &old).unwrap();
        fs::rename(home.path().join("restored"), &place).unwrap();
        let before = files(&place);

        let error = write(&mut ledger);
        assert!(matches!(displaced(&*error), Some(Displaced::Directory { .. })), "{name}: {error:?}");
        assert!(error.to_string().contains("moved, removed or replaced"), "{name}: {error}");
        let next = ledger.append(operation(901)).unwrap_err();
        assert!(matches!(next, AppendError::Poisoned { .. }), "{name}: {next:?}");
        drop(ledger);

        assert_eq!(files(&place), before, "{name}: the restored copy is as it was");
        let records = |dir: &Path| Ledger::open(dir).unwrap().checkpoint().records;
        assert!(records(&old) >= acknowledged, "{name}: nothing acknowledged is lost");
        assert!(records(&place) < acknowledged, "{name}: each is itself");
    }
}

#[test]
fn removing_lock_lets_no_second_writer_in_and_stops_the_first_by_name() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("L");
    let mut first = create(&place);
    fs::remove_file(place.join("LOCK")).unwrap();
    assert!(matches!(Ledger::open(&place), Err(OpenError::Locked { .. })));
    assert!(!place.join("LOCK").exists(), "a writer that is refused changes nothing");
    let remarks = LedgerOptions::new().audit(&place).unwrap().remarks;
    assert!(remarks.contains(&AuditRemark::LockMissing), "{remarks:?}");
    let error = first.append(operation(900)).unwrap_err();
    assert!(matches!(displaced(&error), Some(Displaced::Lock { .. })), "{error:?}");
    drop(first);
    append(&mut Ledger::open(&place).unwrap(), 901..905);
    assert!(place.join("LOCK").exists());
}

#[test]
fn files_that_another_program_changes_under_a_writer_stop_it() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("LEDGER is another", |dir| {
            let other = dir.with_extension("other");
            drop(create(&other));
            fs::copy(other.join("LEDGER"), dir.join("LEDGER")).unwrap();
        }),
        ("the segment was cut", |dir| {
            let segment = last_segment(dir);
            fs::write(&segment, &fs::read(&segment).unwrap()[..96]).unwrap();
        }),
        ("the segment was added to", |dir| {
            let segment = last_segment(dir);
            let bytes = fs::read(&segment).unwrap();
            fs::write(&segment, [&bytes[..], &bytes[96..]].concat()).unwrap();
        }),
        ("the segment is another file", |dir| {
            let (segment, was) = (last_segment(dir), dir.join("was"));
            fs::rename(&segment, &was).unwrap();
            fs::copy(was, segment).unwrap();
        }),
        ("the segment has a second name", |dir| {
            fs::hard_link(last_segment(dir), dir.join("second")).unwrap()
        }),
    ];
    for (name, change) in changes {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("L");
        let mut ledger = create(&place);
        change(&place);
        let error = ledger.append(operation(900)).unwrap_err();
        assert!(displaced(&error).is_some(), "{name}: {error:?}");
        assert!(matches!(ledger.append(operation(901)), Err(AppendError::Poisoned { .. })), "{name}");
    }
}

/// Every file and directory of a ledger, one of each kind.
fn parts(dir: &Path) -> Vec<PathBuf> {
    let snapshot = files(&dir.join("snap")).into_keys().next().unwrap();
    let names = ["LEDGER", "HEAD", "LOCK", "log", "snap", "quarantine"].map(|name| dir.join(name));
    names.into_iter().chain([last_segment(dir), snapshot]).collect()
}

/// Writer, reader, auditor and backup of a ledger of which one part is not what it should be: each ends, with an answer or with an
/// error that names the part.
fn ask_all(dir: &Path, part: &Path) {
    let name = part.file_name().unwrap().to_str().unwrap();
    let check = |what: &str, answer: Result<(), String>| {
        if let Err(error) = answer {
            assert!(error.contains(name), "{what}, {name}: {error}");
        }
    };
    let wrong = |error: &dyn std::error::Error| error.to_string();
    check("reading", ReadOnlyLedger::open(dir).map(drop).map_err(|error| wrong(&error)));
    check("verify", LedgerOptions::new().audit(dir).map(drop).map_err(|error| wrong(&error)));
    let copy = dir.with_extension("copy");
    check("backup", Backup::run(dir, &copy, &mut |_| {}).map(drop).map_err(|error| wrong(&error)));
    fs::remove_dir_all(copy).ok();
    let write = |mut ledger: Ledger| {
        let _ = ledger.append(operation(900)).map_err(|error| wrong(&error))?;
        erase(&mut ledger, "id-1").map_err(|error| wrong(&error))?;
        ledger.snapshot().map(drop).map_err(|error| wrong(&error))
    };
    check("writing", Ledger::open(dir).map_err(|error| wrong(&error)).and_then(write));
}

#[test]
fn no_link_is_followed() {
    let home = tempfile::tempdir().unwrap();
    drop(create(&home.path().join("whole")));
    fs::create_dir(home.path().join("whole/quarantine")).unwrap();
    fs::write(home.path().join("whole/quarantine/theirs"), "precious").unwrap();
    for (number, part) in parts(&home.path().join("whole")).iter().enumerate() {
        let (place, target) =
            (home.path().join(number.to_string()), home.path().join(format!("{number}.target")));
        copy(&home.path().join("whole"), &place);
        let part = place.join(part.strip_prefix(home.path().join("whole")).unwrap());
        fs::rename(&part, &target).unwrap();
        symlink(&target, &part).unwrap();
        let of = |path: &Path| {
            if path.is_dir() { files(path) } else { [(PathBuf::new(), fs::read(path).unwrap())].into() }
        };
        let before = of(&target);
        ask_all(&place, &part);
        assert_eq!(of(&target), before, "{}", part.display());
        assert!(part.is_symlink(), "{} is left alone", part.display());
    }
}

#[test]
fn what_is_not_a_regular_file_is_named_and_never_waited_for() {
    let home = tempfile::tempdir().unwrap();
    drop(create(&home.path().join("whole")));
    fs::create_dir(home.path().join("whole/quarantine")).unwrap();
    for (number, part) in parts(&home.path().join("whole")).iter().enumerate() {
        let kinds: [fn(&Path); 3] = [
            |path| mknodat(CWD, path, FileType::Fifo, Mode::from_bits_truncate(0o600), 0).unwrap(),
            |path| drop(UnixListener::bind(path).unwrap()),
            |path| fs::create_dir(path).unwrap(),
        ];
        for (kind, make) in kinds.into_iter().enumerate() {
            let place = home.path().join(format!("{number}-{kind}"));
            copy(&home.path().join("whole"), &place);
            let part = place.join(part.strip_prefix(home.path().join("whole")).unwrap());
            if part.is_dir() && kind == 2 {
                continue; // a directory is what it should be
            }
            if part.is_dir() {
                fs::remove_dir_all(&part).unwrap()
            } else {
                fs::remove_file(&part).unwrap()
            }
            make(&part);
            ask_all(&place, &part);
            assert!(
                part.symlink_metadata().is_ok_and(|found| !found.is_file()),
                "{} is left alone",
                part.display()
            );
        }
    }
}

#[test]
fn what_is_not_the_ledgers_is_left_alone_and_remarked() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("L");
    let mut ledger = create(&place);
    fs::create_dir(place.join("quarantine")).unwrap();
    let odd: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"caf\xe9.snap");
    for dir in ["", "log", "snap", "quarantine"].map(|dir| place.join(dir)) {
        fs::create_dir_all(dir.join("@eaDir/deep")).unwrap();
        fs::write(dir.join("@eaDir/deep/thumb"), "theirs").unwrap();
        fs::write(dir.join(odd), "theirs").unwrap();
        fs::write(dir.join("notes.new"), "theirs").unwrap();
        fs::write(dir.join("mine.cut"), "theirs").unwrap();
    }
    fs::create_dir(place.join("snap/00000000000000000007.snap")).unwrap();
    fs::write(place.join("quarantine/00000000000000000003-96-0.cut"), "ours").unwrap();
    let theirs = || files(&place).into_values().filter(|bytes| bytes == b"theirs").count();
    assert_eq!(theirs(), 16);

    append(&mut ledger, 20..25);
    erase(&mut ledger, "id-1").unwrap();
    ledger.snapshot().unwrap();
    drop(ledger);
    append(&mut Ledger::open(&place).unwrap(), 25..30);
    let report = LedgerOptions::new().audit(&place).unwrap();
    assert!(report.faults.iter().all(|fault| fault.file == "snap/00000000000000000007.snap"), "{report:?}");
    let foreign = report.remarks.iter().find_map(|remark| match remark {
        AuditRemark::Foreign(names) => Some(names.len()),
        _ => None,
    });
    assert_eq!(foreign, Some(16), "{:?}", report.remarks);
    for _ in 0..2 {
        Backup::run(&place, &home.path().join("copy"), &mut |_| {}).unwrap();
        fs::create_dir_all(home.path().join("copy/log/@eaDir")).unwrap(); // on a disk that adds such, the copy has them too
    }
    assert_eq!(theirs(), 16);
    assert!(!place.join("quarantine/00000000000000000003-96-0.cut").exists(), "what recovery kept is gone");
    ReadOnlyLedger::open(&place).unwrap().reader().stats().unwrap();
}

fn modes(dir: &Path) -> BTreeMap<u32, Vec<PathBuf>> {
    let mut found: BTreeMap<u32, Vec<PathBuf>> = BTreeMap::new();
    let dirs = ["", "log", "snap"].map(|sub| dir.join(sub));
    for path in files(dir).into_keys().chain(dirs) {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        found.entry(mode).or_default().push(path);
    }
    found
}

#[test]
fn files_are_for_their_owner_alone_unless_it_is_asked_otherwise() {
    let home = tempfile::tempdir().unwrap();
    let access = [
        (Access::Owner, [0o600, 0o700]),
        (Access::Group, [0o640, 0o750]),
        (Access::Everyone, [0o644, 0o755]),
    ];
    for (access, expected) in access {
        let place = home.path().join(format!("{access:?}"));
        let options = LedgerOptions::new().segment_bytes(1_024).access(access);
        drop(options.create(&place, Tenant::default(), Policy::default()).unwrap());
        // Files that are made later are as `LEDGER` is, whatever the next writer says.
        let mut ledger = Ledger::open(&place).unwrap();
        append(&mut ledger, 0..20);
        erase(&mut ledger, "id-1").unwrap();
        ledger.snapshot().unwrap();
        drop(ledger);
        let found = modes(&place);
        assert_eq!(found.keys().copied().collect::<Vec<u32>>(), expected, "{access:?}: {found:?}");
    }
    Backup::run(&home.path().join("Everyone"), &home.path().join("copy"), &mut |_| {}).unwrap();
    assert_eq!(fs::metadata(home.path().join("copy")).unwrap().mode() & 0o777, 0o700);
}
