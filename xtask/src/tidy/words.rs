//! Words that must not stand in code, and the size and opening of files.

use super::Finding;
use crate::source::{Source, Tree};

const FILE_LINES_MAX: usize = 900;

/// Never outside tests.
const UNFINISHED: [(&str, &str); 3] = [
    ("todo!", "finish it, or leave the feature out"),
    ("unimplemented!", "finish it, or leave the feature out"),
    ("dbg!", "use tracing, or remove it"),
];

/// Only with a comment that begins with `proof:`, on the line or above it.
const PANICS: [&str; 4] = [".unwrap()", ".expect(", ".unwrap_err()", ".expect_err("];

/// What reaches into the world, and what to do instead.
const NOT_IN_CORE: [(&str, &str); 13] = [
    ("std::fs", "take the bytes as an argument"),
    ("TcpStream", "take and return bytes"),
    ("TcpListener", "take and return bytes"),
    ("UdpSocket", "take and return bytes"),
    ("UnixStream", "take and return bytes"),
    ("SystemTime::now", "take the time as an argument"),
    ("Instant::now", "take the time as an argument"),
    ("OffsetDateTime::now_utc", "take the time as an argument"),
    ("tokio", "leave waiting to the caller"),
    ("thread::sleep", "leave waiting to the caller"),
    ("std::env", "take the value as an argument"),
    ("rand", "take entropy as an argument"),
    ("Uuid::new_v4", "take entropy as an argument"),
];

/// Files of core that may use one of these words all the same, and why.
const CORE_MAY: [(&str, &str, &str); 1] = [(
    "crates/core/pki/src/authority.rs",
    "rand",
    "serial numbers come from the same cryptographic module as the keys, which cannot be made without it",
)];

/// Files that may say `unsafe`, and why.
const UNSAFE_FILES: [(&str, &str); 0] = [];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in &tree.sources {
        found.extend(too_long(source));
        if source.is_rust() {
            found.extend(opening(source));
            unsafe_code(source, &mut found);
            unfinished(source, &mut found);
            panics(source, &mut found);
            if tree.package_of(source).is_some_and(|package| package.layer() == Some("core")) {
                world(source, &mut found);
            }
        }
    }
    found
}

fn too_long(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    let message =
        || format!("{lines} lines, at most {FILE_LINES_MAX}: a file that needs a table of contents is two files");
    (lines > FILE_LINES_MAX).then(|| Finding::whole(&source.path, "size", message()))
}

/// A crate root says what the crate is for.
fn opening(source: &Source) -> Option<Finding> {
    let is_root = source.path.ends_with("/src/lib.rs") || source.path.ends_with("/src/main.rs");
    let message = "a crate root begins with `//!`: purpose, main type, invariants";
    (is_root && !source.text.starts_with("//!")).then(|| Finding::at(&source.path, 0, "opening", message))
}

fn unsafe_code(source: &Source, found: &mut Vec<Finding>) {
    if UNSAFE_FILES.iter().any(|(path, _)| *path == source.path) {
        return;
    }
    for (at, _) in source.code.lines().enumerate().filter(|(_, line)| has_word(line, "unsafe")) {
        let message = "there is no unsafe code outside the list in xtask/src/tidy/words.rs, which asks for a reason";
        found.push(Finding::at(&source.path, at, "unsafe", message));
    }
}

fn unfinished(source: &Source, found: &mut Vec<Finding>) {
    for (at, line) in source.code_lines() {
        for (word, instead) in UNFINISHED.iter().filter(|(word, _)| has_word(line, word)) {
            found.push(Finding::at(&source.path, at, "unfinished", format!("`{word}`: {instead}")));
        }
    }
}

fn panics(source: &Source, found: &mut Vec<Finding>) {
    let text: Vec<&str> = source.text.lines().collect();
    for (at, line) in source.code_lines() {
        for word in PANICS.iter().filter(|word| line.contains(**word)) {
            if !is_proven(&text, at) {
                let message =
                    format!("`{word}` can panic: return the error, or say above it `// proof: …` why it cannot");
                found.push(Finding::at(&source.path, at, "panic", message));
            }
        }
    }
}

