//! `portreeve catalogue`.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use portreeve_assurance::{Catalogue, Check, CheckId, Framework, Requirement, RequirementId, Selection, rule};
use serde_json::json;

use crate::{
    cli::{Global, Output},
    failure::Failure,
    output::{list, say, say_json, table},
};

/// Longest words that a table shows of a row, characters.
const ASKS_CHARS_MAX: usize = 90;

#[derive(Debug, Subcommand)]
pub(crate) enum CatalogueCommand {
    /// Requirements, in the order of their frameworks
    #[command(
        after_help = "Examples:\n  portreeve catalogue list --framework isvs --level 2\n  portreeve catalogue list --framework iotsf --class 1 --output json"
    )]
    List {
        #[command(flatten)]
        which: Which,
    },
    /// A requirement, or a check, with everything that is known of it
    #[command(
        after_help = "Examples:\n  portreeve catalogue show ISVS-4.2.2\n  portreeve catalogue show tls.versions\n  portreeve catalogue show ISVS1.0:4.1.5      the rows that another edition or document calls so"
    )]
    Show {
        /// Its name
        id: String,
    },
    /// Requirements in which every one of these words stands
    #[command(after_help = "Example:\n  portreeve catalogue search mqtt certificate")]
    Search {
        /// The words
        #[arg(required = true, value_name = "TEXT")]
        words: Vec<String>,
        #[command(flatten)]
        which: Which,
    },
}

/// Which rows.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Only of this framework: isvs, iotsf, iiita, csa, glossary; may be repeated
    #[arg(long, value_name = "NAME")]
    framework: Vec<Framework>,
    /// Of ISVS only what this level asks: 1 to 3
    #[arg(long)]
    level: Option<u8>,
    /// Of IoTSF only what applies to this class: 0 to 4
    #[arg(long)]
    class: Option<u8>,
}

impl Which {
    /// What these arguments select.
    pub(crate) fn selection(&self) -> Result<Selection, Failure> {
        let frameworks: BTreeSet<Framework> = self.framework.iter().copied().collect();
        let selection = Selection { frameworks, level: self.level, class: self.class };
        selection.checked().map_err(|error| Failure::Usage(error.to_string()))
    }

    fn rows(&self) -> Result<Vec<&'static Requirement>, Failure> {
        Ok(Catalogue::embedded().select(&self.selection()?))
    }
}

pub(crate) fn run(global: &Global, command: CatalogueCommand) -> Result<(), Failure> {
    match command {
        CatalogueCommand::List { which } => show_rows(global, &which.rows()?),
        CatalogueCommand::Search { words, which } => {
            let words = words.join(" ");
            let found: Vec<_> = which.rows()?.into_iter().filter(|row| Catalogue::mentions(row, &words)).collect();
            show_rows(global, &found)
        }
        CatalogueCommand::Show { id } => show(global, &id),
    }
}

fn show_rows(global: &Global, rows: &[&Requirement]) -> Result<(), Failure> {
    if global.output == Output::Json {
        return say_json(&json!(rows));
    }
    let cells = |row: &&Requirement| {
        vec![row.id.to_string(), row.scope.to_string(), row.kind.as_str().to_owned(), shortened(&row.paraphrase)]
    };
    say(&table(&["ID", "APPLIES", "KIND", "ASKS"], &rows.iter().map(cells).collect::<Vec<_>>()))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(ASKS_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text[..at].trim_end()),
        None => text.to_owned(),
    }
}

fn show(global: &Global, id: &str) -> Result<(), Failure> {
    let catalogue = Catalogue::embedded();
    if let Some(check) = id.parse().ok().and_then(|id| catalogue.check(&id)) {
        return show_check(global, check);
    }
    if let Some(row) = id.parse::<RequirementId>().ok().and_then(|id| catalogue.requirement(&id)) {
        return show_row(global, row);
    }
    match catalogue.referenced_as(id).as_slice() {
        [] => Err(Failure::Usage(format!(
            "there is no requirement and no check `{id}`; `portreeve catalogue list` and `search` show what there is"
        ))),
        [row] => show_row(global, row),
        rows => show_rows(global, rows),
    }
}

fn show_row(global: &Global, row: &Requirement) -> Result<(), Failure> {
    if global.output == Output::Json {
        return say_json(&json!(row));
    }
    let kind = match row.secondary {
        Some(secondary) => format!("{}, then {}", row.kind.as_str(), secondary.as_str()),
        None => row.kind.as_str().to_owned(),
    };
    let ids = |ids: &BTreeSet<RequirementId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut pairs = vec![
        ("requirement", row.id.to_string()),
        ("framework", row.id.framework().title().to_owned()),
        ("applies", row.scope.to_string()),
        ("asks", row.paraphrase.clone()),
        ("of", row.subject.clone()),
        ("kind", kind),
        ("automation", row.automation.as_str().to_owned()),
        ("the hub", row.mechanism.clone()),
        ("decided by", row.decision.clone()),
        ("evidence", row.evidence.clone()),
        ("the same", ids(&row.maps_to)),
        ("close", ids(&row.related)),
        ("elsewhere", row.references.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        ("concepts", row.concepts.join(", ")),
    ];
    pairs.retain(|(_, value)| !value.is_empty());
    let checks = row.checks.iter().filter_map(|id| Catalogue::embedded().check(id));
    let checks =
        checks.map(|check| vec![check.id.to_string(), check.class.as_str().to_owned(), check.passes_when.clone()]);
    let checks = table(&["CHECK", "CLASS", "PASSES WHEN"], &checks.collect::<Vec<_>>());
    let asked = |(check, questions): (&CheckId, &Vec<String>)| {
        questions.iter().map(|question| vec![check.to_string(), question.clone()]).collect::<Vec<_>>()
    };
    let asked: Vec<_> = row.questions.iter().flat_map(asked).collect();
    let asked = if asked.is_empty() { String::new() } else { table(&["RECORD", "HAS TO ANSWER"], &asked) };
    say(&format!("{}\n{checks}\n{asked}", list(&pairs)))
}

fn show_check(global: &Global, check: &Check) -> Result<(), Failure> {
    if global.output == Output::Json {
        let mut value = json!(check);
        value["has_rule"] = json!(rule(check.id.as_str()).is_some());
        return say_json(&value);
    }
    let made = if rule(check.id.as_str()).is_some() { "yes" } else { "not by this version: reports say not-tested" };
    let pairs = [
        ("check", format!("{}, version {}", check.id, check.version)),
        ("made", made.to_owned()),
        ("method", check.method.as_str().to_owned()),
        ("class", check.class.as_str().to_owned()),
        ("does", check.does.clone()),
        ("passes when", check.passes_when.clone()),
        ("needs", check.needs.clone()),
        ("decides", check.used_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    ];
    say(&list(&pairs))
}
