//! The rules: what a check makes of evidence. Pure and deterministic.

pub mod tls;
