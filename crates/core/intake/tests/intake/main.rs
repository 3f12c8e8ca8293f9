//! Files that people have, as evidence, before the rules: weak ones fail where they are weak, good ones pass.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;
mod files;
mod hostile;
mod real;
mod sbom;
mod secrets;
