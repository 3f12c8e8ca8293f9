//! Which requirement rows are cited where: in code, in tests, or not yet and why.
//!
//! A row is named by framework and id (`ISVS-4.2.2`, `CSA-COM-04`). A comment that names one cites it; in a string of Rust an id is data.
//! A row is *done* when code and a test of the side that it asks for cite it: of the hub, for what a hub is to enforce; of the auditor, who
//! can pass each of its checks, for all else. That the auditor would notice does not make the hub do it, what the hub does says nothing
//! about a device or about people, and a row with a check that nothing can pass never passes: such rows are done *in part*, and so are
//! those that `xtask/exceptions.toml` lists as `part`, where a reader found that what is cited does not go all the way. What is not cited at
//! all needs an entry in `xtask/exceptions.toml`, which names the capability it waits for; an entry for a row that is done is stale.

use crate::demands::{Demand, Sides, demands};
use crate::source::{Source, Tree, read};
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const EXCEPTIONS: &str = "xtask/exceptions.toml";

/// Sources to which rows are data, and to speak of one is not to meet it.
const NOT_CITATIONS: [&str; 10] = [
    "xtask/",
    "crates/app/hub/src/attestations/record.rs",
    "crates/core/assurance/src/catalogue/",
    "crates/core/assurance/src/engine",
    "crates/core/assurance/src/report/",
    "crates/core/assurance/src/evidence/statement.rs",
    "crates/bin/portreeve/src/attest.rs",
    "crates/bin/portreeve/src/catalogue.rs",
    "crates/bin/portreeve/tests/cli/catalogue.rs",
    "crates/bin/portreeve/tests/cli/report.rs",
];

/// What to print, and whether to drop stale exceptions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    json: bool,
    summary: bool,
    prune: bool,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--summary" => options.summary = true,
                "--prune" => options.prune = true,
                "--output" => match words.next() {
                    Some(&"json") => options.json = true,
                    Some(&"table") => options.json = false,
                    _ => bail!("--output takes table or json"),
                },
                other => bail!("trace does not know `{other}`"),
            }
        }
        Ok(options)
    }
}

/// Prints the trace; whether it has no problems.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    let exceptions = Exceptions::parse(&read(&root.join(EXCEPTIONS))?)?;
    let mut trace = Trace::new(&demands(root)?, &exceptions, &Tree::read(root)?);
    if options.prune {
        let text = exceptions.without(&trace.done())?;
        std::fs::write(root.join(EXCEPTIONS), &text).context(EXCEPTIONS)?;
        trace.problems.retain(|problem| problem.kind != ProblemKind::StaleException);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&trace)?);
        return Ok(trace.problems.is_empty());
    }
    if !options.summary {
        trace.print_rows();
    }
    trace.print_summary();
    Ok(trace.problems.is_empty())
}

/// What cites each row, in the catalogue's order.
pub(crate) fn rows(tree: &Tree) -> Result<Vec<Row>> {
    let exceptions = Exceptions::parse(&read(&tree.root.join(EXCEPTIONS))?)?;
    Ok(Trace::new(&demands(&tree.root)?, &exceptions, tree).rows)
}

/// Rows that are not cited yet, by the capability they wait for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    #[serde(default)]
    planned: Vec<Planned>,
    /// Rows that are cited as they should be, and lack what the reason says.
    #[serde(default)]
    part: Vec<Planned>,
}

/// Rows that wait for the same capability. A row is an id, or the beginning of several followed by `*`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    reason: String,
    rows: Vec<String>,
}

impl Exceptions {
    fn parse(text: &str) -> Result<Self> {
        let exceptions: Self = toml::from_str(text).context(EXCEPTIONS)?;
        for planned in exceptions.planned.iter().chain(&exceptions.part) {
            if planned.reason.trim().is_empty() {
                bail!("{EXCEPTIONS}: an entry for {} has no reason", planned.rows.join(", "));
            }
        }
        Ok(exceptions)
    }

    fn reason(&self, id: &str) -> Option<&str> {
        reason(&self.planned, id)
    }

    fn patterns(&self) -> impl Iterator<Item = &str> {
        self.planned.iter().chain(&self.part).flat_map(|entry| &entry.rows).map(String::as_str)
    }

