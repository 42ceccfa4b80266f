//! The fences of docs/architecture.md: imports point inward, the codec is known in one place, files are read in one place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The layers, innermost first. A file may import its own layer and those before it.
const LAYERS: [&[&str]; 6] = [
    &["limits", "id", "time", "value", "operation", "policy", "visible"],
    &["digest", "codec", "frame", "record", "row", "excerpt", "chain", "seal"],
    &["state"],
    &["replay"],
    &[
        "storage",
        "directory",
        "entropy",
        "keys",
        "dictionary",
        "postings",
        "spots",
        "log",
        "mention",
        "answer",
        "book",
        "page",
        "as_of",
        "explain",
        "history",
        "lists",
        "why",
        "whynot",
        "view",
        "content",
        "diff",
        "matching",
        "compare",
        "what_if",
        "audit",
        "backup",
        "salvage",
        "draft",
        "verdict",
        "recovery",
        "snapshot",
        "budget",
        "writer",
        "ledger",
        "preview",
        "removal",
        "erasure",
        "find",
        "stats",
        "reader",
        "options",
        "device",
        "shared",
    ],
    &["testing", "import", "graph", "lib", "bin"],
];

fn source_files() -> Vec<(PathBuf, String)> {
    fn visit(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                out.push((path, text));
            }
        }
    }
    let mut out = Vec::new();
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut out);
    out.sort();
    assert!(out.len() > 20, "the sources were found");
    out
}

/// The module a file belongs to: the first part of its path below `src`.
fn module(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn imports_point_inward() {
    let mut wrong = Vec::new();
    for (path, text) in source_files() {
        let from = module(&path);
        let own = layer(&from).unwrap_or_else(|| panic!("{from} has no layer: give it one in LAYERS"));
        // Unit tests stand last in a file and may reach further.
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for part in line.split("crate::").skip(1) {
                let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if layer(&name).is_some_and(|imported| imported > own) {
                    wrong.push(format!("{}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports that point outward:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_crate_has_a_layer() {
    let lib = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let modules = lib.lines().filter_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        Some(line.strip_prefix("mod ")?.trim_end_matches(';').to_owned())
    });
    let missing: Vec<String> =
        modules.filter(|module| layer(module).is_none() && !module.contains('{')).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Words that only the named files may hold.
#[test]
fn what_is_isolated_stays_isolated() {
    let only: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("bincode::", &["codec.rs"][..]),
        ("getrandom::", &["entropy.rs"]),
        ("std::fs::File", &["storage/file.rs", "bin/"]),
        ("unsafe ", &[]),
    ]);
    let mut wrong = Vec::new();
    for (path, text) in source_files() {
        let name = path.to_string_lossy().replace('\\', "/");
        for (word, allowed) in &only {
            let found = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            if found && !allowed.iter().any(|allowed| name.contains(&format!("src/{allowed}"))) {
                wrong.push(format!("{name} holds `{word}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
