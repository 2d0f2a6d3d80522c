//! What a qube sees and may do.

use crate::world::{World, eventually, id};
use hypervisor::Hypervisor;
use hypervisor::local::{Isolation, Mount, Pausing};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const NAMESPACES: (Isolation, Pausing) = (Isolation::Namespaces, Pausing::Auto);

/// Runs a script to its end and returns what it wrote to its output; `None` where namespaces are refused.
fn output_of(script: &str, mounts: Vec<Mount>) -> Option<String> {
    let world = World::new();
    let mut spec = world.spec(41, NAMESPACES, script);
    spec.mounts = mounts;
    let mut created = world.start(&spec)?;
    created.supervisor.wait().unwrap();
    Some(fs::read_to_string(spec.directory.join("console.log")).unwrap())
}

#[test]
fn the_user_is_1000_without_capabilities() {
    let script = "id -u; id -g; id -un; grep -E '^(Cap(Prm|Eff|Amb)|NoNewPrivs)' /proc/self/status; hostname; echo $HOME $USER; pwd";
    let Some(output) = output_of(script, Vec::new()) else { return };
    let none = "0000000000000000";
    let wanted = format!(
        "1000\n1000\nuser\nCapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\nNoNewPrivs:\t1\nqube41\n/home/user user\n/home/user\n"
    );
    assert_eq!(output, wanted);
}

#[test]
fn own_places_are_writable_and_the_machine_is_not() {
    let script = "
        for path in /home/user /tmp /var/tmp /run /dev/shm $XDG_RUNTIME_DIR; do
            touch $path/x && echo yes $path
        done
        for path in / /usr /usr/bin /etc /host-etc /run/qubes/programs /var /dev /proc/sys/kernel/hostname /sys/kernel; do
            if test -d $path; then touch $path/x; else echo x > $path; fi && echo NO $path
        done
        true";
    let Some(output) = output_of(script, Vec::new()) else { return };
    let said: Vec<_> =
        output.lines().filter(|line| line.starts_with("yes") || line.starts_with("NO")).collect();
    let wanted: Vec<_> = ["/home/user", "/tmp", "/var/tmp", "/run", "/dev/shm", "/run/user/1000"]
        .into_iter()
        .map(|path| format!("yes {path}"))
        .collect();
    assert_eq!(said, wanted, "{output}");
}

#[test]
fn the_machine_is_not_visible() {
    let script = "ls -A /; echo; ls -A /home /var; ls -d /root /home/* /mnt /media /srv; ls /proc | grep -c '^[0-9]'; \
                  cat /sys/class/net/*/address; cat /host-etc/shadow /etc/shadow /etc/ssh/ssh_host*; cat /etc/hostname; \
                  wc -l < /proc/self/mountinfo";
    let Some(output) = output_of(script, Vec::new()) else { return };
    let top: Vec<_> = output.lines().take_while(|line| !line.is_empty()).collect();
    for name in ["root", "mnt", "media", "srv", "work", "boot", "old_root"] {
        assert!(!top.contains(&name), "{output}");
    }
    assert!(output.contains("ls: cannot access '/root'"), "{output}");
    assert!(!output.contains("root:"), "the machine's shadow: {output}");
    assert!(
        output.contains("00:00:00:00:00:00\n") && output.matches("00:00:00:00:00:00").count() == 1,
        "{output}"
    );
    assert!(output.contains("\nqube41\n"), "{output}");
}

#[test]
fn only_named_files_of_the_machine_are_mounted_and_a_0400_file_is_really_read_only() {
    let machine = tempfile::tempdir().unwrap();
    let place = |name: &str| machine.path().join(name);
    fs::create_dir(place("shared")).unwrap();
    fs::create_dir(place("shown")).unwrap();
    fs::write(place("shown/inner"), "inner\n").unwrap();
    fs::write(place("report"), "report\n").unwrap();
    fs::write(place("shared/draft"), "draft\n").unwrap();
    fs::set_permissions(place("shared/draft"), fs::Permissions::from_mode(0o400)).unwrap();
    let mount = |source: &str, target: &str, writable| Mount {
        source: place(source),
        target: target.into(),
        writable,
    };
    let mounts = vec![
        mount("shared", "/run/vchan", true),
        mount("shown", "/srv/shown", false),
        mount("report", "/home/user/report", false),
    ];
    let script = "cat /run/vchan/draft /srv/shown/inner /home/user/report
        echo written > /run/vchan/new
        echo x > /run/vchan/draft && echo NO 0400
        echo x > /srv/shown/x && echo NO shown
        echo x > /home/user/report && echo NO report
        true";
    let Some(output) = output_of(script, mounts) else { return };
    assert!(output.starts_with("draft\ninner\nreport\n"), "{output}");
    assert!(!output.contains("NO"), "{output}");
    assert_eq!(fs::read_to_string(place("shared/new")).unwrap(), "written\n");
    assert_eq!(fs::read_to_string(place("shared/draft")).unwrap(), "draft\n");
}

