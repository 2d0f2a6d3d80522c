//! Where the session's bus is (D-Bus Specification, "Server Addresses").

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;

/// A socket of this machine; other ways to reach a bus are not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Address {
    Path(Vec<u8>),
    Abstract(Vec<u8>),
}

impl Address {
    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        match self {
            Self::Path(path) => UnixStream::connect(OsStr::from_bytes(path)),
            Self::Abstract(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
        }
    }
}

/// The session's addresses: `DBUS_SESSION_BUS_ADDRESS`, else the user's bus.
pub(super) fn session() -> Vec<Address> {
    match env::var("DBUS_SESSION_BUS_ADDRESS") {
        Ok(text) => parse(&text),
        Err(_) => env::var_os("XDG_RUNTIME_DIR")
            .map(|directory| Address::Path(Path::new(&directory).join("bus").as_os_str().as_bytes().to_vec()))
            .into_iter()
            .collect(),
    }
}

/// `unix:path=/run/user/1000/bus,guid=…;unix:abstract=…`. Bytes may be written as `%2b`.
fn parse(text: &str) -> Vec<Address> {
    text.split(';')
        .filter_map(|address| {
            let pairs = address.strip_prefix("unix:")?.split(',');
            pairs.filter_map(|pair| pair.split_once('=')).find_map(|(key, value)| match key {
                "path" => Some(Address::Path(unescape(value)?)),
                "abstract" => Some(Address::Abstract(unescape(value)?)),
                _ => None,
            })
        })
        .collect()
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_specified() {
        let path = |path: &str| Address::Path(path.into());
        for (text, expected) in [
            ("", vec![]),
            ("unix:path=/run/user/1000/bus", vec![path("/run/user/1000/bus")]),
            ("unix:path=/tmp/a%2bb,guid=0123", vec![path("/tmp/a+b")]),
            ("unix:abstract=/tmp/dbus-x,guid=1", vec![Address::Abstract("/tmp/dbus-x".into())]),
            ("tcp:host=localhost,port=1;unix:guid=1,path=/b", vec![path("/b")]),
            ("unix:path=/a%2;unix:path=/a%zz;autolaunch:", vec![]),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
