//! Targets of all sorts on loopback: real servers, weak and strong, and scripted ones that mean harm.
//!
//! Two-sided: every check is shown saying yes and saying no.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attacks;
mod coap;
mod console;
mod discovery;
mod dtls;
mod hostile;
mod login;
mod mqtt;
mod mutual;
mod nginx;
mod ports;
mod replay;
mod rogue;
mod snmp;
mod ssh;
mod support;
mod tls;
