//! Help texts, folded to the terminal: paragraphs where a blank is, lists with their texts in one column, and commands only where a shell
//! still takes them as one.

use clap::{Arg, Command};

/// Help is folded to this width where the terminal is wider: longer lines are hard to read.
const WIDEST: usize = 110;
/// Narrower than this, lines are left to the terminal.
const NARROWEST: usize = 40;

/// Options that several commands have, by what they are about. All others stand under `Options`, wherever a command names them.
const HEADINGS: [(&str, &[&str]); 4] = [
    ("What answers are taken from", &["at", "from_log", "expect"]),
    ("Which part of the list", &["limit", "from"]),
    ("A new ledger (or a file folded in memory)", &[NEW, "preset", "policy"]),
    ("In every command", &["key_ring", "json", "wide", "color"]),
];

/// Makes a new ledger of the options below; of a command without them a policy is something else.
const NEW: &str = "tenant";

/// Puts an option under its heading, if it has one.
fn under_heading(arg: Arg, makes_new: bool) -> Arg {
    let option = arg.get_id().as_str();
    let found = HEADINGS.iter().find(|(_, options)| options.contains(&option));
    match found {
        Some((heading, options)) if makes_new || !options.contains(&NEW) => arg.help_heading(*heading),
        _ => arg,
    }
}

/// The commands with their long helps folded, and each option under its heading.
pub(crate) fn folded(command: Command, width: u16) -> Command {
    let width = usize::from(width).clamp(NARROWEST, WIDEST);
    let text = |help: Option<&clap::builder::StyledStr>| help.map(|help| fold(&help.to_string(), width));
    let (about, after) = (text(command.get_long_about()), text(command.get_after_long_help()));
    let command = match about {
        Some(about) => command.long_about(about),
        None => command,
    };
    let command = match after {
        Some(after) => command.after_help(after.clone()).after_long_help(after),
        None => command,
    };
    let makes_new = command.get_arguments().any(|arg| arg.get_id() == NEW);
    let command = command.mut_args(|arg| under_heading(arg, makes_new));
    command.term_width(width).mut_subcommands(|command| folded(command, width as u16)) // at most WIDEST
}

/// Folds a text, line by line.
fn fold(text: &str, width: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| fold_line(line, width)).collect();
    lines.join("\n")
}

fn fold_line(line: &str, width: usize) -> String {
    let margin = line.len() - line.trim_start().len();
    if line.chars().count() <= width {
        return line.to_owned();
    }
    if margin > 0 && is_command(line) {
        return fold_command(line.trim_start(), margin, width);
    }
    // A list: the text begins behind the first wide gap.
    let gap = line[margin..].find("  ").filter(|_| margin > 0);
    let hang = gap.map_or(margin, |gap| {
        let behind = &line[margin + gap..];
        line[..margin + gap].chars().count() + behind.len() - behind.trim_start().len()
    });
    let hang = if gap.is_some() && hang + NARROWEST / 2 > width { margin + 2 } else { hang };
    words(line.trim_start(), margin, hang, width, "")
}

fn is_command(line: &str) -> bool {
    line.contains("identity-ledger ") || line.contains("duckdb ")
}

/// A command: what it is for stands above it, and a line that is still too long continues behind a backslash.
fn fold_command(line: &str, margin: usize, width: usize) -> String {
    let blank = " ".repeat(margin);
    let (command, comment) = match line.split_once(" # ") {
        Some((command, comment)) => (command.trim_end(), Some(comment)),
        None => (line, None),
    };
    let command = words(command, margin, margin + 2, width, " \\");
    match comment {
        Some(comment) => {
            let comment = words(comment, margin, margin, width - 2, "");
            let comment = comment.lines().map(|line| format!("{blank}# {}\n", line.trim_start()));
            comment.collect::<String>() + &command
        }
        None => command,
    }
}

/// Puts words into lines, the first behind `margin`, the others behind `hang`. Blanks between words of one line stay as they are.
fn words(text: &str, margin: usize, hang: usize, width: usize, end: &str) -> String {
    let (mut folded, mut column) = (" ".repeat(margin), margin);
    for word in text.split_inclusive(' ') {
        let len = word.trim_end().chars().count();
        if column + len + end.len() > width && column > hang {
            folded.truncate(folded.trim_end().len());
            folded.push_str(end);
            folded.push('\n');
            folded.push_str(&" ".repeat(hang));
            column = hang;
        }
        folded.push_str(word);
        column += word.chars().count();
    }
    folded.truncate(folded.trim_end().len());
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_lists_fold_at_blanks() {
        assert_eq!(fold("one two three", 8), "one two\nthree");
        assert_eq!(
            fold_line("  SEQ      the record, and all that can be said of it here", 48),
            "  SEQ      the record, and all that can be said\n           of it here"
        );
    }

    #[test]
    fn a_command_that_is_too_long_is_still_one_command() {
        let line = "  identity-ledger diff a.ledger --at 1000 --at 2000   # then and later";
        assert_eq!(
            fold_line(line, 60),
            "  # then and later\n  identity-ledger diff a.ledger --at 1000 --at 2000"
        );
        assert_eq!(
            fold_line(line, 40),
            "  # then and later\n  identity-ledger diff a.ledger --at \\\n    1000 --at 2000"
        );
    }
}
