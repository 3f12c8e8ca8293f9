//! Logins by HTML form or JSON object, and what they want to see again against forgery (CSRF): hidden fields, cookies, a header.

use hyper::{
    HeaderMap, Method,
    header::{CONTENT_TYPE, HeaderValue, SET_COOKIE},
};

use super::door::{Answered, Entry, answered};
use crate::{
    dial::Gap,
    http::{Ask, Header, Site, secret_header},
    page,
};

/// Hidden fields of one form.
const FIELDS_MAX: usize = 100;
/// Cookies that are taken along.
const COOKIES_MAX: usize = 20;

/// Fields of a login.
#[derive(Clone, Debug)]
pub struct Form {
    /// Path to which it is posted.
    pub path: String,
    /// Name of the field for the user.
    pub user_field: String,
    /// Name of the field for the secret.
    pub secret_field: String,
    /// Other fields and their values.
    pub more: Vec<(String, String)>,
    /// The page that is fetched before each attempt: its cookies go along, and so do the hidden fields of an HTML form on it.
    pub page: Option<String>,
    /// The cookie of that page whose value is repeated in a header (double submit).
    pub token: Option<TokenHeader>,
}

/// A value that a page sets as a cookie and wants to see in a header.
#[derive(Clone, Debug)]
pub struct TokenHeader {
    /// Name of the cookie.
    pub cookie: String,
    /// Name of the header.
    pub header: String,
}

/// How the fields are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As HTML forms are.
    Form,
    /// As one JSON object.
    Json,
}

/// What a page gives an attempt to take along.
#[derive(Default)]
struct Taken {
    hidden: Vec<(String, String)>,
    headers: Vec<Header>,
}

/// Tries one credential.
pub(super) async fn knock(
    site: &Site<'_>,
    form: &Form,
    coding: Coding,
    (user, secret): (&str, &str),
    names: &[&str],
) -> Result<Answered, Gap> {
    let mut taken = Taken::default();
    if let Some(path) = &form.page {
        let visit = site.visit(path, &[]).await?;
        let said = answered(site, path, &visit.reply, names)?;
        match said.entry {
            Entry::Throttled => return Ok(said),
            Entry::Page if visit.reply.status < 300 => {}
            _ => return Err(Gap::Odd(format!("the page with the form: {}", said.how))),
        }
        let heads: Vec<&HeaderMap> = visit.before.iter().chain([&visit.reply.headers]).collect();
        taken = form.take(coding, &heads, &visit.reply.body)?;
    }
    let own = [(form.user_field.as_str(), user), (form.secret_field.as_str(), secret)];
    let declared: Vec<(&str, &str)> =
        own.into_iter().chain(form.more.iter().map(|(name, value)| (name.as_str(), value.as_str()))).collect();
    let is_own = |name: &str| declared.iter().any(|(known, _)| *known == name);
    let hidden = taken.hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let fields: Vec<(&str, &str)> = hidden.filter(|(name, _)| !is_own(name)).chain(declared.iter().copied()).collect();
    let (kind, body) = match coding {
        Coding::Form => {
            let pairs: Vec<String> =
                fields.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
            ("application/x-www-form-urlencoded", pairs.join("&"))
        }
        Coding::Json => {
            let members = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
            ("application/json", serde_json::Value::Object(members.collect()).to_string())
        }
    };
    let headers = [vec![(CONTENT_TYPE, HeaderValue::from_static(kind))], taken.headers].concat();
    let reply = site.ask(&Ask { method: Method::POST, body: body.into(), ..Ask::get(&form.path, headers) }).await?;
    answered(site, &form.path, &reply, names)
}

impl Form {
    fn take(&self, coding: Coding, heads: &[&HeaderMap], body: &[u8]) -> Result<Taken, Gap> {
        let odd = |problem: String| Gap::Odd(problem);
        let hidden = match coding {
            Coding::Form => hidden_fields(body, &self.secret_field)
                .map_err(|problem| odd(format!("the page with the form: {problem}")))?,
            Coding::Json => Vec::new(),
        };
        let cookies = cookies(heads);
        let mut headers = Vec::new();
        let pairs: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !pairs.is_empty() {
            headers.push(header("cookie", &pairs.join("; "))?);
        }
        if let Some(token) = &self.token {
            let value = cookies.iter().find(|(name, _)| *name == token.cookie).map(|(_, value)| unescaped(value));
            let value = value.ok_or_else(|| odd("its page does not set the cookie with the token".to_owned()))?;
            headers.push(header(&token.header, &value)?);
        }
        Ok(Taken { hidden, headers })
    }
}

