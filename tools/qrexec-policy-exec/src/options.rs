//! The command line (spec/qrexec-wire.md 9.4), as text in and a value out. Pure.

use names::printable;
use policy::protocol::Request;
use std::ffi::OsString;
use std::path::PathBuf;

/// What is to be decided, and by which files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The call.
    pub request: Request,
    /// Policy directories, highest rank first.
    pub directories: Vec<PathBuf>,
}

/// Reads the words after the program's name.
///
/// # Errors
/// One line that names the word.
pub fn parse(words: &[OsString]) -> Result<Options, String> {
    let mut request = Request::default();
    let mut directories: Vec<PathBuf> = Vec::new();
    let mut plain = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--") => plain.extend(words.by_ref()),
            Some("--assume-yes-for-ask") => request.assume_yes_for_ask = true,
            Some("--just-evaluate") => request.just_evaluate = true,
            Some("--path") => {
                let path = words.next().ok_or_else(|| format!("--path needs a directory\n{USAGE}"))?;
                directories.push(path.into());
            }
            Some(text) if text.starts_with("--path=") => directories.push(text["--path=".len()..].into()),
            Some(text) if text.starts_with('-') && text.len() > 1 => {
                return Err(format!("there is no option \"{}\"\n{USAGE}", printable(text.as_bytes())));
            }
            _ => plain.push(word),
        }
    }
    let [source, target, service] = *plain.as_slice() else {
        let hint = if plain.len() == 5 {
            " (upstream's deprecated form with five also runs the call; this one does not)"
        } else {
            ""
        };
        return Err(format!(
            "SOURCE TARGET SERVICE+ARGUMENT are three words, here are {}{hint}\n{USAGE}",
            plain.len()
        ));
    };
    request.source = text(source)?;
    request.intended_target = text(target)?;
    request.service_and_arg = text(service)?;
    if directories.is_empty() {
        directories = vec!["/run/qubes/policy.d".into(), "/etc/qubes/policy.d".into()];
    }
    Ok(Options { request, directories })
}

/// As on the policy daemon's socket: ASCII without a line break.
fn text(word: &OsString) -> Result<String, String> {
    match word.to_str() {
        Some(text) if text.is_ascii() && !text.contains('\n') => Ok(text.to_owned()),
        _ => Err(format!("\"{}\" is no word of a call", printable(word.as_encoded_bytes()))),
    }
}

const USAGE: &str = "usage: qrexec-policy-exec [--assume-yes-for-ask] [--just-evaluate] [--path DIR]... [--] SOURCE TARGET SERVICE+ARGUMENT";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &[&str]) -> Result<Options, String> {
        parse(&line.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn as_the_daemon_calls_it() {
        let options = parse_line(&["--", "work", "@dispvm", "a.B+c"]).unwrap();
        assert_eq!(options.request.call().argument, "+c");
        assert_eq!(options.directories, [PathBuf::from("/run/qubes/policy.d"), "/etc/qubes/policy.d".into()]);
        let options = parse_line(&["--path", "/a", "--just-evaluate", "--path=/b", "work", "", "a"]).unwrap();
        assert_eq!(options.directories, [PathBuf::from("/a"), "/b".into()]);
        assert!(options.request.just_evaluate && !options.request.assume_yes_for_ask);
    }

    #[test]
    fn p9_words_that_cannot_be_meant_are_named() {
        for (line, part) in [
            (&["work", "x"][..], "here are 2"),
            (&["1", "work", "x", "a", "2"], "five"),
            (&["--nosuch", "work", "x", "a"], "--nosuch"),
            (&["work", "x", "a", "--path"], "needs a directory"),
            (&["work", "x\n", "a"], "\"x_\""),
            (&["work", "x", "\u{e9}"], "no word"),
        ] {
            let error = parse_line(line).unwrap_err();
            assert!(error.contains(part), "{line:?}: {error}");
        }
    }
}
