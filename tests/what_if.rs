//! What if: a ledger under another policy, at another time, beside another ledger; and the commands `what-if` and `diff`.
//! The laws are in `tests/laws.rs`, the rule's page is `tests/scenarios/H4-what-if.txt`.
#![cfg(feature = "cli")]

#[path = "support/page.rs"]
mod page;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use identity_ledger::diff::{Content, Diff, Name};
use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::model::Survivor;
use identity_ledger::storage::{Memory, SeededEntropy};
use identity_ledger::testing::workload::{Shape, Workload};
use identity_ledger::*;
use serde_json::Value as Json;

/// A page, a phone and two users; the link was opened again after a logout (docs/deep-links.md, G).
const DEEP_LINK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/link-reopened-after-logout.jsonl");

const KEYS: &str = "answered_from merged split renamed created gone persons moved_ids new_ids gone_ids moved_events events properties \
                    devices refusals counts classes_kept";

/// What a command said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn with_code(self, code: i32) -> Said {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// The difference that was printed as JSON.
    #[track_caller]
    fn difference(&self) -> Json {
        let difference: Json = serde_json::from_str(&self.out).expect("one object");
        let keys: Vec<&String> = difference.as_object().expect("an object").keys().collect();
        let mut expected: Vec<&str> = KEYS.split_whitespace().collect();
        expected.sort_unstable();
        assert_eq!(keys, expected);
        difference
    }
}

