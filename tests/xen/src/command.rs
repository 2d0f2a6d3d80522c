use crate::error::LabError;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Run the tests whose names contain one of these; all if there is none.
    Test { names: Vec<String>, skip_ok: bool },
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
    let known = |option: &&String| option.starts_with('-') && option.as_str() != "--skip-ok";
    if let Some(option) = rest.iter().find(known) {
        return Err(LabError::Usage(format!("there is no option {option}\n{USAGE}")));
    }
    match (order.as_deref(), rest.as_slice()) {
        (Some("test"), _) => {
            let skip_ok = rest.iter().any(|word| word == "--skip-ok");
            let names = rest.into_iter().filter(|word| word != "--skip-ok").collect();
            Ok(Order::Test { names, skip_ok })
        }
        (Some("list"), []) => Ok(Order::List),
        (Some("shell"), []) => Ok(Order::Shell),
        (Some("inside"), [port]) => Ok(Order::Inside { port: port.clone() }),
        _ => Err(LabError::Usage(USAGE.to_owned())),
    }
}

const USAGE: &str = "usage: xen-lab test [--skip-ok] [PART-OF-A-NAME…]
       xen-lab list
       xen-lab shell";

#[cfg(test)]
mod tests {
    use super::{Order, parse};

    fn of(words: &[&str]) -> Option<Order> {
        parse(words.iter().map(|word| (*word).to_owned())).ok()
    }

    #[test]
    fn each_order_is_understood() {
        assert_eq!(of(&["test"]), Some(Order::Test { names: vec![], skip_ok: false }));
        let named = Order::Test { names: vec!["a".into(), "b".into()], skip_ok: true };
        assert_eq!(of(&["test", "a", "--skip-ok", "b"]), Some(named));
        assert_eq!(of(&["list"]), Some(Order::List));
        assert_eq!(of(&["shell"]), Some(Order::Shell));
    }

    #[test]
    fn anything_else_is_refused() {
        for words in [&[][..], &["nosuch"], &["shell", "x"], &["test", "--nosuch"], &["--skip-ok"]] {
            assert_eq!(of(words), None, "{words:?}");
        }
    }
}
