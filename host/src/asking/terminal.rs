//! The question on the terminal. Refused is what happens by itself: by Enter alone, by a key that is held down, by
//! anything that is no number of a choice, and by silence.

use names::printable;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, tcflush};
use nix::unistd::{getpgrp, read, tcgetpgrp};
use policy::Ask;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One question on the screen at a time.
static SCREEN: Mutex<()> = Mutex::new(());
/// How long the user may think.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the wait looks whether there is still something to wait for, in milliseconds.
const LOOK_MS: u8 = 100;
/// A longer line is no number of a choice.
const LONGEST_LINE: usize = 64;

/// Puts the question to the user. `Ok(None)` is a no.
///
/// # Errors
/// Why nobody could be asked.
pub(super) fn ask(
    ask: &Ask,
    caller: &UnixStream,
    is_stopping: impl Fn() -> bool,
) -> Result<Option<String>, String> {
    let _screen = SCREEN.lock().unwrap_or_else(PoisonError::into_inner);
    let stdin = io::stdin();
    // A process in the background that touches its terminal is stopped by the kernel, and with it the whole host.
    if tcgetpgrp(stdin.as_fd()).is_ok_and(|foreground| foreground != getpgrp()) {
        return Err("the host runs in the background of its terminal; bring it to the foreground, or give --assume TARGET".into());
    }
    // What was typed before the question was seen is no answer to it.
    tcflush(stdin.as_fd(), FlushArg::TCIFLUSH).map_err(|error| format!("the terminal: {error}"))?;
    show(&question(ask));
    let until = Instant::now() + PATIENCE;
    loop {
        if is_stopping() {
            show("\nrefused: the host ends\n");
            return Ok(None);
        }
        if Instant::now() >= until {
            show("\nrefused: no answer\n");
            return Ok(None);
        }
        let mut fds =
            [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(caller.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::from(LOOK_MS)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("waiting for the terminal: {error}")),
        }
        let [input, caller] = fds.map(|fd| fd.any().unwrap_or(true));
        if caller {
            show("\nrefused: the caller has given up\n");
            return Ok(None);
        }
        if input {
            let mut line = [0; LONGEST_LINE];
            let length = match read(stdin.as_fd(), &mut line) {
                Ok(length) => length,
                Err(Errno::EINTR | Errno::EAGAIN) => continue,
                Err(error) => return Err(format!("reading from the terminal: {error}")),
            };
            let choice = chosen(line.get(..length).unwrap_or_default(), &ask.targets);
            show(if choice.is_some() { "allowed\n" } else { "refused\n" });
            return Ok(choice.map(str::to_owned));
        }
    }
}

/// The question with its numbered choices.
fn question(ask: &Ask) -> String {
    let shown = |text: &str| printable(text.as_bytes()).to_string();
    let place = ask.rule.file.file_name().unwrap_or_default().to_string_lossy();
    let mut text = format!(
        "\n{} calls {}{} (target: {}). Rule {}:{} leaves it to you. Where may it go?\n",
        shown(&ask.source),
        shown(&ask.service),
        shown(&ask.argument),
        shown(&ask.requested_target()),
        shown(&place),
        ask.rule.line
    );
    for (number, target) in (1..).zip(&ask.targets) {
        let mark = if ask.default_target.as_ref() == Some(target) { "  (suggested by the rule)" } else { "" };
        text.push_str(&format!("  {number:>3}  {}{mark}\n", shown(target)));
    }
    text.push_str("Type its number and press Enter to allow it; anything else refuses: ");
    text
}

/// The choice that a line names: its number, the whole number and nothing but the number, then Enter.
fn chosen<'a>(line: &[u8], targets: &'a [String]) -> Option<&'a str> {
    let digits = line.strip_suffix(b"\n")?;
    if digits.is_empty() || digits.starts_with(b"0") || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    targets.get(number.checked_sub(1)?).map(String::as_str)
}

fn show(text: &str) {
    // Without a screen there is no answer either.
    drop(io::stderr().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn nothing_but_the_number_and_enter_is_a_yes() {
        let targets = ["dom0".to_owned(), "vault".to_owned()];
        assert_eq!(chosen(b"2\n", &targets), Some("vault"));
        for no in [
            "", "\n", "2", "0\n", "3\n", "02\n", " 2\n", "2 \n", "+2\n", "vault\n", "y\n", "\n2\n", "22\n",
            "2\n2\n",
        ] {
            assert_eq!(chosen(no.as_bytes(), &targets), None, "{no:?}");
        }
        assert_eq!(chosen(&[b'1'; 64], &targets), None, "a held key");
        assert_eq!(chosen(b"99999999999999999999999999\n", &targets), None);
    }
}
