//! Links between pages lead somewhere: to a file that is there, and to a heading in it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Where the README's links into the repository begin: it is shown in other places too.
const REPOSITORY: &str = "https://github.com/identity-ledger/identity-ledger/blob/main/";

/// The pages, by their path from the root.
fn pages(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = vec![PathBuf::from("README.md"), PathBuf::from("CHANGELOG.md")];
    for dir in ["docs", "docs/journal"] {
        let entries = std::fs::read_dir(root.join(dir)).unwrap();
        found.extend(entries.map(|entry| Path::new(dir).join(entry.unwrap().file_name())));
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(root.join(path)).unwrap())).collect()
}

/// The text outside of code.
fn prose(page: &str) -> String {
    let mut within = false;
    let lines = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        within ^= fence;
        !within && !fence
    });
    lines.map(|line| line.split('`').step_by(2).collect::<String>() + "\n").collect()
}

/// The targets of `[text](target)`.
fn links(page: &str) -> Vec<String> {
    let text = prose(page);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> Vec<String> {
    let mut within = false;
    let headings = page.lines().filter(|line| {
        within ^= line.starts_with("```");
        !within && line.starts_with('#')
    });
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
    }
    out
}

#[test]
fn every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !root.join("cli").exists() {
        return; // the package lacks what pages lead to
    }
    let pages = pages(root);
    let (mut broken, mut count) = (Vec::new(), 0);
    for (path, page) in &pages {
        for link in links(page) {
            let (target, base) = match link.strip_prefix(REPOSITORY) {
                Some(target) => (target.to_owned(), Path::new("")),
                None => (link.clone(), path.parent().unwrap()),
            };
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = if file.is_empty() { path.clone() } else { normal(&base.join(file)) };
            let there = root.join(&file).exists();
            let is_heading =
                || pages.get(&file).is_none_or(|page| anchors(page).contains(&anchor.to_owned()));
            if !there || !anchor.is_empty() && !is_heading() {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(count > 100, "the links were found");
    assert!(broken.is_empty(), "{} links lead nowhere:\n{}", broken.len(), broken.join("\n"));
}

/// The book has every page: its table of contents is what the README's readers and mdBook begin with.
#[test]
fn the_table_of_contents_names_every_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let contents = links(&std::fs::read_to_string(root.join("docs/SUMMARY.md")).unwrap());
    let pages = pages(root);
    let missing = pages
        .keys()
        .filter_map(|path| path.strip_prefix("docs").ok())
        .filter(|path| *path != Path::new("SUMMARY.md") && !contents.contains(&path.display().to_string()));
    let missing: Vec<&Path> = missing.collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md does not name {missing:?}");
}
