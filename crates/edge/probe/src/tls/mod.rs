//! TLS servers: which versions, suites, groups and signatures they accept, and what certificates they have.

pub(crate) mod ask;
pub mod client;
pub mod datagrams;
pub mod dtls;
pub mod flight;
pub mod hello;
pub mod records;
mod scan;
mod sealed;

pub use scan::{Target, scan};
