//! Exit codes with a fixed meaning (promise P9; spec/open-file.md 1 and spec/qrexec-wire.md 10).

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// All went well.
pub(crate) const SUCCESS: u8 = 0;
/// Something went wrong; stderr says what.
pub(crate) const FAILURE: u8 = 1;
/// The command line makes no sense.
pub(crate) const USAGE: u8 = 2;
/// Trouble of our own programs, before anything of the user's ran.
pub(crate) const TROUBLE: u8 = 125;
/// The call was refused. No other condition may end in this code.
pub(crate) const REFUSED: u8 = 126;
/// What was to be run is not there.
pub(crate) const NOT_FOUND: u8 = 127;
/// The connection was lost before an exit code came.
pub(crate) const LOST: u8 = 255;

/// The code of an ended process as a shell would show it: 128 + n after signal n.
pub(crate) fn of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILURE)
}

/// The code of a process that ends because of signal `number`.
pub(crate) fn of_signal(number: i32) -> u8 {
    u8::try_from(128 + number).unwrap_or(FAILURE)
}
