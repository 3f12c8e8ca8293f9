//! From files, variables and arguments to a [`Config`], remembering where each value came from.

use crate::suggest::{nearest, nearest_word};
use crate::{Config, ConfigError, Key, Origin, Problem, keys, section_texts, shape};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use toml_edit::{Document, Item, TableLike, Value};

/// Environment variables with this prefix are configuration; `__` separates section and key.
const ENV_PREFIX: &str = "PORTREEVE__";

/// Largest configuration file; a larger one is not one.
const FILE_BYTES_MAX: u64 = 1_048_576;

/// What a configuration is made from, besides the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The file's name and its text.
    pub file: Option<(String, String)>,
    /// Environment variables; those without our prefix are passed over.
    pub env: Vec<(String, String)>,
    /// The texts of `--set`: `section.key=value`.
    pub set: Vec<String>,
}

impl Sources {
    /// Reads the file and this process's environment.
    ///
    /// # Errors
    /// The file cannot be read, is too large or is not UTF-8, or a variable of ours is not UTF-8.
    pub fn gather(file: Option<&Path>, set: Vec<String>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let file = file.and_then(|path| match read_file(path) {
            Ok(text) => Some((path.display().to_string(), text)),
            Err(problem) => {
                problems.push(*problem);
                None
            }
        });
        let mut env = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(ENV_PREFIX)) else { continue };
            match value.into_string() {
                Ok(value) => env.push((name.to_owned(), value)),
                Err(_) => problems.push(Problem::new(Origin::Env(name.to_owned()), None, "not UTF-8".to_owned())),
            }
        }
        env.sort();
        ConfigError::unless_empty(problems)?;
        Ok(Self { file, env, set })
    }
}

fn read_file(path: &Path) -> Result<String, Box<Problem>> {
    let name = path.display().to_string();
    let problem = |line, column, message| {
        Box::new(Problem::new(Origin::File { name: name.clone(), line, column }, None, message))
    };
    let metadata = std::fs::metadata(path).map_err(|error| problem(1, 1, format!("cannot be read: {error}")))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(problem(1, 1, format!("larger than {FILE_BYTES_MAX} bytes, so hardly a configuration file")));
    }
    let bytes = std::fs::read(path).map_err(|error| problem(1, 1, format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        let (line, column) = line_and_column(&good, good.len());
        problem(line, column, "not UTF-8".to_owned())
    })
}

/// A configuration and the origin of each value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    origins: BTreeMap<&'static str, Origin>,
}

/// One row of `config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// `section.key`.
    pub path: &'static str,
    /// The value in TOML.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

impl Loaded {
    /// Where a key's value came from.
    #[must_use]
    pub fn origin(&self, path: &str) -> Origin {
        self.origins.get(path).cloned().unwrap_or(Origin::Default)
    }

    /// Every key with its value and origin, in the reference's order.
    #[must_use]
    pub fn show(&self) -> Vec<Shown> {
        let row = |path| Key::parse(path).and_then(|key| self.config.show(key)).map(|value| (path, value));
        let rows = keys().iter().filter_map(|doc| row(doc.path));
        rows.map(|(path, value)| Shown { path, value, origin: self.origin(path) }).collect()
    }
}

/// Makes a configuration: defaults, then the file, then the environment, then `--set`.
///
/// # Errors
/// Everything that is wrong with any of them, and with their combination.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut loader = Loader::default();
    if let Some((name, text)) = &sources.file {
        loader.file(name, text);
    }
    for (name, value) in &sources.env {
        loader.env(name, value);
    }
    for text in &sources.set {
        loader.argument(text);
    }
    loader.finish()
}

#[derive(Default)]
struct Loader {
    config: Config,
    origins: BTreeMap<&'static str, Origin>,
    problems: Vec<Problem>,
}