/// A directory of its own, in which commands run.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    /// With a ledger `shop` of the recorded deep link.
    fn shop() -> Place {
        let place = Place::new();
        place.run(&["import", "shop", DEEP_LINK]).with_code(0);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_identity-ledger"));
        let command = command.current_dir(self.0.path()).args(arguments).env_remove("COLUMNS");
        let output = command.stdin(Stdio::null()).output().unwrap();
        Said {
            code: output.status.code().expect("it ends by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a line without blanks in its words.
    fn say(&self, line: &str) -> Said {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Every file of a ledger.
    fn files(&self, ledger: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        fn visit(dir: &Path, out: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    visit(&path, out)
                } else {
                    drop(out.insert(path.clone(), fs::read(&path).unwrap()))
                }
            }
        }
        let mut out = BTreeMap::new();
        visit(&self.path(ledger), &mut out);
        out
    }
}

// -- what-if ---------------------------------------------------------------------------------------------------------

/// Two users of one phone were glued together by a link that was opened twice. What if the ledger had been `one-user`?
#[test]
fn one_user_would_have_kept_two_users_of_a_reopened_link_apart() {
    let place = Place::shop();
    let before = place.files("shop");
    let difference = place.say("what-if shop --preset one-user --json").with_code(0).difference();
    assert_eq!(place.files("shop"), before, "asking changes nothing");

    let [split] = &difference["split"].as_array().unwrap()[..] else { panic!("{difference}") };
    let shares = split["into"].as_array().unwrap().iter().map(|part| part["ids"].as_u64().unwrap());
    assert_eq!(shares.collect::<Vec<_>>(), [4, 1]);
    assert_eq!(split["into"][1]["distinct_ids"], serde_json::json!(["user-2"]));
    let [moved] = &difference["moved_ids"].as_array().unwrap()[..] else { panic!("{difference}") };
    assert_eq!((&moved["distinct_id"], &moved["from"]), (&"user-2".into(), &split["person_id"]));
    assert_eq!(moved["to"], split["into"][1]["person_id"]);
    let [refused] = &difference["refusals"].as_array().unwrap()[..] else { panic!("{difference}") };
    assert_eq!((&refused["before"], &refused["after"]["rule"]), (&Json::Null, &"D9".into()));
    assert_eq!(refused["distinct_id"], "user-2");
    let persons = |side: &str| difference["counts"][side]["persons"].as_u64();
    assert_eq!((persons("before"), persons("after")), (Some(1), Some(2)));
}

#[test]
fn what_if_says_what_a_ledger_imported_under_that_policy_is() {
    let place = Place::shop();
    for (preset, _) in Preset::ALL {
        place.run(&["import", preset, DEEP_LINK, "--preset", preset]).with_code(0);
        let asked = place.say(&format!("what-if shop --preset {preset} --json")).with_code(0).difference();
        let real = place.say(&format!("diff shop {preset} --json")).difference();
        for key in KEYS.split_whitespace().filter(|key| !["refusals", "answered_from"].contains(key)) {
            assert_eq!(asked[key], real[key], "{preset}: {key}");
        }
        let rules = |difference: &Json| {
            let refusals = difference["refusals"].as_array().unwrap().iter();
            refusals
                .map(|refusal| (refusal["after"]["seq"].clone(), refusal["after"]["rule"].clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(rules(&asked), rules(&real), "{preset}");
    }
}

#[test]
fn what_if_takes_a_policy_file_and_one_policy_only() {
    let place = Place::shop();
    place.write("blocked.json", r#"{"blocked_ids": ["user-2"]}"#);
    place.write("bad.json", r#"{"max_user_ids": 0}"#);
    let difference = place.say("what-if shop --policy blocked.json --json").with_code(0).difference();
    assert_eq!(difference["refusals"][0]["after"]["rule"], "B2");
    for wrong in [
        "what-if shop",
        "what-if shop --preset strict --policy blocked.json",
        "what-if shop --policy bad.json",
    ] {
        let said = place.say(wrong).with_code(2);
        assert!(said.out.is_empty() && !said.err.is_empty(), "{said:?}");
    }
    let said = place.say("what-if nowhere --preset strict").with_code(2);
    assert!(said.err.contains("nowhere does not exist"), "{}", said.err);
}

/// What people see of it; `docs/deep-links.md` shows it too.
#[test]
fn people_get_a_tree_of_who_would_be_who() {
    let place = Place::shop();
    let said = place.say("what-if shop --preset one-user").with_code(0);
    page::assert_part("docs/deep-links.md", "what-if", &format!("```text\n{}```\n", said.out));
    for line in ["Split: several persons of one (1)", "  └─ 2f9a1015  1 id   user-2", "Refusals: 1 more"]
    {
        assert!(said.out.lines().any(|found| found == line), "{line}\n\n{}", said.out);
    }
    let same = place.say("what-if shop --preset posthog").with_code(0);
    assert!(same.out.starts_with("Under preset posthog, shop would mean the same\n"), "{}", same.out);
    let wide = place.say("what-if shop --preset one-user --wide").with_code(0);
    assert!(wide.out.contains("$initial_screen_width"), "{}", wide.out);
}

/// A limit of the policy that is asked about stands in no record.
#[test]
fn a_refusal_by_the_policy_asked_about_names_no_record() {
    let place = Place::shop();
    place.write("small.json", r#"{"max_ids_per_person": 2}"#);
    let difference = place.say("what-if shop --policy small.json --json").with_code(0).difference();
    let first = &difference["refusals"][0]["after"];
    assert_eq!((&first["rule"], &first["blocking_seq"]), (&"D8".into(), &Json::Null));
    let reason = first["reason"].as_str().unwrap();
    assert_eq!(reason, "the person would have 3 ids, the policy asked about allows 2");
}

// -- diff ------------------------------------------------------------------------------------------------------------

#[test]
fn diff_has_the_exit_status_of_diff() {
    let place = Place::shop();
    place.run(&["import", "strict", DEEP_LINK, "--preset", "strict"]).with_code(0);
    place.say("backup shop copy").with_code(0);
    place.say("diff shop copy").with_code(0);
    place.say("diff shop shop").with_code(0);
    place.say("diff shop copy --at 12 --at 12").with_code(0);
    place.say("diff shop strict").with_code(1);
    place.say("diff shop --at 12").with_code(1);
    for (trouble, why) in [
        ("diff shop", "nothing to compare"),
        ("diff shop nowhere", "nowhere does not exist"),
        ("diff shop --at 1000", "there is no record 1000"),
        ("diff shop copy --at 1 --at 1000", "there is no record 1000"),
        ("diff shop --at 1 --at 2 --at 3", "--at is given 3 times"),
    ] {
        let said = place.say(trouble).with_code(2);
        assert!(said.err.contains(why) && said.out.is_empty(), "{said:?}");
    }
}

/// Damage is no difference: nothing is printed as one.
#[test]
fn a_damaged_ledger_is_not_compared() {
    let place = Place::shop();
    place.say("backup shop copy").with_code(0);
    let segment = place.path("copy/log/00000000000000000000.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    fs::remove_dir_all(place.path("copy/snap")).ok(); // or it opens from there
    let said = place.say("diff shop copy --json").with_code(1);
    assert!(said.out.is_empty() && said.err.starts_with("error: "), "{said:?}");
}

#[test]
fn two_points_of_a_ledger_differ_by_what_came_between() {
    let place = Place::shop();
    place.write(
        "more.jsonl",
        "{\"op\":\"capture\",\"ts\":\"2026-02-01T00:00:00Z\",\"event\":\"order\",\"distinct_id\":\"user-1\"}\n\
         {\"op\":\"merge_dangerously\",\"ts\":\"2026-02-01T00:00:01Z\",\"distinct_id\":\"zoe\",\"alias\":\"user-1\"}\n",
    );
    let head = |place: &Place| {
        let verified: Json = serde_json::from_str(&place.say("verify shop --json").out).unwrap();
        verified["records"].as_u64().unwrap() - 1
    };
    let before = head(&place);
    place.say("import shop more.jsonl").with_code(0);
    let now = head(&place);
    let later = place.run(&["diff", "shop", "--at", &before.to_string(), "--json"]).with_code(1).difference();
    let [events] = &later["events"].as_array().unwrap()[..] else { panic!("{later}") };
    assert_eq!((&events["distinct_id"], &events["gained"]["full"]), (&"user-1".into(), &1.into()));
    assert_eq!(later["new_ids"], serde_json::json!(["zoe"]));
    assert_eq!(later["refusals"], serde_json::json!([]));

    let (now, before) = (now.to_string(), before.to_string());
    let earlier =
        place.run(&["diff", "shop", "--at", &now, "--at", &before, "--json"]).with_code(1).difference();
    assert_eq!((&earlier["gone_ids"], &earlier["new_ids"]), (&later["new_ids"], &later["gone_ids"]));
    assert_eq!(earlier["events"][0]["lost"], later["events"][0]["gained"]);
    assert_eq!(earlier["counts"]["after"], later["counts"]["before"]);
}

/// Ids are anybody's words, and there may be many of them.
#[test]
fn people_get_no_orders_from_ids_and_not_all_of_a_thousand() {
    let place = Place::new();
    let line = |id: &str| {
        format!("{{\"op\":\"set\",\"ts\":\"2026-02-01T00:00:00Z\",\"distinct_id\":{}}}\n", Json::from(id))
    };
    place.write("few.jsonl", &line("ann"));
    let many: String = (0..1_000).map(|number| line(&format!("\u{1b}[2J{number}"))).collect();
    place.write("many.jsonl", &many);
    place.say("import few few.jsonl").with_code(0);
    place.say("import many many.jsonl").with_code(0);
    let said = place.say("diff few many").with_code(1);
    assert!(!said.out.contains('\u{1b}') && said.out.contains("\\u{1b}[2J0"), "{}", said.out);
    assert!(said.out.lines().count() < 60, "{}", said.out);
    assert!(said.out.contains("… and 980 more; --wide and --json have all"), "{}", said.out);
    assert!(place.say("diff few many --wide").with_code(1).out.lines().count() > 1_000);
}

// -- the library -----------------------------------------------------------------------------------------------------

fn ledger(policy: Policy, people: u64) -> Ledger {
    let mut ledger = LedgerOptions::new()
        .entropy(SeededEntropy::new(1))
        .create_in(std::sync::Arc::new(Memory::new()), Tenant::default(), policy)
        .unwrap();
    let operations: Vec<Operation> = Workload::new(Shape::SharedDevices, people, 1).collect();
    for batch in operations.chunks(1_000) {
        assert!(ledger.append_batch(batch).is_ok());
    }
    ledger
}

/// Three people to a device, and policies that tell them apart or do not: the whole of it, on made-up traffic.
#[test]
fn a_difference_of_made_up_traffic_leads_from_one_to_the_other() {
    let policy = Policy::preset(Preset::Posthog);
    let recorded = ledger(policy.clone(), 60);
    let now = Content::of(&recorded.reader().view()).unwrap();
    let policies = [
        Policy::preset(Preset::Strict),
        Policy::preset(Preset::OneUser),
        Policy { survivor: Survivor::Elder, max_ids_per_person: Some(3), ..policy },
    ];
    for policy in policies {
        let what_if = recorded.reader().what_if(&policy).unwrap();
        let there = what_if.diff().apply(&now).unwrap();
        assert_eq!(there, Content::of(what_if.view()).unwrap());
        let back = Diff::between(what_if.view(), &recorded.reader().view()).unwrap();
        assert_eq!(back.apply(&there).unwrap(), now);
        let other = ledger(policy, 60);
        assert_eq!(
            there,
            Content::of(&other.reader().view()).unwrap(),
            "recorded under that policy it is the same"
        );
    }
}

#[test]
fn a_difference_does_not_apply_to_another_content() {
    let recorded = ledger(Policy::default(), 9);
    let (then, now) = (recorded.reader().view_as_of(Seq(9)).unwrap(), recorded.reader().view());
    let diff = Diff::between(&then, &now).unwrap();
    let misfit = diff.apply(&Content::of(&now).unwrap()).unwrap_err();
    assert!(misfit.to_string().starts_with("the difference does not fit: person "), "{misfit}");
    let nothing = diff.apply(&Content::default()).unwrap_err();
    assert!(nothing.to_string().contains("is None; expected Some"), "{nothing}");
}

#[test]
fn a_policy_out_of_its_bounds_is_an_error() {
    let recorded = ledger(Policy::default(), 1);
    let error =
        recorded.reader().what_if(&Policy { max_user_ids: Some(0), ..Policy::default() }).unwrap_err();
    assert_eq!(error.to_string(), "policy `max_user_ids` is 0; expected at least 1, or null for no limit");
}

/// An erased id says no more what it was, and its class was decided from that: it stays (B4, H4).
#[test]
fn ids_whose_text_is_erased_keep_their_class_and_are_named() {
    let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
    let (at, id) = (Timestamp::from_micros(0).unwrap(), |text: &str| DistinctId::new(text).unwrap());
    for user in ["ann", "bob"] {
        let identify = Operation::identify(at, id(user), Some(Source::new("browser")));
        assert!(ledger.append(identify).is_ok());
    }
    let blocking = Policy { blocked_ids: ["bob".to_owned()].into(), ..Policy::default() };
    let split = ledger.reader().what_if(&blocking).unwrap().diff().split.len();
    assert_eq!(split, 1, "bob is unmergeable under this policy");

    let subject = ErasureSubject::Ids([id("bob")].into());
    assert!(ledger.erase(&[ErasureRequest::new(at, subject, "asked")]).is_ok());
    let what_if = ledger.reader().what_if(&blocking).unwrap();
    assert_eq!(what_if.diff().split, [], "nobody knows any more that it was bob");
    assert_eq!(what_if.diff().classes_kept, [Name::Erased(2)]);
    let one_user = ledger.reader().what_if(&Policy::preset(Preset::OneUser)).unwrap();
    assert_eq!(one_user.diff().split.len(), 1, "the class that was recorded is a user's");
    let moved: Vec<String> = one_user.diff().moved_ids().map(|id| id.distinct_id.to_string()).collect();
    assert_eq!(moved, ["$erased:2"]);
}

/// Of each part of a split person ten ids are named, at the limit and beyond it.
#[test]
fn a_part_of_a_person_names_ten_ids() {
    for ids in [limits::MAX_PART_IDS, limits::MAX_PART_IDS + 1] {
        let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default()).unwrap();
        let (at, id) = (Timestamp::from_micros(0).unwrap(), |text: String| DistinctId::new(text).unwrap());
        for number in 1..ids {
            let source = Some(Source::new(&format!("anonymous-{number}")));
            assert!(ledger.append(Operation::identify(at, id("ann".to_owned()), source)).is_ok());
        }
        let identify = Operation::identify(at, id("bob".to_owned()), Some(Source::new("anonymous-1")));
        assert!(ledger.append(identify).is_ok());
        let what_if = ledger.reader().what_if(&Policy::preset(Preset::OneUser)).unwrap();
        let part = &what_if.diff().split[0].into[0];
        assert_eq!((part.ids, part.distinct_ids.len()), (ids as u64, limits::MAX_PART_IDS));
    }
}

/// `cargo test --release --all-features --test what_if -- --ignored --nocapture`: what the questions cost, as ratios to a
/// replay of the same log; the figures in docs/performance.md.
#[test]
#[ignore = "a figure, not a test"]
#[expect(clippy::disallowed_types, reason = "how long it took")]
fn what_the_questions_cost() {
    use std::time::Instant;
    let place = Place::new();
    let options = LedgerOptions::new().durability(Durability::Buffered);
    let mut ledger = options.create(place.path("web"), Tenant::default(), Policy::default()).unwrap();
    let mut operations = Workload::new(Shape::Web, 55_556, 1);
    loop {
        let batch: Vec<Operation> = operations.by_ref().take(1_000).collect();
        if batch.is_empty() {
            break;
        }
        assert!(ledger.append_batch(&batch).is_ok());
    }
    ledger.flush().unwrap();
    let last = ledger.checkpoint().records - 1;
    let timed = |what: &str, work: &mut dyn FnMut() -> String| {
        let mut times = Vec::new();
        let mut said = String::new();
        for _ in 0..5 {
            let began = Instant::now();
            said = work();
            times.push(began.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        println!("{what}: least {:.6} s, median {:.6} s; {said}", times[0], times[2]);
        times[2]
    };
    println!("{} records, {} ids", last + 1, ledger.reader().state().ids().len());
    let replay = timed("replay", &mut || {
        let mut operations = 0_u64;
        ledger.reader().replay(|step| operations += u64::from(step.outcome.is_some())).unwrap();
        format!("{operations} operations")
    });
    let described = |diff: &Diff| {
        let Diff { merged, split, ids, properties, refusals, .. } = diff;
        let lengths = [merged.len(), split.len(), ids.len(), properties.len(), refusals.len()];
        format!("{lengths:?} merged, split, ids, properties, refusals")
    };
    let small = Policy { max_ids_per_person: Some(2), ..Policy::default() };
    for (what, policy) in [
        ("one-user", Policy::preset(Preset::OneUser)),
        ("posthog", Policy::default()),
        ("two ids a person", small),
    ] {
        let asked = timed(what, &mut || described(ledger.reader().what_if(&policy).unwrap().diff()));
        println!("  what-if / replay: {:.2}", asked / replay);
    }
    for at in [last / 2, last - 1_000] {
        let asked = timed("two points", &mut || {
            let then = ledger.reader().view_as_of(Seq(at)).unwrap();
            described(&Diff::between(&then, &ledger.reader().view()).unwrap())
        });
        println!("  diff / replay: {:.2}", asked / replay);
    }
    let (at, user) = (Timestamp::from_micros(0).unwrap(), DistinctId::new("user-7").unwrap());
    let ids = ledger.profile("user-7").unwrap().unwrap().distinct_ids;
    let leaves = ids.iter().filter(|id| **id != "user-7").map(|id| DistinctId::new(id.clone()).unwrap());
    let split = Operation::split(at, user, leaves, SplitMode::Each);
    timed("a preview", &mut || described(&ledger.reader().preview(&split).unwrap().diff));
    let other = ReadOnlyLedger::open(place.path("web")).unwrap();
    let asked = timed("two ledgers", &mut || {
        described(&Diff::between(&ledger.reader().view(), &other.reader().view()).unwrap())
    });
    println!("  diff / replay: {:.2}", asked / replay);
}
