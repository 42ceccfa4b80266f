//! Golden ledgers: directories that a released version wrote, committed once and never again. Every later version opens them,
//! finds them whole, and folds them to the same digests; and its writer, asked the same, still writes the same bytes.
//!
//! A new golden ledger is added by giving it a recipe below and running `GOLDEN=make cargo test --all-features --test suite golden::`,
//! which makes those that are not there yet and touches none that is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::follow::{Delivered, Delivery, Followed, LogName};
#[cfg(feature = "encryption")]
use identity_ledger::storage::StoredKeys;
use identity_ledger::storage::{Clock, Files, Memory, SeededEntropy, Storage};
use identity_ledger::*;
use serde_json::{Value as Json, json};

type Recipe = fn(&LedgerRecipe<'_>);

/// Name, preset, bytes of a segment, and what is asked of it.
const RECIPES: &[(&str, Preset, u64, Recipe)] = &[
    ("everything", Preset::Posthog, 4_096, everything),
    ("one-user", Preset::OneUser, 64 * 1_024 * 1_024, shared_devices),
    ("torn", Preset::Strict, 1_024, torn),
    ("second-thoughts", Preset::Posthog, 2_048, second_thoughts),
    ("followed", Preset::OneUser, 1_024, followed),
    ("reclassified", Preset::OneUser, 1_024, reclassified),
    #[cfg(feature = "encryption")]
    ("sealed", Preset::Posthog, 2_048, second_thoughts),
];

/// The ring of a sealed ledger lies beside it.
fn with_keys(options: LedgerOptions<'static>, dir: &Path) -> LedgerOptions<'static> {
    #[cfg(feature = "encryption")]
    if dir.ends_with("sealed") {
        return options.keys(Arc::new(StoredKeys::file(dir.with_extension("ring")).unwrap()));
    }
    let _open = dir;
    options
}

/// The files of a golden ledger, to be read. Miri, which runs this on machines we do not have, lacks the system calls of directory
/// handles; there they are read into memory.
fn golden(dir: &Path) -> Arc<dyn Storage> {
    if cfg!(miri) { Arc::new(in_memory(dir)) } else { Arc::new(Files::read_only(dir)) }
}

/// A copy of a ledger that may be written.
fn scratch(dir: &Path, copied: &Path) -> Arc<dyn Storage> {
    if cfg!(miri) {
        return Arc::new(in_memory(dir));
    }
    copy(dir, copied);
    Arc::new(Files::writable(copied))
}

fn in_memory(dir: &Path) -> Memory {
    let memory = Memory::new();
    for (name, bytes) in all_files(dir) {
        memory.create(&name).unwrap();
        memory.write_at(&name, 0, &bytes).unwrap();
    }
    memory
}

/// Where a ledger is made, and how.
struct LedgerRecipe<'a> {
    dir: &'a Path,
    preset: Preset,
    segment_bytes: u64,
}

impl LedgerRecipe<'_> {
    fn options(&self) -> LedgerOptions<'static> {
        let options = LedgerOptions::new().seeded(1).clock(restless()).segment_bytes(self.segment_bytes);
        with_keys(options, self.dir)
    }

    fn create(&self) -> Ledger {
        let policy = Policy::preset(self.preset);
        self.options().create(self.dir, Tenant::new("golden").unwrap(), policy).unwrap()
    }
}

/// A clock that stands still, goes back and jumps ahead by hours.
fn restless() -> impl Clock {
    let mut asked = 0;
    move || {
        asked += 1;
        at([0, 1, 1, -3_600_000_000, 7_200_000_000][asked as usize % 5] + 60_000_000 * asked)
    }
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v2")
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + micros).unwrap()
}

fn id(text: &str) -> DistinctId {
    DistinctId::new(text).unwrap()
}

fn event(number: u128) -> OperationId {
    OperationId(uuid::Uuid::from_u128(0x0190_c0de_0000_7000_8000_0000_0000_0000 + number))
}

