//! Plain English: turns of phrase that people had to read twice stay out of sources, documents, help and error texts.
//! `docs/contributing.md` says how we write.

use std::path::{Path, PathBuf};

/// A turn of phrase: forms of its first word, the word after it if it has one, and what to write instead.
struct Turn {
    first: &'static [&'static str],
    second: Option<&'static str>,
    third: Option<&'static str>,
    /// It is a plain phrase after one of these words, or before one of those.
    except: (&'static [&'static str], &'static [&'static str]),
    instead: &'static str,
}

const fn turn(first: &'static [&'static str], instead: &'static str) -> Turn {
    Turn { first, second: None, third: None, except: (&[], &[]), instead }
}

const TURNS: [Turn; 12] = [
    turn(&["nobody"], "name the subject: no person, no reader, is never read"),
    turn(&["somebody"], "name the subject: a sender, a user, an operation"),
    turn(&["whoever", "whomever"], "name the subject: a reader, a writer, the person that"),
    turn(&["anew"], "again, or a verb with re-: rewritten, refolded"),
    Turn { second: Some("place"), third: Some("of"), ..turn(&["in"], "instead of") },
    Turn { second: Some("many"), ..turn(&["so"], "the number: N, `records` records, how many") },
    Turn {
        second: Some("back"),
        ..turn(&["take", "takes", "taken", "taking", "took"], "retract (H1), undo")
    },
    Turn { second: Some("on"), ..turn(&["go", "goes", "going", "gone", "went"], "continue") },
    Turn {
        second: Some("no"),
        except: (&["there"], &["longer", "more"]),
        ..turn(&["is", "are"], "is not a, does not have a")
    },
    Turn {
        second: Some("is"),
        third: Some("none"),
        except: (&[], &["of"]),
        ..turn(&["that"], "that is not one")
    },
    Turn {
        second: Some("told"),
        third: Some("by"),
        ..turn(&["is", "are"], "a subject and a verb: records show")
    },
    Turn { second: Some("which"), third: Some("one"), ..turn(&["of"], "one of which") },
];

/// Sentences that hold a turn for a reason: end of the file's name, part of the sentence, the reason.
const ALLOWED: [(&str, &str, &str); 0] = [];

/// A comment, a string or a paragraph, and the line it begins on.
struct Prose {
    line: usize,
    text: String,
}

#[test]
fn no_turn_of_phrase_that_has_to_be_read_twice() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    for dir in ["src", "cli", "docs"] {
        collect(&root.join(dir), &mut files);
    }
    assert!(files.len() > 100, "the sources were found");
    let (mut found, mut used) = (Vec::new(), [false; ALLOWED.len()]);
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let name = file.strip_prefix(root).unwrap().display().to_string();
        let parts = if name.ends_with(".md") { paragraphs(&text) } else { comments_and_strings(&text) };
        for Prose { line, text } in parts {
            for (turn, shown) in turns(&text) {
                let allowed =
                    |(end, part, _): &(&str, &str, &str)| name.ends_with(end) && text.contains(part);
                match ALLOWED.iter().position(allowed) {
                    Some(at) => used[at] = true,
                    None => found.push(format!("{name}:{line}: \"{shown}\"; write: {}", turn.instead)),
                }
            }
        }
    }
    assert!(found.is_empty(), "{} turns of phrase:\n{}", found.len(), found.join("\n"));
    assert!(used.iter().all(|used| *used), "ALLOWED names sentences that are not there any more");
}

/// The test above is only as good as what it reads.
#[test]
fn turns_are_found_in_comments_strings_and_paragraphs() {
    let code = r##"
        /// The segment is written
        /// anew. A `Book` is no `Reader`; the answer is no.
        /// ```
        /// ask("nobody here");
        /// ```
        fn anew<'a>(somebody: &'a str) -> char { // so many
            let text = "it goes \
                        on"; let name = "nobody"; let raw = r#"in "place" of, in place of"#; '"'
        }
    "##;
    let found: Vec<String> = comments_and_strings(code)
        .iter()
        .flat_map(|prose| turns(&prose.text).into_iter().map(|(_, shown)| shown).collect::<Vec<_>>())
        .collect();
    assert_eq!(found, ["anew", "is no", "so many", "goes on", "in place of"]);
    let page = "There is no such file, and this is no\nledger.\n\n* It is no longer taken\n  back.\n";
    let found: Vec<(usize, String)> = paragraphs(page)
        .iter()
        .flat_map(|prose| {
            turns(&prose.text).into_iter().map(|(_, shown)| (prose.line, shown)).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(found, [(1, "is no".to_owned()), (4, "taken back".to_owned())]);
}

/// The turns in a text, each with the words that were found.
fn turns(text: &str) -> Vec<(&'static Turn, String)> {
    let words: Vec<Word> = text.split_whitespace().map(Word::new).collect();
    let mut found = Vec::new();
    for turn in &TURNS {
        let firsts = (0..words.len()).filter(|at| turn.first.contains(&&words[*at].text[..]));
        found.extend(firsts.filter_map(|at| Some((turn, turn.at(&words, at)?))));
    }
    found
}

impl Turn {
    /// The phrase, if it begins with the word at this place and is not one of the exceptions.
    fn at(&self, words: &[Word], at: usize) -> Option<String> {
        let rest: Vec<&str> = self.second.into_iter().chain(self.third).collect();
        let phrase = words.get(at..=at + rest.len())?;
        let (last, others) = phrase.split_last()?;
        let before = at.checked_sub(1).map(|before| &words[before]).filter(|word| !word.ends);
        let next = words.get(at + phrase.len()).filter(|_| !last.ends);
        let (after_these, before_those) = self.except;
        let is_turn = phrase[1..].iter().map(|word| &word.text).eq(&rest)
            && others.iter().all(|word| !word.ends)
            && !before.is_some_and(|word| after_these.contains(&&word.text[..]))
            && !next.is_some_and(|word| before_those.contains(&&word.text[..]))
            && (rest != ["no"] || next.is_some()); // "the answer is no."
        is_turn.then(|| phrase.iter().map(|word| &word.text[..]).collect::<Vec<_>>().join(" "))
    }
}

/// A word in lower case, without what surrounds it.
struct Word {
    text: String,
    /// Whether punctuation follows it: no phrase goes across.
    ends: bool,
}

impl Word {
    fn new(token: &str) -> Word {
        let token = token.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '`');
        let text: String = token.chars().take_while(|c| c.is_alphanumeric()).collect();
        Word { ends: token.len() > text.len(), text: text.to_lowercase() }
    }
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return }; // `cli` may not be there
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
            files.push(path);
        }
    }
}