fn header(name: &str, value: &str) -> Result<Header, Gap> {
    secret_header(name, value).ok_or_else(|| Gap::Odd("its page sets cookies that no header can have".to_owned()))
}

/// Cookies with their values, as heads set them one after another; what is taken back is gone.
fn cookies(heads: &[&HeaderMap]) -> Vec<(String, String)> {
    let mut jar: Vec<(String, String)> = Vec::new();
    for line in heads.iter().flat_map(|head| head.get_all(SET_COOKIE)).filter_map(|value| value.to_str().ok()) {
        let pair = line.split(';').next().unwrap_or_default();
        let Some((name, value)) = pair.split_once('=') else { continue };
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        jar.retain(|(known, _)| *known != name);
        if jar.len() < COOKIES_MAX && page::cookie(line.as_bytes()).is_some() {
            jar.push((name, value));
        }
    }
    jar
}

/// As forms are sent: everything but letters, digits and `-._` is escaped.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// A cookie's value as scripts read it, which put it into the header: `%3D` is `=`.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                rest = &tail[2..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Hidden fields, in their order, of the form that has a field of this name.
///
/// # Errors
/// One line why there are none: no such form, or more than 100 hidden fields in it.
pub fn hidden_fields(html: &[u8], field: &str) -> Result<Vec<(String, String)>, String> {
    let html = String::from_utf8_lossy(html);
    let mut tags = Tags { rest: &html };
    let (mut hidden, mut is_wanted) = (Vec::new(), false);
    while let Some((tag, attributes)) = tags.next_tag() {
        match tag.as_str() {
            "/form" if is_wanted => break,
            "form" | "/form" => (hidden, is_wanted) = (Vec::new(), false),
            "input" => {
                let value = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
                let name = value("name").cloned().unwrap_or_default();
                is_wanted |= name == field;
                let is_hidden = value("type").is_some_and(|kind| kind.eq_ignore_ascii_case("hidden"));
                // One more than the most, by which it is seen that there are too many.
                if is_hidden && !name.is_empty() && hidden.len() <= FIELDS_MAX {
                    hidden.push((name, value("value").cloned().unwrap_or_default()));
                }
            }
            _ => {}
        }
    }
    match (is_wanted, hidden.len()) {
        (false, _) => Err(format!("no form on it has a field {field}")),
        (true, 0..=FIELDS_MAX) => Ok(hidden),
        (true, _) => Err(format!("its form has more than {FIELDS_MAX} hidden fields")),
    }
}

/// Tags of HTML, without what only looks like them: comments, and the text of elements that have no tags (WHATWG HTML, 13.2.5). What
/// is not closed goes to the end.
struct Tags<'a> {
    rest: &'a str,
}

impl Tags<'_> {
    /// The next tag's name in lower case, with a slash if it ends an element, and its attributes.
    fn next_tag(&mut self) -> Option<(String, Vec<(String, String)>)> {
        loop {
            self.rest = &self.rest[self.rest.find('<')? + 1..];
            if let Some(comment) = self.rest.strip_prefix("!--") {
                self.rest = &comment[comment.find("-->")? + 3..];
                continue;
            }
            let end = self.rest.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(self.rest.len());
            let name = self.rest[..end].trim_end_matches('/').to_ascii_lowercase();
            if !name.trim_start_matches('/').starts_with(|c: char| c.is_ascii_alphabetic()) {
                continue;
            }
            self.rest = &self.rest[end..];
            let attributes = self.attributes()?;
            if matches!(name.as_str(), "script" | "style" | "textarea" | "title") {
                self.skip_text(&name)?;
            }
            return Some((name, attributes));
        }
    }

    /// Up to the tag that ends an element of text.
    fn skip_text(&mut self, name: &str) -> Option<()> {
        loop {
            self.rest = &self.rest[self.rest.find("</")? + 2..];
            if self.rest.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
                return Some(());
            }
        }
    }

    /// Up to the end of the tag; of two with one name, the first counts.
    fn attributes(&mut self) -> Option<Vec<(String, String)>> {
        let mut found: Vec<(String, String)> = Vec::new();
        loop {
            self.rest = self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
            if let Some(rest) = self.rest.strip_prefix('>') {
                self.rest = rest;
                return Some(found);
            }
            // The first character is part of the name whatever it is, so that each turn moves on.
            let first = self.rest.chars().next()?.len_utf8();
            let ends = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | '/' | '>');
            let end = self.rest[first..].find(ends).map_or(self.rest.len(), |end| first + end);
            let name = self.rest[..end].to_ascii_lowercase();
            self.rest = self.rest[end..].trim_start_matches(|c: char| c.is_ascii_whitespace());
            let value = match self.rest.strip_prefix('=') {
                Some(rest) => {
                    self.rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
                    self.value()?
                }
                None => String::new(),
            };
            // Only these are of interest, and a tag has as many others as it likes.
            if matches!(name.as_str(), "name" | "type" | "value") && found.iter().all(|(known, _)| *known != name) {
                found.push((name, value));
            }
        }
    }

    fn value(&mut self) -> Option<String> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, rest) = match quote {
            Some(quote) => self.rest[1..].split_once(quote)?,
            None => {
                let end = self.rest.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(self.rest.len());
                self.rest.split_at(end)
            }
        };
        self.rest = rest;
        Some(text_of(value))
    }
}

