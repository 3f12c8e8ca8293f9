//! The layer graph: base < core < port < app < edge < bin, and arrows only point down.

use super::Finding;
use crate::source::{Package, Tree};
use std::collections::BTreeMap;

const RULE: &str = "layers";

/// From the bottom up.
const LAYERS: [&str; 6] = ["base", "core", "port", "app", "edge", "bin"];

/// Arrows inside a layer that are meant: from, to (`*` is any crate of the layer), why.
const SIDEWAYS: [(&str, &str, &str); 3] = [
    ("base/*", "base/types", "the shared values stand below everything, the rest of base included"),
    ("core/intake", "core/assurance", "files of others become the facts that assurance judges"),
    ("edge/http-server", "edge/mqtt-server", "MQTT over WebSocket runs the same session as MQTT over TCP"),
];

/// Crates that would bring the outside world into `core`.
const NOT_IN_CORE: [&str; 9] =
    ["tokio", "tokio-util", "mio", "socket2", "rustix", "rand", "getrandom", "tracing-subscriber", "hyper"];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let by_name: BTreeMap<&str, &Package> = tree.packages.iter().map(|package| (package.name(), package)).collect();
    let mut found = Vec::new();
    for package in &tree.packages {
        let Some(layer) = package.layer() else { continue };
        if !LAYERS.contains(&layer) {
            found.push(Finding::whole(
                package.manifest_path(),
                RULE,
                format!("`{layer}` is no layer; they are {}", LAYERS.join(", ")),
            ));
            continue;
        }
        for (dependency, is_dev) in dependencies(package) {
            found.extend(by_name.get(dependency.as_str()).and_then(|target| arrow(package, target)));
            if layer == "core" && !is_dev && NOT_IN_CORE.contains(&dependency.as_str()) {
                let message = format!(
                    "core is sans-I/O and cannot depend on `{dependency}`: take time, bytes and entropy as arguments"
                );
                found.push(Finding::whole(package.manifest_path(), RULE, message));
            }
        }
    }
    found
}

/// What is wrong with an arrow between two of our crates.
fn arrow(from: &Package, to: &Package) -> Option<Finding> {
    let height = |layer: &str| LAYERS.iter().position(|known| *known == layer);
    let problem = |message| Some(Finding::whole(from.manifest_path(), RULE, message));
    let from_layer = from.layer()?;
    let Some(to_layer) = to.layer() else {
        return problem(format!("`{}` is for tests and chores: nothing under crates/ may depend on it", to.folder));
    };
    if height(to_layer) < height(from_layer) || is_meant(from, to) {
        return None;
    }
    problem(format!(
        "{} cannot depend on {}: arrows point down, {}. Move the shared part down, or turn the arrow round with a trait",
        from.short(),
        to.short(),
        LAYERS.join(" < ")
    ))
}

fn is_meant(from: &Package, to: &Package) -> bool {
    let matches = |pattern: &str, package: &Package| match pattern.strip_suffix("/*") {
        Some(layer) => package.layer() == Some(layer),
        None => package.short() == pattern,
    };
    SIDEWAYS.iter().any(|(meant_from, meant_to, _)| matches(meant_from, from) && matches(meant_to, to))
}

/// Every dependency's package name, and whether it is only for tests.
fn dependencies(package: &Package) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let targets = package.manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flat_map(|targets| targets.values()).filter_map(toml::Value::as_table);
    for table in tables.chain([&package.manifest]) {
        for (section, is_dev) in [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)] {
            let entries = table.get(section).and_then(toml::Value::as_table);
            found.extend(entries.into_iter().flatten().map(|(key, value)| (package_name(key, value), is_dev)));
        }
    }
    found
}

/// A dependency may be renamed.
fn package_name(key: &str, value: &toml::Value) -> String {
    let renamed = value.as_table().and_then(|table| table.get("package")).and_then(toml::Value::as_str);
    renamed.unwrap_or(key).to_owned()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::source::sample;

    fn findings(crates: &[(&str, &str)]) -> Vec<String> {
        let manifest = |(folder, rest): &(&str, &str)| {
            let name = folder.replace("crates/", "").replace('/', "-");
            (format!("{folder}/Cargo.toml"), format!("[package]\nname = \"{name}\"\n{rest}\n"))
        };
        let files: Vec<(String, String)> = crates.iter().map(manifest).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let (_folder, tree) = sample::tree(&files);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn down_and_meant_sideways_is_fine() {
        let found = findings(&[
            ("crates/base/types", ""),
            ("crates/base/tls", "[dependencies]\nbase-types.workspace = true"),
            ("crates/core/mqtt", "[dependencies]\nbase-types = { path = \"x\" }\n[dev-dependencies]\ntokio = \"1\""),
            ("crates/edge/mqtt-server", "[dependencies]\ncore-mqtt.workspace = true\ntokio = \"1\""),
            ("crates/edge/http-server", "[dependencies]\nedge-mqtt-server.workspace = true"),
            ("fuzz", "[dependencies]\nedge-mqtt-server.workspace = true"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn up_and_sideways_is_found_also_for_tests_and_under_another_name() {
        let found = findings(&[
            ("crates/base/types", "[dependencies]\ncore-mqtt.workspace = true"),
            ("crates/core/mqtt", "[dev-dependencies]\napp-hub.workspace = true"),
            ("crates/core/pki", "[dependencies]\nother = { package = \"core-mqtt\", path = \"x\" }"),
            ("crates/app/hub", "[target.'cfg(unix)'.dependencies]\nedge-x.workspace = true"),
            ("crates/edge/x", ""),
        ]);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(
            found[0].starts_with("crates/app/hub/Cargo.toml: layers: app/hub cannot depend on edge/x"),
            "{found:?}"
        );
    }

    #[test]
    fn the_world_stays_out_of_core_and_tests_out_of_crates() {
        let found = findings(&[
            ("crates/core/mqtt", "[dependencies]\ntokio.workspace = true\nxtask.workspace = true"),
            ("crates/middle/x", ""),
            ("xtask", ""),
        ]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found.iter().any(|line| line.contains("sans-I/O")) && found.iter().any(|line| line.contains("is no layer"))
        );
    }
}
