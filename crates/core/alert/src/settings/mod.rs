//! Who is told of what through which channel: one TOML text, applied as a whole or not at all (CSA-BCN-01).

mod address;
mod channel;
mod read;

use std::{collections::BTreeSet, time::Duration};

use portreeve_types::UnixMillis;

pub use address::{HttpsUrl, MailAddress, Server};
pub use channel::{Channel, ChannelKind, ClientFiles, Login, Peer, Smtp, SmtpSecurity, Syslog, Webhook};
pub use read::{Problem, SettingsError};

use self::read::{Reader, Span, Table};
use crate::{Alert, CANARY_KIND, CHANNEL_FAILED_KIND, Group, Line, OTHER_KIND, Severity, Word};

/// Largest settings file, bytes.
pub const SETTINGS_BYTES_MAX: usize = 256 * 1024;
/// Channels; each has a thread where they are sent.
pub const CHANNELS_MAX: usize = 16;
/// Contacts.
pub const CONTACTS_MAX: usize = 64;
/// Channels of one contact.
pub const CHANNELS_PER_CONTACT_MAX: usize = 4;
/// Routes.
pub const ROUTES_MAX: usize = 64;
/// Contacts of one route.
pub const CONTACTS_PER_ROUTE_MAX: usize = 8;
/// How often a route may go through its contacts.
const ROUNDS_MAX: u32 = 10;
/// Whose turn it is, counted through all rounds, is below this.
pub(crate) const STEPS_MAX: usize = CONTACTS_PER_ROUTE_MAX * ROUNDS_MAX as usize;
/// Kinds, or groups, that one route names.
const MATCHES_PER_ROUTE_MAX: usize = 64;

const DAY_S: u32 = 24 * 60 * 60;
/// A contact list that nobody looked at for longer than half a year is out of date by experience.
const REVIEW_DAYS: u32 = 180;
const ACKNOWLEDGE_WITHIN_S: u32 = 900;
const ROUNDS: u32 = 3;
const REPEAT_S: u32 = 3600;

/// A person or team that can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// What routes call it.
    pub name: Word,
    /// How it is told: through the first, and through the next as soon as one fails.
    pub channels: Vec<Word>,
    /// Where mails for it go.
    pub mail: Option<MailAddress>,
    /// When somebody last made sure that all this is true: midnight, UTC.
    pub reviewed: UnixMillis,
}

/// Who is told of which alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Alerts at least this urgent; all, if nothing is said.
    pub severity: Severity,
    /// Alerts of these kinds; empty for all.
    pub kinds: BTreeSet<Word>,
    /// Alerts about identities of these groups; empty for all.
    pub groups: BTreeSet<Group>,
    /// In the order in which they are told.
    pub contacts: Vec<Word>,
    /// Told as well, at once and beside whose turn it is, and not waited for: a log server, a panel.
    pub copies: Vec<Word>,
    /// How long each has to acknowledge before the next is told.
    pub acknowledge_within: Duration,
    /// How often the order is gone through.
    pub rounds: u32,
    /// How long after it was told an alert that goes on is told again.
    pub repeat: Duration,
}

impl Route {
    fn concerns(&self, alert: &Alert) -> bool {
        let group = alert.group.as_ref();
        alert.severity >= self.severity
            && (self.kinds.is_empty() || self.kinds.contains(&alert.kind))
            && (self.groups.is_empty() || group.is_some_and(|group| self.groups.contains(group)))
    }

    fn names(&self, contact: &Word) -> bool {
        self.contacts.contains(contact) || self.copies.contains(contact)
    }

    fn is_default(&self) -> bool {
        self.severity == Severity::Info && self.kinds.is_empty() && self.groups.is_empty()
    }
}

/// Channels, contacts and routes that fit together: every name that is referred to exists, everybody and every
/// channel is used, and every alert has a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertSettings {
    channels: Vec<Channel>,
    contacts: Vec<Contact>,
    /// The last one takes all.
    routes: Vec<Route>,
    default: Route,
    review: Duration,
    close_after: Duration,
}

impl AlertSettings {
    /// Reads a settings file. `kinds` are those that detectors raise; a route that names another is refused.
    ///
    /// ```toml
    /// contact_review_days = 180          # optional, as are close_after_s and what has a default below
    ///
    /// [[channel]]
    /// name = "soc"
    /// kind = "webhook"                   # or smtp, syslog, mqtt
    /// url = "https://soc.example.org/portreeve"
    /// secret_file = "/etc/portreeve/soc.secret"
    /// ca_file = "/etc/portreeve/soc-ca.pem"
    ///
    /// [[contact]]
    /// name = "ann"
    /// channels = ["soc"]
    /// reviewed = 2026-11-22
    ///
    /// [[route]]                          # the last route takes what no other took
    /// contacts = ["ann"]
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong, with line and column.
    pub fn parse(file: &str, text: &str, kinds: &[&str]) -> Result<Self, SettingsError> {
        let mut reader = Reader::new(text);
        if text.len() > SETTINGS_BYTES_MAX {
            reader.problem(0..0, format!("larger than {SETTINGS_BYTES_MAX} bytes"));
            return reader.finish(file, None);
        }
        let table = reader.parse();
        let settings = table.and_then(|table| Self::read(&mut reader, table, kinds));
        reader.finish(file, settings)
    }

