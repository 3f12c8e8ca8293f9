//! Invariants as tests: each rule reads the tree and returns what breaks it.

mod layers;
mod lints;
mod references;
mod supply;
mod words;

use crate::source::Tree;
use anyhow::Result;
use std::fmt;
use std::path::Path;

/// Something that breaks a rule, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    /// From 1; `None` if it concerns the whole file.
    line: Option<usize>,
    rule: &'static str,
    message: String,
}

impl Finding {
    fn whole(path: impl Into<String>, rule: &'static str, message: impl Into<String>) -> Self {
        Self { path: path.into(), line: None, rule, message: message.into() }
    }

    /// `line` counts from 0.
    fn at(path: impl Into<String>, line: usize, rule: &'static str, message: impl Into<String>) -> Self {
        Self { line: Some(line + 1), ..Self::whole(path, rule, message) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.map_or_else(String::new, |line| format!(":{line}"));
        write!(f, "{}{line}: {}: {}", self.path, self.rule, self.message)
    }
}

/// Checks everything and prints what is wrong; whether nothing is.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let tree = Tree::read(root)?;
    let mut findings = layers::check(&tree);
    findings.extend(words::check(&tree));
    findings.extend(lints::check(&tree));
    findings.extend(references::check(&tree)?);
    findings.extend(supply::check(root)?);
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for finding in &findings {
        println!("{finding}");
    }
    let (files, crates) = (tree.sources.len(), tree.packages.len());
    println!("tidy: {files} files in {crates} crates, {} findings", findings.len());
    Ok(findings.is_empty())
}
