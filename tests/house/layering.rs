//! The fences of docs/architecture.md: folders import downwards only, files form no circle, and what is isolated stays isolated.
//!
//! `cargo test --test house -- --nocapture the_house` prints the graph of the folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// The folders of `src/`, lowest first. A folder may import itself and those before it.
const FOLDERS: [&str; 11] = [
    "model",
    "log",
    "fold",
    "store",
    "query",
    "export",
    "proof",
    "ledger",
    "maintenance",
    "import",
    "testing",
];

/// The crates whose files are looked at. The published package of the library does not contain the command line.
const CRATES: [&str; 2] = ["src", "cli/src"];

/// A module, as the parts of its path below the crate root. The crate root has no parts.
type Module = Vec<String>;

/// The source files of one crate, by module.
struct Crate {
    files: BTreeMap<Module, Source>,
}

struct Source {
    /// The path below the crate's `src`.
    path: String,
    /// The text, without comments and without unit tests, which stand last and may reach further.
    code: String,
    /// Whether the file is a `mod.rs`, so that its `super` is its folder's parent.
    folder: bool,
}

impl Crate {
    /// The crates that are there, each with the path of its sources.
    fn all() -> impl Iterator<Item = (&'static str, Crate)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        CRATES.into_iter().filter(move |src| root.join(src).exists()).map(|src| (src, Crate::read(src)))
    }

    fn read(src: &str) -> Crate {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(src);
        let mut files = BTreeMap::new();
        visit(&root, &mut |path| {
            let below = path.strip_prefix(&root).unwrap().with_extension("");
            let mut module: Module =
                below.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
            let folder = module.last().is_some_and(|last| last == "mod");
            if folder || module == ["lib"] || module == ["main"] {
                module.pop();
            }
            let text = std::fs::read_to_string(path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            let code = text
                .lines()
                .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
                .collect::<Vec<_>>()
                .join("\n");
            let path = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            files.insert(module, Source { path, code, folder });
        });
        assert!(files.len() > 20, "the sources of {src} were found");
        Crate { files }
    }

    /// What each file imports: the module and the name, the names that a `mod.rs` only hands on traced to their file.
    fn imports(&self) -> Vec<(&Module, Module, Vec<String>)> {
        let mut out = Vec::new();
        for (module, source) in &self.files {
            let parent = &module[..module.len().saturating_sub(1)];
            for (root, path) in paths(&source.code) {
                let mut whole = match root {
                    "crate" => Vec::new(),
                    "super" => parent.to_vec(),
                    _ if source.folder => module.clone(),
                    _ => continue,
                };
                whole.extend(path);
                let whole = self.handed_on(whole);
                if let Some(found) = self.module_of(&whole)
                    && found != *module
                {
                    out.push((module, found, whole));
                }
            }
        }
        out
    }

    /// The module that a path leads into.
    fn module_of(&self, path: &[String]) -> Option<Module> {
        (0..=path.len())
            .rev()
            .map(|len| &path[..len])
            .find(|part| self.files.contains_key(*part))
            .map(<[_]>::to_vec)
    }

    /// A path through names that a `mod.rs` re-exports, traced to where they are defined.
    fn handed_on(&self, path: Vec<String>) -> Vec<String> {
        let Some(module) = self.module_of(&path) else { return path };
        let Some(name) = path.get(module.len()) else { return path };
        let source = &self.files[&module];
        if !source.folder {
            return path;
        }
        for statement in source.code.split(';').filter(|text| text.contains("pub") && text.contains("use ")) {
            let Some((_, tree)) = statement.rsplit_once("use ") else { continue };
            for mut target in expand(tree) {
                if target.last() == Some(name) {
                    target.splice(0..0, module.iter().cloned());
                    if self.module_of(&target).is_some_and(|found| found.len() > module.len()) {
                        return self.handed_on(target);
                    }
                }
            }
        }
        path
    }

    /// A circle of files, if there is one: each imports the next, the last the first.
    fn circle(&self) -> Option<Vec<String>> {
        let mut edges: BTreeMap<&Module, BTreeSet<Module>> = BTreeMap::new();
        for (from, to, _) in self.imports() {
            if !from.is_empty() && !to.is_empty() {
                edges.entry(from).or_default().insert(to);
            }
        }
        // Files that import nothing which is left are taken away; what stays forms circles.
        let mut left: BTreeSet<Module> = self.files.keys().cloned().collect();
        loop {
            let free: Vec<Module> = left
                .iter()
                .filter(|module| !edges.get(module).is_some_and(|to| to.iter().any(|to| left.contains(to))))
                .cloned()
                .collect();
            if free.is_empty() {
                break;
            }
            left.retain(|module| !free.contains(module));
        }
        let mut at = left.first()?.clone();
        let mut way: Vec<Module> = Vec::new();
        while !way.contains(&at) {
            way.push(at.clone());
            at = edges[&at].iter().find(|to| left.contains(*to)).unwrap().clone();
        }
        let begin = way.iter().position(|module| *module == at).unwrap();
        Some(way[begin..].iter().map(|module| self.files[module].path.clone()).collect())
    }
}

fn visit(dir: &Path, file: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, file);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            file(&path);
        }
    }
}

