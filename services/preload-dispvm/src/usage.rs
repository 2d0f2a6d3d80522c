//! What the program says of itself.

use std::io::{self, Write};

/// Tells how the program is used, on stdout when asked for it; returns the exit code.
pub(crate) fn show(asked: bool) -> u8 {
    // Nobody who cannot be told is waiting for it.
    if asked {
        drop(io::stdout().write_all(USAGE.as_bytes()));
        0
    } else {
        drop(io::stderr().write_all(USAGE.as_bytes()));
        2
    }
}

const USAGE: &str = "\
usage: preload-dispvm [--empty | --version]
Keeps disposables preloaded, until SIGTERM: qubes-dispvm-keeper.service runs it. Settings are in /etc/qubes/dispvm.toml and
in the feature preload-dispvm-max. \"qvm-dispvm status\" tells what waits.
  --empty    destroys what waits, where no keeper is there to do it, and ends
";
