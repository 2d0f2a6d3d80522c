//! A fresh disposable through the Admin API, when none is ready.

use crate::creator::{self, Creator};
use crate::error::CallError;
use crate::resolve::Template;
use admin::{AdminError, Client};
use names::{QubeName, QubeRef, Uuid};

/// A disposable that was started for one call.
#[derive(Debug)]
pub struct Started {
    /// Its name.
    pub name: QubeName,
    /// Its identity.
    pub uuid: Uuid,
}

/// Creates and starts a disposable of `template` for a call of `creator`, whose tags it bears before it runs. Killed again
/// when it does not start (users.md M50).
///
/// # Errors
/// Our trouble, with what qubesd said.
pub fn start(admin: &Client, template: &Template, creator: &Creator) -> Result<Started, CallError> {
    let failed = |step: &'static str, error: AdminError| {
        CallError::trouble(step, &template.name, error)
            .remedy(format!("try \"qvm-run --dispvm={} true\" and look at qubesd's journal", template.name))
    };
    let uuid = admin
        .create_disposable(&QubeRef::Name(template.name.clone()))
        .map_err(|error| failed("create a disposable of", error))?;
    let disposable = QubeRef::Uuid(uuid);
    let started = creator::set_tags(admin, uuid, creator).and_then(|()| admin.start(&disposable));
    if let Err(error) = started {
        if let Err(kill) = admin.kill(&disposable) {
            // qubesd removes a disposable that failed to start by itself (spec/disposables.md R7).
            log::debug!("kill of {disposable} after a failed start: {kill}");
        }
        return Err(failed("start a disposable of", error));
    }
    match admin.name_of(&disposable) {
        Ok(name) => Ok(Started { name, uuid }),
        Err(error) => {
            if let Err(kill) = admin.kill(&disposable) {
                log::warn!("cannot kill {disposable}: {kill}");
            }
            Err(failed("learn the name of a disposable of", error))
        }
    }
}