/// Whether the line, or the comments and attributes directly above it, carry a proof.
fn is_proven(text: &[&str], at: usize) -> bool {
    let has_proof =
        |line: &str| line.split_once("//").is_some_and(|(_, comment)| comment.trim_start().starts_with("proof:"));
    let above = text[..at]
        .iter()
        .rev()
        .map(|line| line.trim())
        .take_while(|line| line.starts_with("//") || line.starts_with("#["));
    has_proof(text[at]) || above.into_iter().any(has_proof)
}

fn world(source: &Source, found: &mut Vec<Finding>) {
    let may = |word: &str| CORE_MAY.iter().any(|(path, allowed, _)| *path == source.path && *allowed == word);
    for (at, line) in source.code_lines() {
        for (word, instead) in NOT_IN_CORE.iter().filter(|(word, _)| has_word(line, word) && !may(word)) {
            found.push(Finding::at(
                &source.path,
                at,
                "core",
                format!("`{word}` reaches out of the sans-I/O core: {instead}"),
            ));
        }
    }
}

/// Whether `word` stands in `line` with nothing on either side that would make it another word.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sample;

    fn findings(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        let manifest = "[package]\nname = \"x\"\n";
        let (_folder, tree) = sample::tree(&[("crates/core/x/Cargo.toml", manifest), (path, text)]);
        check(&tree).into_iter().map(|finding| (finding.line.unwrap_or(0), finding.rule)).collect()
    }

    #[test]
    fn words_stand_alone() {
        assert!(has_word("use tokio::net;", "tokio") && has_word("tokio", "tokio"));
        assert!(
            !has_word("tokio_util", "tokio") && !has_word("my_rand()", "rand") && !has_word("unsafe_code", "unsafe")
        );
    }

    #[test]
    fn core_stays_out_of_the_world() {
        let text = "use std::fs;\nfn f() { std::time::Instant::now(); }\n// std::fs\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert_eq!(findings("crates/core/x/src/a.rs", text), [(1, "core"), (2, "core")]);
        assert_eq!(findings("crates/app/y/src/a.rs", text), []);
        assert_eq!(findings("crates/core/x/tests/a.rs", text), []);
    }

    #[test]
    fn unfinished_work_and_unproven_panics() {
        let text = "fn f() { todo!() }\nfn g() { a.unwrap() }\nfn h() { a.unwrap() } // proof: a is set above\n\
                    // proof: b is never empty\n#[allow(clippy::expect_used)]\nfn i() { b.expect(\"\") }\nfn j() { \"dbg!\" }\n";
        assert_eq!(findings("crates/app/y/src/a.rs", text), [(1, "unfinished"), (2, "panic")]);
        assert_eq!(findings("tests/a.rs", text), []);
    }

    #[test]
    fn a_proof_is_next_to_what_it_proves() {
        let text = "// proof: of something else\nlet x = 1;\nlet y = z.unwrap();\n";
        assert_eq!(findings("crates/app/y/src/a.rs", text), [(3, "panic")]);
    }

    #[test]
    fn unsafe_is_found_in_tests_too() {
        assert_eq!(findings("tests/a.rs", "fn f() { unsafe { g() } }\n"), [(1, "unsafe")]);
        assert_eq!(findings("tests/a.rs", "#![forbid(unsafe_code)] // unsafe\n"), []);
    }

    #[test]
    fn long_files_and_mute_roots() {
        assert_eq!(findings("tests/a.rs", &"\n".repeat(901)), [(0, "size")]);
        assert_eq!(findings("tests/a.rs", &"\n".repeat(900)), []);
        assert_eq!(findings("crates/app/y/src/lib.rs", "mod a;\n"), [(1, "opening")]);
        assert_eq!(findings("crates/app/y/src/lib.rs", "//! What it is for.\n"), []);
    }
}
