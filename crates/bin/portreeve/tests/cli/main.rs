//! The built binary, as an operator and a newcomer use it. Everything stays on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on fails

mod admin;
mod attest;
mod audit;
mod audit_hub;
mod catalogue;
mod client;
mod config;
mod custody;
mod firmware;
mod http;
mod inventory;
mod report;
mod rotation;
mod serve;
mod support;
mod tokens;
