//! The message path: sessions, subscriptions, retained messages, and the connection that drives them.

mod arrivals;
mod attach;
mod changes;
mod connection;
mod message;
mod meters;
mod publish;
mod rates;
mod recover;
mod retained;
mod session;
mod subscribe;
mod subscription;
mod sys;
mod trie;
mod turn;

pub(crate) use attach::SessionTable;
pub(crate) use changes::Changes;
pub(crate) use connection::Traffic;
pub use connection::{Connection, Ended, Now, Transmit};
pub(crate) use message::{Envelope, Message};
pub use meters::{Counters, CutLatency, Gauges, Tally};
pub(crate) use rates::UsedRates;
pub(crate) use retained::Retained;
pub(crate) use session::{Access, Session};
pub use session::{Close, Peer};
pub(crate) use trie::Trie;
