//! A load generator for MQTT over mutual TLS: what does a unit of work cost the broker, how late is it, is anything lost?
//!
//! [`Plan`] says what to do, [`run`] does it and returns a [`Report`]; [`cli`] makes a plan of command line arguments.
//! [`floor`] is the other side: a relay that does the least that can be done, to know the limit on a machine.
//!
//! It has to cost less than what it measures. So each thread drives its connections with one epoll loop and one set of
//! buffers, rustls works on those buffers directly, a message is a copied template with three numbers changed, a batch of
//! messages is one TLS record and one write, and what arrives is decoded where it lies.
//!
//! *Invariants*
//! - Nothing but loopback is loaded unless [`Plan::allow_remote`] says so.
//! - Everything is bounded: clients, threads, time, rate, bytes; each wait has an end.
//! - Sessions are never resumed: every handshake is a full one.
//! - Latencies count from the moment a message was due by its [`Schedule`], not from when it could be sent, and warm-up is
//!   in no figure but those of integrity, which account for every message.

mod channel;
pub mod cli;
mod credentials;
mod fault;
pub mod floor;
mod histogram;
mod layout;
mod pattern;
mod plan;
mod poller;
pub mod process;
mod report;
mod run;
mod schedule;
mod session;
mod stamp;
mod worker;

pub use channel::{Buffers, Channel};
pub use credentials::{Files, Group, TlsVersion, Wardrobe};
pub use fault::{BenchError, Fault};
pub use histogram::Histogram;
pub use pattern::{Pattern, PatternError};
pub use plan::{Plan, Scenario};
pub use poller::{Clock, Poller};
pub use report::{Latency, Negotiated, ProcessCost, Report};
pub use run::run;
pub use schedule::Schedule;
pub use stamp::Integrity;
