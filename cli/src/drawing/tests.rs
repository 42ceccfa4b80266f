//! Pictures of persons: everything is drawn, nothing escapes, and a real browser shows it.

#[path = "../../../tests/support/short.rs"]
mod short;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{document, page};
use identity_ledger::graph::{EdgeKind, Graph, NodeKind};
use identity_ledger::limits::{MAX_GRAPH_NODES, MAX_GRAPH_RECORDS};
use identity_ledger::log::IdNo;
use identity_ledger::*;
use serde_json::Value;
use short::{at, id, new_ledger};

fn graph(ledger: &Ledger, id: &str) -> Graph {
    Graph::of(ledger.reader(), id).unwrap().unwrap()
}

fn append(ledger: &mut Ledger, operation: Operation) -> Seq {
    ledger.append(operation).unwrap().seq().unwrap()
}

/// What an identify, an alias or a merge says.
fn link(kind: &str, second: i64, target: &str, source: &str) -> Operation {
    let (target, source) = (id(target), Source::new(source));
    match kind {
        "identify" => Operation::identify(at(second), target, Some(source)),
        "alias" => Operation::alias(at(second), target, source),
        _ => Operation::merge_dangerously(at(second), target, source),
    }
}

/// Ann on two browsers and a kiosk that Bob uses too; two links that are refused, two persons that become one.
fn story() -> Ledger {
    let mut ledger = new_ledger();
    append(&mut ledger, link("identify", 1, "ann@example.com", "01a208e3-7690-7334-88e3-9756348b65c8"));
    let mut kiosk = ledger.device(DeviceId::new("kiosk-7").unwrap());
    let _ = kiosk.identify(at(2), id("ann@example.com"), Changes::default()).unwrap();
    let fresh = Some(id("01a208fa-c605-7008-8d6e-36525068c2e7"));
    let reset =
        Request::Reset { device: DeviceId::new("kiosk-7").unwrap(), reset_device: false, new_id: fresh };
    append(&mut ledger, Operation::new(at(3), reset));
    let mut kiosk = ledger.device(DeviceId::new("kiosk-7").unwrap());
    let _ = kiosk.identify(at(4), id("bob@example.com"), Changes::default()).unwrap();
    append(&mut ledger, link("alias", 5, "ann@example.com", "bob@example.com"));
    append(&mut ledger, link("alias", 6, "ann@example.com", "null"));
    append(&mut ledger, Operation::properties(at(7), id("crm-4711")));
    append(&mut ledger, link("alias", 8, "ann@example.com", "crm-4711"));
    append(&mut ledger, link("alias", 9, "crm-4711", "01a208e3-7690-7334-88e3-9756348b65c8"));
    ledger
}

/// Ids that would like to be something else.
const HOSTILE: [&str; 14] = [
    "</script><script>alert(1)</script>",
    "</title><b>",
    "\"><img src=x onerror=alert(1)>",
    "' onload='alert(1)",
    "a\u{202e}b\u{2066}c",
    "\u{5d0}\u{5d1}\u{5d2} \u{5e9}\u{5dc}\u{5d5}\u{5dd}",
    "&amp;&lt;b&gt;",
    "]]>",
    "<!--",
    "\u{feff}\u{200b}hidden",
    "line\nbreak\tand\u{7}bell",
    "Z\u{337}\u{327}\u{34e}\u{354}\u{348}\u{331}a\u{334}\u{31b}l\u{337}g\u{335}o",
    "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "\u{ffff}\u{fdd0}",
];

fn hostile() -> Ledger {
    let mut ledger = new_ledger();
    for (second, text) in (0..).zip(HOSTILE) {
        append(&mut ledger, link("merge", second, HOSTILE[0], text));
    }
    append(&mut ledger, link("merge", 20, HOSTILE[0], &"\u{6f22}".repeat(400)));
    append(&mut ledger, link("merge", 21, HOSTILE[0], &"\u{202e}".repeat(400)));
    let mut device = ledger.device(DeviceId::new("<svg onload=alert(1)>").unwrap());
    let _ = device.identify(at(30), id(HOSTILE[0]), Changes::default()).unwrap();
    ledger
}

// -- what is drawn -----------------------------------------------------------------------------------------------------

