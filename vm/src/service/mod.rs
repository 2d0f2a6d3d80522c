//! The services of a qube: what others' calls start here.

pub(crate) mod open_in_vm;
pub(crate) mod open_url;
pub(crate) mod vm_exec;
pub(crate) mod wait;

mod application;
mod bus;
mod content;
mod failure;
mod holders;
mod instances;
mod session;
mod takers;
mod workspace;
