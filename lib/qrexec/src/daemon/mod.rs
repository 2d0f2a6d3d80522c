//! qrexec-daemon: the program in dom0, one for each running qube, that speaks with the qube's agent, asks the policy
//! about the qube's calls and carries them out (spec/qrexec-wire.md, sections 2 to 6 and 9).
//!
//! | file | what it is |
//! |---|---|
//! | [`machine`] | the rules; pure |
//! | [`trigger`] | the agent's wish for a call, cleaned; pure |
//! | [`ports`], [`requests`] | what is in use, what is under way; pure |
//! | [`faults`] | what ends a connection |
//! | [`options`] | the command line |
//! | `driver`, `door`, `mail` | the loop, its sockets, what threads tell it |
//! | `request` | the life of one call; reads top to bottom |
//! | [`question`], `dom0`, `disposable` | steps of that life |
//! | `launch` | going into the background |
//!
//! Trust: what the agent sends is hostile and ends at [`machine`]; what clients on the socket send is dom0's own, and a
//! mistake of theirs costs them their connection only.

mod disposable;
mod dom0;
mod door;
mod driver;
mod error;
pub mod faults;
mod launch;
pub mod machine;
mod mail;
pub mod options;
pub mod ports;
pub mod question;
mod request;
pub mod requests;
mod story;
pub mod trigger;

pub use error::{CallError, End};

use driver::Driver;
use options::{Options, Startup};
use request::Desk;
use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;

/// A client's connection; numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// A request of the qube; numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The program: arguments without `argv[0]` in, exit code out.
///
/// 0 ended by a signal (or, in the parent, ready); 1 usage, breach of protocol by the agent, or no sockets; 3 the agent
/// did not come in time. The environment is read here: `VCHAN_SOCKET_DIR`, `VCHAN_DOMAIN`, `QREXEC_SERVICE_PATH`,
/// `QUBES_RPC_CONFIG_PATH`, `QREXEC_STARTUP_TIMEOUT`, `QREXEC_STARTUP_NOWAIT`.
#[must_use]
pub fn main(args: &[OsString]) -> u8 {
    let options = match Options::parse(args, &Startup::from_env()) {
        Ok(options) => options,
        Err(error) => return complain(&error),
    };
    let is_child = launch::is_child();
    if !options.direct && !is_child {
        return launch::in_background(&options, args).unwrap_or_else(|error| complain(&error));
    }
    if is_child {
        launch::leave_session();
    }
    let on_ready = || {
        if is_child {
            launch::tell_parent();
        }
    };
    match run(&options, on_ready) {
        Ok(end) => {
            log::info!("daemon of {}: {end}", options.name);
            end.exit_code()
        }
        Err(error) => complain(&error),
    }
}

fn run(options: &Options, on_ready: impl FnOnce()) -> std::io::Result<End> {
    // Relative names of the vchan directory mean the directory in which we were started.
    let mut vchan = vchan::Config::from_env();
    vchan.dir = std::path::absolute(&vchan.dir)?;
    let desk = Arc::new(Desk::new(options, vchan.clone()));
    std::env::set_current_dir(&options.socket_dir)?;
    let end = Driver::new(options, vchan, mail::office()?, Arc::clone(&desk), on_ready).run();
    desk.disposables.kill_all(&desk.qubesd);
    Ok(end)
}

fn complain(error: &impl std::fmt::Display) -> u8 {
    // With standard error closed there is no one to tell; the exit code remains.
    drop(writeln!(std::io::stderr(), "qrexec-daemon: {error}"));
    1
}
