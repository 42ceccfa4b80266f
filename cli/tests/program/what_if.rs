//! The commands `what-if` and `diff`; what the library answers is in `tests/suite/what_if.rs`.

use std::fs;

use crate::page;
use crate::place::{Place, Said};
use identity_ledger::Preset;
use serde_json::Value as Json;

/// A page, a phone and two users; the link was opened again after a logout (docs/deep-links.md, G).
const DEEP_LINK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/link-reopened-after-logout.jsonl");

const KEYS: &str = "answered_from merged split renamed created gone persons moved_ids new_ids gone_ids moved_events events properties \
                    devices refusals counts classes_kept";

/// The difference that a command printed as JSON.
#[track_caller]
fn difference(said: &Said) -> Json {
    let difference: Json = serde_json::from_str(&said.out).expect("one object");
    let keys: Vec<&String> = difference.as_object().expect("an object").keys().collect();
    let mut expected: Vec<&str> = KEYS.split_whitespace().collect();
    expected.sort_unstable();
    assert_eq!(keys, expected);
    difference
}

/// A place with a ledger `shop` of the recorded deep link.
fn shop() -> Place {
    let place = Place::new();
    place.run(&format!("import shop {DEEP_LINK}")).with_code(0);
    place
}

// -- what-if ---------------------------------------------------------------------------------------------------------

