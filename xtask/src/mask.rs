//! Rust source with everything that is not code blanked out, or everything that is no comment, so that a search for a word finds only
//! the one or the other.
//!
//! A scanner, not a parser: it knows comments (nested), strings (plain, raw, byte), characters and lifetimes, which is enough to
//! find a word or a matching brace.

/// A text twice; line breaks stay where they are.
pub(crate) struct Masked {
    /// With comments, strings and characters replaced by spaces.
    pub(crate) code: String,
    /// With everything but comments replaced by spaces.
    pub(crate) comments: String,
}

/// What of a text is code, and what is comment.
pub(crate) fn masked(text: &str) -> Masked {
    let mut scanner =
        Scanner { rest: text, code: String::with_capacity(text.len()), comments: String::with_capacity(text.len()) };
    while !scanner.rest.is_empty() {
        scanner.step();
    }
    Masked { code: scanner.code, comments: scanner.comments }
}

struct Scanner<'a> {
    rest: &'a str,
    code: String,
    comments: String,
}

impl Scanner<'_> {
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            return self.comment(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
        if self.rest.starts_with("/*") {
            return self.comment(comment_length(self.rest));
        }
        if let Some(length) = self.at_word_start().then(|| raw_string_length(self.rest)).flatten() {
            return self.blank(length);
        }
        if self.rest.starts_with('"') {
            return self.blank(quoted_length(self.rest, '"'));
        }
        if is_character(self.rest) {
            return self.blank(quoted_length(self.rest, '\''));
        }
        self.keep();
    }

    /// Whether the next letter begins a word, so that the `r` of `for"` is not taken for a raw string.
    fn at_word_start(&self) -> bool {
        !self.code.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    }

    fn keep(&mut self) {
        let mut chars = self.rest.chars();
        let kept = chars.next();
        self.code.extend(kept);
        self.comments.extend(kept.map(spaced));
        self.rest = chars.as_str();
    }

    fn comment(&mut self, length: usize) {
        self.comments.push_str(&self.rest[..length]);
        self.pass(length);
    }

    fn blank(&mut self, length: usize) {
        self.comments.extend(self.rest[..length].chars().map(spaced));
        self.pass(length);
    }

    fn pass(&mut self, length: usize) {
        let (gone, rest) = self.rest.split_at(length);
        self.code.extend(gone.chars().map(spaced));
        self.rest = rest;
    }
}

fn spaced(c: char) -> char {
    if c == '\n' { '\n' } else { ' ' }
}

fn comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`, and the same after `b` or `c`.
fn raw_string_length(text: &str) -> Option<usize> {
    let after_prefix = text.strip_prefix(['b', 'c']).unwrap_or(text).strip_prefix('r')?;
    let hashes = after_prefix.len() - after_prefix.trim_start_matches('#').len();
    let body = after_prefix[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let body_start = text.len() - body.len();
    Some(body.find(&end).map_or(text.len(), |at| body_start + at + end.len()))
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    text.len()
}

/// `'x'` or `'\n'`, but not the lifetime `'x`.
fn is_character(text: &str) -> bool {
    let Some(body) = text.strip_prefix('\'') else { return false };
    let mut chars = body.chars();
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

/// For each line, whether it belongs to an item under `#[cfg(test)]`.
pub(crate) fn test_lines(code: &str) -> Vec<bool> {
    let mut is_test = vec![false; code.lines().count()];
    for marker in ["#[cfg(test)]", "#[cfg(all(test"] {
        for (start, _) in code.match_indices(marker) {
            let end = item_end(code, start + marker.len());
            let first = code[..start].matches('\n').count();
            let last = code[..end].matches('\n').count();
            for line in is_test.iter_mut().take(last + 1).skip(first) {
                *line = true;
            }
        }
    }
    is_test
}

/// Where the item that follows ends: its semicolon, or the brace that closes its first.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code[start..].char_indices() {
        match c {
            ';' if depth == 0 => return start + at,
            '{' => depth += 1,
            '}' if depth <= 1 => return start + at,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_only(text: &str) -> String {
        masked(text).code
    }

    #[test]
    fn only_comments_stay() {
        let text = "let a = \"A-1 // A-2\"; // A-3 \"A-4\"\n/// A-5\nf(\"A-6\", 'A', /* A-7\nA-8 */ A);\nr#\"// A-9\"#";
        let comments = masked(text).comments;
        let found: Vec<&str> = comments.split_whitespace().filter(|word| word.contains("A-")).collect();
        assert_eq!(found, ["A-3", "\"A-4\"", "A-5", "A-7", "A-8"]);
        assert_eq!(comments.matches('\n').count(), text.matches('\n').count());
    }

    #[test]
    fn only_code_stays() {
        let text = "let a = \"x.unwrap()\"; // b.unwrap()\n/* /* todo!() */ */ c.unwrap();";
        let code = code_only(text);
        assert_eq!(code.matches("unwrap").count(), 1);
        assert_eq!(code.matches('\n').count(), 1);
        assert!(!code.contains("todo"));
        assert!(code.ends_with(" c.unwrap();"));
    }

    #[test]
    fn strings_characters_and_lifetimes() {
        assert_eq!(code_only("r#\"a\"b\"# x"), format!("{} x", " ".repeat(8)));
        assert_eq!(code_only("br\"\\\" y"), "       y".to_owned()[1..].to_owned());
        assert_eq!(code_only("'\"' + \"'\""), "    +    ");
        assert_eq!(code_only("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
        assert_eq!(code_only("'\\'' z"), "     z");
        assert_eq!(code_only("\"\\\"\" z"), "     z");
        assert_eq!(code_only("for\"x\" in"), "for    in");
        assert_eq!(code_only("\"open"), "     ");
        assert_eq!(code_only("/* open"), "       ");
    }

    #[test]
    fn test_items_end_where_they_end() {
        let code =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { {} }\n}\nfn c() {}\n#[cfg(test)]\nmod far;\nfn d() {}";
        assert_eq!(test_lines(code), [false, true, true, true, true, false, true, true, false]);
    }
}