#[test]
fn ids_devices_links_and_refused_links_are_drawn_with_their_records() {
    let ledger = story();
    let graph = graph(&ledger, "crm-4711");
    let texts = |kind| {
        let nodes = graph.nodes.iter().filter(|node| node.kind == kind);
        nodes.map(|node| node.text.as_str()).collect::<BTreeSet<_>>()
    };
    assert_eq!(texts(NodeKind::User), BTreeSet::from(["ann@example.com", "bob@example.com", "crm-4711"]));
    assert_eq!(
        texts(NodeKind::Anonymous),
        BTreeSet::from(["01a208e3-7690-7334-88e3-9756348b65c8", "kiosk-7"])
    );
    assert_eq!(
        (texts(NodeKind::Device), texts(NodeKind::Unmergeable)),
        (["kiosk-7"].into(), ["null"].into())
    );
    assert_eq!(graph.nodes[graph.asked].text, "crm-4711");
    assert_eq!(graph.nodes[graph.root].text, "ann@example.com");
    assert_eq!(graph.persons[0], ledger.resolve("crm-4711").unwrap().person_id);
    let mut lines: Vec<String> = Vec::new();
    for edge in &graph.edges {
        let [a, b] = edge.ends.map(|end| graph.nodes[end].text.split('@').next().unwrap()[..3].to_owned());
        let rule = edge.records[0].refused.map_or(String::new(), |(rule, _)| format!(" {rule}"));
        lines.push(format!("{:?} {a}-{b}{rule}", edge.kind));
    }
    lines.sort();
    assert_eq!(
        lines,
        [
            "Again 01a-crm",
            "Made ann-01a",
            "Made ann-crm",
            "Made ann-kio",
            "Refused ann-bob D6",
            "Refused ann-nul B2",
            "Spoke ann-kio",
            "Spoke kio-kio",
        ]
    );
    let svg = document(&graph);
    for edge in &graph.edges {
        assert!(svg.contains(&format!(">#{}", edge.records[0].seq)), "{edge:?}");
    }
    assert!(
        svg.contains("class=\"e refused\"")
            && svg.contains(".refused .line{stroke:#c22f0c;stroke-width:1.8;stroke-dasharray")
    );
    assert!(Graph::of(ledger.reader(), "nobody").unwrap().is_none());
}

#[test]
fn every_record_that_names_two_ids_is_on_one_line_and_owners_are_those_of_their_time() {
    use identity_ledger::testing::history::History;
    let mut drawn = 0;
    for seed in 0..200 {
        let history = History::seeded(&Policy::default(), seed);
        let mut ledger = new_ledger();
        history.append_to(&mut ledger).unwrap();
        let mut links = Vec::new();
        ledger.reader().outcomes(|outcome| links.push(outcome)).unwrap();
        let undone = links.iter().any(|link| ["retract", "split", "reclassify"].contains(&link.op));
        let ids: Vec<IdNo> = ledger.reader().state().ids().collect();
        for asked in ids.iter().filter_map(|id| ledger.reader().id_text(*id)) {
            let graph = graph(&ledger, asked);
            let person = ledger.reader().person(asked);
            let own =
                |text: &str| text == asked || person.is_some() && ledger.reader().person(text) == person;
            let mut found: Vec<(Seq, Option<&str>)> = Vec::new();
            // A shared id is spoken on by a record that names two ids, a device by one that names it.
            let of_ids =
                |ends: &[usize; 2]| ends.iter().all(|end| graph.nodes[*end].kind != NodeKind::Device);
            for edge in graph.edges.iter().filter(|edge| of_ids(&edge.ends)) {
                found.extend(
                    edge.records.iter().map(|record| (record.seq, record.refused.map(|(rule, _)| rule))),
                );
            }
            found.sort();
            let named = links.iter().filter(|link| {
                let other = link.other_id.as_deref().unwrap_or(&link.distinct_id);
                other != link.distinct_id && (own(&link.distinct_id) || own(other))
            });
            let mut expected: Vec<(Seq, Option<&str>)> = named.map(|link| (link.seq, link.rule)).collect();
            if undone {
                // Drawn is what came of them as things stand now.
                expected.iter_mut().chain(&mut found).for_each(|(_, rule)| *rule = None);
            }
            assert_eq!(found, expected, "seed {seed}, {asked}\n{history}");
            drawn += found.len();

            for node in graph.nodes.iter().filter(|node| node.kind != NodeKind::Device) {
                for moment in graph.moments.iter().filter(|moment| **moment >= node.since) {
                    let owner = node.owners.iter().take_while(|(since, _)| since <= moment).last();
                    let owner = owner.and_then(|(_, owner)| owner.map(|place| graph.persons[place]));
                    let then = ledger.reader().person_as_of(&node.text, *moment).filter(|then| !then.implied);
                    assert_eq!(owner, then.map(|then| then.person_id), "{} as of {moment}", node.text);
                }
            }
        }
    }
    assert!(drawn > 3_000, "{drawn}");
}

