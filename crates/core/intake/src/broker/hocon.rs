//! As much of HOCON as configurations of EMQX use: objects, arrays, dotted keys, comments, quoted and multi-line strings. What is put in
//! from elsewhere (`include`, `${…}`) is told and not followed.

use std::collections::BTreeMap;

use portreeve_assurance::evidence::config::Unread;

use crate::{
    IntakeError, LIST_MAX,
    lines::{File, shown},
};

/// How deep objects and arrays may stand in each other.
const DEPTH_MAX: usize = 32;

/// Values under their paths; elements of arrays under their numbers.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) values: BTreeMap<String, (String, u32)>,
    pub(super) unread: Vec<Unread>,
}

struct Reader<'a, 'b> {
    file: &'a File<'b>,
    rest: &'b str,
    /// How much of the text has been counted, bytes, and the line and column where that ends.
    counted: (usize, u32, u32),
    tree: Tree,
}

pub(super) fn tree(file: &File<'_>) -> Result<Tree, IntakeError> {
    let mut reader = Reader { file, rest: file.text, counted: (0, 1, 1), tree: Tree::default() };
    reader.skip();
    if reader.take('{') {
        reader.object("", 1, true)?;
        reader.skip();
        if !reader.rest.is_empty() {
            return Err(reader.error("something stands behind the end"));
        }
    } else {
        reader.object("", 1, false)?;
    }
    Ok(reader.tree)
}

impl Reader<'_, '_> {
    /// Line and column. What was counted before is not counted again.
    fn place(&mut self) -> (u32, u32) {
        let (from, mut line, mut column) = self.counted;
        let to = self.file.text.len() - self.rest.len();
        for byte in self.file.text.as_bytes().get(from..to).unwrap_or_default() {
            (line, column) = if *byte == b'\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        self.counted = (to, line, column);
        (line, column)
    }

    fn error(&mut self, problem: &str) -> IntakeError {
        let (line, column) = self.place();
        IntakeError::at(self.file.name, line, column, problem)
    }

    /// Blanks, commas, ends of lines and comments.
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if !self.rest.starts_with('#') && !self.rest.starts_with("//") {
                return;
            }
            self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Members up to `}`, or up to the end of the file.
    fn object(&mut self, path: &str, depth: usize, is_closed: bool) -> Result<(), IntakeError> {
        if depth > DEPTH_MAX {
            return Err(self.error("this is too deep"));
        }
        loop {
            self.skip();
            if is_closed && self.take('}') {
                return Ok(());
            }
            if self.rest.is_empty() {
                return if is_closed { Err(self.error("a `}` is missing")) } else { Ok(()) };
            }
            self.member(path, depth)?;
        }
    }

    fn member(&mut self, path: &str, depth: usize) -> Result<(), IntakeError> {
        let (line, _) = self.place();
        let key = self.key()?;
        if key == "include" {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            let (what, rest) = self.rest.split_at(end);
            self.rest = rest;
            self.unread(line, &format!("include{what}"))?;
            return Ok(());
        }
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        self.rest = self.rest.trim_start();
        if self.take('{') {
            return self.object(&path, depth + 1, true);
        }
        if !(self.take('=') || self.take(':')) {
            let is_appended = self.rest.starts_with("+=");
            return Err(self.error(if is_appended { "`+=` is not read here" } else { "`=`, `:` or `{` is missing" }));
        }
        self.value(&path, depth)
    }

    /// A path, perhaps with quoted parts.
    fn key(&mut self) -> Result<String, IntakeError> {
        let mut key = String::new();
        loop {
            if self.rest.starts_with('"') {
                key.push_str(&self.quoted()?.replace('.', "_"));
            } else {
                let end =
                    self.rest.find(|c: char| !(c.is_alphanumeric() || "_-.$/".contains(c))).unwrap_or(self.rest.len());
                let (part, rest) = self.rest.split_at(end);
                if part.is_empty() {
                    break;
                }
                key.push_str(part);
                self.rest = rest;
            }
        }
        if key.is_empty() { Err(self.error("a name is missing")) } else { Ok(shown(&key)) }
    }

    fn value(&mut self, path: &str, depth: usize) -> Result<(), IntakeError> {
        self.rest = self.rest.trim_start();
        let (line, _) = self.place();
        if self.take('{') {
            return self.object(path, depth + 1, true);
        }
        // A later value of a name takes the place of the earlier one; only objects are merged.
        let inside = format!("{path}.");
        let below = self.tree.values.range(inside.clone()..).take_while(|(key, _)| key.starts_with(&inside));
        let replaced: Vec<String> = below.map(|(key, _)| key.clone()).collect();
        replaced.iter().for_each(|key| drop(self.tree.values.remove(key)));
        if self.take('[') {
            return self.array(path, depth + 1, line);
        }
        let value = if self.rest.starts_with('"') { self.quoted()? } else { self.plain() };
        if value.contains("${") {
            self.unread(line, &format!("{path} = {value}"))?;
        }
        self.put(path.to_owned(), value, line)
    }

    fn array(&mut self, path: &str, depth: usize, line: u32) -> Result<(), IntakeError> {
        if depth > DEPTH_MAX {
            return Err(self.error("this is too deep"));
        }
        let mut index = 0_usize;
        loop {
            self.skip();
            if self.take(']') {
                // That there is a list is told even of an empty one.
                return self.put(path.to_owned(), format!("[{index}]"), line);
            }
            if self.rest.is_empty() {
                return Err(self.error("a `]` is missing"));
            }
            self.value(&format!("{path}.{index}"), depth)?;
            index += 1;
        }
    }

    fn put(&mut self, path: String, value: String, line: u32) -> Result<(), IntakeError> {
        if self.tree.values.len() >= LIST_MAX {
            return Err(self.error("there are too many settings"));
        }
        self.tree.values.insert(path, (value, line));
        Ok(())
    }

    fn unread(&mut self, line: u32, what: &str) -> Result<(), IntakeError> {
        self.file.expect_things(line, self.tree.unread.len())?;
        self.tree.unread.push(Unread::at(line, what));
        Ok(())
    }

    /// `"…"` with escapes, or `"""…"""` without.
    fn quoted(&mut self) -> Result<String, IntakeError> {
        if let Some(inside) = self.rest.strip_prefix("\"\"\"") {
            let Some(end) = inside.find("\"\"\"") else { return Err(self.error("a string has no end")) };
            self.rest = &inside[end + 3..];
            return Ok(inside[..end].to_owned());
        }
        let inside = &self.rest[1..];
        let mut is_escaped = false;
        let end = inside.find(|c: char| {
            let is_end = (c == '"' || c == '\n') && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            is_end
        });
        let Some(end) = end.filter(|end| inside[*end..].starts_with('"')) else {
            return Err(self.error("a string has no end"));
        };
        self.rest = &inside[end + 1..];
        Ok(inside[..end].replace("\\\"", "\"").replace("\\\\", "\\"))
    }

    /// Up to what ends a value without quotes.
    fn plain(&mut self) -> String {
        let mut end = self.rest.find(['\n', ',', ']', '}', '#']).unwrap_or(self.rest.len());
        // `${…}` has a brace of its own.
        if let Some(begin) = self.rest[..end].find("${") {
            end = self.rest[begin..].find('}').map_or(end, |length| begin + length + 1);
        }
        let (value, rest) = self.rest.split_at(end);
        self.rest = rest;
        value.trim().to_owned()
    }
}