/// All paths of a text that begin with `crate`, `super` or `self`, and those of `use` statements that begin with a child module:
/// the root, and the parts after it. `use a::{b, c::d}` is two paths.
fn paths(code: &str) -> Vec<(&'static str, Vec<String>)> {
    let mut out = Vec::new();
    for root in ["crate", "super", "self"] {
        for (at, _) in code.match_indices(&format!("{root}::")) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let tree = &code[at + root.len() + 2..];
            out.extend(expand(tree).into_iter().map(|path| (root, path)));
        }
    }
    for line in code.lines().filter_map(|line| line.strip_prefix("use ")) {
        if !["crate", "super", "self"].iter().any(|root| line.starts_with(root)) {
            out.extend(expand(line).into_iter().map(|path| ("self", path)));
        }
    }
    out
}

/// The paths of a use tree, which ends where it can no longer be one.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim_start();
    if let Some(group) = tree.strip_prefix('{') {
        let (mut depth, mut begin, mut out) = (0, 0, Vec::new());
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' if depth == 0 => {
                    out.extend(expand(&group[begin..at]));
                    begin = at + 1;
                }
                '}' if group[begin..at].trim().is_empty() => break, // after a trailing comma
                '}' => {
                    out.extend(expand(&group[begin..at]));
                    break;
                }
                _ => {}
            }
        }
        return out;
    }
    let name: String = tree.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let rest = &tree[name.len()..];
    if name.is_empty() || name == "self" {
        return vec![Vec::new()];
    }
    match rest.strip_prefix("::") {
        Some(rest) => expand(rest)
            .into_iter()
            .map(|mut path| {
                path.insert(0, name.clone());
                path
            })
            .collect(),
        None => vec![vec![name]],
    }
}

fn place(folder: &str) -> usize {
    FOLDERS
        .iter()
        .position(|name| *name == folder)
        .unwrap_or_else(|| panic!("src/{folder}/ has no place in FOLDERS"))
}

#[test]
fn folders_import_downwards_only() {
    let library = Crate::read("src");
    let wrong: Vec<String> = library
        .imports()
        .into_iter()
        .filter(|(from, to, _)| !from.is_empty() && !to.is_empty() && place(&to[0]) > place(&from[0]))
        .map(|(from, _, path)| format!("src/{} imports {}", library.files[from].path, path.join("::")))
        .collect();
    assert!(wrong.is_empty(), "imports that point upwards:\n{}", wrong.join("\n"));
}

/// A name taken from the crate root hides from which layer it comes. `testing` writes what a user would write.
#[test]
fn nothing_is_imported_through_the_crate_root() {
    for (src, all) in Crate::all() {
        let wrong: Vec<String> = all
            .imports()
            .into_iter()
            .filter(|(from, to, _)| to.is_empty() && !from.is_empty() && from[0] != "testing")
            .map(|(from, _, path)| format!("{src}/{} imports {}", all.files[from].path, path.join("::")))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for (src, all) in Crate::all() {
        if let Some(circle) = all.circle() {
            panic!("a circle in {src}: {}", circle.join(" -> "));
        }
    }
}

/// The library's map of its layers is the shelf.
#[test]
fn the_map_in_lib_rs_names_every_folder() {
    let lib = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let map: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `")?.split_once("/`").map(|(folder, _)| folder))
        .collect();
    assert_eq!(map, FOLDERS);
    for folder in FOLDERS {
        assert!(lib.contains(&format!("mod {folder};")), "{folder}");
    }
}

#[test]
fn the_house_has_no_arrow_upwards() {
    let library = Crate::read("src");
    let mut arrows: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (from, to, _) in library.imports() {
        if !from.is_empty() && !to.is_empty() && from[0] != to[0] {
            arrows.entry(place(&from[0])).or_default().insert(place(&to[0]));
        }
    }
    let mut shown = String::new();
    for (at, folder) in FOLDERS.iter().enumerate().rev() {
        let to: Vec<&str> = arrows.get(&at).into_iter().flatten().map(|to| FOLDERS[*to]).collect();
        let _ = writeln!(
            shown,
            "{folder:>12} -> {}",
            if to.is_empty() { "nothing".to_owned() } else { to.join(" ") }
        );
    }
    println!("{shown}");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/architecture.md")).unwrap();
    assert!(page.contains(&shown), "docs/architecture.md does not show the house as it is:\n{shown}");
}

/// Words that only the named files and folders may hold.
#[test]
fn what_is_isolated_stays_isolated() {
    let only: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("bincode::", &["log/codec.rs"][..]),
        ("getrandom::", &["store/entropy.rs"]),
        ("std::fs", &["store/storage/", "store/keys/"]),
        ("rustix::", &["store/storage/"]),
        ("unsafe ", &[]),
    ]);
    let mut wrong = Vec::new();
    for source in Crate::read("src").files.values() {
        for (word, allowed) in &only {
            if source.code.contains(word) && !allowed.iter().any(|place| source.path.starts_with(place)) {
                wrong.push(format!("src/{} holds `{word}`", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
