//! qubes.VMExec: runs the command line that the call's argument holds, without a shell.

use crate::exit_code::{FAILURE, NOT_FOUND};
use crate::say::say;
use crate::vmexec::decode;
use names::printable;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

const PROGRAM: &str = "qubes.VMExec";

/// Replaces this process by the command; comes back only when that is not possible.
pub(crate) fn main(args: &[OsString]) -> u8 {
    let [argument] = args else {
        say(PROGRAM, &"exactly one argument is needed: an encoded command line");
        return FAILURE;
    };
    let words = match decode(argument.as_bytes()) {
        Ok(words) => words,
        Err(error) => {
            say(PROGRAM, &error);
            return FAILURE;
        }
    };
    let Some((program, arguments)) = words.split_first().filter(|(program, _)| !program.is_empty()) else {
        say(PROGRAM, &"the command is empty");
        return FAILURE;
    };
    let cause = Command::new(program).args(arguments).exec();
    say(PROGRAM, &format_args!("cannot run {}: {cause}", printable(program.as_bytes())));
    NOT_FOUND
}
