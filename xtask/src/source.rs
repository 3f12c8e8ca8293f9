//! The work tree as the rules see it: crates with their layers, and sources with what is code and what is test.

use crate::mask::{self, Masked};
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where sources are looked for.
const SOURCE_FOLDERS: [&str; 4] = ["crates", "fuzz", "tests", "xtask"];

/// Folders that hold no sources of ours.
const NOT_SOURCES: [&str; 6] = ["target", ".venv", "__pycache__", "corpus", "artifacts", "node_modules"];

/// The work tree.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) packages: Vec<Package>,
    pub(crate) sources: Vec<Source>,
}

/// A crate: its folder from the root (`crates/base/types`) and its manifest.
pub(crate) struct Package {
    pub(crate) folder: String,
    pub(crate) manifest: toml::Table,
}

impl Package {
    /// `base` for `crates/base/types`; `None` for what stands beside the layers (tests, fuzz, xtask).
    pub(crate) fn layer(&self) -> Option<&str> {
        self.folder.strip_prefix("crates/")?.split('/').next()
    }

    /// `base/types` for `crates/base/types`.
    pub(crate) fn short(&self) -> &str {
        self.folder.strip_prefix("crates/").unwrap_or(&self.folder)
    }

    pub(crate) fn name(&self) -> &str {
        let package = self.manifest.get("package").and_then(toml::Value::as_table);
        package.and_then(|package| package.get("name")).and_then(toml::Value::as_str).unwrap_or(&self.folder)
    }

    pub(crate) fn manifest_path(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }
}

/// One source file.
pub(crate) struct Source {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// For Rust, with comments and strings blanked; otherwise as it is.
    pub(crate) code: String,
    /// For Rust, with everything but comments blanked; otherwise as it is.
    pub(crate) comments: String,
    is_test_line: Vec<bool>,
    is_test_file: bool,
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let is_rust = path.ends_with(".rs");
        let Masked { code, comments } =
            if is_rust { mask::masked(&text) } else { Masked { code: text.clone(), comments: text.clone() } };
        let is_test_line = if is_rust { mask::test_lines(&code) } else { Vec::new() };
        let is_test_file = is_test_path(&path);
        Self { path, text, code, comments, is_test_line, is_test_file }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the line, counted from 0, is only there for tests.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.is_test_file || self.is_test_line.get(line).copied().unwrap_or(false)
    }

    /// Lines of code outside tests, counted from 0.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().filter(|(line, _)| !self.is_test(*line))
    }

    /// The paths that `#[cfg(test)] mod name;` in this file may stand for.
    fn test_modules(&self) -> Vec<String> {
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let module_folder =
            if ["/lib", "/main", "/mod"].iter().any(|root| stem.ends_with(root)) { folder } else { stem };
        let lines = self.code.lines().zip(&self.is_test_line).filter(|(_, test)| **test);
        let names =
            lines.filter_map(|(line, _)| line.trim().strip_suffix(';')?.rsplit_once("mod ").map(|(_, name)| name));
        names
            .flat_map(|name| [format!("{module_folder}/{name}.rs"), format!("{module_folder}/{name}/mod.rs")])
            .collect()
    }
}

fn is_test_path(path: &str) -> bool {
    let in_test_folder = path.split('/').any(|part| ["tests", "fuzz", "benches", "examples"].contains(&part));
    in_test_folder || path.ends_with("_test.py") || path.ends_with("/tests.rs")
}

impl Tree {
    /// Reads the tree below `root`.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self { root: root.to_owned(), packages: Vec::new(), sources: Vec::new() };
        for folder in SOURCE_FOLDERS {
            tree.read_folder(&root.join(folder))?;
        }
        let test_modules: BTreeSet<String> = tree.sources.iter().flat_map(Source::test_modules).collect();
        for source in &mut tree.sources {
            source.is_test_file |= test_modules.contains(&source.path);
        }
        tree.packages.sort_by(|a, b| a.folder.cmp(&b.folder));
        tree.sources.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
        for entry in entries {
            let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !NOT_SOURCES.contains(&name) {
                self.read_folder(&path)?;
            } else if name == "Cargo.toml" {
                self.read_manifest(&path)?;
            } else if [".rs", ".py", ".sh"].iter().any(|end| name.ends_with(end)) || path.ends_with("tests/run-interop")
            {
                self.sources.push(Source::new(self.relative(&path), read(&path)?));
            }
        }
        Ok(())
    }

    fn read_manifest(&mut self, path: &Path) -> Result<()> {
        let manifest = read(path)?.parse().with_context(|| path.display().to_string())?;
        let folder = path.parent().map(|folder| self.relative(folder)).unwrap_or_default();
        self.packages.push(Package { folder, manifest });
        Ok(())
    }

    fn relative(&self, path: &Path) -> String {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        relative.to_string_lossy().replace('\\', "/")
    }

    /// The crate that a file belongs to.
    pub(crate) fn package_of(&self, source: &Source) -> Option<&Package> {
        let inside =
            |package: &&Package| source.path.strip_prefix(&package.folder).is_some_and(|rest| rest.starts_with('/'));
        self.packages.iter().filter(inside).max_by_key(|package| package.folder.len())
    }
}

/// Reads a file, naming it if that fails.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
pub(crate) mod sample {
    //! A small tree for the rules' own tests.

    use super::Tree;
    use std::path::Path;

    /// A tree of the given files in a temporary folder, read.
    pub(crate) fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            write(folder.path(), path, text);
        }
        let tree = Tree::read(folder.path()).unwrap();
        (folder, tree)
    }

    /// One more file.
    pub(crate) fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_layers_and_tests() {
        let (_folder, tree) = sample::tree(&[
            ("crates/core/mqtt/Cargo.toml", "[package]\nname = \"m\"\n"),
            ("crates/core/mqtt/src/lib.rs", "#[cfg(test)]\nmod far;\nfn code() {}\n"),
            ("crates/core/mqtt/src/far.rs", "fn test() {}\n"),
            ("crates/core/mqtt/tests/t.rs", "fn test() {}\n"),
            ("crates/core/mqtt/target/x.rs", "not ours"),
            ("tests/run_test.py", "pass\n"),
        ]);
        let package = &tree.packages[0];
        assert_eq!((package.layer(), package.short(), package.name()), (Some("core"), "core/mqtt", "m"));
        let paths: Vec<&str> = tree.sources.iter().map(|source| source.path.as_str()).collect();
        let root = "crates/core/mqtt";
        assert_eq!(
            paths,
            [
                &format!("{root}/src/far.rs"),
                &format!("{root}/src/lib.rs"),
                &format!("{root}/tests/t.rs"),
                "tests/run_test.py"
            ]
        );
        let code: Vec<Vec<usize>> =
            tree.sources.iter().map(|source| source.code_lines().map(|(at, _)| at).collect()).collect();
        assert_eq!(code, [vec![], vec![2], vec![], vec![]]);
        assert_eq!(tree.package_of(&tree.sources[0]).unwrap().short(), "core/mqtt");
        assert!(tree.package_of(&tree.sources[3]).is_none());
    }
}