/// With its character references resolved: those that forms are written with.
fn text_of(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut parts = value.split('&');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let resolved = part.split_once(';').and_then(|(name, rest)| Some((reference(name)?, rest)));
        match resolved {
            Some((c, rest)) => {
                out.push(c);
                out.push_str(rest);
            }
            None => {
                out.push('&');
                out.push_str(part);
            }
        }
    }
    out
}

fn reference(name: &str) -> Option<char> {
    let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => match name.strip_prefix('#')?.strip_prefix(['x', 'X']) {
            Some(digits) => number(digits, 16),
            None => number(&name[1..], 10),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(html: &str) -> Result<Vec<(String, String)>, String> {
        hidden_fields(html.as_bytes(), "secret")
    }

    fn one(name: &str, value: &str) -> Result<Vec<(String, String)>, String> {
        Ok(vec![(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn the_fields_are_those_of_the_form_that_asks_for_the_secret() {
        let login = "<input type=hidden name=t value=1><input name=secret>";
        for html in [
            format!("<form>{login}</form>"),
            format!(
                "<form><input type=hidden name=q value=no></form><FORM a>{login}</FORM><form><input name=x></form>"
            ),
            format!("<!-- <form><input name=secret></form> --><form>{login}"),
            format!("<script>'<form><input name=secret></form>'</script><form>{login}</form>"),
            format!("<title><input name=secret type=hidden></title>{login}"),
            "<input value='1' NAME=\"t\" Type = HIDDEN /><br/><input data-a='>' name='secret' name='x'>".to_owned(),
        ] {
            assert_eq!(fields(&html), one("t", "1"), "{html}");
        }
        let quoted = "<input type=hidden name=t value=\"a&amp;b&#61;&#x3d; &nope; &\"><input name=secret>";
        assert_eq!(fields(quoted), one("t", "a&b== &nope; &"));
    }

    #[test]
    fn what_is_no_form_is_told() {
        let none = Err("no form on it has a field secret".to_owned());
        for html in [
            "",
            "<",
            "<<<<",
            "<input name=secret",
            "<input name='secret>",
            "<!-- <input name=secret>",
            "<script><input name=secret>",
            "<form><input name=secret2></form><input type=hidden name=t>",
            "<input =secret>",
        ] {
            assert_eq!(fields(html), none, "{html}");
        }
        let many = |count| format!("<form>{}<input name=secret>", "<input type=hidden name=t>".repeat(count));
        assert_eq!(fields(&many(FIELDS_MAX)).map(|fields| fields.len()), Ok(FIELDS_MAX));
        assert!(fields(&many(FIELDS_MAX + 1)).is_err_and(|problem| problem.contains("more than 100")));
    }

    #[test]
    fn cookies_are_kept_as_they_were_set_last() {
        let mut head = HeaderMap::new();
        for line in ["a=1; Path=/", "b=2", "a=3; HttpOnly", "b=; Max-Age=0", "no-value", "c=d=e"] {
            head.append(SET_COOKIE, HeaderValue::from_static(line));
        }
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(cookies(&[&head]), [pair("a", "3"), pair("c", "d=e")]);
        for n in 0..50 {
            head.append(SET_COOKIE, HeaderValue::from_str(&format!("n{n}=1")).unwrap());
        }
        assert_eq!(cookies(&[&head]).len(), COOKIES_MAX);
        assert_eq!((unescaped("a%3D%3d%"), unescaped("%zz%4")), ("a==%".into(), "%zz%4".into()));
    }
}
