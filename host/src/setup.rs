//! Fills `etc` of a state directory: what the host decides is written at each start, what an administrator may decide only
//! where it is missing.

use crate::config::HostConfig;
use crate::dom0::random_uuid;
use crate::error::HostError;
use crate::layout::Layout;
use crate::store::Store;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// The rules that ship with the services.
const POLICY_FILES: [(&str, &str); 1] =
    [("80-dispvm.policy", include_str!("../../policy.d/80-dispvm.policy"))];

/// The services of dom0.
const SERVICES: [&str; 2] = ["qubes.OpenInVM", "qubes.OpenURL"];

/// Writes what is missing.
pub(crate) fn fill(config: &HostConfig) -> Result<(), HostError> {
    let layout = &config.layout;
    let configuration = layout.dispvm_config();
    fs::write(&configuration, dispvm_config(config)).map_err(HostError::file("write", configuration))?;
    for service in SERVICES {
        let link = layout.services().join(service);
        replace_link(&config.executable, &link).map_err(HostError::file("make", link))?;
    }
    for (name, content) in POLICY_FILES {
        let path = layout.policy().join(name);
        if !path.exists() {
            fs::write(&path, content).map_err(HostError::file("write", path))?;
        }
    }
    for (name, content) in &config.policy {
        let path = layout.runtime_policy().join(name);
        fs::write(&path, content).map_err(HostError::file("write", path))?;
    }
    Ok(())
}

/// The qubes of the file, or the first ones of a new state directory.
pub(crate) fn store(layout: &Layout) -> Result<Store, HostError> {
    let path = layout.qubes_file();
    match fs::read_to_string(&path) {
        Ok(text) => {
            Store::parse(&text, random_uuid).map_err(|cause| HostError::Qubes { path: path.clone(), cause })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Store::default_set(random_uuid)),
        Err(error) => Err(HostError::file("read", path)(error)),
    }
}

/// All paths follow from the state directory, so the file is the host's, not the administrator's.
fn dispvm_config(config: &HostConfig) -> String {
    let layout = &config.layout;
    let mut text = String::from("# Written by the host at each start.\n");
    let mut line = |key: &str, path: &Path| {
        let path = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
        text.push_str(&format!("{key} = \"{path}\"\n"));
    };
    line("queue", &layout.queue());
    line("qubesd-socket", &layout.qubesd_socket());
    line("qubesd-internal-socket", &layout.qubesd_internal_socket());
    line("qrexec-socket-directory", &layout.run());
    line("vchan-directory", &layout.vchan());
    line("domains", &layout.domains());
    if let Some(story) = &config.story {
        line("story", story);
    }
    text
}

fn replace_link(target: &Path, link: &Path) -> io::Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(target, link)
}
