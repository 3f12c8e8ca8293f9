//! TLS servers: which versions, suites, groups and signatures they accept, and what certificates they have.

pub(crate) mod ask;
mod attacks;
pub mod client;
pub mod datagrams;
pub mod dtls;
pub mod flight;
pub mod hello;
pub mod premaster;
pub mod records;
mod scan;
mod sealed;
mod sealing;
pub(crate) mod session;
pub mod words;

pub use attacks::{Attack, attacks};
pub use scan::{Target, scan};
