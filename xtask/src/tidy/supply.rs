//! What others made: licences and known-bad versions, by the lists in `deny.toml`.
//!
//! `cargo deny` reads the same file and does more; this needs nothing but cargo, so it always runs. A crate that is banned may come
//! through one of its `wrappers` as long as it is not part of the shipped program.

use super::Finding;
use crate::source::read;
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const DENY: &str = "deny.toml";

/// The program that people run.
const SHIPPED: &str = "portreeve";

/// What is shipped for; others bring crates that are never built.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

pub(crate) fn check(root: &Path) -> Result<Vec<Finding>> {
    let deny: Deny = toml::from_str(&read(&root.join(DENY))?).context(DENY)?;
    let metadata = cargo(root, &["metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM])?;
    let tree =
        ["tree", "--locked", "--package", SHIPPED, "--edges", "normal", "--prefix", "none", "--target", PLATFORM];
    let shipped = String::from_utf8(cargo(root, &tree)?)?;
    judge(&deny, &serde_json::from_slice(&metadata).context("cargo metadata")?, &named_versions(&shipped))
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).args(arguments).current_dir(root).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// `name 1.2.3` for each line of `cargo tree` (`name v1.2.3 …`). The tree knows which optional features are really on; the
/// metadata lists a crate that only a weak feature mentions.
fn named_versions(tree: &str) -> BTreeSet<String> {
    let words = tree.lines().map(|line| line.split_whitespace().take(2));
    words
        .map(|mut words| (words.next(), words.next()))
        .filter_map(|(name, version)| Some(format!("{} {}", name?, version?.strip_prefix('v')?)))
        .collect()
}

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    /// `name` or `name:<1.2.3`.
    #[serde(rename = "crate")]
    spec: String,
    #[serde(default)]
    wrappers: BTreeSet<String>,
    reason: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Foreign>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Foreign {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

/// `shipped` is what the program is made from, as `name version`.
fn judge(deny: &Deny, metadata: &Metadata, shipped: &BTreeSet<String>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for package in &metadata.packages {
        let named = format!("{} {}", package.name, package.version);
        // Our own crates have no source.
        if package.source.is_some()
            && !package.license.as_deref().is_some_and(|text| is_allowed(text, &deny.licenses.allow))
        {
            let license = package.license.as_deref().unwrap_or("none stated");
            found.push(Finding::whole(
                DENY,
                "licence",
                format!("{named}: `{license}` is not allowed; use another crate"),
            ));
        }
        for ban in &deny.bans.deny {
            let (name, requirement) = ban.spec.split_once(':').unwrap_or((&ban.spec, ""));
            if name != package.name || !is_met(&package.version, requirement)? {
                continue;
            }
            let users = users(metadata, &package.id);
            let is_wrapped = !users.is_empty() && users.iter().all(|user| ban.wrappers.contains(*user));
            if shipped.contains(&named) || !is_wrapped {
                let users: Vec<&str> = users.into_iter().collect();
                found.push(Finding::whole(
                    DENY,
                    "banned",
                    format!("{named}, used by {}: {}", users.join(", "), ban.reason),
                ));
            }
        }
    }
    Ok(found)
}

/// The names of the packages that use this one directly.
fn users<'a>(metadata: &'a Metadata, id: &str) -> BTreeSet<&'a str> {
    let uses = |node: &&Node| node.dependencies.iter().any(|dependency| dependency == id);
    let nodes: BTreeSet<&str> = metadata.resolve.nodes.iter().filter(uses).map(|node| node.id.as_str()).collect();
    let packages = metadata.packages.iter().filter(|package| nodes.contains(package.id.as_str()));
    packages.map(|package| package.name.as_str()).collect()
}

/// Whether an SPDX expression can be met with allowed licences. `/` is how older crates wrote `OR`; `AND` binds more tightly, and
/// brackets hold alternatives.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    any_of(&mut words, allowed) && words.is_empty()
}

