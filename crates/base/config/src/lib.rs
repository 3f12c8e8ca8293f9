//! The hub's configuration: parsed once, checked whole, and then a plain value.
//!
//! [`Config`] is what everybody reads. [`load`] makes one from [`Sources`], each layer over the one before: defaults, the TOML file,
//! environment variables `PORTREEVE__SECTION__KEY`, `--set section.key=value`. [`keys`] describes every key.
//!
//! *Invariants*
//! - A key's type, default, range, unit and text are declared in one place (`schema.rs`); the loader, `config explain` and the
//!   configuration reference all read that.
//! - Nothing is ignored: an unknown key, a value of the wrong type or out of range, and a combination that makes no sense are
//!   refused, all of them at once, each with its place.
//! - No key turns off TLS, client certificates or policy, or shows more than loopback what has no authentication
//!   (`ISVS-4.1.1`, `GLOSSARY-P2`, `CSA-COM-02`).

mod check;
mod load;
mod naming;
mod problem;
mod reference;
mod schema;
mod section;
mod setting;
mod suggest;
mod words;

pub use load::{Loaded, Shown, Sources, load};
pub use naming::{BadPattern, NamePattern};
pub use problem::{ConfigError, Origin, Problem};
pub use reference::{explain, keys, reference_markdown};
pub use schema::{
    Admin, Canary, DeviceHttps, Enrolment, Hub, Inventory, Keys, Ledger, Lifecycle, Limits, Log, Metrics, Mqtt,
    Revocation, Store,
};
pub use section::KeyDoc;
pub use words::{
    CloneResponse, DeviceKey, KeyCustody, LogFormat, LogLevel, Network, NetworkError, NotAWord, Port, QueueOverflow,
    Role, TwoPlaces,
};

use section::Section;

macro_rules! define_config {
    ($($field:ident: $Section:ident),* $(,)?) => {
        /// The whole configuration. `Config::default()` is what runs without a file.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct Config {
            $(
                #[doc = concat!("The section `", stringify!($field), "`; see [`", stringify!($Section), "`].")]
                pub $field: $Section,
            )*
        }

        impl Config {
            fn set(&mut self, key: Key<'_>, value: &toml_edit::Value) -> Result<(), String> {
                match key.section {
                    $( $Section::NAME => self.$field.set(key.field, value), )*
                    _ => Err(format!("there is no section `{}`", key.section)),
                }
            }

            fn show(&self, key: Key<'_>) -> Option<String> {
                match key.section {
                    $( $Section::NAME => self.$field.show(key.field), )*
                    _ => None,
                }
            }

            fn copy(&mut self, key: Key<'_>, from: &Self) {
                match key.section {
                    $( $Section::NAME => self.$field.copy(key.field, &from.$field), )*
                    _ => {}
                }
            }
        }

        /// The sections' names and texts, in order.
        fn section_texts() -> Vec<(&'static str, String)> {
            vec![ $( ($Section::NAME, $Section::text()), )* ]
        }

        fn all_keys() -> Vec<KeyDoc> {
            let mut keys = Vec::new();
            $( keys.extend($Section::keys()); )*
            keys
        }

        fn shape(key: Key<'_>) -> Option<setting::Shape> {
            match key.section {
                $( $Section::NAME => $Section::shape(key.field), )*
                _ => None,
            }
        }
    };
}

// The one list of sections, in the order of the reference.
define_config! {
    hub: Hub, mqtt: Mqtt, device_https: DeviceHttps, ledger: Ledger, inventory: Inventory, enrolment: Enrolment, lifecycle: Lifecycle,
    revocation: Revocation, keys: Keys, metrics: Metrics, admin: Admin, limits: Limits, canary: Canary, store: Store, log: Log,
}

/// A key's path, taken apart.
#[derive(Debug, Clone, Copy)]
struct Key<'a> {
    section: &'a str,
    field: &'a str,
}

impl<'a> Key<'a> {
    /// `None` if there is no dot.
    fn parse(path: &'a str) -> Option<Self> {
        path.split_once('.').map(|(section, field)| Self { section, field })
    }
}

impl Config {
    /// Loads and checks; see [`load`].
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        load(sources).map(|loaded| loaded.config)
    }

    /// The configuration to run with after `new` was read by a running hub: what applies at a reload is taken from `new`, the rest
    /// stays. Also the keys whose new value waits for the next start.
    #[must_use]
    pub fn reloaded(&self, new: &Self) -> (Self, Vec<&'static str>) {
        let mut result = new.clone();
        let mut waiting = Vec::new();
        for doc in keys().iter().filter(|doc| !doc.reload) {
            let Some(key) = Key::parse(doc.path) else { continue };
            if self.show(key) != new.show(key) {
                result.copy(key, self);
                waiting.push(doc.path);
            }
        }
        (result, waiting)
    }
}