    fn read(reader: &mut Reader<'_>, mut table: Table<'_>, kinds: &[&str]) -> Option<Self> {
        let review_days = table.number(reader, "contact_review_days", 1..=3650, REVIEW_DAYS);
        let close_after_s = table.number(reader, "close_after_s", 60..=30 * DAY_S, DAY_S);
        let channels = table.tables(reader, "channel", CHANNELS_MAX);
        let contacts = table.tables(reader, "contact", CONTACTS_MAX);
        let routes = table.tables(reader, "route", ROUTES_MAX);
        table.finish(reader);
        let channels: Vec<(Span, Channel)> = placed(channels, |table| channel::read(reader, table));
        unique(reader, "channel", channels.iter().map(|(span, channel)| (span, &channel.name)));
        let contacts: Vec<(Span, Contact)> = placed(contacts, |table| contact(reader, table, &channels));
        unique(reader, "contact", contacts.iter().map(|(span, contact)| (span, &contact.name)));
        for (span, channel) in &channels {
            if !contacts.iter().any(|(_, contact)| contact.channels.contains(&channel.name)) {
                reader.problem(span.clone(), format!("no contact uses the channel `{}`", channel.name));
            }
        }
        let mut routes: Vec<(Span, Route)> = placed(routes, |table| route(reader, table, &contacts, kinds));
        for (span, contact) in &contacts {
            if !routes.iter().any(|(_, route)| route.names(&contact.name)) {
                reader.problem(span.clone(), format!("no route leads to the contact `{}`", contact.name));
            }
        }
        for (span, _) in routes.iter().rev().skip(1).filter(|(_, route)| route.is_default()) {
            reader.problem(span.clone(), "this route takes every alert, so those after it get none");
        }
        let Some((_, default)) = routes.pop().filter(|(_, route)| route.is_default()) else {
            reader.problem(0..0, "the last [[route]] has to take every alert: without severity, kinds and groups");
            return None;
        };
        Some(Self {
            channels: channels.into_iter().map(|(_, channel)| channel).collect(),
            contacts: contacts.into_iter().map(|(_, contact)| contact).collect(),
            routes: routes.into_iter().map(|(_, route)| route).collect(),
            default,
            review: Duration::from_secs(u64::from(review_days) * u64::from(DAY_S)),
            close_after: Duration::from_secs(close_after_s.into()),
        })
    }

    /// Settings of which nobody is told: what stands before any are applied.
    #[must_use]
    pub fn nobody() -> Self {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let default = Route {
            severity: Severity::Info,
            kinds: BTreeSet::new(),
            groups: BTreeSet::new(),
            contacts: Vec::new(),
            copies: Vec::new(),
            acknowledge_within: seconds(ACKNOWLEDGE_WITHIN_S),
            rounds: ROUNDS,
            repeat: seconds(REPEAT_S),
        };
        let review = Duration::from_secs(u64::from(REVIEW_DAYS) * u64::from(DAY_S));
        let (channels, contacts, routes) = (Vec::new(), Vec::new(), Vec::new());
        Self { channels, contacts, routes, default, review, close_after: seconds(DAY_S) }
    }

    /// Whether anybody is told of anything.
    #[must_use]
    pub fn reach_somebody(&self) -> bool {
        !self.default.contacts.is_empty()
    }

    /// Every channel, in the order of the file.
    #[must_use]
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// The channel of this name.
    #[must_use]
    pub fn channel(&self, name: &Word) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.name == *name)
    }

    /// Every contact, in the order of the file.
    #[must_use]
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    /// The contact of this name.
    #[must_use]
    pub fn contact(&self, name: &Word) -> Option<&Contact> {
        self.contacts.iter().find(|contact| contact.name == *name)
    }

    /// Who is told of an alert: the first route that concerns it.
    #[must_use]
    pub fn route(&self, alert: &Alert) -> &Route {
        self.routes.iter().find(|route| route.concerns(alert)).unwrap_or(&self.default)
    }

    /// Contacts that nobody has reviewed within `contact_review_days`, or whose review lies more than a day in the future
    /// (CSA-BCN-01: contacts younger than a set age).
    pub fn overdue_contacts(&self, now: UnixMillis) -> impl Iterator<Item = &Contact> {
        let tomorrow = now.plus(Duration::from_secs(DAY_S.into()));
        self.contacts
            .iter()
            .filter(move |contact| now.since(contact.reviewed) > self.review || contact.reviewed > tomorrow)
    }

    /// The route that takes what no other took.
    pub(crate) fn default_route(&self) -> &Route {
        &self.default
    }

    /// How long after its last occurrence an alert is closed of itself, unless somebody is still to be told.
    pub(crate) fn close_after(&self) -> Duration {
        self.close_after
    }
}

