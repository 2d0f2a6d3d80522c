//! Fills `etc` of a state directory: what the host decides is written at each start, what an administrator decided stays.

use crate::config::HostConfig;
use crate::dom0::random_uuid;
use crate::error::HostError;
use crate::layout::Layout;
use crate::store::Store;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The rules that ship with the services.
const POLICY_FILES: [(&str, &str); 1] =
    [("80-dispvm.policy", include_str!("../../policy.d/80-dispvm.policy"))];

const START_TIMEOUT: &str = "start-timeout-s";

/// The services of dom0.
const SERVICES: [&str; 2] = ["qubes.OpenInVM", "qubes.OpenURL"];

/// Writes what is missing.
pub(crate) fn fill(config: &HostConfig) -> Result<(), HostError> {
    let layout = &config.layout;
    let configuration = layout.dispvm_config();
    let old = match fs::read_to_string(&configuration) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other.map_err(HostError::file("read", &configuration))?,
    };
    let old = if config.xen.is_some() && !old.contains(START_TIMEOUT) {
        // A domain boots a kernel of its own.
        format!("{START_TIMEOUT} = 300\n{old}")
    } else {
        old
    };
    let own = own_settings(config);
    let text = merge(&own, &old).map_err(HostError::file("use", &configuration))?;
    fs::write(&configuration, text).map_err(HostError::file("write", configuration))?;
    for service in SERVICES {
        let link = layout.services().join(service);
        replace_link(&config.program(&format!("etc/qubes-rpc/{service}")), &link)
            .map_err(HostError::file("make", link))?;
    }
    for (name, content) in POLICY_FILES {
        // An update replaces it, as the file itself says; rules of one's own go elsewhere.
        let path = layout.policy().join(name);
        let content = match &config.installed {
            Some(root) => {
                let installed = root.join("etc/qubes/policy.d").join(name);
                fs::read_to_string(&installed).map_err(HostError::file("read", installed))?
            }
            None => content.to_owned(),
        };
        fs::write(&path, content).map_err(HostError::file("write", path))?;
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

/// What the state directory and this run decide.
fn own_settings(config: &HostConfig) -> Vec<(&'static str, Option<PathBuf>)> {
    let layout = &config.layout;
    vec![
        ("queue", Some(layout.queue())),
        ("qubesd-socket", Some(layout.qubesd_socket())),
        ("qubesd-internal-socket", Some(layout.qubesd_internal_socket())),
        ("qrexec-socket-directory", Some(layout.run())),
        ("vchan-directory", Some(config.vchan())),
        ("domains", Some(config.domains())),
        ("story", config.story.clone()),
    ]
}

/// The text of `dispvm.toml`: our own settings, and all others as they were.
fn merge(own: &[(&'static str, Option<PathBuf>)], old: &str) -> io::Result<String> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let old: Table =
        old.parse().map_err(|error: toml::de::Error| invalid(error.to_string().trim().replace('\n', " ")))?;
    let mut text =
        String::from("# Paths are written by the host at each start; other keys stay as they are.\n");
    for (key, path) in own {
        if let Some(path) = path {
            text.push_str(&format!("{key} = {}\n", quoted(&path.to_string_lossy())));
        }
    }
    for (key, value) in old.iter().filter(|(key, _)| own.iter().all(|(known, _)| known != key)) {
        let value = match value {
            Value::String(value) => quoted(value),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(flag) => flag.to_string(),
            _ => return Err(invalid(format!("{key}: a text, a whole number, true or false"))),
        };
        text.push_str(&format!("{} = {value}\n", quoted(key)));
    }
    Ok(text)
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            character if character.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(character))),
            character => out.push(character),
        }
    }
    out.push('"');
    out
}

fn replace_link(target: &Path, link: &Path) -> io::Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(target, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_administrator_decided_stays() {
        let own = [("queue", Some(PathBuf::from("/new \"dir\"\n"))), ("story", None)];
        let text = merge(
            &own,
            "queue = \"/old\"\nstory = \"/old\"\ntag-choice = \"ready-first\"\nlock-wait-ms = 7\n",
        )
        .unwrap();
        let table: Table = text.parse().unwrap();
        assert_eq!(table["queue"].as_str(), Some("/new \"dir\"\n"));
        assert_eq!((table.get("story"), table["tag-choice"].as_str()), (None, Some("ready-first")));
        assert_eq!(table["lock-wait-ms"].as_integer(), Some(7));
        assert_eq!(merge(&own, &text).unwrap(), text);
        assert!(merge(&own, "x =").is_err() && merge(&own, "x = [1]").is_err());
    }
}