#[test]
fn programs_services_and_configuration_are_where_qrexec_looks_for_them() {
    for isolation in [Isolation::Auto, Isolation::Processes] {
        let world = World::new();
        let script = "
            services=${QREXEC_SERVICE_PATH:-/etc/qubes-rpc} config=${QUBES_RPC_CONFIG_PATH:-/etc/qubes/rpc-config}
            command -v qrexec-agent
            cat $config/test.Service
            test -x $services/test.Service && echo service
            cmp $services/test.Service $(command -v qrexec-agent) && echo same
            test -e /etc/passwd && test -e /etc/localtime -o ! -L /etc/localtime && echo etc
            cat $SHARED";
        let mut spec = world.spec(42, (isolation, Pausing::Auto), script);
        let shared = world.top.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::write(shared.join("x"), "shared\n").unwrap();
        spec.mounts = vec![Mount { source: shared, target: "/run/shared".into(), writable: false }];
        spec.environment.push(("SHARED".to_owned(), "/run/shared/x".to_owned()));
        let mut created = world.start(&spec).unwrap();
        created.supervisor.wait().unwrap();
        let output = fs::read_to_string(spec.directory.join("console.log")).unwrap();
        let programs = match created.isolation {
            Isolation::Processes => spec.directory.join("bin"),
            _ => "/run/qubes/bin".into(),
        };
        let wanted = format!(
            "{}/qrexec-agent\nwait-for-session = false\nservice\nsame\netc\nshared\n",
            programs.display()
        );
        assert_eq!(output, wanted);
    }
}

#[test]
fn a_missing_mount_is_a_mistake_and_no_reason_for_less_isolation() {
    let world = World::new();
    let mut spec = world.spec(43, (Isolation::Auto, Pausing::Auto), "true");
    spec.mounts = vec![Mount { source: "/no/such".into(), target: "/run/x".into(), writable: false }];
    match world.local.create(&spec, &crate::world::supervisor()) {
        Err(error) => assert!(error.to_string().contains("/no/such"), "{error}"),
        Ok(created) => assert_eq!(created.isolation, Isolation::Processes),
    }
}

#[test]
fn processes_of_a_qube_cannot_reach_init_or_the_machine() {
    let script = "kill -9 1; kill -STOP 1; cat /proc/1/environ; ls -l /proc/1/fd; echo end";
    let Some(output) = output_of(script, Vec::new()) else { return };
    assert!(output.ends_with("end\n"), "{output}");
    assert!(output.contains("/proc/1/fd"), "{output}");
    assert!(!output.contains("pipe:"), "init's pipes are visible: {output}");
}

#[test]
fn a_terminal_can_be_had_inside() {
    if !std::path::Path::new("/usr/bin/script").exists() {
        return println!("SKIPPED: no script(1)");
    }
    let Some(output) = output_of("script -qec 'test -t 0 && echo terminal' /dev/null </dev/null", Vec::new())
    else {
        return;
    };
    assert!(output.contains("terminal"), "{output}");
}

#[test]
fn large_files_fit_into_the_temporary_directory() {
    let script = "df --output=fstype / /tmp /var/tmp /home/user | tail -n 4";
    let Some(output) = output_of(script, Vec::new()) else { return };
    let kinds: Vec<_> = output.lines().collect();
    assert_eq!(kinds[0], "tmpfs");
    assert_eq!((kinds[1], kinds[2]), (kinds[3], kinds[3]), "{output}");
}

#[test]
fn the_list_shows_a_qube_as_dying_once_it_can_only_be_cleared_away() {
    let world = World::new();
    let spec = world.spec(44, (Isolation::Auto, Pausing::Auto), "sleep 1000");
    let mut created = world.start(&spec).unwrap();
    created.supervisor.kill().unwrap();
    created.supervisor.wait().unwrap();
    eventually("it is dying", || world.local.info(id(44)).unwrap().is_some_and(|info| info.dying));
    assert!(world.local.pause(id(44)).is_err());
}
