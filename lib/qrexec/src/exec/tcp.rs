//! Addresses of TCP services (spec/qrexec-exec.md, section 4). Pure.

use super::error::ExecError;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};

/// What the symbolic link of a TCP service says; the rest of the address comes from the argument of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpLink {
    host: Option<Vec<u8>>,
    port: Option<Vec<u8>>,
}

impl TcpLink {
    /// Parses `/dev/tcp`, `/dev/tcp/HOST` or `/dev/tcp/HOST/PORT`.
    pub(super) fn parse(text: &[u8]) -> Result<Self, ExecError> {
        let Some(rest) = text.strip_prefix(b"/dev/tcp") else {
            return bad("the link does not start with /dev/tcp");
        };
        let Some(address) = rest.strip_prefix(b"/") else { return Ok(Self { host: None, port: None }) };
        if address.is_empty() {
            return bad("nothing follows /dev/tcp/");
        }
        let slash = address.iter().position(|&byte| byte == b'/');
        Ok(match slash {
            Some(slash) => {
                Self { host: Some(address[..slash].to_vec()), port: Some(address[slash + 1..].to_vec()) }
            }
            None => Self { host: Some(address.to_vec()), port: None },
        })
    }

    /// The address for a call with this argument.
    ///
    /// # Errors
    /// [`ExecError::BadAddress`]. Hosts are dotted IPv4 addresses or IPv6 addresses (a zone only as a number).
    pub fn address(&self, argument: Option<&[u8]>) -> Result<SocketAddr, ExecError> {
        let argument = argument.filter(|argument| !argument.is_empty());
        let missing = ExecError::BadAddress("the call has no argument with the port");
        match (&self.host, &self.port) {
            (Some(host), Some(port)) => match argument {
                None => address(host, port),
                Some(_) => bad("the link names host and port, so the call must have no argument"),
            },
            (Some(host), None) => address(host, argument.ok_or(missing)?),
            (None, _) => from_argument(argument.ok_or(missing)?),
        }
    }
}

/// `HOST+PORT`, where the host has `+` for each `:`.
fn from_argument(argument: &[u8]) -> Result<SocketAddr, ExecError> {
    let Some(plus) = argument.iter().rposition(|&byte| byte == b'+') else {
        return bad("the argument names no port");
    };
    let (host, port) = (&argument[..plus], &argument[plus + 1..]);
    if host.contains(&b'_') {
        return bad("\"_\" is not allowed in a host");
    }
    let host: Vec<u8> = host.iter().map(|&byte| if byte == b'+' { b':' } else { byte }).collect();
    address(&host, port)
}

fn address(host: &[u8], port: &[u8]) -> Result<SocketAddr, ExecError> {
    let port =
        parse_port(port).ok_or(ExecError::BadAddress("a port is 1 to 65535, without leading zeros"))?;
    let wrong_host = ExecError::BadAddress("the host is no numeric address");
    let Ok(host) = std::str::from_utf8(host) else { return Err(wrong_host) };
    if host.contains([':', '%']) {
        // The parser of the standard library knows zones only in this form.
        return format!("[{host}]:{port}")
            .parse::<SocketAddrV6>()
            .map(SocketAddr::V6)
            .map_err(|_| wrong_host);
    }
    host.parse::<Ipv4Addr>().map(|host| (host, port).into()).map_err(|_| wrong_host)
}

fn parse_port(text: &[u8]) -> Option<u16> {
    let digits = text.len() <= 5 && text.iter().all(u8::is_ascii_digit) && !text.starts_with(b"0");
    if !digits {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn bad<T>(rule: &'static str) -> Result<T, ExecError> {
    Err(ExecError::BadAddress(rule))
}

#[cfg(test)]
mod tests {
    use super::TcpLink;

    fn address(link: &str, argument: Option<&str>) -> Option<String> {
        let link = TcpLink::parse(link.as_bytes()).ok()?;
        link.address(argument.map(str::as_bytes)).ok().map(|address| address.to_string())
    }

    #[test]
    fn all_forms() {
        for (link, argument, expected) in [
            ("/dev/tcp/127.0.0.1/80", None, "127.0.0.1:80"),
            ("/dev/tcp/127.0.0.1/80", Some(""), "127.0.0.1:80"),
            ("/dev/tcp/::1/65535", None, "[::1]:65535"),
            ("/dev/tcp/127.0.0.1", Some("8080"), "127.0.0.1:8080"),
            ("/dev/tcp", Some("127.0.0.1+1"), "127.0.0.1:1"),
            ("/dev/tcp", Some("++1+22"), "[::1]:22"),
        ] {
            assert_eq!(address(link, argument).as_deref(), Some(expected), "{link} {argument:?}");
        }
    }

    #[test]
    fn broken_forms() {
        for (link, argument) in [
            ("/dev/tcp/", Some("1")),
            ("/dev/tcp/127.0.0.1/80", Some("1")),
            ("/dev/tcp/127.0.0.1/", None),
            ("/dev/tcp/127.0.0.1", None),
            ("/dev/tcp/127.0.0.1", Some("")),
            ("/dev/tcp/127.0.0.1", Some("0")),
            ("/dev/tcp/127.0.0.1", Some("080")),
            ("/dev/tcp/127.0.0.1", Some("65536")),
            ("/dev/tcp/127.0.0.1", Some("123456")),
            ("/dev/tcp/127.0.0.1", Some("+80")),
            ("/dev/tcp/localhost/80", None),
            ("/dev/tcp//80", None),
            ("/dev/tcp", None),
            ("/dev/tcp", Some("")),
            ("/dev/tcp", Some("80")),
            ("/dev/tcp", Some("+80")),
            ("/dev/tcp", Some("127.0.0_1+80")),
        ] {
            assert_eq!(address(link, argument), None, "{link} {argument:?}");
        }
    }
}