fn record(ledger: &mut Ledger, operation: Operation) {
    let refusal = ledger.append(operation).unwrap().outcome().expect("it is recorded").refusal;
    assert!(refusal.is_none(), "{refusal:?}");
}

fn refused(ledger: &mut Ledger, rule: &str, operation: Operation) {
    let refusal = ledger.append(operation).unwrap().outcome().expect("it is recorded").refusal;
    assert_eq!(refusal.map(|refusal| refusal.rule()), Some(rule));
}

/// Every kind of value.
const VALUE: &str = r#"{"list": [1, -1, 1.5, -0.0, 1e300, true, false, null, "", "\u0001"], "map": {"b": 1, "a": {"c": []}}}"#;

/// Every kind of record and of value, refusals and notices, a policy changed on the way, ids at the edges of their bounds.
fn everything(recipe: &LedgerRecipe<'_>) {
    let mut ledger = recipe.create();
    let longest = "ü".repeat(limits::MAX_ID_SCALARS);
    let odd_ids = [" ", "a b", "NULL", "[object Object]", "\"null\"", "🦀", "\u{feff}x", longest.as_str()];
    for (number, text) in odd_ids.iter().enumerate() {
        let number = number as i64;
        let value: Value = serde_json::from_str(VALUE).unwrap();
        let operation = Operation::capture(at(number), id(text), event(number as u128))
            .with_event(
                EventName::new(["$pageview", "$exception", "$groupidentify"][number as usize % 3]).unwrap(),
            )
            .set("value", value)
            .unwrap()
            .set("largest", u64::MAX)
            .unwrap()
            .set_once("least", i64::MIN)
            .unwrap();
        record(&mut ledger, operation);
    }
    let unset = Operation::properties(at(20), id("🦀")).unset("largest").unwrap();
    record(&mut ledger, unset);
    record(&mut ledger, Operation::identify(at(21), id("ann"), Some(Source::new("🦀"))));
    record(&mut ledger, Operation::identify(at(22), id("bob"), Some(Source::new("b1"))));
    refused(&mut ledger, "D6", Operation::alias(at(23), id("ann"), Source::new("bob")));
    refused(&mut ledger, "B2", Operation::alias(at(24), id("ann"), Source::new("null")));
    refused(&mut ledger, "B2", Operation::alias(at(25), id("ann"), Source::new("\u{0}"))); // an S without text (B1)
    record(&mut ledger, Operation::identify(at(26), id("eve"), Some(Source::new("🦀")))); // D3, with its notice
    record(&mut ledger, Operation::merge_dangerously(at(27), id("ann"), Source::new("bob")));
    let mut policy = ledger.policy().clone();
    policy.max_ids_per_person = Some(5);
    ledger.set_policy(&policy).unwrap();
    refused(&mut ledger, "D8", Operation::alias(at(28), id("ann"), Source::new("one-more")));
    let batch: Vec<Operation> = (0..40)
        .map(|number| {
            Operation::capture(at(30 + number), id(&format!("v{}", number % 7)), event(100 + number as u128))
        })
        .collect();
    assert_eq!(ledger.append_batch(&batch).unwrap().len(), 40);
}

/// Two users of one machine, with and without a reset between them; a device of our own making.
fn shared_devices(recipe: &LedgerRecipe<'_>) {
    let mut ledger = recipe.create();
    let device = DeviceId::new("kitchen-tablet").unwrap();
    let fresh = ledger.new_device(at(0)).unwrap();
    for (number, device) in [device, fresh].into_iter().enumerate() {
        let base = 100 * number as i64;
        let mut device = ledger.device(device);
        let pageview = || EventName::new("$pageview").unwrap();
        let nothing = Changes::default;
        let mut said = vec![
            device.capture(at(base), pageview(), event(base as u128), nothing()),
            device.identify(at(base + 1), id("ann"), nothing()),
            device.capture(at(base + 2), pageview(), event(base as u128 + 1), nothing()),
            device.reset(at(base + 3), number == 1),
            device.capture(at(base + 4), pageview(), event(base as u128 + 2), nothing()),
            device.identify(at(base + 5), id("bob"), nothing()),
            device.identify(at(base + 6), id("eve"), nothing()), // a switch (F3)
            device.alias(at(base + 7), Some(Source::new("mail:eve"))),
        ];
        assert!(said.drain(..).all(|appended| appended.unwrap().outcome().is_some()));
    }
}

