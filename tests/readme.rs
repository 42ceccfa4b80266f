//! The README is true: its program is the example, and the example prints what the README shows.

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn block<'a>(text: &'a str, fence: &str) -> &'a str {
    text.split_once(fence).unwrap().1.split_once("```").unwrap().0
}

#[test]
fn the_program_of_the_readme_is_the_example() {
    let readme = read("README.md");
    let shown: Vec<&str> =
        block(&readme, "```rust\n").lines().filter(|line| !line.starts_with("# ")).map(str::trim).collect();
    let example = read("examples/why.rs");
    let written: Vec<&str> = example.lines().map(str::trim).collect();
    for line in shown {
        assert!(written.contains(&line), "not in examples/why.rs: {line}");
    }
}

#[test]
fn the_example_prints_what_the_readme_shows() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = std::process::Command::new(cargo)
        .args(["run", "--quiet", "--example", "why"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), block(&read("README.md"), "```text\n"));
}
