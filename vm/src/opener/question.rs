//! A disposable that wants another disposable: the user is asked first (S4; spec/open-file.md 1.1).

use super::settings::Settings;
use crate::command_line::Order;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

const QUESTION: &str = "This qube was opened for one file or link. Open another disposable from it?";

/// Asks only when this process serves qubes.OpenInVM or qubes.OpenURL and the order is for a disposable. Anything but a
/// clear yes is a no.
pub(super) fn ask_if_nested(order: &Order, settings: &Settings) -> Result<(), NotAllowed> {
    if !order.wants_disposable() || !settings.is_nested() {
        return Ok(());
    }
    let dialog = settings.dialogs.iter().find(|path| path.exists()).ok_or(NotAllowed::NobodyToAsk)?;
    match command(dialog).stdin(Stdio::null()).stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(NotAllowed::No),
        Err(cause) => Err(NotAllowed::Dialog(cause)),
    }
}

fn command(dialog: &Path) -> Command {
    let mut command = Command::new(dialog);
    if dialog.file_name().is_some_and(|name| name == "kdialog") {
        command.args(["--warningcontinuecancel", QUESTION]);
    } else {
        command.args(["--question", "--default-cancel", "--text", QUESTION]);
    }
    command
}

/// Why there is no second disposable.
#[derive(Debug)]
pub(super) enum NotAllowed {
    NobodyToAsk,
    No,
    Dialog(io::Error),
}

impl Display for NotAllowed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NobodyToAsk => f.write_str(
                "this qube was itself opened for a file or link; another disposable from it needs your consent, and \
                 neither zenity nor kdialog is installed here to ask",
            ),
            Self::No => f.write_str("no other disposable was opened: the answer was no"),
            Self::Dialog(cause) => write!(f, "no other disposable was opened: the question failed: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(target: &str, service: Option<&str>, dialog: Option<&Path>) -> Result<(), NotAllowed> {
        let order = Order { target: target.into(), view_only: false, subjects: vec!["a".into()] };
        let mut settings = Settings::from_environment();
        settings.service = service.map(Into::into);
        settings.dialogs = dialog.map(Path::to_owned).into_iter().collect();
        ask_if_nested(&order, &settings)
    }

    #[test]
    fn s4_only_a_nested_disposable_is_asked_for() {
        assert!(ask("@dispvm", None, None).is_ok());
        assert!(ask("@dispvm", Some("qubes.VMShell+"), None).is_ok());
        assert!(ask("work", Some("qubes.OpenInVM+"), None).is_ok());
        assert!(matches!(ask("@dispvm", Some("qubes.OpenInVM+"), None), Err(NotAllowed::NobodyToAsk)));
        assert!(matches!(ask("@dispvm:x", Some("qubes.OpenURL+"), None), Err(NotAllowed::NobodyToAsk)));
    }

    #[test]
    fn s4_the_answer_counts() {
        let top = tempfile::tempdir().unwrap();
        for (name, code, allowed) in [("zenity", 0, true), ("kdialog", 1, false), ("other", 5, false)] {
            let dialog = top.path().join(name);
            fixture::executable(&dialog, &format!("#!/bin/sh\nexit {code}\n"));
            assert_eq!(ask("@dispvm", Some("qubes.OpenURL+"), Some(&dialog)).is_ok(), allowed, "{name}");
        }
    }
}
