//! The rules: what a check makes of evidence. Pure and deterministic.

pub mod dtls;
pub mod mqtt;
pub mod mutual;
pub mod ports;
pub mod ssh;
pub mod tls;