/// What is taken back, parted, rectified and erased.
fn second_thoughts(recipe: &LedgerRecipe<'_>) {
    let mut ledger = recipe.create();
    for (number, (user, visitor)) in
        [("ann", "a1"), ("bob", "b1"), ("cat", "c1"), ("dan", "d1")].into_iter().enumerate()
    {
        let number = 10 * number as i64;
        let capture = Operation::capture(at(number), id(visitor), event(number as u128));
        record(&mut ledger, capture.set("page", number).unwrap());
        let identify = Operation::identify(at(number + 1), id(user), Some(Source::new(visitor)));
        record(&mut ledger, identify.set("email", user).unwrap().set("plan", "free").unwrap());
    }
    let wrong = ledger.append(Operation::merge_dangerously(at(50), id("ann"), Source::new("bob"))).unwrap();
    let target = wrong.seq().unwrap();
    record(&mut ledger, Operation::retract(at(51), Target::Record(target)));
    let (ids, mode) = ([id("c1")].into(), SplitMode::Each);
    record(&mut ledger, Operation::new(at(52), Request::Split { id: id("cat"), ids, mode }));
    let person = |user: &str| ErasureSubject::PersonOf(id(user));
    let email = PropertyKey::new("email").unwrap();
    ledger
        .erase(&[ErasureRequest::new(at(60), person("ann"), "a wrong address").with_keys([email])])
        .unwrap();
    ledger.erase(&[ErasureRequest::new(at(61), person("dan"), "request 1")]).unwrap();
    record(&mut ledger, Operation::properties(at(62), id("dan")).set("plan", "new").unwrap());
}

/// Ids of another class than their texts gave them, with a split and retracts between; one of them is erased.
fn reclassified(recipe: &LedgerRecipe<'_>) {
    let mut ledger = recipe.create();
    let link = |number: i64, user: &str, source: &str| {
        Operation::identify(at(number), id(user), Some(Source::new(source))).set("by", source).unwrap()
    };
    record(&mut ledger, link(0, "ann", "till"));
    record(&mut ledger, link(1, "cookie-1", "phone"));
    refused(&mut ledger, "D9", link(2, "bob", "till"));
    refused(&mut ledger, "D9", link(3, "dan", "phone"));
    let class = |number: i64, text: &str, class| Operation::reclassify(at(number), id(text), class);
    record(&mut ledger, class(10, "till", IdClass::Unmergeable).with_id(event(10)));
    refused(&mut ledger, "H5", class(11, "till", IdClass::Unmergeable).with_id(event(11)));
    record(&mut ledger, class(12, "cookie-1", IdClass::Anonymous));
    record(&mut ledger, Operation::split(at(13), id("dan"), [id("phone")], SplitMode::Each));
    record(&mut ledger, Operation::retract(at(14), Target::Operation(event(10))));
    refused(&mut ledger, "B2", link(15, "cat", "till"));
    record(&mut ledger, Operation::retract(at(16), Target::Operation(event(11))));
    record(&mut ledger, class(17, "phone", IdClass::Unmergeable));
    let cookie = ErasureSubject::Ids([id("cookie-1")].into());
    ledger.erase(&[ErasureRequest::new(at(20), cookie, "request 2")]).unwrap();
    record(&mut ledger, class(21, "ann", IdClass::Anonymous));
}

