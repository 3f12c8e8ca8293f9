//! What is declared of logins and of consoles, checked.

use super::{
    Account, ConsolePart, Endpoint, LoginForm, Scheme, TestSession,
    bounds::{ACCOUNTS_MAX, FIELDS_MAX, TEXT_BYTES_MAX},
    read::{Step, named},
};
use crate::evidence::{
    console::{PATHS_MAX, SESSION_PATHS_MAX, SESSIONS_MAX},
    login::Login,
};

/// Where below an endpoint, and what is wrong there.
type Wrong = (Vec<Step<'static>>, String);

impl Endpoint {
    /// What is wrong with its accounts or its console.
    pub(super) fn check_http(&self) -> Result<(), Wrong> {
        few("account", &self.accounts, ACCOUNTS_MAX)?;
        for (index, account) in self.accounts.iter().enumerate() {
            let at = [Step::Key("account"), Step::Item(index)];
            account.check(self.url.scheme).map_err(below(&at))?;
        }
        let is_http = matches!(self.url.scheme, Scheme::Http | Scheme::Https);
        if !is_http && self.console != ConsolePart::default() {
            return Err((vec![Step::Key("console")], "only http and https have a console".into()));
        }
        self.console.check().map_err(below(&[Step::Key("console")]))
    }
}

impl Account {
    fn check(&self, scheme: Scheme) -> Result<(), Wrong> {
        if !fits(self.login, scheme) {
            let problem =
                "http and https take http-basic, http-form and http-json, mqtt and mqtts take mqtt, ssh takes ssh";
            return Err((vec![Step::Key("login")], problem.into()));
        }
        is_path(&self.path).map_err(at("path"))?;
        match (&self.form, self.login) {
            (Some(form), Login::HttpForm | Login::HttpJson) => form.check().map_err(below(&[Step::Key("form")])),
            (Some(_), _) => Err((vec![Step::Key("form")], "only http-form and http-json post a form".into())),
            (None, _) => Ok(()),
        }
    }
}

impl LoginForm {
    fn check(&self) -> Result<(), Wrong> {
        for (key, value) in [("user", &self.user), ("secret", &self.secret)] {
            named(value).map_err(at(key))?;
        }
        if self.more.len() > FIELDS_MAX {
            return Err((vec![Step::Key("more")], format!("at most {FIELDS_MAX} fields")));
        }
        self.page.as_deref().map_or(Ok(()), is_path).map_err(at("page"))?;
        let Some(token) = &self.token else { return Ok(()) };
        if self.page.is_none() {
            return Err((vec![Step::Key("token")], "a token comes from a page, which has to be declared".into()));
        }
        for (key, value) in [("cookie", &token.cookie), ("header", &token.header)] {
            is_token(value).map_err(at(key)).map_err(below(&[Step::Key("token")]))?;
        }
        Ok(())
    }
}

impl ConsolePart {
    fn check(&self) -> Result<(), Wrong> {
        paths("paths", &self.paths, PATHS_MAX)?;
        few("session", &self.sessions, SESSIONS_MAX)?;
        for (index, session) in self.sessions.iter().enumerate() {
            session.check().map_err(below(&[Step::Key("session"), Step::Item(index)]))?;
        }
        Ok(())
    }
}

impl TestSession {
    fn check(&self) -> Result<(), Wrong> {
        named(&self.role).map_err(at("role"))?;
        is_token(&self.header).map_err(at("header"))?;
        paths("own", &self.own, SESSION_PATHS_MAX)?;
        paths("foreign", &self.foreign, SESSION_PATHS_MAX)?;
        if self.own.is_empty() && self.foreign.is_empty() {
            return Err((vec![Step::Key("own")], "a session needs paths that it may see, or may not".into()));
        }
        Ok(())
    }
}

/// Whether one logs in so where this is spoken.
const fn fits(login: Login, scheme: Scheme) -> bool {
    matches!(
        (login, scheme),
        (Login::HttpBasic | Login::HttpForm | Login::HttpJson, Scheme::Http | Scheme::Https)
            | (Login::Mqtt, Scheme::Mqtt | Scheme::Mqtts)
            | (Login::Ssh, Scheme::Ssh)
    )
}

fn at(key: &'static str) -> impl Fn(String) -> Wrong {
    move |problem| (vec![Step::Key(key)], problem)
}

fn below(path: &[Step<'static>]) -> impl Fn(Wrong) -> Wrong {
    move |(rest, problem)| ([path, rest.as_slice()].concat(), problem)
}

fn few<T>(key: &'static str, items: &[T], max: usize) -> Result<(), Wrong> {
    if items.len() <= max { Ok(()) } else { Err((vec![Step::Key(key)], format!("at most {max} of these"))) }
}

fn paths(key: &'static str, paths: &[String], max: usize) -> Result<(), Wrong> {
    few(key, paths, max)?;
    for (index, path) in paths.iter().enumerate() {
        is_path(path).map_err(|problem| (vec![Step::Key(key), Step::Item(index)], problem))?;
    }
    Ok(())
}

/// A path with its query, as it goes into a request.
fn is_path(text: &str) -> Result<(), String> {
    let is_one = text.starts_with('/') && !text.contains('#') && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_one && text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(format!("a path begins with / and has at most {TEXT_BYTES_MAX} characters of ASCII, without spaces and #"))
}

/// A name of a header or cookie (RFC 9110 section 5.6.2).
fn is_token(text: &str) -> Result<(), String> {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.len() <= TEXT_BYTES_MAX && text.bytes().all(is_char) {
        return Ok(());
    }
    Err("this is no name of a header or cookie".into())
}
