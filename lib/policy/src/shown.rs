//! Rules as the line that says the same.

use crate::rule::{Action, Rule};
use std::fmt;

impl fmt::Display for Rule {
    /// The five columns and the parameters that differ from their default, without what an administrator aligned or
    /// remarked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (service, argument) = (self.service.as_deref(), self.argument.as_deref());
        write!(f, "{} {} ", service.unwrap_or("*"), argument.unwrap_or("*"))?;
        write!(f, "{} {} {}", self.source, self.target, self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, target, default_target, user, notify, autostart) = match self {
            Self::Deny { notify: true } => return f.write_str("deny"),
            Self::Deny { notify: false } => return f.write_str("deny notify=no"),
            Self::Allow { target, user, notify, autostart } => {
                ("allow", target, &None, user, notify, autostart)
            }
            Self::Ask { target, default_target, user, notify, autostart } => {
                ("ask", target, default_target, user, notify, autostart)
            }
        };
        f.write_str(name)?;
        if let Some(target) = target {
            write!(f, " target={target}")?;
        }
        if let Some(target) = default_target {
            write!(f, " default_target={target}")?;
        }
        if let Some(user) = user {
            write!(f, " user={user}")?;
        }
        if *notify {
            f.write_str(" notify=yes")?;
        }
        if !autostart {
            f.write_str(" autostart=no")?;
        }
        Ok(())
    }
}
