//! What is generated or listed in two places is in step: documents, configuration keys, fuzz targets.

use super::{Finding, words::has_word};
use crate::docs;
use crate::source::{Source, Tree};
use anyhow::Result;

/// Where keys are declared; a mention there is no use.
const CONFIG_FOLDER: &str = "crates/base/config/";

pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let keys: Vec<&str> = portreeve_config::keys().iter().map(|doc| doc.path).collect();
    let mut found = generated(tree, &docs::all(tree)?);
    found.extend(unused_keys(tree, &keys));
    found.extend(fuzz_targets(tree));
    Ok(found)
}

fn generated(tree: &Tree, documents: &[docs::Generated]) -> Vec<Finding> {
    let in_step = |document: &&docs::Generated| {
        std::fs::read_to_string(tree.root.join(document.path)).is_ok_and(|text| text == document.text)
    };
    let stale = documents.iter().filter(|document| !in_step(document));
    stale
        .map(|document| Finding::whole(document.path, "generated", "not in step with the code: run `cargo xtask docs`"))
        .collect()
}

/// A key that nobody reads would promise what does not happen.
fn unused_keys(tree: &Tree, keys: &[&str]) -> Vec<Finding> {
    let readers: Vec<&Source> =
        tree.sources.iter().filter(|source| source.is_rust() && source.path.starts_with("crates/")).collect();
    let readers: Vec<&Source> = readers.into_iter().filter(|source| !source.path.starts_with(CONFIG_FOLDER)).collect();
    let is_read = |path: &str| {
        let field = path.split_once('.').map_or(path, |(_, field)| field);
        let access = format!(".{field}");
        readers
            .iter()
            .any(|source| source.code_lines().any(|(_, line)| line.contains(&access) && has_word(line, field)))
    };
    let unread = keys.iter().filter(|path| !is_read(path));
    let message = |path: &str| format!("nothing reads the key `{path}`: give it its effect, or remove it");
    unread.map(|path| Finding::whole(format!("{CONFIG_FOLDER}src/schema.rs"), "config", message(path))).collect()
}

/// A target has a function that its regression test calls too, and a corpus to begin with.
fn fuzz_targets(tree: &Tree) -> Vec<Finding> {
    let is_target = |source: &&Source| source.path.starts_with("fuzz/fuzz_targets/") && source.is_rust();
    let library: Vec<&Source> = tree.sources.iter().filter(|source| source.path.starts_with("fuzz/src/")).collect();
    let mut found = Vec::new();
    for source in tree.sources.iter().filter(is_target) {
        let file = source.path.rsplit('/').next().unwrap_or_default();
        let name = file.strip_suffix(".rs").unwrap_or(file);
        let corpus = format!("fuzz/corpus/{name}");
        let has_corpus = std::fs::read_dir(tree.root.join(&corpus)).is_ok_and(|mut entries| entries.next().is_some());
        if !has_corpus {
            found.push(Finding::whole(&source.path, "fuzz", format!("put a first input into {corpus}/")));
        }
        let function = format!("pub fn {name}(");
        if !library.iter().any(|source| source.code.contains(&function)) {
            found.push(Finding::whole(
                &source.path,
                "fuzz",
                format!("write `{function}…)` in fuzz/src, so that tests can call it"),
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sample;

    #[test]
    fn documents_out_of_step_are_found() {
        let document = || docs::Generated { path: "docs/A.md", text: "new\n".to_owned() };
        let count = |files: &[(&str, &str)]| {
            let (_folder, tree) = sample::tree(files);
            generated(&tree, &[document()]).len()
        };
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&[("docs/A.md", "old\n")]), 1);
        assert_eq!(count(&[("docs/A.md", "new\n")]), 0);
    }

    #[test]
    fn keys_that_only_their_declaration_or_a_test_mentions_are_found() {
        let (_folder, tree) = sample::tree(&[
            ("crates/base/config/src/schema.rs", "fn f() { c.unread; }"),
            (
                "crates/app/hub/src/a.rs",
                "fn f() { c.mqtt.read; c.unread_too; }\n#[cfg(test)]\nmod tests { fn f() { c.unread; } }",
            ),
        ]);
        let found = unused_keys(&tree, &["mqtt.read", "mqtt.unread"]);
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("`mqtt.unread`"));
    }

    #[test]
    fn fuzz_targets_need_function_and_corpus() {
        let target = ("fuzz/fuzz_targets/topic.rs", "");
        let library = ("fuzz/src/lib.rs", "pub fn topic(data: &[u8]) {}");
        let corpus = ("fuzz/corpus/topic/one", "a/b");
        let count = |files: &[(&str, &str)]| {
            let (_folder, tree) = sample::tree(files);
            fuzz_targets(&tree).len()
        };
        assert_eq!(count(&[target]), 2);
        assert_eq!(count(&[target, library]), 1);
        assert_eq!(count(&[target, library, corpus]), 0);
    }
}
