//! Notifications, shown by a program that can do that (Desktop Notifications Specification 1.2).

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// In bytes; the rest of a text is left out.
const LONGEST: usize = 1000;
const ICON: &str = "document-open";
const NAME: &str = "Open in another qube";

/// How long the end waits for what was shown before, so that the two do not change places.
const PATIENCE: Duration = Duration::from_secs(1);

/// One notification that changes its text. No call waits for a desktop, and the end not for long.
pub(super) struct Desktop {
    program: PathBuf,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    showing: Option<Child>,
    id: Option<u32>,
}

impl Desktop {
    /// The first of these programs that is there.
    pub(super) fn find(programs: &[PathBuf]) -> Option<Self> {
        let program = programs.iter().find(|path| path.exists())?.clone();
        Some(Self { program, last: Mutex::default() })
    }

    /// Shows this in place of what was shown before; while that is still being shown, only the end matters.
    pub(super) fn show(&self, summary: &str, body: &str, is_end: bool) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = last.showing.take() {
            let deadline = Instant::now() + if is_end { PATIENCE } else { Duration::ZERO };
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
            if !is_end && matches!(child.try_wait(), Ok(None)) {
                last.showing = Some(child);
                return;
            }
            last.id = id_told(child).or(last.id);
        }
        let mut command = Command::new(&self.program);
        command.args(arguments(&self.program, last.id, summary, body));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Without a notification, standard error and the exit code still tell.
        last.showing = command.spawn().ok();
    }
}

/// The number of the notification, for a program that has ended and has written it.
fn id_told(mut child: Child) -> Option<u32> {
    if !child.try_wait().is_ok_and(|status| status.is_some_and(|status| status.success())) {
        return None;
    }
    let mut text = String::new();
    child.stdout.take()?.take(100).read_to_string(&mut text).ok()?;
    // notify-send writes "5", gdbus "(uint32 5,)".
    text.split(|c: char| !c.is_ascii_digit()).rfind(|digits| !digits.is_empty())?.parse().ok()
}

fn arguments(program: &Path, replaced: Option<u32>, summary: &str, body: &str) -> Vec<OsString> {
    let (summary, body) = (clean(summary), escaped(&clean(body)));
    let words: Vec<String> = if program.file_name().is_some_and(|name| name == "gdbus") {
        let method = "org.freedesktop.Notifications.Notify";
        let call = ["call", "--session", "--timeout", "5", "--dest", "org.freedesktop.Notifications"];
        let mut words: Vec<String> = call.map(str::to_owned).into();
        words.extend(
            ["--object-path", "/org/freedesktop/Notifications", "--method", method].map(str::to_owned),
        );
        let id = format!("uint32 {}", replaced.unwrap_or(0));
        words.extend([quoted(NAME), id, quoted(ICON), quoted(&summary), quoted(&body)]);
        words.extend(["@as []", "@a{sv} {}", "int32 -1"].map(str::to_owned));
        words
    } else {
        let mut words: Vec<String> = ["-p", "-a", NAME, "-i", ICON].map(str::to_owned).into();
        words.extend(replaced.iter().flat_map(|id| ["-r".to_owned(), id.to_string()]));
        words.extend(["--".to_owned(), summary, body]);
        words
    };
    words.into_iter().map(OsString::from).collect()
}

/// Not too long, and without control characters other than line ends.
fn clean(text: &str) -> String {
    let mut clean = String::new();
    for character in text.chars() {
        if clean.len() >= LONGEST {
            clean.push('\u{2026}');
            break;
        }
        clean.push(if character.is_control() && character != '\n' { '_' } else { character });
    }
    clean
}

/// The body of a notification may be taken for markup: file names are none.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A string in GVariant's text format.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(program: &str, replaced: Option<u32>, summary: &str, body: &str) -> Vec<String> {
        let words = arguments(Path::new(program), replaced, summary, body);
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn m43_texts_are_no_options_no_markup_and_no_code() {
        let sent = words("/usr/bin/notify-send", Some(7), "-x\u{1b}[31m", "<a href='x'>&\n2");
        assert_eq!(sent[5..], ["-r", "7", "--", "-x_[31m", "&lt;a href='x'&gt;&amp;\n2"]);
        let sent = words("/usr/bin/gdbus", None, "it's\\", "a\nb");
        assert_eq!(sent[11..15], ["uint32 0", "'document-open'", "'it\\'s\\\\'", "'a\\nb'"]);
        assert!(words("notify-send", None, &"\u{e4}".repeat(5000), "").concat().len() < 1200);
    }

    #[test]
    fn l5_the_number_of_a_notification_is_found() {
        for (text, id) in [("5\n", Some(5)), ("(uint32 12,)\n", Some(12)), ("", None), ("no", None)] {
            let mut child = Command::new("printf").args(["%s", text]).stdout(Stdio::piped()).spawn().unwrap();
            child.wait().unwrap();
            assert_eq!(id_told(child), id, "{text}");
        }
    }
}
