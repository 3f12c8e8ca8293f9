use std::collections::BTreeSet;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Act, Bounds, SCOPE_BYTES_MAX, Scheme, Scope,
    bounds::{CELLS_MAX, ENTRIES_MAX, FACE_S_MAX, IDENTITIES_MAX, PLACES_MAX, PORTS_MAX, TEXT_BYTES_MAX},
};
use crate::{Catalogue, Class, TomlProblem, evidence::Subject, text};

/// One step on the way to a value: a key, or a place in a list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

/// Where a declaration is wrong, and how.
struct Wrong<'a> {
    path: Vec<Step<'a>>,
    problem: String,
}

impl Scope {
    /// From a file's text.
    ///
    /// # Errors
    /// [`TomlProblem`]: what is no TOML, unknown keys, values out of their range, names that nothing is called, and more than
    /// [`SCOPE_BYTES_MAX`].
    pub fn from_toml(text: &str) -> Result<Self, TomlProblem> {
        if text.len() > SCOPE_BYTES_MAX {
            let problem = format!("a scope has at most {SCOPE_BYTES_MAX} bytes");
            return Err(TomlProblem::whole(problem));
        }
        let scope: Self = toml::from_str(text).map_err(|error| TomlProblem::read(text, &error))?;
        scope.check().map_err(|wrong| TomlProblem::at(text, find(text, &wrong.path), &wrong.problem))?;
        Ok(scope)
    }

    /// Itself, if it makes sense: for a scope that was not read from a file.
    ///
    /// # Errors
    /// What does not, in words.
    pub fn checked(self) -> Result<Self, String> {
        match self.check() {
            Ok(()) => Ok(self),
            Err(wrong) => Err(wrong.problem),
        }
    }