    /// The file's text without the rows that are done. Comments at its head stay.
    fn without(&self, done: &BTreeSet<&str>) -> Result<String> {
        let mut text = String::from(EXCEPTIONS_HEAD);
        let entries = self.planned.iter().map(|entry| ("planned", entry));
        for (table, entry) in entries.chain(self.part.iter().map(|entry| ("part", entry))) {
            let rows: Vec<&String> = entry.rows.iter().filter(|row| !done.contains(row.as_str())).collect();
            if rows.is_empty() {
                continue;
            }
            text += &format!("\n[[{table}]]\nreason = {}\nrows = [\n", toml::Value::from(entry.reason.as_str()));
            rows.iter().for_each(|row| text += &format!("    \"{row}\",\n"));
            text += "]\n";
        }
        Self::parse(&text)?;
        Ok(text)
    }
}

const EXCEPTIONS_HEAD: &str = "\
# Requirement rows that are not done, by the capability they wait for. `cargo xtask trace` fails on a row that is
# neither cited nor listed, and on a listed row that is done; `cargo xtask trace --prune` drops the latter. Rows below `part` are cited,
# and the reason says what they lack.
";

fn reason<'a>(entries: &'a [Planned], id: &str) -> Option<&'a str> {
    let entry = entries.iter().find(|entry| entry.rows.iter().any(|pattern| matches(pattern, id)));
    entry.map(|entry| entry.reason.as_str())
}

fn matches(pattern: &str, id: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == id, |start| id.starts_with(start))
}

/// How far a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Cited by code and by a test of the side that it asks for.
    Done,
    /// Cited by code and by a test, and something is lacking.
    InPart,
    /// Cited by code only.
    CodeOnly,
    /// Cited by a test only.
    TestOnly,
    /// Not cited, with a reason.
    Planned,
    /// Neither cited nor excused.
    Missing,
}

impl State {
    pub(crate) const ALL: [Self; 6] =
        [Self::Done, Self::InPart, Self::CodeOnly, Self::TestOnly, Self::Planned, Self::Missing];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::InPart => "in part",
            Self::CodeOnly => "code only",
            Self::TestOnly => "test only",
            Self::Planned => "planned",
            Self::Missing => "MISSING",
        }
    }
}

/// A row and its citations.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) state: State,
    /// Code and a test of the hub cite it.
    pub(crate) met: bool,
    /// Code and a test of the auditor cite it, who can pass each of its checks.
    pub(crate) decided: bool,
    /// `path:line`.
    pub(crate) code: Vec<String>,
    pub(crate) test: Vec<String>,
    /// What keeps a row that is done in part from being done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lacks: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) planned: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ProblemKind {
    Missing,
    UnknownId,
    StaleException,
    UnknownException,
}

#[derive(Debug, Serialize)]
struct Problem {
    kind: ProblemKind,
    text: String,
}

#[derive(Debug, Serialize)]
struct Trace {
    rows: Vec<Row>,
    problems: Vec<Problem>,
}

impl Trace {
    fn new(demands: &[Demand], exceptions: &Exceptions, tree: &Tree) -> Self {
        let ids: Vec<String> = demands.iter().map(|demand| demand.id.clone()).collect();
        let mut citations = Citations::new(&ids);
        for source in &tree.sources {
            if !NOT_CITATIONS.iter().any(|start| source.path.starts_with(start)) {
                citations.read(source);
            }
        }
        let rows: Vec<Row> = demands.iter().map(|demand| citations.row(demand, exceptions)).collect();
        let mut trace = Self { rows, problems: Vec::new() };
        for (id, place) in citations.unknown {
            trace.problem(ProblemKind::UnknownId, format!("{place}: there is no requirement `{id}`"));
        }
        trace.check_exceptions(exceptions);
        let missing: Vec<String> =
            trace.rows.iter().filter(|row| row.state == State::Missing).map(|row| row.id.clone()).collect();
        for id in missing {
            trace.problem(ProblemKind::Missing, format!("{id} is neither cited nor listed in {EXCEPTIONS}"));
        }
        trace
    }

    fn problem(&mut self, kind: ProblemKind, text: String) {
        self.problems.push(Problem { kind, text });
    }

