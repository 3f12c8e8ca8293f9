//! The types a value may have: how each is read from TOML, read from plain text, and shown.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use toml_edit::{Array, InlineTable, Key, Value};

/// How text without TOML quoting is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A number or truth value, written as in TOML.
    Bare,
    /// Text, with or without quotes.
    Text,
    /// A TOML array, or items separated by commas.
    List,
    /// A TOML inline table, or `key=value` pairs separated by commas.
    Table,
}

impl Shape {
    /// Reads the text of an environment variable or of `--set`.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        let quoted = text.starts_with(['"', '\'']);
        match self {
            Self::Bare => Ok(text.parse().unwrap_or_else(|_| Value::from(text))),
            Self::Text if quoted => toml(text),
            Self::Text => Ok(Value::from(text)),
            Self::List if text.starts_with('[') => toml(text),
            Self::List => Ok(items(text).collect::<Array>().into()),
            Self::Table if text.starts_with('{') => toml(text),
            Self::Table => pairs(text),
        }
    }
}

fn toml(text: &str) -> Result<Value, String> {
    text.parse().map_err(|error: toml_edit::TomlError| format!("not a TOML value: {}", error.message()))
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn pairs(text: &str) -> Result<Value, String> {
    let mut table = InlineTable::new();
    for pair in items(text) {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("expected name=value, found `{pair}`"))?;
        table.insert(key.trim(), Value::from(value.trim()));
    }
    Ok(table.into())
}

/// A type that a configuration value can have.
pub(crate) trait Setting: Sized + Clone {
    /// What a value looks like, in words.
    const TYPE: &'static str;
    /// How plain text is to be read.
    const SHAPE: Shape;
    /// Reads a TOML value, or says what is wrong with it.
    fn read(value: &Value) -> Result<Self, String>;
    /// The value in TOML.
    fn show(&self) -> String;
}

pub(crate) fn expected<T>(what: &str, found: &Value) -> Result<T, String> {
    // A container may be long; its kind is enough.
    match found {
        Value::Array(_) | Value::InlineTable(_) => Err(format!("expected {what}, found an {}", found.type_name())),
        scalar => Err(format!("expected {what}, found {}", scalar.clone().decorated("", ""))),
    }
}

macro_rules! integers {
    ($($ty:ty),*) => { $(
        impl Setting for $ty {
            const TYPE: &'static str = "integer";
            const SHAPE: Shape = Shape::Bare;
            fn read(value: &Value) -> Result<Self, String> {
                let Some(number) = value.as_integer() else { return expected("an integer", value) };
                Self::try_from(number).map_err(|_| format!("{number} is out of range"))
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )* };
}
integers!(u16, u32, u64, usize);

impl Setting for bool {
    const TYPE: &'static str = "true or false";
    const SHAPE: Shape = Shape::Bare;
    fn read(value: &Value) -> Result<Self, String> {
        value.as_bool().map_or_else(|| expected("true or false", value), Ok)
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    const TYPE: &'static str = "text";
    const SHAPE: Shape = Shape::Text;
    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().map_or_else(|| expected("text", value), |text| Ok(text.to_owned()))
    }
    fn show(&self) -> String {
        quote(self)
    }
}

impl Setting for PathBuf {
    const TYPE: &'static str = "path";
    const SHAPE: Shape = Shape::Text;
    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some(text) if text.contains('\0') => Err("a path contains no NUL".to_owned()),
            Some(text) => Ok(Self::from(text)),
            None => expected("a path", value),
        }
    }
    fn show(&self) -> String {
        quote(&self.to_string_lossy())
    }
}

/// A value that is written as text and parsed by its own `FromStr`.
pub(crate) trait Worded: FromStr<Err: Display> + Display + Clone {
    /// What it is, in words.
    const TYPE: &'static str;
}

impl<T: Worded> Setting for T {
    const TYPE: &'static str = <T as Worded>::TYPE;
    const SHAPE: Shape = Shape::Text;
    fn read(value: &Value) -> Result<Self, String> {
        let Some(text) = value.as_str() else { return expected(Self::TYPE, value) };
        text.parse().map_err(|error| format!("expected {}, found {}: {error}", <T as Worded>::TYPE, quote(text)))
    }
    fn show(&self) -> String {
        quote(&self.to_string())
    }
}

impl Worded for SocketAddr {
    const TYPE: &'static str = "address:port";
}

/// An address, or the empty text for none.
impl Setting for Option<SocketAddr> {
    const TYPE: &'static str = "address:port, or empty";
    const SHAPE: Shape = Shape::Text;
    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some("") => Ok(None),
            _ => SocketAddr::read(value).map(Some),
        }
    }
    fn show(&self) -> String {
        self.map_or_else(|| quote(""), |address| address.show())
    }
}

/// An element of a list.
pub(crate) trait Listed: Setting {
    /// What the list is, in words.
    const LIST: &'static str;
}

impl<T: Listed> Setting for Vec<T> {
    const TYPE: &'static str = T::LIST;
    const SHAPE: Shape = Shape::List;
    fn read(value: &Value) -> Result<Self, String> {
        let Some(array) = value.as_array() else { return expected(T::LIST, value) };
        let entries = array.iter().enumerate();
        entries.map(|(at, item)| T::read(item).map_err(|why| format!("item {}: {why}", at + 1))).collect()
    }
    fn show(&self) -> String {
        let items: Vec<String> = self.iter().map(Setting::show).collect();
        format!("[{}]", items.join(", "))
    }
}

impl Listed for String {
    const LIST: &'static str = "list of text";
}

impl Tabled for String {
    const TABLE: &'static str = "table of name to text";
}

impl Tabled for u64 {
    const TABLE: &'static str = "table of name to number";
}

/// A value in a table whose keys are free names.
pub(crate) trait Tabled: Setting {
    /// What the table is, in words.
    const TABLE: &'static str;
}

impl<T: Tabled> Setting for BTreeMap<String, T> {
    const TYPE: &'static str = T::TABLE;
    const SHAPE: Shape = Shape::Table;
    fn read(value: &Value) -> Result<Self, String> {
        let Some(table) = value.as_inline_table() else { return expected(T::TABLE, value) };
        table
            .iter()
            .map(|(key, item)| Ok((key.to_owned(), T::read(item).map_err(|why| format!("`{key}`: {why}"))?)))
            .collect()
    }
    fn show(&self) -> String {
        if self.is_empty() {
            return "{}".to_owned();
        }
        let items: Vec<String> =
            self.iter().map(|(key, item)| format!("{} = {}", Key::new(key).display_repr(), item.show())).collect();
        format!("{{ {} }}", items.join(", "))
    }
}

fn quote(text: &str) -> String {
    Value::from(text).to_string()
}