    fn check(&self) -> Result<(), Wrong<'static>> {
        self.check_head()?;
        self.check_identities()?;
        self.check_endpoints()?;
        self.check_hosts()?;
        self.check_files()?;
        self.check_hub()?;
        self.check_declared().map_err(|problem| wrong(&[Step::Key("declared")], problem))?;
        self.check_statements()
    }

    fn check_head(&self) -> Result<(), Wrong<'static>> {
        let texts = [("name", &self.deployment.name), ("owner", &self.deployment.owner)];
        for (key, value) in texts {
            named(value).map_err(|problem| wrong(&[Step::Key("deployment"), Step::Key(key)], problem))?;
        }
        if let Err(error) = self.assess.clone().checked() {
            return Err(wrong(&[Step::Key("assess")], error.to_string()));
        }
        if let Some((key, problem)) = Bounds::problem(&self.bounds) {
            return Err(wrong(&[Step::Key("bounds"), Step::Key(key)], problem));
        }
        if let Some(authorisation) = &self.authorisation {
            for (key, value) in [("by", &authorisation.by), ("reference", &authorisation.reference)] {
                named(value).map_err(|problem| wrong(&[Step::Key("authorisation"), Step::Key(key)], problem))?;
            }
        } else if self.checks.class == Class::Intrusive {
            let problem = "intrusive checks need [authorisation]: by whom, by which reference, until when";
            return Err(wrong(&[Step::Key("checks"), Step::Key("class")], problem.into()));
        }
        Ok(())
    }

    fn check_identities(&self) -> Result<(), Wrong<'static>> {
        few("identity", self.identities.len(), IDENTITIES_MAX)?;
        let mut names = BTreeSet::new();
        for (index, identity) in self.identities.iter().enumerate() {
            let path = [Step::Key("identity"), Step::Item(index), Step::Key("name")];
            named(&identity.name).map_err(|problem| wrong(&path, problem))?;
            if !names.insert(&identity.name) {
                return Err(wrong(&path, format!("two identities are called {}", identity.name)));
            }
        }
        Ok(())
    }

    fn check_endpoints(&self) -> Result<(), Wrong<'static>> {
        few("endpoint", self.endpoints.len(), PLACES_MAX)?;
        let is_known = |name: &str| self.identities.iter().any(|identity| identity.name == name);
        let unknown = |name: &str| format!("no [[identity]] is called {name}");
        let mut urls = BTreeSet::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let path = |rest: &[Step<'static>]| [&[Step::Key("endpoint"), Step::Item(index)], rest].concat();
            if !urls.insert(&endpoint.url) {
                return Err(wrong(&path(&[Step::Key("url")]), format!("{} is declared twice", endpoint.url)));
            }
            if let Some((at, name)) = endpoint.identities.iter().enumerate().find(|(_, name)| !is_known(name)) {
                return Err(wrong(&path(&[Step::Key("identities"), Step::Item(at)]), unknown(name)));
            }
            endpoint.check_http().map_err(|(rest, problem)| wrong(&path(&rest), problem))?;
            if endpoint.cells.len() > CELLS_MAX {
                return Err(wrong(&path(&[Step::Key("cell")]), format!("at most {CELLS_MAX} cells")));
            }
            for (at, cell) in endpoint.cells.iter().enumerate() {
                let cell_path = path(&[Step::Key("cell"), Step::Item(at)]);
                if !endpoint.identities.contains(&cell.identity) {
                    let problem = format!("{} is not among the identities of this endpoint", cell.identity);
                    return Err(wrong(&[cell_path, vec![Step::Key("identity")]].concat(), problem));
                }
                let is_coap = matches!(endpoint.url.scheme, Scheme::Coap | Scheme::Coaps);
                if is_coap != matches!(cell.operation, Act::Coap(_)) {
                    let problem = "MQTT has publish, retain, will, subscribe; CoAP get, observe, put, post, delete";
                    return Err(wrong(&[cell_path, vec![Step::Key("operation")]].concat(), problem.into()));
                }
                named(&cell.topic)
                    .map_err(|problem| wrong(&[cell_path, vec![Step::Key("topic")]].concat(), problem))?;
            }
        }
        Ok(())
    }

    fn check_hosts(&self) -> Result<(), Wrong<'static>> {
        few("host", self.hosts.len(), PLACES_MAX)?;
        few("device", self.devices.len(), PLACES_MAX)?;
        let mut addresses = BTreeSet::new();
        for (index, host) in self.hosts.iter().enumerate() {
            let path = |key| [Step::Key("host"), Step::Item(index), Step::Key(key)];
            if !addresses.insert(&host.address) {
                return Err(wrong(&path("address"), format!("{} is declared twice", host.address)));
            }
            let ports = host.declared().into_iter().flatten().chain(host.look_at.iter().flat_map(|ports| ports.each()));
            if ports.count() > PORTS_MAX {
                return Err(wrong(&path("look_at"), format!("at most {PORTS_MAX} ports of a host")));
            }
        }
        let mut names = BTreeSet::new();
        for (index, device) in self.devices.iter().enumerate() {
            let path = [Step::Key("device"), Step::Item(index), Step::Key("name")];
            named(&device.name).map_err(|problem| wrong(&path, problem))?;
            if !names.insert(&device.name) {
                return Err(wrong(&path, format!("two devices are called {}", device.name)));
            }
            if !(1..=FACE_S_MAX).contains(&device.face_s) {
                let path = [Step::Key("device"), Step::Item(index), Step::Key("face_s")];
                return Err(wrong(&path, format!("face_s is {}; 1 to {FACE_S_MAX} are possible", device.face_s)));
            }
        }
        Ok(())
    }

    fn check_hub(&self) -> Result<(), Wrong<'static>> {
        let Some(hub) = &self.hub else {
            let endpoint = self.endpoints.iter().position(|endpoint| endpoint.of_hub).map(|at| ("endpoint", at));
            let host = self.hosts.iter().position(|host| host.of_hub).map(|at| ("host", at));
            return endpoint.or(host).map_or(Ok(()), |(key, at)| {
                let path = [Step::Key(key), Step::Item(at), Step::Key("of_hub")];
                Err(wrong(&path, "there is no [hub] that it could be of".into()))
            });
        };
        if hub.ceiling.len() > ENTRIES_MAX {
            return Err(wrong(&[Step::Key("hub"), Step::Key("ceiling")], format!("at most {ENTRIES_MAX} files")));
        }
        if let Some(device) = &hub.test_device {
            named(device).map_err(|problem| wrong(&[Step::Key("hub"), Step::Key("test_device")], problem))?;
        }
        Ok(())
    }

    fn check_files(&self) -> Result<(), Wrong<'static>> {
        few("file", self.files.len(), ENTRIES_MAX)?;
        let mut paths = BTreeSet::new();
        for (index, file) in self.files.iter().enumerate() {
            let path = |key| [Step::Key("file"), Step::Item(index), Step::Key(key)];
            if !paths.insert(&file.path) {
                return Err(wrong(&path("path"), format!("{} is declared twice", file.path.display())));
            }
            let is_place = |of: &str| {
                self.endpoints.iter().any(|endpoint| endpoint.url.to_string() == of)
                    || self.hosts.iter().any(|host| host.address.as_str() == of)
            };
            if let Some(of) = file.of.as_deref().filter(|of| !is_place(of)) {
                let problem = format!("neither an [[endpoint]] nor a [[host]] of this scope is {of}");
                return Err(wrong(&path("of"), problem));
            }
        }
        Ok(())
    }

    fn check_statements(&self) -> Result<(), Wrong<'static>> {
        few("exception", self.exceptions.len(), ENTRIES_MAX)?;
        few("not_applicable", self.not_applicable.len(), ENTRIES_MAX)?;
        let catalogue = Catalogue::embedded();
        for (index, exception) in self.exceptions.iter().enumerate() {
            let path = |key| [Step::Key("exception"), Step::Item(index), Step::Key(key)];
            if catalogue.check(&exception.check).is_none() {
                return Err(wrong(&path("check"), format!("there is no check {}", exception.check)));
            }
            for (key, value) in [("owner", &exception.owner), ("reason", &exception.reason)] {
                named(value).map_err(|problem| wrong(&path(key), problem))?;
            }
            if exception.expires <= exception.granted {
                return Err(wrong(&path("expires"), "an exception expires after it was granted".into()));
            }
        }
        for (index, word) in self.not_applicable.iter().enumerate() {
            let path = |key| [Step::Key("not_applicable"), Step::Item(index), Step::Key(key)];
            let is_known = match &word.subject {
                Subject::Requirement(row) => catalogue.requirement(row).is_some(),
                Subject::Check(check) => catalogue.check(check).is_some(),
            };
            if !is_known {
                let subject = String::from(word.subject.clone());
                return Err(wrong(&path("subject"), format!("the catalogue has no {subject}")));
            }
            for (key, value) in [("owner", &word.owner), ("reason", &word.reason)] {
                named(value).map_err(|problem| wrong(&path(key), problem))?;
            }
        }
        Ok(())
    }
}

