//! Parts of pages in `docs/` that tests write: what a page says is what the engine does.

/// Asserts that the part of `page` between the markers `name` is `text`. With `UPDATE=1` in the environment it is
/// written there instead.
pub(crate) fn assert_part(page: &str, name: &str, text: &str) {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if root.join("docs").is_dir() { root } else { root.parent().unwrap() }; // a checkout may be called `cli`
    let path = root.join(page);
    let before = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->\n"));
    let marked = |marker: &str| before.find(marker).unwrap_or_else(|| panic!("{page} lacks {marker}"));
    let (from, to) = (marked(&begin) + begin.len(), marked(&end));
    if std::env::var_os("UPDATE").is_some_and(|update| update == "1") {
        let after = [&before[..from], text, &before[to..]].concat();
        std::fs::write(&path, after).unwrap_or_else(|error| panic!("{page}: {error}"));
        return;
    }
    let hint = "run with UPDATE=1 to write it anew, then read the difference";
    assert!(before[from..to] == *text, "{page}, {name}, is out of date: {hint}\n\n{text}");
}
