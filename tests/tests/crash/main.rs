//! Power cuts and full disks: what clients were told is compared with what exists afterwards.

// What goes wrong in a helper is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod durable;
mod full_disk;
mod kill;
mod peers;
mod start;