#[test]
fn the_same_ledger_gives_the_same_bytes() {
    let (first, second) = (story(), story());
    assert_ne!(first.reader().ledger_id(), second.reader().ledger_id());
    let both = [&first, &second].map(|ledger| graph(ledger, "ann@example.com"));
    assert_eq!(page(&both[0]), page(&both[1]));
    assert_eq!(document(&both[0]), document(&both[1]));
}

#[test]
fn of_a_crowd_the_nearest_are_drawn_and_the_rest_is_counted() {
    let mut ledger = new_ledger();
    let mut batch: Vec<Operation> =
        (1..MAX_GRAPH_NODES).map(|n| link("merge", 0, "hub", &format!("id-{n}"))).collect();
    drop(ledger.append_batch(&batch).unwrap());
    let whole = graph(&ledger, "id-7");
    assert_eq!((whole.nodes.len(), whole.hidden_nodes, whole.hidden_records), (MAX_GRAPH_NODES, 0, 0));
    assert!(!document(&whole).contains("not drawn"));

    append(&mut ledger, link("merge", 1, "id-7", "near"));
    let cut = graph(&ledger, "id-7");
    assert_eq!((cut.nodes.len(), cut.hidden_nodes, cut.hidden_records), (MAX_GRAPH_NODES, 1, 1));
    assert!(cut.nodes.iter().any(|node| node.text == "near"));
    for picture in [document(&cut), page(&cut)] {
        assert!(picture.contains("1 node more not drawn (limit 400)"), "the headline says so");
    }

    // Records that only repeat go first.
    let mut ledger = new_ledger();
    batch.truncate(2);
    drop(ledger.append_batch(&batch).unwrap());
    let lines = 2;
    for _ in lines..MAX_GRAPH_RECORDS - 1 {
        append(&mut ledger, link("merge", 2, "hub", "id-1"));
    }
    append(&mut ledger, link("merge", 2, "id-2", "id-1"));
    let drawn = |graph: &Graph| graph.edges.iter().map(|edge| edge.records.len()).sum::<usize>();
    let full = graph(&ledger, "hub");
    assert_eq!((full.edges.len(), drawn(&full), full.hidden_records), (lines + 2, MAX_GRAPH_RECORDS, 0));
    append(&mut ledger, link("merge", 2, "hub", "id-1"));
    let cut = graph(&ledger, "hub");
    assert_eq!((cut.edges.len(), drawn(&cut), cut.hidden_records), (lines + 2, MAX_GRAPH_RECORDS, 1));
    assert!(document(&cut).contains("1 record not drawn"));
}

// -- what cannot happen ------------------------------------------------------------------------------------------------

/// Reads a document tag by tag; what stands between tags and in quotes is free of `<`, and every tag is closed.
fn is_well_formed(document: &str, may_stay_open: &[&str]) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = document;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if rest.starts_with('!') {
            continue;
        }
        let mut quoted = false;
        let end = rest.find(|c: char| {
            quoted ^= c == '"';
            assert!(c != '<', "a tag in a tag: {}", &rest[..40]);
            c == '>' && !quoted
        });
        let tag = &rest[..end.expect("a tag ends")];
        let name: String = tag.trim_start_matches('/').chars().take_while(|c| c.is_alphanumeric()).collect();
        rest = &rest[tag.len() + 1..];
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name.as_str()), "before {}", &rest[..rest.len().min(40)]);
        } else if !tag.ends_with('/') && !may_stay_open.contains(&name.as_str()) {
            if ["style", "script"].contains(&name.as_str()) {
                rest = &rest[rest.find(&format!("</{name}")).expect("it ends")..];
            }
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn hostile_ids_stay_texts() {
    let ledger = hostile();
    let graph = graph(&ledger, HOSTILE[0]);
    assert_eq!(graph.nodes.len(), HOSTILE.len() + 4, "two long ones, the device, and its id");
    let (svg, html) = (document(&graph), page(&graph));
    is_well_formed(&svg, &[]);
    is_well_formed(&html, &["meta", "input", "link"]);
    assert_eq!((svg.matches("<script").count(), html.matches("<script").count()), (0, 2));
    for picture in [&svg, &html] {
        assert!(!picture.contains("<img") && !picture.contains("<b>") && !picture.contains("<svg onload"));
        let seen = |c: char| !c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c) && c != '\u{feff}';
        assert!(picture.chars().filter(|c| *c != '\n').all(seen), "something cannot be seen");
        assert!(!picture.contains('\u{ffff}'), "XML has no such character");
    }
    // What the script reads are the ids, spelled out where they cannot be seen.
    let data = html.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: Value = serde_json::from_str(data).unwrap();
    let texts: Vec<&str> =
        data["nodes"].as_array().unwrap().iter().map(|node| node["text"].as_str().unwrap()).collect();
    for text in
        ["</script><script>alert(1)</script>", "a\\u{202e}b\\u{2066}c", "line\\u{a}break\\u{9}and\\u{7}bell"]
    {
        assert!(texts.contains(&text), "{text} in {texts:?}");
    }
}

