//! Real qubes: real processes, namespaces, control groups. All tests run as the user who runs them and, when that is
//! root, a second time as a user without any rights.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod crash;
mod isolation;
mod life;
mod pausing;
mod times;
mod unprivileged;
mod world;
