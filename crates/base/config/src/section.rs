//! The macro that declares a section: field, default, range, unit and text stand in one place.

use crate::setting::Setting;
use toml_edit::Value;

/// One documented key, as `config explain` and the configuration reference print it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyDoc {
    /// `section.key`.
    pub path: &'static str,
    /// What a value looks like, in words.
    pub type_name: &'static str,
    /// The default as a TOML value.
    pub default: String,
    /// The smallest and largest allowed value of a number.
    pub range: Option<(i64, i64)>,
    /// The unit of a number, or what a text denotes.
    pub unit: &'static str,
    /// Whether a changed value applies on SIGHUP; otherwise it applies at the next start.
    pub reload: bool,
    /// Stem of the metrics of a limit: `<stem>_limit` is its value and `<stem>_used` how much of it is in use.
    pub metric: Option<&'static str>,
    /// What it does and why.
    pub text: String,
}

/// Reads `value` into `slot`, or says why not and leaves the slot as it was.
pub(crate) fn assign<T: Setting>(slot: &mut T, value: &Value, range: Option<(i64, i64)>) -> Result<(), String> {
    if let (Some((low, high)), Some(number)) = (range, value.as_integer())
        && !(low..=high).contains(&number)
    {
        return Err(format!("{number} is out of range: allowed is {low} to {high}"));
    }
    *slot = T::read(value)?;
    Ok(())
}

/// Joins the lines of a documentation comment into one text.
pub(crate) fn prose(lines: &[&str]) -> String {
    let words: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    words.join(" ").trim().to_owned()
}

/// `reload` or `restart`, as a truth value.
macro_rules! applies_on_reload {
    (reload) => {
        true
    };
    (restart) => {
        false
    };
}

/// Declares a section as a struct whose fields carry, in this order: default, allowed range of a number (`in low..=high`),
/// unit, `reload` or `restart`, and `metered` for a limit that is shown as a pair of metrics.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])*
        $Name:ident as $section:literal {
            $(
                $(#[doc = $doc:literal])*
                $field:ident: $ty:ty = $default:expr
                    $(, in $low:literal ..= $high:literal)?, $unit:literal, $applies:ident $(, $metered:ident)?;
            )*
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $Name {
            $( $(#[doc = $doc])* pub $field: $ty, )*
        }

        impl Default for $Name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::section::Section for $Name {
            const NAME: &'static str = $section;

            fn text() -> String {
                $crate::section::prose(&[$($section_doc),*])
            }

            fn keys() -> Vec<$crate::section::KeyDoc> {
                let defaults = Self::default();
                vec![ $( $crate::section::KeyDoc {
                    path: concat!($section, ".", stringify!($field)),
                    type_name: <$ty as $crate::setting::Setting>::TYPE,
                    default: $crate::setting::Setting::show(&defaults.$field),
                    range: $crate::section::range!($($low, $high)?),
                    unit: $unit,
                    reload: $crate::section::applies_on_reload!($applies),
                    metric: $crate::section::metric!($field $($metered)?),
                    text: $crate::section::prose(&[$($doc),*]),
                }, )* ]
            }

            fn shape(field: &str) -> Option<$crate::setting::Shape> {
                match field {
                    $( stringify!($field) => Some(<$ty as $crate::setting::Setting>::SHAPE), )*
                    _ => None,
                }
            }

            fn set(&mut self, field: &str, value: &toml_edit::Value) -> Result<(), String> {
                match field {
                    $( stringify!($field) => {
                        $crate::section::assign(&mut self.$field, value, $crate::section::range!($($low, $high)?))
                    } )*
                    _ => Err(format!("there is no key `{field}`")),
                }
            }

            fn show(&self, field: &str) -> Option<String> {
                match field {
                    $( stringify!($field) => Some($crate::setting::Setting::show(&self.$field)), )*
                    _ => None,
                }
            }

            fn copy(&mut self, field: &str, from: &Self) {
                match field {
                    $( stringify!($field) => self.$field.clone_from(&from.$field), )*
                    _ => {}
                }
            }
        }
    };
}

macro_rules! range {
    () => {
        None
    };
    ($low:literal, $high:literal) => {
        Some(($low, $high))
    };
}

macro_rules! metric {
    ($field:ident) => {
        None
    };
    ($field:ident metered) => {
        Some(concat!("portreeve_", stringify!($field)))
    };
}

pub(crate) use {applies_on_reload, metric, range, section};

/// What every section offers to the loader; implemented by the [`section!`] macro only.
pub(crate) trait Section: Default {
    /// The table's name in the file.
    const NAME: &'static str;
    /// What the section is about.
    fn text() -> String;
    /// Its keys, in order of declaration.
    fn keys() -> Vec<KeyDoc>;
    /// How plain text (environment, `--set`) is to be read for a field.
    fn shape(field: &str) -> Option<crate::setting::Shape>;
    /// Sets one field or says why not.
    fn set(&mut self, field: &str, value: &Value) -> Result<(), String>;
    /// One field as a TOML value.
    fn show(&self, field: &str) -> Option<String>;
    /// Takes one field over from another section value.
    fn copy(&mut self, field: &str, from: &Self);
}