    fn check_exceptions(&mut self, exceptions: &Exceptions) {
        for pattern in exceptions.patterns() {
            let states: Vec<State> =
                self.rows.iter().filter(|row| matches(pattern, &row.id)).map(|row| row.state).collect();
            if states.is_empty() {
                self.problem(
                    ProblemKind::UnknownException,
                    format!("{EXCEPTIONS}: `{pattern}` matches no requirement"),
                );
            } else if states.iter().all(|state| *state == State::Done) {
                let text = format!("{EXCEPTIONS}: `{pattern}` is done: remove it, or run `cargo xtask trace --prune`");
                self.problem(ProblemKind::StaleException, text);
            }
        }
    }

    fn done(&self) -> BTreeSet<&str> {
        self.rows.iter().filter(|row| row.state == State::Done).map(|row| row.id.as_str()).collect()
    }

    fn print_rows(&self) {
        println!("{:<18} {:>4} {:>5}  state", "requirement", "code", "tests");
        for row in &self.rows {
            println!("{:<18} {:>4} {:>5}  {}", row.id, row.code.len(), row.test.len(), row.standing());
        }
    }

    fn print_summary(&self) {
        for problem in &self.problems {
            println!("{}", problem.text);
        }
        let count = |state: &State| self.rows.iter().filter(|row| row.state == *state).count();
        let counts: Vec<String> =
            State::ALL.iter().map(|state| format!("{} {}", count(state), state.as_str())).collect();
        println!("trace: {} rows: {}; {} problems", self.rows.len(), counts.join(", "), self.problems.len());
        println!("trace: {}", sides(&self.rows));
    }
}

/// How many rows each side does, whether it is asked of it or not.
pub(crate) fn sides(rows: &[Row]) -> String {
    let met = rows.iter().filter(|row| row.met).count();
    let decided = rows.iter().filter(|row| row.decided).count();
    let both = rows.iter().filter(|row| row.met && row.decided).count();
    format!("cited as met by the hub {met}, as decided by an audit {decided}, as both {both}")
}

impl Row {
    /// Its state, and what is to be said about it.
    pub(crate) fn standing(&self) -> String {
        let by = match (self.met, self.decided) {
            (true, true) => ", met by the hub and decided by an audit",
            (true, false) => ", met by the hub",
            (false, true) => ", decided by an audit",
            (false, false) => "",
        };
        let lacks = self.lacks.iter().map(|lacks| format!("; it lacks {lacks}"));
        let planned = self.planned.iter().map(|reason| format!("; planned with {reason}"));
        let notes: String = lacks.chain(planned).collect();
        format!("{}{by}{notes}", self.state.as_str())
    }
}

/// The citations found so far.
struct Citations {
    /// Requirement id to its citations in code and in tests.
    known: BTreeMap<String, (Vec<String>, Vec<String>)>,
    /// Beginnings of ids: `ISVS-`, `CSA-` ….
    prefixes: BTreeSet<String>,
    /// An id that does not exist, and where it is cited.
    unknown: Vec<(String, String)>,
}

impl Citations {
    fn new(ids: &[String]) -> Self {
        let prefix = |id: &String| id.split_once('-').map(|(framework, _)| format!("{framework}-"));
        Self {
            known: ids.iter().map(|id| (id.clone(), Default::default())).collect(),
            prefixes: ids.iter().filter_map(prefix).collect(),
            unknown: Vec::new(),
        }
    }

    fn read(&mut self, source: &Source) {
        for (at, (line, comment)) in source.text.lines().zip(source.comments.lines()).enumerate() {
            let place = format!("{}:{}", source.path, at + 1);
            for prefix in &self.prefixes {
                let unknown = cited(line, prefix).into_iter().filter(|id| !self.known.contains_key(*id));
                self.unknown.extend(unknown.map(|id| (id.to_owned(), place.clone())));
                for id in cited(comment, prefix) {
                    match self.known.get_mut(id) {
                        Some((_, test)) if source.is_test(at) => test.push(place.clone()),
                        Some((code, _)) => code.push(place.clone()),
                        None => {}
                    }
                }
            }
        }
    }

