//! The command line.

use crate::choice::Choice;
use crate::error::LabError;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Run these tests. With `skip_ok` a machine that cannot is no failure.
    Test { choice: Choice, skip_ok: bool },
    /// Name the tests, without a machine.
    List,
    /// Dom0's shell on this terminal.
    Shell,
    /// Run the tests: we are in dom0.
    Inside { port: String },
}

/// Reads the words after the program's name.
pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Order, LabError> {
    let mut words = words.into_iter();
    let order = words.next();
    let rest = words.collect::<Vec<_>>();
    match (order.as_deref(), rest.as_slice()) {
        (Some("test"), _) => test(rest),
        (Some("list"), []) => Ok(Order::List),
        (Some("shell"), []) => Ok(Order::Shell),
        (Some("inside"), [port]) => Ok(Order::Inside { port: port.clone() }),
        _ => Err(LabError::Usage(USAGE.to_owned())),
    }
}

fn test(words: Vec<String>) -> Result<Order, LabError> {
    let usage = |text: String| LabError::Usage(format!("{text}\n{USAGE}"));
    let (mut choice, mut skip_ok) = (Choice::default(), false);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut number = || {
            let given = words.next().unwrap_or_default();
            given.parse().map_err(|_| usage(format!("{word} needs a number, not \"{given}\"")))
        };
        match word.as_str() {
            "--skip-ok" => skip_ok = true,
            "--minutes" => choice.minutes = Some(number()?),
            "--shuffle" => choice.shuffle = Some(number()?),
            option if option.starts_with('-') => return Err(usage(format!("there is no option {option}"))),
            _ => choice.names.push(word),
        }
    }
    Ok(Order::Test { choice, skip_ok })
}

const USAGE: &str = "usage: xen-lab test [--skip-ok] [--minutes N] [--shuffle N] [PART-OF-A-NAME…]
       xen-lab list
       xen-lab shell";

#[cfg(test)]
mod tests {
    use super::{Order, parse};
    use crate::choice::Choice;

    fn of(words: &[&str]) -> Option<Order> {
        parse(words.iter().map(|word| (*word).to_owned())).ok()
    }

    #[test]
    fn each_order_is_understood() {
        assert_eq!(of(&["test"]), Some(Order::Test { choice: Choice::default(), skip_ok: false }));
        let choice = Choice { names: vec!["a".into(), "b".into()], minutes: Some(20), shuffle: Some(3) };
        let words = ["test", "a", "--minutes", "20", "--skip-ok", "--shuffle", "3", "b"];
        assert_eq!(of(&words), Some(Order::Test { choice, skip_ok: true }));
        assert_eq!(of(&["list"]), Some(Order::List));
        assert_eq!(of(&["shell"]), Some(Order::Shell));
    }

    #[test]
    fn anything_else_is_refused() {
        for words in
            ["", "nosuch", "shell x", "test --nosuch", "--skip-ok", "test --minutes", "test --shuffle x"]
        {
            let words: Vec<&str> = words.split_whitespace().collect();
            assert_eq!(of(&words), None, "{words:?}");
        }
    }
}