/// Code between backticks is not prose; one word stands for it.
fn without_code(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.split('`').enumerate() {
        out.push_str(if at % 2 == 0 { part } else { "`code`" });
    }
    out
}

/// The paragraphs of a page, each bullet and row of a table by itself, outputs of commands included.
fn paragraphs(page: &str) -> Vec<Prose> {
    let mut out: Vec<Prose> = Vec::new();
    let mut begins = true;
    for (line, text) in (1..).zip(page.lines()) {
        let trimmed = text.trim_start();
        begins |=
            trimmed.is_empty() || ["* ", "- ", "|", "#", "```"].iter().any(|mark| trimmed.starts_with(mark));
        if begins {
            out.push(Prose { line, text: String::new() });
        }
        let paragraph = out.last_mut().expect("one has begun");
        paragraph.text.push_str(text);
        paragraph.text.push('\n');
        begins = trimmed.starts_with("```") || trimmed.starts_with('|');
    }
    out.into_iter().map(|prose| Prose { text: without_code(&prose.text), ..prose }).collect()
}

/// Comments and string literals of a source file. Lines of comments that follow each other are one comment; what is
/// fenced as code in them is left out, and so are strings of one word, which are names.
fn comments_and_strings(code: &str) -> Vec<Prose> {
    let mut out: Vec<Prose> = Vec::new();
    let (mut rest, mut line) = (code, 1);
    let mut comment_until = 0; // the line after the last line comment
    let mut fenced = false;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        if rest.starts_with("//") {
            taken = rest.find('\n').unwrap_or(rest.len());
            let text = rest[..taken].trim_start_matches(['/', '!']);
            let so_far = &code[..code.len() - rest.len()];
            let is_alone = so_far.trim_end_matches([' ', '\t']).ends_with('\n') || so_far.is_empty();
            let continues = is_alone && comment_until == line;
            fenced &= continues;
            let fence = text.trim_start().starts_with("```");
            if fence || fenced {
                fenced ^= fence;
            } else if continues && let Some(last) = out.last_mut() {
                last.text.push_str(text);
            } else {
                out.push(Prose { line, text: text.to_owned() });
            }
            if let (false, Some(last)) = (fenced, out.last_mut()) {
                last.text.push('\n');
            }
            comment_until = line + 1;
        } else if let Some(hashes) = raw_string(rest) {
            let begin = rest.find('"').expect("a raw string has a quote") + 1;
            let end = format!("\"{}", "#".repeat(hashes));
            let len = rest[begin..].find(&end).expect("a raw string ends");
            out.push(Prose { line, text: rest[begin..begin + len].to_owned() });
            taken = begin + len + end.len();
        } else if c == '"' {
            let (text, len) = string(rest);
            out.push(Prose { line, text });
            taken = len;
        } else if c == '\'' {
            taken = character(rest).unwrap_or(1);
        } else if c.is_alphanumeric() || c == '_' {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            taken = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        }
        line += rest[..taken].matches('\n').count();
        rest = &rest[taken..];
    }
    let is_prose = |prose: &Prose| prose.text.split_whitespace().count() > 1;
    out.into_iter().map(|prose| Prose { text: without_code(&prose.text), ..prose }).filter(is_prose).collect()
}

/// How many hashes the raw string that begins here has.
fn raw_string(code: &str) -> Option<usize> {
    let rest = code.strip_prefix("br").or_else(|| code.strip_prefix('r'))?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// The text of the string literal that begins here, and the length of the literal.
fn string(code: &str) -> (String, usize) {
    let (mut text, mut escaped) = (String::new(), false);
    for (at, c) in code.char_indices().skip(1) {
        match c {
            _ if escaped => {
                text.push(if c == 'n' || c == '\n' { ' ' } else { c });
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (text, at + 1),
            _ => text.push(c),
        }
    }
    panic!("a string ends");
}

/// The length of the character literal that begins here; `None` if it is a lifetime.
fn character(code: &str) -> Option<usize> {
    let mut chars = code.char_indices().skip(1);
    match chars.next()? {
        (_, '\\') => code[2..].find('\'').map(|at| if at == 0 { 4 } else { 2 + at + 1 }),
        (_, _) => chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1),
    }
}