    fn row(&mut self, demand: &Demand, exceptions: &Exceptions) -> Row {
        let id = demand.id.clone();
        let (code, test) = self.known.remove(&id).unwrap_or_default();
        let reason = exceptions.reason(&id);
        let is_cited = !code.is_empty() && !test.is_empty();
        let read = self::reason(&exceptions.part, &id).map(str::to_owned);
        let sides = Sides::new(&code, &test);
        let (met, decided) = (read.is_none() && sides.is_met(), read.is_none() && sides.is_decided(demand));
        let lacks = read.or_else(|| sides.lack(demand)).filter(|_| is_cited);
        let state = match (code.is_empty(), test.is_empty(), reason) {
            (false, false, _) if lacks.is_some() => State::InPart,
            (false, false, _) => State::Done,
            (false, true, _) => State::CodeOnly,
            (true, false, _) => State::TestOnly,
            (true, true, Some(_)) => State::Planned,
            (true, true, None) => State::Missing,
        };
        let planned = reason.filter(|_| state != State::Done).map(str::to_owned);
        Row { id, state, met, decided, code, test, lacks, planned }
    }
}

/// The ids in a line that begin with `prefix`, each whole: `ISVS-4.2.22` is not `ISVS-4.2.2`.
fn cited<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (start, _) in line.match_indices(prefix) {
        let stands_alone = !line[..start].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let rest = &line[start + prefix.len()..];
        let is_id = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '.' || c == '-';
        let end = rest.find(|c| !is_id(c)).unwrap_or(rest.len());
        // `A-01..04` names its first only, and a sentence ends with a dot that is not the id's.
        let range = rest[..end].find("..").unwrap_or(end);
        let id = rest[..range].trim_end_matches(['.', '-']);
        let follows_word = rest[id.len()..].starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if stands_alone && !id.is_empty() && !follows_word {
            found.push(&line[start..start + prefix.len() + id.len()]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sample;

    const ROWS: [&str; 4] = ["ISVS-4.2.2", "ISVS-4.2.22", "CSA-COM-04", "CSA-COM-05"];

    fn trace(files: &[(&str, &str)], exceptions: &str) -> Trace {
        let (_folder, tree) = sample::tree(files);
        let demand = |id: &str| Demand { id: id.to_owned(), of_hub: true, open: Vec::new() };
        Trace::new(&ROWS.map(demand), &Exceptions::parse(exceptions).unwrap(), &tree)
    }

    fn states(trace: &Trace) -> Vec<State> {
        trace.rows.iter().map(|row| row.state).collect()
    }

    fn kinds(trace: &Trace) -> Vec<ProblemKind> {
        trace.problems.iter().map(|problem| problem.kind).collect()
    }

    #[test]
    fn an_id_is_cited_whole_or_not_at_all() {
        assert_eq!(cited("// ISVS-4.2.22, ISVS-4.2.2.", "ISVS-"), ["ISVS-4.2.22", "ISVS-4.2.2"]);
        assert_eq!(cited("`CSA-COM-04`/`CSA-COM-05`..x", "CSA-"), ["CSA-COM-04", "CSA-COM-05"]);
        assert_eq!(cited("CSA-COM-04..06", "CSA-"), ["CSA-COM-04"]);
        assert_eq!(cited("NCSA-COM-04 X-CSA-1 CSA- CSA-based CSA-COM-04x", "CSA-"), Vec::<&str>::new());
    }

    #[test]
    fn code_and_test_make_a_row_done() {
        let files = [
            ("crates/core/x/src/a.rs", "// ISVS-4.2.2\n#[cfg(test)]\nmod tests {\n// CSA-COM-04\n}\n// CSA-COM-05\n"),
            ("tests/run_test.py", "# ISVS-4.2.2, CSA-COM-05\n"),
        ];
        let trace = trace(&files, "[[planned]]\nreason = 'later'\nrows = ['ISVS-4.2.22']\n");
        assert_eq!(states(&trace), [State::Done, State::Planned, State::TestOnly, State::Done]);
        assert!(trace.problems.is_empty(), "{:?}", trace.problems);
        assert_eq!(trace.rows[0].code, ["crates/core/x/src/a.rs:1"]);
    }

    #[test]
    fn what_a_reader_found_lacking_is_not_done() {
        let files = [("crates/a/b/src/a.rs", "// ISVS-4.2.2 CSA-COM-04 CSA-COM-05 ISVS-4.2.22\n")];
        let tests = [("tests/a.rs", "// ISVS-4.2.2 CSA-COM-04 CSA-COM-05 ISVS-4.2.22\n")];
        let exceptions = "[[part]]\nreason = 'half'\nrows = ['ISVS-4.2.2']\n";
        let trace = trace(&[files, tests].concat(), exceptions);
        assert_eq!(states(&trace), [State::InPart, State::Done, State::Done, State::Done]);
        assert_eq!(trace.rows[0].standing(), "in part; it lacks half");
        assert!(trace.problems.is_empty(), "{:?}", trace.problems);
        let text = Exceptions::parse(exceptions).unwrap().without(&BTreeSet::new()).unwrap();
        assert!(text.ends_with("[[part]]\nreason = \"half\"\nrows = [\n    \"ISVS-4.2.2\",\n]\n"), "{text}");
        assert!(Exceptions::parse("[[part]]\nreason = ''\nrows = ['CSA-COM-04']\n").is_err());
    }

    #[test]
    fn ids_in_strings_are_data() {
        let code = ("crates/a/b/src/a.rs", "const A: &[&str] = &[\"ISVS-4.2.2\"];\n");
        let trace_of =
            |code| trace(&[code, ("tests/a.rs", "// ISVS-4.2.2\n")], "[[planned]]\nreason = 'later'\nrows = ['*']\n");
        assert_eq!(trace_of(code).rows[0].state, State::TestOnly);
        assert_eq!(trace_of((code.0, "// ISVS-4.2.2\n")).rows[0].standing(), "done, met by the hub");
        let unknown = trace_of((code.0, "const A: &str = \"ISVS-9.9.9\";\n"));
        assert_eq!(kinds(&unknown), [ProblemKind::UnknownId]);
    }

    #[test]
    fn problems_are_found() {
        let files = [("crates/core/x/src/a.rs", "// ISVS-4.2.2 ISVS-9.9.9\n"), ("tests/a.rs", "// ISVS-4.2.2\n")];
        let exceptions = "[[planned]]\nreason = 'later'\nrows = ['ISVS-4.2.2', 'CSA-COM-04', 'CSA-X*']\n";
        let trace = trace(&files, exceptions);
        use ProblemKind::{Missing, StaleException, UnknownException, UnknownId};
        assert_eq!(kinds(&trace), [UnknownId, StaleException, UnknownException, Missing, Missing]);
        assert!(Exceptions::parse("[[planned]]\nreason = ' '\nrows = ['CSA-COM-04']\n").is_err());
    }

    #[test]
    fn patterns_cover_families_and_go_stale_as_a_whole() {
        let exceptions = "[[planned]]\nreason = 'later'\nrows = ['CSA-*', 'ISVS-*']\n";
        let one = trace(&[("crates/a/b/src/a.rs", "// CSA-COM-04\n"), ("tests/a.rs", "// CSA-COM-04\n")], exceptions);
        assert!(one.problems.is_empty(), "{:?}", one.problems);
        let both = trace(
            &[("crates/a/b/src/a.rs", "// CSA-COM-04 CSA-COM-05\n"), ("tests/a.rs", "// CSA-COM-04 CSA-COM-05\n")],
            exceptions,
        );
        assert_eq!(kinds(&both), [ProblemKind::StaleException]);
    }

    #[test]
    fn pruning_drops_what_is_done_and_keeps_the_rest() {
        let exceptions = Exceptions::parse(
            "[[planned]]\nreason = 'a \"b\"'\nrows = ['CSA-COM-04', 'CSA-COM-05']\n[[planned]]\nreason = 'c'\nrows = ['ISVS-4.2.2']\n",
        );
        let text = exceptions.unwrap().without(&["CSA-COM-04", "ISVS-4.2.2"].into()).unwrap();
        let left = Exceptions::parse(&text).unwrap();
        assert_eq!(left.patterns().collect::<Vec<_>>(), ["CSA-COM-05"]);
        assert_eq!(left.reason("CSA-COM-05"), Some("a \"b\""));
        assert_eq!(left.without(&BTreeSet::new()).unwrap(), text);
    }

    #[test]
    fn options() {
        assert_eq!(
            Options::parse(&["--output", "json", "--prune"]).unwrap(),
            Options { json: true, summary: false, prune: true }
        );
        assert!(Options::parse(&["--output"]).is_err() && Options::parse(&["--all"]).is_err());
    }
}