#[test]
fn a_page_loads_nothing_and_lets_no_other_script_run() {
    let html = page(&graph(&story(), "ann@example.com"));
    let policy =
        html.split_once("Content-Security-Policy\" content=\"").unwrap().1.split_once('"').unwrap().0;
    assert!(
        policy.starts_with("default-src 'none'; style-src 'nonce-") && !policy.contains("unsafe"),
        "{policy}"
    );
    for word in [
        "http:",
        "https:",
        "//cdn",
        "@import",
        "url(http",
        "fetch(",
        "XMLHttp",
        "WebSocket",
        "innerHTML",
        "eval(",
    ] {
        assert!(!html.contains(word), "{word}");
    }
}

// -- in a real browser -------------------------------------------------------------------------------------------------

/// A Chromium, if there is one.
fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .flat_map(|dir| names.map(|name| dir.join(name)))
        .find(|file| file.is_file());
    if found.is_none() {
        eprintln!(
            "SKIPPED: no Chromium on this machine, so no browser has looked at the pages (apt-get install chromium)"
        );
    }
    found
}

/// Runs Chromium without a window; gives what it prints.
fn run(chromium: &Path, dir: &Path, arguments: &[String]) -> Option<String> {
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--virtual-time-budget=3000", &format!("--user-data-dir={}", dir.join("profile").display())])
        .args(arguments)
        .output();
    match output {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        other => {
            eprintln!("SKIPPED: Chromium is there and does not run here: {other:?}");
            None
        }
    }
}

/// What is measured in the page, after its own script.
const MEASURE: &str = r"
const box = (element) => element.getBoundingClientRect();
const seen = (element) => element.getClientRects().length > 0;
const nodes = [...document.querySelectorAll('[data-n]')].filter(seen);
const boxes = nodes.map((node) => box(node.querySelector('.box')));
const touch = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
let touching = 0;
boxes.forEach((a, i) => boxes.slice(0, i).forEach((b) => { touching += touch(a, b); }));
const tall = Math.max(...nodes.map((node, i) => box(node.querySelector('.name')).height / boxes[i].height));
document.body.dataset.measured = JSON.stringify({
  ready: document.documentElement.dataset.ready, width: innerWidth, scrolls: document.documentElement.scrollWidth,
  pictures: [...document.querySelectorAll('#stage svg')].filter(seen).length, nodes: nodes.length, touching,
  focusable: nodes.filter((node) => node.getAttribute('tabindex') === '0').length,
  later: nodes.filter((node) => node.classList.contains('later')).length,
  hits: nodes.filter((node) => node.classList.contains('hit')).map((node) => node.dataset.n),
  when: document.getElementById('when').textContent, found: document.getElementById('found').textContent,
  about: document.getElementById('about').textContent, scripts: document.scripts.length,
  narrow: getComputedStyle(document.querySelector('.narrow')).display,
  ground: getComputedStyle(document.body).backgroundColor, tall,
});
";

/// Opens a page with one more script that measures it.
fn measured(page: &str, width: u32, fragment: &str) -> Option<Value> {
    let chromium = chromium()?;
    let dir = tempfile::tempdir().unwrap();
    let nonce = page.split_once("script-src 'nonce-").unwrap().1.split_once('\'').unwrap().0;
    let file = dir.path().join("page.html");
    let script = format!("<script nonce=\"{nonce}\">{MEASURE}</script></body>");
    std::fs::write(&file, page.replace("</body>", &script)).unwrap();
    let address = format!("file://{}{fragment}", file.display());
    let said = run(
        &chromium,
        dir.path(),
        &[format!("--window-size={width},900"), "--dump-dom".to_owned(), address],
    )?;
    let measured =
        said.split_once("data-measured=\"").expect("the page's scripts ran").1.split_once('"').unwrap().0;
    Some(
        serde_json::from_str(
            &measured.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"),
        )
        .unwrap(),
    )
}