fn wrong(path: &[Step<'static>], problem: String) -> Wrong<'static> {
    Wrong { path: path.to_vec(), problem }
}

fn few(key: &'static str, count: usize, max: usize) -> Result<(), Wrong<'static>> {
    if count <= max { Ok(()) } else { Err(wrong(&[Step::Key(key)], format!("at most {max} [[{key}]]"))) }
}

/// A name, a reason: one line that says something.
pub(super) fn named(value: &str) -> Result<(), String> {
    if value.trim().is_empty() {
        return Err("this must not be empty".into());
    }
    if value.len() > TEXT_BYTES_MAX || text::line(value) != value {
        return Err(format!("this has to be one line of at most {TEXT_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Where a value begins; where the nearest that there is around it begins, if it was left out.
fn find(text: &str, path: &[Step<'_>]) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut place = root.span().start;
    let mut value: Option<&Spanned<DeValue<'_>>> = None;
    for step in path {
        let next = match (step, value.map(Spanned::get_ref)) {
            (Step::Key(key), None) => root.get_ref().get(*key),
            (Step::Key(key), Some(DeValue::Table(table))) => table.get(*key),
            (Step::Item(index), Some(DeValue::Array(items))) => items.get(*index),
            _ => None,
        };
        let Some(next) = next else { break };
        place = next.span().start;
        value = Some(next);
    }
    Some(place)
}
