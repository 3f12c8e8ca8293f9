//! Handshakes and configurations, in memory: no sockets, no real clock.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in tests, helpers included, a panic is the report

mod handshake;
mod material;
mod records;
mod support;
