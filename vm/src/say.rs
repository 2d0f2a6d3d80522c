//! Lines for the user, on standard error.

use std::fmt::Display;
use std::io::{self, Write};

/// One line, with the name of the program that speaks.
pub(crate) fn say(program: &str, message: &dyn Display) {
    line(&format_args!("{program}: {message}"));
}

/// One line as it is, in one write, so that lines of several processes do not mix.
pub(crate) fn line(message: &dyn Display) {
    let text = format!("{message}\n");
    if io::stderr().write_all(text.as_bytes()).is_err() {
        // Nobody listens. The work is more important than its report.
    }
}
