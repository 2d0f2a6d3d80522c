//! qrexec: codecs and state machines that see no descriptor, then thin drivers for each role.
//!
//! | module | what it is |
//! |---|---|
//! | [`wire`] | messages to bytes and back; pure |
//! | [`data`] | the data channel of one call, both sides: state machine, then driver |
//! | [`client`] | dom0 asks a qube's daemon to run something |
//! | [`exec`] | command lines, service look-up, rpc-config, starting a service |
//! | [`agent`] | the program in the qube that starts services there |
//! | [`client_vm`] | the program in the qube that calls others |
//! | [`daemon`] | the program in dom0, one for each running qube |
#![forbid(unsafe_code)]

mod arguments;

pub mod agent;
pub mod client;
pub mod client_vm;
pub mod daemon;
pub mod data;
pub mod exec;
pub mod wire;