impl Loader {
    fn file(&mut self, name: &str, text: &str) {
        let source = File { name, text: Arc::from(text) };
        let document = match Document::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                self.problems.push(source.problem(span, None, error.message().to_owned()));
                return;
            }
        };
        for (section, span, item) in entries(document.as_table()) {
            self.file_section(&source, section, span, item);
        }
    }

    fn file_section(&mut self, source: &File<'_>, section: &str, span: Range<usize>, item: &Item) {
        let sections = section_texts();
        if !sections.iter().any(|(known, _)| *known == section) {
            let help = nearest_word(section, sections.iter().map(|(known, _)| *known)).map(did_you_mean);
            let message = format!("unknown section `{section}`");
            self.problems.push(source.problem(span, Some(section.to_owned()), message).help(help));
            return;
        }
        let Some(table) = item.as_table_like() else {
            let message = format!("`{section}` is a section: write [{section}] and its keys below");
            self.problems.push(source.problem(span, Some(section.to_owned()), message));
            return;
        };
        for (field, key_span, item) in entries(table) {
            let path = format!("{section}.{field}");
            if known(&path).is_none() {
                self.problems.push(unknown(&path, |key, message| source.problem(key_span, Some(key), message)));
                continue;
            }
            let span = item.span().unwrap_or(key_span);
            match item.clone().into_value() {
                Ok(value) => {
                    self.set(&path, &value, source.origin(span.start), |problem| source.excerpt(problem, span))
                }
                Err(_) => {
                    let message = format!("{path}: expected one value, found a list of tables");
                    self.problems.push(source.problem(span, Some(path), message));
                }
            }
        }
    }

    fn env(&mut self, name: &str, value: &str) {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else { return };
        let path = rest.to_ascii_lowercase().replacen("__", ".", 1);
        self.text(&path, value, Origin::Env(name.to_owned()));
    }

    fn argument(&mut self, text: &str) {
        let origin = Origin::Set(text.to_owned());
        match text.split_once('=') {
            Some((path, value)) => self.text(path.trim(), value, origin),
            None => self.problems.push(Problem::new(origin, None, "expected section.key=value".to_owned())),
        }
    }

    /// A key given as plain text.
    fn text(&mut self, path: &str, text: &str, origin: Origin) {
        let Some(shape) = Key::parse(path).and_then(shape) else {
            self.problems.push(unknown(path, |key, message| Problem::new(origin, Some(key), message)));
            return;
        };
        match shape.parse(text) {
            Ok(value) => self.set(path, &value, origin, |problem| problem),
            Err(why) => self.problems.push(Problem::new(origin, Some(path.to_owned()), format!("{path}: {why}"))),
        }
    }

    fn set(&mut self, path: &str, value: &Value, origin: Origin, dress: impl FnOnce(Problem) -> Problem) {
        let (Some(key), Some(known)) = (Key::parse(path), known(path)) else { return };
        match self.config.set(key, value) {
            Ok(()) => {
                self.origins.insert(known, origin);
            }
            Err(why) => {
                self.problems.push(dress(Problem::new(origin, Some(path.to_owned()), format!("{path}: {why}"))));
            }
        }
    }

    /// Adds what only the whole shows, except about keys that are already known to be wrong.
    fn finish(mut self) -> Result<Loaded, ConfigError> {
        for finding in self.config.findings() {
            let known_wrong = |key: &&str| self.problems.iter().any(|problem| problem.key.as_deref() == Some(key));
            if finding.keys.iter().any(known_wrong) {
                continue;
            }
            // Shown where somebody set something: a default is not to blame.
            let blamed = finding.keys.iter().find(|key| self.origins.contains_key(*key)).or(finding.keys.first());
            let Some(blamed) = blamed else { continue };
            let origin = self.origins.get(blamed).cloned().unwrap_or(Origin::Default);
            self.problems.push(Problem::new(origin, Some((*blamed).to_owned()), finding.message));
        }
        ConfigError::unless_empty(self.problems)?;
        Ok(Loaded { config: self.config, origins: self.origins })
    }
}

/// The key's path as it is declared, if there is such a key.
fn known(path: &str) -> Option<&'static str> {
    keys().iter().map(|doc| doc.path).find(|known| *known == path)
}

fn unknown(path: &str, problem: impl FnOnce(String, String) -> Problem) -> Problem {
    problem(path.to_owned(), format!("unknown key `{path}`")).help(nearest(path).map(did_you_mean))
}

fn did_you_mean(known: &str) -> String {
    format!("did you mean `{known}`?")
}

/// A table's entries with the place of each key.
fn entries(table: &dyn TableLike) -> impl Iterator<Item = (&str, Range<usize>, &Item)> {
    table.iter().map(|(name, item)| {
        let span = table.key(name).and_then(toml_edit::Key::span).or_else(|| item.span());
        (name, span.unwrap_or(0..0), item)
    })
}

/// The file that is being read.
struct File<'a> {
    name: &'a str,
    text: Arc<str>,
}

impl File<'_> {
    fn origin(&self, at: usize) -> Origin {
        let (line, column) = line_and_column(&self.text, at);
        Origin::File { name: self.name.to_owned(), line, column }
    }

    fn problem(&self, span: Range<usize>, key: Option<String>, message: String) -> Problem {
        self.excerpt(Problem::new(self.origin(span.start), key, message), span)
    }

    fn excerpt(&self, problem: Problem, span: Range<usize>) -> Problem {
        problem.excerpt(self.name, &self.text, span)
    }
}

/// Line and column, both from 1, of a byte offset; the column counts characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
