//! The ways that alerts leave the hub: a webhook, a mail server, a receiver of syslog.
//!
//! The main type is [`Channel`]: one [`Delivery`], sent now, within a deadline. It blocks, so the hub gives each channel a thread
//! of its own, takes deliveries from [`Desk::poll`](portreeve_alert::Desk::poll), and reports what came of each; a channel that
//! hangs then holds up nobody else. Whether and when to try again is the desk's matter. (A delivery to an MQTT topic is the
//! router's.)
//!
//! ```no_run
//! # use std::time::{Duration, Instant, SystemTime};
//! # use portreeve_alert::{ChannelKind, Delivery, Desk};
//! # fn example(desk: &mut Desk, kind: &ChannelKind, delivery: Delivery) -> Result<(), Box<dyn std::error::Error>> {
//! let Some(channel) = portreeve_channels::open(kind, "hub.example.org")? else { return Ok(()) };
//! let deadline = Instant::now() + portreeve_channels::SEND_WITHIN;
//! match channel.send(&delivery, SystemTime::now().into(), deadline) {
//!     Ok(_) => _ = desk.delivered(delivery.id, SystemTime::now().into()),
//!     Err(failure) => desk.failed(delivery.id, &failure, SystemTime::now().into())?,
//! }
//! # Ok(())
//! # }
//! ```
//!
//! *Invariants*
//! - Nothing is sent before the other end has shown a certificate for its name below the configured anchors, or the
//!   system's. There is no way without TLS.
//! - A send ends at its deadline, whatever the other end does, and reads no more than is bounded here.
//! - No secret stands in an error or in what `Debug` prints.

mod connect;
mod files;
mod reply;
mod smtp;
mod syslog;
mod webhook;

use std::time::{Duration, Instant};

use portreeve_alert::{ChannelKind, Delivery, Failure};
use portreeve_types::UnixMillis;

pub use files::OpenError;
pub use reply::{NotSmtp, REPLY_BYTES_MAX, Reply, read_reply};

use crate::{smtp::SmtpChannel, syslog::SyslogChannel, webhook::WebhookChannel};

/// How long one attempt should get.
pub const SEND_WITHIN: Duration = Duration::from_secs(10);

/// A way out.
pub trait Channel: std::fmt::Debug + Send {
    /// Sends one delivery now. `now` is the wall clock's time: receivers compare signatures and dates with it.
    ///
    /// # Errors
    /// What failed, and whether another attempt could help.
    fn send(&self, delivery: &Delivery, now: UnixMillis, deadline: Instant) -> Result<Receipt, Failure>;
}

/// What the other end said to a delivery that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// That it has it.
    Confirmed,
    /// Nothing: syslog has no acknowledgement, and the receiver left the connection open.
    Unconfirmed,
}

/// Reads the files that a channel needs and makes it ready; nothing is connected to yet. Nothing, for a channel that is
/// the hub's own. `hub` is the name under which the hub speaks.
///
/// # Errors
/// A file that cannot be read, is no secret, or does not hold what it should.
pub fn open(kind: &ChannelKind, hub: &str) -> Result<Option<Box<dyn Channel>>, OpenError> {
    Ok(match kind {
        ChannelKind::Webhook(webhook) => Some(Box::new(WebhookChannel::open(webhook, hub)?)),
        ChannelKind::Smtp(smtp) => Some(Box::new(SmtpChannel::open(smtp, hub)?)),
        ChannelKind::Syslog(syslog) => Some(Box::new(SyslogChannel::open(syslog, hub)?)),
        ChannelKind::Mqtt(_) => None,
    })
}

/// Worth another attempt.
fn transient(why: &str) -> Failure {
    Failure::Transient(portreeve_alert::Line::new(why))
}

/// The same would fail again.
fn permanent(why: &str) -> Failure {
    Failure::Permanent(portreeve_alert::Line::new(why))
}
