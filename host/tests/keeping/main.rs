//! The keeper beside a real host: what it checks, what it waits for, what it hears of, what it leaves.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checks;
#[path = "../common/mod.rs"]
mod common;
mod following;
mod leaving;
mod support;
