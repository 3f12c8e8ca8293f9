//! Every crate takes the workspace's lints, which forbid unsafe code.

use super::Finding;
use crate::source::{Package, Tree};

const RULE: &str = "lints";

/// Crates with lints of their own, and why.
const OWN_LINTS: [(&str, &str); 0] = [];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    let workspace =
        crate::source::read(&tree.root.join("Cargo.toml")).ok().and_then(|text| text.parse::<toml::Table>().ok());
    let level = workspace
        .as_ref()
        .and_then(|table| table.get("workspace")?.get("lints")?.get("rust")?.get("unsafe_code")?.as_str());
    if level != Some("forbid") {
        found.push(Finding::whole("Cargo.toml", RULE, "[workspace.lints.rust] must say unsafe_code = \"forbid\""));
    }
    for package in tree.packages.iter().filter(|package| !inherits(package)) {
        if OWN_LINTS.iter().all(|(folder, _)| *folder != package.folder) {
            let message =
                "add `[lints]` with `workspace = true`, or list the crate in xtask/src/tidy/lints.rs with a reason";
            found.push(Finding::whole(package.manifest_path(), RULE, message));
        }
    }
    found
}

fn inherits(package: &Package) -> bool {
    let lints = package.manifest.get("lints").and_then(|lints| lints.get("workspace"));
    lints.and_then(toml::Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::source::sample;

    #[test]
    fn missing_inheritance_and_weak_workspace_are_found() {
        let strict = ("Cargo.toml", "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n");
        let weak = ("Cargo.toml", "[workspace.lints.rust]\nunsafe_code = \"warn\"\n");
        let good = ("crates/base/a/Cargo.toml", "[lints]\nworkspace = true\n");
        let bad = ("crates/base/b/Cargo.toml", "[package]\nname = \"b\"\n");
        let count = |files: &[(&str, &str)]| check(&sample::tree(files).1).len();
        assert_eq!(count(&[strict, good]), 0);
        assert_eq!(count(&[strict, good, bad]), 1);
        assert_eq!(count(&[weak, good]), 1);
        assert_eq!(count(&[good]), 1);
    }
}
