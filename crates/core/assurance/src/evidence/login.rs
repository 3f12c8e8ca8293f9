//! What logins make of wrong and of widely published credentials, and who allowed to try them.

use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{Effort, Facts, LINE_CHARS_MAX, Seen};
use crate::{Sha256, moment};

/// Written leave to try credentials at a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorisation {
    /// Who answers for the target and gave it.
    pub by: String,
    /// Where it is written: a ticket, a contract.
    pub reference: String,
    /// Until when it holds.
    #[serde(with = "moment::written")]
    pub until: UnixMillis,
}

/// Why credentials may not be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// Nobody is named, or no document, or the name is no name: empty, too long, or not printable.
    #[error(
        "an authorisation names who gave it and where that is written, in 1 to {LINE_CHARS_MAX} printable characters each"
    )]
    Unnamed,
    /// It does not hold any more.
    #[error("the authorisation has ended")]
    Ended,
}

impl Authorisation {
    /// Whether it holds at a time.
    ///
    /// # Errors
    /// [`NotPermitted`].
    pub fn check(&self, at: UnixMillis) -> Result<(), NotPermitted> {
        let is_line = |text: &str| {
            !text.trim().is_empty() && text.chars().count() <= LINE_CHARS_MAX && !text.chars().any(char::is_control)
        };
        if !is_line(&self.by) || !is_line(&self.reference) {
            return Err(NotPermitted::Unnamed);
        }
        if at > self.until { Err(NotPermitted::Ended) } else { Ok(()) }
    }

    /// The proof that credentials may be tried now.
    ///
    /// # Errors
    /// [`NotPermitted`].
    pub fn permit(self, now: UnixMillis) -> Result<Permitted, NotPermitted> {
        self.check(now).map(|()| Permitted(self))
    }
}

/// An authorisation that held when the probe began. Without one, no credential is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permitted(Authorisation);

impl Permitted {
    /// Whose leave it is.
    #[must_use]
    pub const fn authorisation(&self) -> &Authorisation {
        &self.0
    }
}

/// How one logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Login {
    /// HTTP Basic (RFC 7617).
    HttpBasic,
    /// An HTML form.
    HttpForm,
    /// A JSON object.
    HttpJson,
    /// User name and password of an MQTT CONNECT.
    Mqtt,
    /// Passwords over SSH (RFC 4252 section 8).
    Ssh,
    /// Telnet's prompts.
    Telnet,
    /// RTSP with Basic (RFC 2326).
    Rtsp,
    /// An SNMP community (RFC 1901).
    Snmp,
}

impl Login {
    /// As people say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HttpBasic => "HTTP Basic",
            Self::HttpForm => "the HTTP form",
            Self::HttpJson => "the JSON login",
            Self::Mqtt => "MQTT",
            Self::Ssh => "SSH",
            Self::Telnet => "telnet",
            Self::Rtsp => "RTSP",
            Self::Snmp => "SNMP",
        }
    }

    /// Whether it stands before one path of many, others of which may be for everybody.
    #[must_use]
    pub const fn is_http(self) -> bool {
        matches!(self, Self::HttpBasic | Self::HttpForm | Self::HttpJson)
    }
}

/// What logins make of wrong secrets. No secret is in here, wrong or right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginGuessing {
    /// Who allowed it.
    pub authorisation: Authorisation,
    /// Each login once.
    pub services: Vec<GuessedService>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for LoginGuessing {
    const KIND: &'static str = "login-guessing/1";
}

/// One login, asked in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuessedService {
    /// TCP port.
    pub port: u16,
    /// How one logs in there.
    pub login: Login,
    /// Name of the test account.
    pub account: String,
    /// The account's own secret; not tried, where the prober does not have it.
    pub right_before: Seen<Guess>,
    /// A user whom nobody has, with a wrong secret.
    pub wrong_user: Seen<Guess>,
    /// The account with wrong secrets, one after another, as fast as the limits allow.
    pub wrong_secrets: Vec<Seen<Guess>>,
    /// The account's own secret again: refused, where the account is locked.
    pub right_after: Seen<Guess>,
}

/// One attempt, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guess {
    /// In short.
    pub reaction: Reaction,
    /// The status or code, or how the connection ended; one line.
    pub how: String,
    /// SHA-256 of the answer's body, in which names, secrets, numbers and long tokens are masked.
    pub digest: Option<Sha256>,
    /// From the connection to the end of the answer, milliseconds.
    pub elapsed_ms: u64,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reaction {
    /// One is in.
    LetIn,
    /// One is not.
    Refused,
    /// It says that one has to wait or is locked out.
    Throttled,
    /// It does not answer any more, though it did before.
    Dropped,
}

/// What the owner of a target demands of its logins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuessPolicy {
    /// The attempt at which lockout or back-off has begun at the latest.
    pub attempts_max: u32,
    /// How much longer than the first an answer takes that is held back, milliseconds.
    pub delay_ms_min: u64,
}

impl Default for GuessPolicy {
    /// The attempt is that of the catalogue; a second is more than a busy target wavers by.
    fn default() -> Self {
        Self { attempts_max: 10, delay_ms_min: 1000 }
    }
}

impl Facts for GuessPolicy {
    const KIND: &'static str = "guess-policy/1";
}

/// What was heard of the wrong attempts on the other side: in the target's log, and where its alerts arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailuresHeard {
    /// Failures that the log has of them.
    pub logged: Seen<u32>,
    /// Whether an alert arrived.
    pub is_alerted: Seen<bool>,
}

impl Facts for FailuresHeard {
    const KIND: &'static str = "failures-heard/1";
}

/// Whether logins take what makers of devices have published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultLogins {
    /// Who allowed it.
    pub authorisation: Authorisation,
    /// Which edition of the list was tried.
    pub list: String,
    /// Each login once.
    pub services: Vec<TriedService>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for DefaultLogins {
    const KIND: &'static str = "default-logins/1";
}

/// One login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriedService {
    /// Port; UDP for SNMP, TCP for all else.
    pub port: u16,
    /// How one logs in there.
    pub login: Login,
    /// Credentials of the list that were tried.
    pub tried: u32,
    /// What was found.
    pub found: Seen<Found>,
}

/// What opens a login. Nothing more is tried behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// None of the list.
    Nothing,
    /// It takes no passwords at all; nothing of the list was tried.
    NoPasswords,
    /// Whatever one says; nothing of the list was tried.
    Anything,
    /// An entry of the list, the first that did.
    Entry {
        /// Where it stands, from 0.
        index: u32,
        /// Its user name; empty, where a login has none.
        user: String,
    },
}