/// What a log delivered: batches, a policy, one batch that no ledger takes.
fn followed(recipe: &LedgerRecipe<'_>) {
    let log = LogName::new("golden stream").unwrap();
    let delivery = |position: u8| Delivery {
        log: &log,
        position: position.into(),
        recorded_at: at(1_000_000 * i64::from(position)),
        seed: [position; 32],
    };
    let policy = Policy::preset(recipe.preset);
    let options = recipe.options().follow(&delivery(1));
    let mut ledger = options.create(recipe.dir, Tenant::new("golden").unwrap(), policy.clone()).unwrap();
    let reset = Request::Reset { device: DeviceId::new("tablet").unwrap(), reset_device: true, new_id: None };
    let deliveries = [
        (3, vec![Operation::properties(at(0), id("ann")).set("plan", "free").unwrap()]),
        (
            4,
            vec![
                Operation::new(at(1), reset),
                Operation::identify(at(2), id("ann"), Some(Source::new("a1"))),
            ],
        ),
        (7, vec![Operation::retract(at(3), Target::Record(Seq(0)))]), // the genesis record is not an operation
    ];
    for (position, operations) in deliveries {
        let delivered = ledger.append_at(&delivery(position), &operations).unwrap();
        assert_eq!(matches!(delivered, Delivered::Rejected(_)), position == 7);
    }
    let policy = Policy { max_ids_per_person: Some(9), ..policy };
    assert!(matches!(ledger.set_policy_at(&delivery(8), &policy), Ok(Delivered::Taken(_))));
}

/// A write that a crash cut off, found and recorded by the next writer.
fn torn(recipe: &LedgerRecipe<'_>) {
    let mut ledger = recipe.create();
    for number in 0..12 {
        let operation =
            Operation::properties(at(number), id(&format!("p{}", number % 4))).set("n", number).unwrap();
        record(&mut ledger, operation);
    }
    drop(ledger);
    let mut segments: Vec<PathBuf> =
        fs::read_dir(recipe.dir.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let last = segments.last().unwrap();
    let mut bytes = fs::read(last).unwrap();
    bytes.extend_from_slice(b"half a frame");
    fs::write(last, bytes).unwrap();
    let mut ledger = recipe.options().entropy(SeededEntropy::new(2)).open(recipe.dir).unwrap();
    assert!(ledger.recovery().torn.is_some());
    record(&mut ledger, Operation::identify(at(99), id("p1"), Some(Source::new("late"))));
}

/// What a ledger folds to, as it stands in `digests.json`.
fn digests(book: &Reader) -> Json {
    let Checkpoint { records, head } = book.checkpoint();
    json!({
        "records": records,
        "head": head.to_string(),
        "digest": book.state().digest().to_string(),
        "content_digest": book.content_digest().unwrap().to_string(),
        "persons": book.state().persons().count(),
    })
}

fn expected() -> Json {
    let text = fs::read_to_string(home().join("digests.json")).unwrap_or_else(|_| "{}".to_owned());
    serde_json::from_str(&text).unwrap()
}

/// All files below, by name, but for the lock and the witness, which say when something happened and not what.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = all_files(dir);
    found.retain(|(name, _)| name != "LOCK" && name != "HEAD");
    found
}