#[test]
fn a_browser_shows_the_page_at_every_width() {
    let graph = graph(&story(), "ann@example.com");
    let html = page(&graph);
    for width in [360, 800, 1_400] {
        let Some(seen) = measured(&html, width, "") else { return };
        assert_eq!((&seen["ready"], &seen["scripts"]), (&"yes".into(), &3.into()), "{seen}");
        assert_eq!((&seen["pictures"], &seen["nodes"]), (&1.into(), &graph.nodes.len().into()), "{seen}");
        assert_eq!(
            (&seen["touching"], &seen["later"], &seen["focusable"]),
            (&0.into(), &0.into(), &1.into())
        );
        assert_eq!(seen["narrow"], if width < 720 { "block" } else { "none" });
        assert!(
            seen["scrolls"].as_u64() <= seen["width"].as_u64(),
            "{width}: the page scrolls sideways: {seen}"
        );
    }
}

#[test]
fn the_slider_goes_back_in_the_log_and_the_search_finds() {
    let ledger = story();
    let graph = graph(&ledger, "ann@example.com");
    let html = page(&graph);
    let second = graph.moments[1];
    let Some(seen) = measured(&html, 1_400, &format!("#at={second}&search=crm")) else { return };
    let later = graph.nodes.iter().filter(|node| node.since > second).count();
    assert_eq!(seen["later"], later, "{seen}");
    assert!(later > 2 && seen["when"].as_str().unwrap().starts_with(&format!("record {second}:")), "{seen}");
    let crm = graph.nodes.iter().position(|node| node.text == "crm-4711").unwrap();
    assert_eq!((&seen["hits"], &seen["found"]), (&serde_json::json!([crm.to_string()]), &"1 of 1".into()));
    assert!(seen["about"].as_str().unwrap().contains("crm-4711"));
    let refused = graph.edges.iter().find(|edge| edge.kind == EdgeKind::Refused).unwrap();
    let by_number = measured(&html, 1_400, &format!("#search=%23{}", refused.records[0].seq)).unwrap();
    let ends: BTreeSet<String> = refused.ends.iter().map(ToString::to_string).collect();
    let hits: BTreeSet<String> =
        by_number["hits"].as_array().unwrap().iter().map(|hit| hit.as_str().unwrap().to_owned()).collect();
    assert_eq!(hits, ends, "a record's number finds both its ends");
}

#[test]
fn a_browser_runs_nothing_that_an_id_says() {
    let graph = graph(&hostile(), HOSTILE[0]);
    for width in [360, 1_400] {
        let Some(seen) = measured(&page(&graph), width, "#node=0") else { return };
        assert_eq!((&seen["ready"], &seen["scripts"]), (&"yes".into(), &3.into()), "{seen}");
        assert_eq!((&seen["nodes"], &seen["touching"]), (&graph.nodes.len().into(), &0.into()));
        assert!(seen["about"].as_str().unwrap().contains("</script><script>alert(1)</script>"));
    }
}

#[test]
fn a_browser_draws_hundreds_of_nodes_apart() {
    let mut ledger = new_ledger();
    let star: Vec<Operation> = (0..300).map(|n| link("merge", 0, "hub", &format!("visitor-{n}"))).collect();
    drop(ledger.append_batch(&star).unwrap());
    let graph = graph(&ledger, "visitor-200");
    for width in [360, 1_400] {
        let Some(seen) = measured(&page(&graph), width, "") else { return };
        assert_eq!((&seen["nodes"], &seen["touching"]), (&301.into(), &0.into()), "{seen}");
        assert!(seen["scrolls"].as_u64() <= seen["width"].as_u64(), "{seen}");
    }
}

#[test]
fn a_screenshot_is_a_picture() {
    let Some(chromium) = chromium() else { return };
    let graph = graph(&story(), "ann@example.com");
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [("a.svg", document(&graph)), ("a.html", page(&graph))] {
        let (file, shot) = (dir.path().join(name), dir.path().join(format!("{name}.png")));
        std::fs::write(&file, content).unwrap();
        let arguments = [
            "--window-size=1000,700".to_owned(),
            format!("--screenshot={}", shot.display()),
            format!("file://{}", file.display()),
        ];
        if run(&chromium, dir.path(), &arguments).is_none() {
            return;
        }
        let png = std::fs::read(&shot).unwrap();
        assert_eq!(&png[16..24], [0, 0, 3, 232, 0, 0, 2, 188], "1000 by 700");
        assert!(png.len() > 20_000, "{name}: {} bytes: next to nothing is on it", png.len());
    }
}