/// Two users of one phone were glued together by a link that was opened twice. What if the ledger had been `one-user`?
#[test]
fn one_user_would_have_kept_two_users_of_a_reopened_link_apart() {
    let place = shop();
    let before = place.files("shop");
    let difference = difference(&place.run("what-if shop --preset one-user --json").with_code(0));
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
    let place = shop();
    for (preset, _) in Preset::ALL {
        place.run(&format!("import {preset} {DEEP_LINK} --preset {preset}")).with_code(0);
        let asked = difference(&place.run(&format!("what-if shop --preset {preset} --json")).with_code(0));
        let real = difference(&place.run(&format!("diff shop {preset} --json")));
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
    let place = shop();
    place.write("blocked.json", r#"{"blocked_ids": ["user-2"]}"#);
    place.write("bad.json", r#"{"max_user_ids": 0}"#);
    let difference = difference(&place.run("what-if shop --policy blocked.json --json").with_code(0));
    assert_eq!(difference["refusals"][0]["after"]["rule"], "B2");
    for wrong in [
        "what-if shop",
        "what-if shop --preset strict --policy blocked.json",
        "what-if shop --policy bad.json",
    ] {
        let said = place.run(wrong).with_code(2);
        assert!(said.out.is_empty() && !said.err.is_empty(), "{said:?}");
    }
    let said = place.run("what-if nowhere --preset strict").with_code(2);
    assert!(said.err.contains("nowhere does not exist"), "{}", said.err);
}

/// What people see of it; `docs/deep-links.md` shows it too.
#[test]
fn people_get_a_tree_of_who_would_be_who() {
    let place = shop();
    let said = place.run("what-if shop --preset one-user").with_code(0);
    page::assert_part("docs/deep-links.md", "what-if", &format!("```text\n{}```\n", said.out));
    for line in ["Split: several persons of one (1)", "  └─ 2f9a1015  1 id   user-2", "Refusals: 1 more"]
    {
        assert!(said.out.lines().any(|found| found == line), "{line}\n\n{}", said.out);
    }
    let same = place.run("what-if shop --preset posthog").with_code(0);
    assert!(same.out.starts_with("Under preset posthog, shop would mean the same\n"), "{}", same.out);
    let wide = place.run("what-if shop --preset one-user --wide").with_code(0);
    assert!(wide.out.contains("$initial_screen_width"), "{}", wide.out);
}

/// A limit of the policy that is asked about stands in no record.
#[test]
fn a_refusal_by_the_policy_asked_about_names_no_record() {
    let place = shop();
    place.write("small.json", r#"{"max_ids_per_person": 2}"#);
    let difference = difference(&place.run("what-if shop --policy small.json --json").with_code(0));
    let first = &difference["refusals"][0]["after"];
    assert_eq!((&first["rule"], &first["blocking_seq"]), (&"D8".into(), &Json::Null));
    let reason = first["reason"].as_str().unwrap();
    assert_eq!(reason, "the person would have 3 ids, the policy asked about allows 2");
}

// -- diff ------------------------------------------------------------------------------------------------------------

#[test]
fn diff_has_the_exit_status_of_diff() {
    let place = shop();
    place.run(&format!("import strict {DEEP_LINK} --preset strict")).with_code(0);
    place.run("backup shop copy").with_code(0);
    place.run("diff shop copy").with_code(0);
    place.run("diff shop shop").with_code(0);
    place.run("diff shop copy --at 12 --at 12").with_code(0);
    place.run("diff shop strict").with_code(1);
    place.run("diff shop --at 12").with_code(1);
    for (trouble, why) in [
        ("diff shop", "nothing to compare"),
        ("diff shop nowhere", "nowhere does not exist"),
        ("diff shop --at 1000", "there is no record 1000"),
        ("diff shop copy --at 1 --at 1000", "there is no record 1000"),
        ("diff shop --at 1 --at 2 --at 3", "--at is given 3 times"),
    ] {
        let said = place.run(trouble).with_code(2);
        assert!(said.err.contains(why) && said.out.is_empty(), "{said:?}");
    }
}

/// Damage is not a difference, and is not printed as one.
#[test]
fn a_damaged_ledger_is_not_compared() {
    let place = shop();
    place.run("backup shop copy").with_code(0);
    let segment = place.path("copy/log/00000000000000000000.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    fs::remove_dir_all(place.path("copy/snap")).ok(); // or it opens from there
    let said = place.run("diff shop copy --json").with_code(1);
    assert!(said.out.is_empty() && said.err.starts_with("error: "), "{said:?}");
}

#[test]
fn two_points_of_a_ledger_differ_by_what_came_between() {
    let place = shop();
    place.write(
        "more.jsonl",
        "{\"op\":\"capture\",\"ts\":\"2026-02-01T00:00:00Z\",\"event\":\"order\",\"distinct_id\":\"user-1\"}\n\
         {\"op\":\"merge_dangerously\",\"ts\":\"2026-02-01T00:00:01Z\",\"distinct_id\":\"zoe\",\"alias\":\"user-1\"}\n",
    );
    let head = |place: &Place| {
        let verified: Json = serde_json::from_str(&place.run("verify shop --json").out).unwrap();
        verified["records"].as_u64().unwrap() - 1
    };
    let before = head(&place);
    place.run("import shop more.jsonl").with_code(0);
    let now = head(&place);
    let later = difference(&place.run(&format!("diff shop --at {before} --json")).with_code(1));
    let [events] = &later["events"].as_array().unwrap()[..] else { panic!("{later}") };
    assert_eq!((&events["distinct_id"], &events["gained"]["full"]), (&"user-1".into(), &1.into()));
    let [zoe] = &later["new_ids"].as_array().unwrap()[..] else { panic!("{later}") };
    let person = place.run("resolve shop zoe --json").object("person_id")["person_id"].clone();
    assert_eq!((&zoe["distinct_id"], &zoe["person_id"]), (&"zoe".into(), &person));
    assert_eq!(later["refusals"], serde_json::json!([]));

    let (now, before) = (now.to_string(), before.to_string());
    let earlier = difference(&place.run(&format!("diff shop --at {now} --at {before} --json")).with_code(1));
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
    place.write("few.jsonl", line("ann"));
    let many: String = (0..1_000).map(|number| line(&format!("\u{1b}[2J{number}"))).collect();
    place.write("many.jsonl", &many);
    place.run("import few few.jsonl").with_code(0);
    place.run("import many many.jsonl").with_code(0);
    let said = place.run("diff few many").with_code(1);
    assert!(!said.out.contains('\u{1b}') && said.out.contains("\\u{1b}[2J0"), "{}", said.out);
    assert!(said.out.lines().count() < 60, "{}", said.out);
    assert!(said.out.contains("… and 980 more; --wide and --json have all"), "{}", said.out);
    assert!(place.run("diff few many --wide").with_code(1).out.lines().count() > 1_000);
}
