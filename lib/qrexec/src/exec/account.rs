//! The name of the user that this process runs as.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The login name of the effective user: from /etc/passwd, else from `$USER`; `None` when neither knows.
///
/// The file is read by hand: a static program has no name service, and a qube needs none (passwd(5)).
#[must_use]
pub fn own_user_name() -> Option<Vec<u8>> {
    let uid = nix::unistd::geteuid().as_raw();
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    name_of(uid, &passwd).map(<[u8]>::to_vec).or_else(|| std::env::var_os("USER").map(OsStringExt::into_vec))
}

fn name_of(uid: u32, passwd: &[u8]) -> Option<&[u8]> {
    passwd.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let (name, _password, id) = (fields.next()?, fields.next()?, fields.next()?);
        let id: u32 = OsStr::from_bytes(id).to_str()?.parse().ok()?;
        (id == uid && !name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn first_line_with_the_id_counts() {
        let passwd = b"root:x:0:0::/root:/bin/sh\n\nbroken\n:x:7:\nuser:x:1000:1000::/home/user:\nalias:x:1000:1::/:\n";
        assert_eq!(name_of(0, passwd), Some(&b"root"[..]));
        assert_eq!(name_of(1000, passwd), Some(&b"user"[..]));
        assert_eq!(name_of(7, passwd), None);
    }
}