/// Words are taken from the end of the list, which is the expression's beginning.
fn any_of(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut met = all_of(words, allowed);
    while words.last() == Some(&"OR") {
        words.pop();
        met |= all_of(words, allowed);
    }
    met
}

fn all_of(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, allowed);
    while words.last() == Some(&"AND") {
        words.pop();
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let Some(word) = words.pop() else { return false };
    if word == "(" {
        let met = any_of(words, allowed);
        return words.pop() == Some(")") && met;
    }
    if words.last() == Some(&"WITH") {
        words.pop();
        let exception = words.pop().unwrap_or_default();
        return allowed.contains(&format!("{word} WITH {exception}"));
    }
    allowed.contains(word)
}

/// Whether a version meets `<1.2.3`, or anything if the requirement is empty.
fn is_met(version: &str, requirement: &str) -> Result<bool> {
    if requirement.is_empty() {
        return Ok(true);
    }
    let floor =
        requirement.strip_prefix('<').with_context(|| format!("{DENY}: `{requirement}`: only <X.Y.Z is understood"))?;
    Ok(numbers(version)? < numbers(floor)?)
}

/// `1.2.3-rc.1+x` as numbers; a pre-release sorts with its release, which errs on the lenient side by one step.
fn numbers(version: &str) -> Result<Vec<u64>> {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    release.split('.').map(|part| part.parse().with_context(|| format!("`{version}` is not a version"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> BTreeSet<String> {
        ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"].map(str::to_owned).into()
    }

    #[test]
    fn licence_expressions() {
        let can = |expression| is_allowed(expression, &allowed());
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/GPL-2.0",
            "(MIT OR GPL-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(can(good), "{good}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "GPL-3.0 WITH LLVM-exception",
            "(MIT",
            "MIT MIT",
            "",
            "MIT AND",
            "GPL-2.0 OR (MIT AND GPL-3.0)",
        ] {
            assert!(!can(bad), "{bad}");
        }
    }

    #[test]
    fn version_floors() {
        assert!(is_met("0.102.8", "<0.103.13").unwrap() && is_met("0.103.9", "<0.103.13").unwrap());
        assert!(!is_met("0.103.13", "<0.103.13").unwrap() && !is_met("0.104.0", "<0.103.13").unwrap());
        assert!(is_met("1.0.0", "").unwrap());
        assert!(is_met("1.0.0", ">=1").is_err());
    }

    fn metadata(license: &str, user: &str) -> Metadata {
        let text = format!(
            r#"{{"packages": [
                {{"id": "u", "name": "{user}", "version": "1.0.0", "license": "MIT", "source": "registry"}},
                {{"id": "r", "name": "ring", "version": "0.17.0", "license": "{license}", "source": "registry"}}],
              "resolve": {{"nodes": [{{"id": "u", "dependencies": ["r"]}}, {{"id": "r", "dependencies": []}}]}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn rules(metadata: &Metadata, tree: &str) -> Vec<&'static str> {
        let text = "[licenses]\nallow = ['MIT']\n[bans]\ndeny = [{ crate = 'ring', wrappers = ['tester'], reason = 'one provider' }]";
        let found = judge(&toml::from_str(text).unwrap(), metadata, &named_versions(tree)).unwrap();
        found.into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_banned_crate_may_come_through_its_wrapper_but_not_into_the_program() {
        let tree = "portreeve v0.1.0 (/somewhere)\nother v1.0.0 (*)\n";
        assert_eq!(rules(&metadata("MIT", "tester"), tree), Vec::<&str>::new());
        assert_eq!(rules(&metadata("MIT", "other"), tree), ["banned"]);
        assert_eq!(rules(&metadata("MIT", "tester"), "portreeve v0.1.0\nring v0.17.0\n"), ["banned"]);
        assert_eq!(rules(&metadata("GPL-3.0", "tester"), tree), ["licence"]);
    }
}
