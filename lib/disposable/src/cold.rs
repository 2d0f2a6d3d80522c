//! A fresh disposable through the Admin API, when none is ready.

use crate::creator::{self, Creator};
use crate::error::CallError;
use crate::resolve::Template;
use admin::{AdminError, Client, ErrorClass};
use names::{QubeName, QubeRef, Uuid};

/// A disposable that was created for one call; halted until [`start`].
#[derive(Debug)]
pub struct Created {
    /// Its name.
    pub name: QubeName,
    /// Its identity.
    pub uuid: Uuid,
}

/// Why none was created.
#[derive(Debug)]
pub struct NotCreated {
    /// For people.
    pub error: CallError,
    /// Whether qubesd said so itself. Else it was perhaps created all the same, and nobody knows its name.
    pub for_certain: bool,
}

/// Creates a disposable of `template`.
///
/// # Errors
/// Our trouble, with what qubesd said.
pub fn create(admin: &Client, template: &Template) -> Result<Created, NotCreated> {
    let failed = |step, error: AdminError| {
        let for_certain = error.class().is_some();
        NotCreated { for_certain, error: trouble(step, template, error) }
    };
    let uuid = admin
        .create_disposable(&QubeRef::Name(template.name.clone()))
        .map_err(|error| failed("create a disposable of", error))?;
    match admin.name_of(&QubeRef::Uuid(uuid)) {
        Ok(name) => Ok(Created { name, uuid }),
        Err(error) => {
            let ended = end(admin, &QubeRef::Uuid(uuid));
            let failed = failed("learn the name of a disposable of", error);
            Err(NotCreated { for_certain: ended.is_ok(), ..failed })
        }
    }
}

/// Starts what was created for a call of `creator`, whose tags it bears before it runs. Whoever owns it ends it when it does
/// not start (users.md M50).
///
/// # Errors
/// Our trouble, with what qubesd said.
pub fn start(admin: &Client, template: &Template, created: Uuid, creator: &Creator) -> Result<(), CallError> {
    let started =
        creator::set_tags(admin, created, creator).and_then(|()| admin.start(&QubeRef::Uuid(created)));
    started.map_err(|error| trouble("start a disposable of", template, error))
}

/// Kills a disposable and sees that it is gone. That it is gone already is a success.
///
/// # Errors
/// What qubesd said.
pub fn end(admin: &Client, qube: &QubeRef) -> Result<(), AdminError> {
    let unless_gone = |result: Result<(), AdminError>| match result {
        Err(error) if error.class() != Some(&ErrorClass::QubesVMNotFoundError) => Err(error),
        _ => Ok(()),
    };
    match admin.kill(qube) {
        // Created, never started: killing does not remove it.
        Err(error) if error.class() == Some(&ErrorClass::QubesVMNotStartedError) => {
            unless_gone(admin.remove(qube))
        }
        other => unless_gone(other),
    }
}

fn trouble(step: &'static str, template: &Template, error: AdminError) -> CallError {
    CallError::trouble(step, &template.name, error)
        .remedy(format!("try \"qvm-run --dispvm={} true\" and look at qubesd's journal", template.name))
}