fn placed<'t, T>(tables: Vec<Table<'t>>, mut read: impl FnMut(Table<'t>) -> Option<T>) -> Vec<(Span, T)> {
    tables.into_iter().filter_map(|table| Some((table.span.clone(), read(table)?))).collect()
}

fn unique<'a>(reader: &mut Reader<'_>, what: &str, names: impl Iterator<Item = (&'a Span, &'a Word)>) {
    let mut seen = BTreeSet::new();
    for (span, name) in names {
        if !seen.insert(name) {
            reader.problem(span.clone(), format!("there is a {what} `{name}` already"));
        }
    }
}

fn contact(reader: &mut Reader<'_>, mut table: Table<'_>, channels: &[(Span, Channel)]) -> Option<Contact> {
    let name = table.required(reader, "name", str::parse::<Word>);
    let mail = table.text(reader, "mail", str::parse::<MailAddress>);
    let reviewed = table.date(reader, "reviewed");
    let named = table.texts(reader, "channels", CHANNELS_PER_CONTACT_MAX, str::parse::<Word>);
    let span = table.span.clone();
    table.finish(reader);
    let Some(named) = named else {
        reader.problem(span, "`channels` has to name one channel at least");
        return None;
    };
    unique(reader, "channel", named.iter().map(|(span, name)| (span, name)));
    for (span, name) in &named {
        match channels.iter().find(|(_, channel)| channel.name == *name) {
            None => reader.problem(span.clone(), format!("there is no channel `{name}`")),
            Some((_, channel)) if matches!(channel.kind, ChannelKind::Smtp(_)) && mail.is_none() => {
                reader.problem(span.clone(), format!("`{name}` sends mails, so `mail` is needed"));
            }
            Some(_) => {}
        }
    }
    let midnight_s = reviewed?.midnight().assume_utc().unix_timestamp();
    let reviewed = UnixMillis(u64::try_from(midnight_s).unwrap_or(0).saturating_mul(1000));
    Some(Contact { name: name?, channels: named.into_iter().map(|(_, name)| name).collect(), mail, reviewed })
}

fn route(reader: &mut Reader<'_>, mut table: Table<'_>, contacts: &[(Span, Contact)], kinds: &[&str]) -> Option<Route> {
    let severity = table.text(reader, "severity", |text| {
        text.parse::<Severity>().map_err(|_| "one of info, low, medium, high, critical is expected")
    });
    let known = |text: &str| {
        let own = [CANARY_KIND, CHANNEL_FAILED_KIND, OTHER_KIND].contains(&text);
        if own || kinds.contains(&text) {
            text.parse::<Word>().map_err(|why| why.to_string())
        } else {
            Err(strange(text))
        }
    };
    let named = table.texts(reader, "kinds", MATCHES_PER_ROUTE_MAX, known);
    let groups = table.texts(reader, "groups", MATCHES_PER_ROUTE_MAX, group);
    let on_call = table.texts(reader, "contacts", CONTACTS_PER_ROUTE_MAX, str::parse::<Word>);
    let copies = table.texts(reader, "copies", CONTACTS_PER_ROUTE_MAX, str::parse::<Word>).unwrap_or_default();
    let within_s = table.number(reader, "acknowledge_within_s", 30..=7 * DAY_S, ACKNOWLEDGE_WITHIN_S);
    let rounds = table.number(reader, "rounds", 1..=ROUNDS_MAX, ROUNDS);
    let repeat_s = table.number(reader, "repeat_s", 60..=7 * DAY_S, REPEAT_S);
    let span = table.span.clone();
    table.finish(reader);
    let Some(on_call) = on_call else {
        reader.problem(span, "`contacts` has to name one contact at least");
        return None;
    };
    let told = || on_call.iter().chain(&copies);
    unique(reader, "contact", told().map(|(span, name)| (span, name)));
    for (span, name) in told() {
        if !contacts.iter().any(|(_, contact)| contact.name == *name) {
            reader.problem(span.clone(), format!("there is no contact `{name}`"));
        }
    }
    Some(Route {
        severity: severity.unwrap_or(Severity::Info),
        kinds: named.into_iter().flatten().map(|(_, kind)| kind).collect(),
        groups: groups.into_iter().flatten().map(|(_, group)| group).collect(),
        contacts: on_call.into_iter().map(|(_, name)| name).collect(),
        copies: copies.into_iter().map(|(_, name)| name).collect(),
        acknowledge_within: Duration::from_secs(within_s.into()),
        rounds,
        repeat: Duration::from_secs(repeat_s.into()),
    })
}

fn strange(kind: &str) -> String {
    format!("nothing raises alerts of the kind `{}`", Line::<80>::new(kind))
}

fn group(text: &str) -> Result<Group, &'static str> {
    let line = Group::new(text);
    if text.is_empty() || line.as_str() != text { Err("a group's name is expected") } else { Ok(line) }
}
