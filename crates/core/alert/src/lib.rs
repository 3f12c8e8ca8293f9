//! Alerts: who is told of what, through which channel, how soon, and what happens if nobody answers.
//!
//! The main type is [`Desk`]. It takes [`Occurrence`]s, folds repetitions into open [`Alert`]s, and gives out the
//! [`Delivery`]s that are due; whoever sends them reports back. [`AlertSettings`] says who is on call (CSA-BCN-01). How a delivery
//! looks as JSON, as a mail and as a line of syslog is here too, so that there is one place where hostile text is
//! tamed.
//!
//! *Invariants*
//! - The first of a kind and severity within [`FIRST_AGAIN`] is told, whatever else is suppressed, and what is
//!   suppressed is counted in a digest.
//! - A [`Desk`] that is rebuilt from what [`Desk::take_changes`] gave out continues as the one that gave it out: a
//!   delivery that was not reported as done is due again, with the same idempotency key.
//! - No text from outside ends a header, a line or an element that it stands in.
//! - No clock, no randomness, no I/O: all are arguments.

mod alert;
mod desk;
mod render;
mod settings;
mod sign;
mod text;

pub use alert::{Acknowledged, Alert, AlertId, Group, Occurrence, Subject, Text};
pub use desk::{
    ATTEMPTS_MAX, CANARY_AGE_MAX, CANARY_INTERVAL, CANARY_KIND, CHANNEL_FAILED_KIND, CHANNEL_FAILURES_TOLD, Change,
    DEAD_LETTERS_MAX, DELIVERIES_PER_CHANNEL_MAX, DELIVERY_AGE_MAX, DIGEST_AFTER, DeadLetter, Delivered, Delivery,
    DeliveryId, Desk, DeskError, Digest, DigestLine, FIRST_AGAIN, Failure, KINDS_MAX, Notice, OPEN_PER_KIND_MAX,
    OTHER_KIND, Outcome, Raised, RecordError, Timing, Why,
};
pub use portreeve_types::Severity;
pub use render::{MAIL_BYTES_MAX, SYSLOG_BYTES_MAX, render_json, render_mail, render_syslog};
pub use settings::{
    AlertSettings, CHANNELS_MAX, CHANNELS_PER_CONTACT_MAX, CONTACTS_MAX, CONTACTS_PER_ROUTE_MAX, Channel, ChannelKind,
    ClientFiles, Contact, HttpsUrl, Login, MailAddress, Peer, Problem, ROUTES_MAX, Route, SETTINGS_BYTES_MAX, Server,
    SettingsError, Smtp, SmtpSecurity, Syslog, Webhook,
};
pub use sign::{SIGNATURE_WINDOW, signature};
pub use text::{Line, Word, WordError};
