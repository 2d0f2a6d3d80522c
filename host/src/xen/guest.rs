//! What a qube on Xen has beside the base of its root. Pure.

use super::XenSettings;
use super::cpio::Archive;

/// The archive with our executable, a name for each program and service, and the script that starts the agent.
pub(super) fn archive(
    executable: &[u8],
    programs: &[String],
    services: &[(String, String)],
    environment: &[(String, String)],
) -> Vec<u8> {
    let mut archive = Archive::default();
    for directory in
        ["/sbin", "/etc", "/etc/qubes", "/etc/qubes-rpc", "/usr", "/usr/lib", "/usr/lib/qubes", BIN]
    {
        archive.directory(directory);
    }
    archive.program("/usr/lib/qubes/qubes-host", executable);
    for program in programs {
        archive.link(&format!("{BIN}/{program}"), "../qubes-host");
    }
    for (service, program) in services {
        archive.link(&format!("/etc/qubes-rpc/{service}"), &format!("{BIN}/{program}"));
    }
    archive.program("/etc/qubes/environment", exports(environment).as_bytes());
    archive.program("/sbin/qube-init", INIT.as_bytes());
    archive.finish()
}

/// Variables as lines for a shell, each value quoted as a whole.
fn exports(environment: &[(String, String)]) -> String {
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
    };
    let lines = environment.iter().filter(|(name, _)| is_name(name));
    lines.map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', "'\\''"))).collect()
}

/// The text of a domain's configuration for `xl`.
pub(super) fn configuration(
    name: &str,
    uuid: &str,
    kernel: &str,
    ramdisk: &str,
    settings: &XenSettings,
) -> String {
    let XenSettings { memory, words, .. } = settings;
    let quoted = |text: &str| format!("\"{}\"", text.replace(['"', '\\', '\n'], "_"));
    format!(
        "name = {}\nuuid = {}\ntype = \"pv\"\nkernel = {}\nramdisk = {}\nextra = {}\nmemory = {memory}\nvcpus = 1\n\
         on_poweroff = \"preserve\"\non_reboot = \"preserve\"\non_crash = \"preserve\"\n",
        quoted(name),
        quoted(uuid),
        quoted(kernel),
        quoted(ramdisk),
        quoted(&format!("console=hvc0 quiet loglevel=3 {words} qube={name}")),
    )
}

const BIN: &str = "/usr/lib/qubes/bin";

/// Runs as the first process of the qube once the base has mounted /proc, /sys, /dev, /run and /tmp and loaded Xen's
/// modules. The agent runs as the qube's user, as on the other hypervisor; when it ends, so does the qube.
const INIT: &str = r#"#!/bin/sh
. /etc/qubes/environment
for word in $(cat /proc/cmdline); do
    case $word in
        qube=*) export QUBE_NAME="${word#qube=}" ;;
    esac
done
export PATH=/run/qubes/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
export VCHAN_SOCKET_DIR=/dev/xen TMPDIR=/tmp HOME=/home/user USER=user LOGNAME=user
hostname "$QUBE_NAME"
mkdir -p /run/qubes /home/user /tmp /var/tmp
chmod 1777 /tmp /var/tmp
chown user:user /run/qubes /home/user
ln -s /usr/lib/qubes/bin /run/qubes/bin
chmod 0666 /dev/xen/evtchn /dev/xen/gntdev /dev/xen/gntalloc /dev/xen/xenbus
cd /home/user
su -s /bin/sh -c 'exec /run/qubes/bin/qrexec-agent' user
poweroff -f
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_quotes_and_names_are_names() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let text = exports(&[pair("A", "it's; rm -rf /"), pair("B;rm", "x"), pair("1A", "x")]);
        assert_eq!(text, "export A='it'\\''s; rm -rf /'\n");
    }

    #[test]
    fn a_configuration_has_what_xl_needs_and_no_line_of_anybody_else() {
        let words = "nowatchdog\"".to_owned();
        let settings = XenSettings { kernel: "k".into(), initramfs: "i".into(), memory: 128, words };
        let text = configuration("disp7", "u-u", "/boot/vm\"linux", "/r\nname = \"x\"", &settings);
        assert!(text.contains("name = \"disp7\"\nuuid = \"u-u\"\ntype = \"pv\"\n"), "{text}");
        assert!(text.contains("kernel = \"/boot/vm_linux\"\n"));
        assert_eq!(text.lines().filter(|line| line.starts_with("name")).count(), 1);
        assert!(text.contains("nowatchdog_ qube=disp7\"") && text.contains("memory = 128\n"));
    }

    #[test]
    fn the_archive_has_programs_services_and_the_script() {
        let services = [("qubes.OpenInVM".to_owned(), "qubes.OpenInVM".to_owned())];
        let bytes = archive(b"ELF", &["qrexec-agent".to_owned()], &services, &[]);
        let text = String::from_utf8(bytes).unwrap();
        for part in ["usr/lib/qubes/bin/qrexec-agent\0", "etc/qubes-rpc/qubes.OpenInVM\0", "sbin/qube-init\0"]
        {
            assert!(text.contains(part), "{part}");
        }
    }
}