fn all_files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for part in ["", "log", "quarantine"] {
        let Ok(entries) = fs::read_dir(dir.join(part)) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            found.push((name, fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for part in ["", "log", "quarantine"] {
        let Ok(entries) = fs::read_dir(from.join(part)) else { continue };
        fs::create_dir_all(to.join(part)).unwrap();
        for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            fs::copy(&path, to.join(part).join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn golden_ledgers_are_whole_and_fold_to_what_they_always_did() {
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "make") {
        make_those_that_are_missing();
    }
    let expected = expected();
    for (name, ..) in RECIPES {
        let dir = home().join(name);
        let options = || with_keys(LedgerOptions::new(), &dir);
        let report = options().audit_in(golden(&dir)).unwrap();
        assert!(report.is_ok(), "{name}: {:?}", report.faults);
        for threads in [1, 2] {
            let book = options().threads(threads).read_in(golden(&dir)).unwrap();
            assert_eq!(digests(book.reader()), expected[*name], "{name}");
        }
        let temporary = tempfile::tempdir().unwrap();
        let copied = temporary.path().join(name);
        let storage = scratch(&dir, &copied);
        let ring = home().join(format!("{name}.ring"));
        if ring.exists() {
            fs::write(copied.with_extension("ring"), fs::read(ring).unwrap()).unwrap();
        }
        let mut ledger = with_keys(LedgerOptions::new(), &copied).open_in(storage).unwrap();
        assert!(ledger.recovery().is_clean(), "{name}: {:?}", ledger.recovery());
        let operation = Operation::properties(at(1_000), id("a new id"));
        match ledger.reader().followed().cloned() {
            None => record(&mut ledger, operation),
            Some(Followed { log, position }) => {
                let log = LogName::new(log).unwrap();
                let delivery =
                    Delivery { log: &log, position: position + 1, recorded_at: at(0), seed: [0; 32] };
                assert!(matches!(ledger.append_at(&delivery, &[operation]), Ok(Delivered::Taken(_))));
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "it writes real files; tests/suite/determinism.rs pins what a writer writes")]
fn the_writer_still_writes_the_same_bytes() {
    for (name, preset, segment_bytes, recipe) in RECIPES {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join(name);
        recipe(&LedgerRecipe { dir: &dir, preset: *preset, segment_bytes: *segment_bytes });
        let (made, golden) = (files(&dir), files(&home().join(name)));
        let ring = |home: &Path| fs::read(home.join(format!("{name}.ring"))).ok();
        assert!(
            ring(temporary.path()) == ring(&home()),
            "{name}: the ring differs from what version 2 stored"
        );
        let names = |files: &[(String, Vec<u8>)]| files.iter().map(|file| file.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&made), names(&golden), "{name}");
        for (made, golden) in made.iter().zip(&golden) {
            assert!(made.1 == golden.1, "{name}: {} differs from what version 2 wrote", made.0);
        }
    }
}

fn make_those_that_are_missing() {
    let mut all = expected();
    for (name, preset, segment_bytes, recipe) in RECIPES {
        let dir = home().join(name);
        if dir.exists() {
            continue;
        }
        fs::create_dir_all(home()).unwrap();
        recipe(&LedgerRecipe { dir: &dir, preset: *preset, segment_bytes: *segment_bytes });
        fs::remove_file(dir.join("LOCK")).ok(); // a writer makes it again
        fs::remove_file(dir.with_extension("ring.lock")).ok();
        all[*name] = digests(with_keys(LedgerOptions::new(), &dir).open_read_only(&dir).unwrap().reader());
    }
    fs::write(home().join("digests.json"), serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
}

/// A kind of record that is missing here would not be missed by a release that reads it otherwise.
#[test]
fn the_golden_ledgers_hold_every_kind_of_record() {
    let mut seen = std::collections::BTreeSet::new();
    for (name, ..) in RECIPES {
        let dir = home().join(name);
        let book = with_keys(LedgerOptions::new(), &dir).read_in(golden(&dir)).unwrap();
        book.reader()
            .replay(|step| {
                seen.insert(step.record.body().name());
            })
            .unwrap();
    }
    let all = [
        "alias",
        "capture",
        "define_device",
        "define_id",
        "define_key",
        "define_name",
        "erase",
        "erase_done",
        "followed",
        "genesis",
        "identify",
        "merge_dangerously",
        "reclassify",
        "recovered",
        "reset",
        "restate",
        "retract",
        "set",
        "set_policy",
        "split",
        "switch",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
}
