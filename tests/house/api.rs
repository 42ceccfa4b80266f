//! The face of the crate: every public name, in the module that gives it. docs/api.txt lists them; a change of one is a change of both.

use std::collections::BTreeMap;
use std::fmt::Write;

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The names that the `pub use` lines of a text hand on, by the module that they stand in.
fn names(text: &str, outer: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut module = outer.to_owned();
    let mut statement = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub mod ").and_then(|line| line.strip_suffix(" {")) {
            name.clone_into(&mut module);
        } else if line == "}" && statement.is_empty() {
            outer.clone_into(&mut module);
        } else if line.starts_with("pub use ") || !statement.is_empty() {
            statement.push_str(line);
            if statement.ends_with(';') {
                let tail = statement.rsplit("::").next().unwrap_or_default();
                let list = tail.trim_start_matches("pub use ").trim_matches(|c| "{};".contains(c));
                let named = list.split(',').map(|name| name.split(" as ").last().unwrap_or_default().trim());
                out.extend(
                    named.filter(|name| !name.is_empty()).map(|name| (module.clone(), name.to_owned())),
                );
                statement.clear();
            }
        }
    }
    out
}

#[test]
fn every_public_name_is_listed() {
    let mut all = names(&read("src/lib.rs"), "");
    for folder in ["model", "log", "fold", "export", "proof"] {
        let text = read(&format!("src/{folder}/mod.rs"));
        all.extend(names(&text, folder));
        let defined = text.lines().filter_map(|line| line.strip_prefix("pub struct "));
        all.extend(defined.map(|line| {
            let name: String = line.chars().take_while(|c| c.is_alphanumeric()).collect();
            (folder.to_owned(), name)
        }));
    }
    let mut by_module: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (module, name) in all {
        by_module.entry(module).or_default().push(name);
    }
    let mut listed = String::new();
    for (module, mut names) in by_module {
        names.sort();
        let module = if module.is_empty() { String::new() } else { format!("::{module}") };
        for name in names {
            let _ = writeln!(listed, "identity_ledger{module}::{name}");
        }
    }
    let at_root = listed.lines().filter(|name| name.matches("::").count() == 1).count();
    assert!(at_root <= 60, "{at_root} names at the root: what a first program does not need has a module");
    if std::env::var_os("UPDATE").is_some_and(|update| update == "1") {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.txt"), &listed).unwrap();
    }
    assert!(
        listed == read("docs/api.txt"),
        "the public names changed: UPDATE=1 writes docs/api.txt\n{listed}"
    );
}
