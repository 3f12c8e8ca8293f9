//! The life cycle of certificates: requests, enrolment, renewal, revocation, rotation, and foreign identities. What can
//! be shown to somebody else's program is: `openssl` reads, verifies and signs here.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in tests, helpers included, a panic is the report

mod csr;
mod documents;
mod endorsement;
mod est;
mod maker;
mod profile;
mod revocation;
mod rotation;
mod support;
