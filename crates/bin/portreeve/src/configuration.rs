//! `portreeve config`.

use portreeve_config::{KeyDoc, Loaded, Sources, explain, keys, load};
use serde_json::{Value, json};

use crate::{
    cli::{ConfigCommand, Global, Output},
    failure::Failure,
    output::{list, say, say_json, table},
};

pub(crate) fn run(global: &Global, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check => check(global),
        ConfigCommand::Show => show(global),
        ConfigCommand::Explain { key: Some(key) } => explain_one(global, &key),
        ConfigCommand::Explain { key: None } => explain_all(global),
    }
}

fn loaded(global: &Global) -> Result<Loaded, Failure> {
    Ok(load(&Sources::gather(global.config.as_deref(), global.set.clone())?)?)
}

fn check(global: &Global) -> Result<(), Failure> {
    let set = loaded(global)?.show().iter().filter(|row| row.origin != portreeve_config::Origin::Default).count();
    match global.output {
        Output::Json => say_json(&json!({ "valid": true, "keys_set": set })),
        Output::Table => say(&format!("the configuration is valid; it sets {set} of {} keys", keys().len())),
    }
}

fn show(global: &Global) -> Result<(), Failure> {
    let rows = loaded(global)?.show();
    if global.output == Output::Json {
        let row = |row: &portreeve_config::Shown| json!({ "key": row.path, "value": row.value, "origin": row.origin.to_string() });
        return say_json(&rows.iter().map(row).collect::<Value>());
    }
    let rows: Vec<_> =
        rows.iter().map(|row| vec![row.path.to_owned(), row.value.clone(), row.origin.to_string()]).collect();
    say(&table(&["KEY", "VALUE", "ORIGIN"], &rows))
}

fn explain_one(global: &Global, key: &str) -> Result<(), Failure> {
    let Some(doc) = explain(key) else {
        return Err(Failure::Usage(format!("there is no key `{key}`; `portreeve config explain` lists all")));
    };
    if global.output == Output::Json {
        return say_json(&as_json(doc));
    }
    let mut pairs = vec![
        ("key", doc.path.to_owned()),
        ("value", format!("{} ({})", doc.type_name, doc.unit)),
        ("default", doc.default.clone()),
        ("range", doc.range_text()),
        ("applies", doc.applies_text().to_owned()),
        ("variable", doc.env()),
    ];
    if let Some(stem) = doc.metric {
        pairs.push(("metrics", format!("{stem}_limit, {stem}_used")));
    }
    pairs.retain(|(_, value)| !value.is_empty());
    say(&format!("{}\n{}", list(&pairs), doc.text))
}

fn explain_all(global: &Global) -> Result<(), Failure> {
    if global.output == Output::Json {
        return say_json(&keys().iter().map(as_json).collect::<Value>());
    }
    let first_sentence = |doc: &KeyDoc| doc.text.split_inclusive(". ").next().unwrap_or_default().trim().to_owned();
    let rows: Vec<_> = keys().iter().map(|doc| vec![doc.path.to_owned(), first_sentence(doc)]).collect();
    say(&table(&["KEY", "MEANING"], &rows))
}

fn as_json(doc: &KeyDoc) -> Value {
    json!({
        "key": doc.path,
        "type": doc.type_name,
        "unit": doc.unit,
        "default": doc.default,
        "range": doc.range,
        "applies": doc.applies_text(),
        "variable": doc.env(),
        "metric": doc.metric,
        "text": doc.text,
    })
}
