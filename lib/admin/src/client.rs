//! Questions to qubesd, one connection each.

use crate::asked::Asked;
use crate::protocol::encode_request;
use crate::{AdminError, EventStream, Property, QubeLine};
use names::{QubeName, QubeRef, Tag, Uuid};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than any start of a qube: qubesd itself gives up after 60 s (spec/qrexec-wire.md, section 3).
const DEFAULT_LIMIT: Duration = Duration::from_secs(180);

/// Asks qubesd in the name of dom0.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    limit: Duration,
}

impl Client {
    /// A client of the Admin API at this socket (upstream `/var/run/qubesd.sock`). Nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), limit: DEFAULT_LIMIT }
    }

    /// The same client with another limit on every wait for bytes (180 s by default; event streams have none).
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The socket that is asked.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks any question: `dest` is a name or `uuid:UUID`. Returns the result of a success.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn call(&self, method: &str, arg: &str, dest: &str, payload: &[u8]) -> Result<Vec<u8>, AdminError> {
        self.ask(method, arg, dest, payload)?.answer()
    }

    /// Creates a disposable of this template, without starting it; an unnamed one that is removed when it ends.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn create_disposable(&self, template: &QubeRef) -> Result<Uuid, AdminError> {
        let dest = template.to_string();
        let text = self.text("admin.vm.CreateDisposable", "", &dest, b"uuid")?;
        text.strip_prefix("uuid:")
            .and_then(|uuid| uuid.parse().ok())
            .ok_or_else(|| unusable("admin.vm.CreateDisposable", &dest, "no uuid: and UUID"))
    }

    /// Starts a qube and waits until it can be called. No effect on one that is not halted.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn start(&self, qube: &QubeRef) -> Result<(), AdminError> {
        self.order("admin.vm.Start", "", qube, b"")
    }

    /// Ends a qube at once.
    ///
    /// # Errors
    /// See [`AdminError`]; class `QubesVMNotStartedError` when it does not run.
    pub fn kill(&self, qube: &QubeRef) -> Result<(), AdminError> {
        self.order("admin.vm.Kill", "", qube, b"")
    }

    /// Removes a halted qube.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn remove(&self, qube: &QubeRef) -> Result<(), AdminError> {
        self.order("admin.vm.Remove", "", qube, b"")
    }

    /// Pauses a qube.
    ///
    /// # Errors
    /// See [`AdminError`]; class `QubesVMNotRunningError` when it does not run.
    pub fn pause(&self, qube: &QubeRef) -> Result<(), AdminError> {
        self.order("admin.vm.Pause", "", qube, b"")
    }

    /// Wakes a paused qube.
    ///
    /// # Errors
    /// See [`AdminError`]; class `QubesVMNotPausedError` when it is not paused.
    pub fn unpause(&self, qube: &QubeRef) -> Result<(), AdminError> {
        self.order("admin.vm.Unpause", "", qube, b"")
    }

    /// A property of a qube.
    ///
    /// # Errors
    /// See [`AdminError`]; class `QubesNoSuchPropertyError` for a name that is none.
    pub fn property_get(&self, qube: &QubeRef, name: &str) -> Result<Property, AdminError> {
        let dest = qube.to_string();
        let text = self.text("admin.vm.property.Get", name, &dest, b"")?;
        Property::parse(&text).ok_or_else(|| unusable("admin.vm.property.Get", &dest, "no property"))
    }

    /// Sets a property of a qube; an empty value of a `vm` property means none.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn property_set(&self, qube: &QubeRef, name: &str, value: &str) -> Result<(), AdminError> {
        self.order("admin.vm.property.Set", name, qube, value.as_bytes())
    }

    /// A property of the system, for example `default_dispvm`.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn system_property_get(&self, name: &str) -> Result<Property, AdminError> {
        let text = self.text("admin.property.Get", name, "dom0", b"")?;
        Property::parse(&text).ok_or_else(|| unusable("admin.property.Get", "dom0", "no property"))
    }

    /// Sets a property of the system.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn system_property_set(&self, name: &str, value: &str) -> Result<(), AdminError> {
        self.call("admin.property.Set", name, "dom0", value.as_bytes()).map(drop)
    }

    /// A feature of a qube itself; `None` when it is not set.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn feature_get(&self, qube: &QubeRef, name: &str) -> Result<Option<String>, AdminError> {
        self.feature("admin.vm.feature.Get", qube, name)
    }

    /// A feature of a qube, else of its template, else of the template's template.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn feature_check_with_template(
        &self,
        qube: &QubeRef,
        name: &str,
    ) -> Result<Option<String>, AdminError> {
        self.feature("admin.vm.feature.CheckWithTemplate", qube, name)
    }

    fn feature(&self, method: &str, qube: &QubeRef, name: &str) -> Result<Option<String>, AdminError> {
        match self.text(method, name, &qube.to_string(), b"") {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.class() == Some(&crate::ErrorClass::QubesFeatureNotFoundError) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets a feature; an empty value counts as false.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn feature_set(&self, qube: &QubeRef, name: &str, value: &str) -> Result<(), AdminError> {
        self.order("admin.vm.feature.Set", name, qube, value.as_bytes())
    }

    /// Removes a feature.
    ///
    /// # Errors
    /// See [`AdminError`]; class `QubesFeatureNotFoundError` when it is not set.
    pub fn feature_remove(&self, qube: &QubeRef, name: &str) -> Result<(), AdminError> {
        self.order("admin.vm.feature.Remove", name, qube, b"")
    }

    /// The tags of a qube, sorted.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn tag_list(&self, qube: &QubeRef) -> Result<Vec<Tag>, AdminError> {
        let dest = qube.to_string();
        let text = self.text("admin.vm.tag.List", "", &dest, b"")?;
        text.lines()
            .map(|tag| tag.parse().map_err(|_| unusable("admin.vm.tag.List", &dest, "a line that is no tag")))
            .collect()
    }

    /// Whether a qube has a tag.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn tag_get(&self, qube: &QubeRef, tag: &Tag) -> Result<bool, AdminError> {
        Ok(self.text("admin.vm.tag.Get", tag.as_str(), &qube.to_string(), b"")? == "1")
    }

    /// Gives a qube a tag.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn tag_set(&self, qube: &QubeRef, tag: &Tag) -> Result<(), AdminError> {
        self.order("admin.vm.tag.Set", tag.as_str(), qube, b"")
    }

    /// Asks to give a qube a tag and leaves the caller something to do until it has it, which [`Asked::answer`] tells.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn ask_tag_set(&self, qube: &QubeRef, tag: &Tag) -> Result<Asked, AdminError> {
        self.ask("admin.vm.tag.Set", tag.as_str(), &qube.to_string(), b"")
    }

    /// Takes a tag from a qube.
    ///
    /// # Errors
    /// See [`AdminError`]; class `QubesTagNotFoundError` when it has it not.
    pub fn tag_remove(&self, qube: &QubeRef, tag: &Tag) -> Result<(), AdminError> {
        self.order("admin.vm.tag.Remove", tag.as_str(), qube, b"")
    }

    /// All qubes, dom0 included, sorted by name. Lines that this version does not understand are left out.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn list(&self) -> Result<Vec<QubeLine>, AdminError> {
        let text = self.text("admin.vm.List", "", "dom0", b"")?;
        Ok(text.lines().filter_map(QubeLine::parse).collect())
    }

    /// One qube of the list.
    ///
    /// # Errors
    /// See [`AdminError`]; class `QubesVMNotFoundError` when there is none.
    pub fn qube(&self, qube: &QubeRef) -> Result<QubeLine, AdminError> {
        let dest = qube.to_string();
        let text = self.text("admin.vm.List", "", &dest, b"")?;
        QubeLine::parse(text.trim_end()).ok_or_else(|| unusable("admin.vm.List", &dest, "no line of a qube"))
    }

    /// The name of a qube that is known by its UUID, for example.
    ///
    /// # Errors
    /// See [`AdminError`]; class `QubesVMNotFoundError` when there is none.
    pub fn name_of(&self, qube: &QubeRef) -> Result<QubeName, AdminError> {
        self.qube(qube).map(|line| line.name)
    }

    /// The system info that policy decisions need, as JSON (spec/policy.md 9.1). Only for a client of the internal
    /// socket (upstream `/var/run/qubesd.internal.sock`).
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn system_info_json(&self) -> Result<Vec<u8>, AdminError> {
        self.ask_system_info()?.answer()
    }

    /// Asks for the system info and leaves the caller something to do until it comes: [`Asked::answer`] gives what
    /// [`Self::system_info_json`] does.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn ask_system_info(&self) -> Result<Asked, AdminError> {
        self.ask("internal.GetSystemInfo", "", "dom0", b"")
    }

    /// Follows everything that happens from now on. The first event is `connection-established`.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn events(&self) -> Result<EventStream, AdminError> {
        self.ask("admin.Events", "", QubeName::dom0().as_str(), b"")
            .map(|asked| EventStream::new(asked.socket))
    }

    fn order(&self, method: &str, arg: &str, qube: &QubeRef, payload: &[u8]) -> Result<(), AdminError> {
        self.call(method, arg, &qube.to_string(), payload).map(drop)
    }

    fn text(&self, method: &str, arg: &str, dest: &str, payload: &[u8]) -> Result<String, AdminError> {
        String::from_utf8(self.call(method, arg, dest, payload)?)
            .map_err(|_| unusable(method, dest, "it is no text"))
    }

    fn ask(&self, method: &str, arg: &str, dest: &str, payload: &[u8]) -> Result<Asked, AdminError> {
        let socket = os::socket::connect(&self.socket)
            .map_err(|cause| AdminError::Connect { socket: self.socket.clone(), cause })?;
        let mut asked = Asked { socket, limit: self.limit, question: format!("{method} on {dest}") };
        asked.send(&encode_request(method, arg, dest, payload))?;
        Ok(asked)
    }
}

fn unusable(method: &str, dest: &str, reason: &'static str) -> AdminError {
    AdminError::Protocol { question: format!("{method} on {dest}"), reason }
}
