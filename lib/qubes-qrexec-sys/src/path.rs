//! Where things are on Qubes OS (spec/qrexec-wire.md 1.4). All of them can be set otherwise in our programs.

/// dom0: directory of the daemons' sockets.
pub const DAEMON_SOCKET_DIR: &str = "/var/run/qubes";
/// dom0: a daemon's socket is this followed by the decimal domain id; `qrexec.NAME` and `qrexec.uuid:UUID` are symlinks to it.
pub const DAEMON_SOCKET_PREFIX: &str = "qrexec.";
/// Qube: where the agent takes requests of qrexec-client-vm.
pub const AGENT_TRIGGER_SOCKET: &str = "/var/run/qubes/qrexec-agent";
/// Qube: socket of one user's fork server; `%s` stands for the user.
pub const FORK_SERVER_SOCKET: &str = "/var/run/qubes/qrexec-server.%s.sock";
/// dom0: the policy daemon.
pub const POLICY_SOCKET: &str = "/run/qubes/policy.sock";
/// dom0: the policy program, used when the policy daemon does not answer.
pub const POLICY_PROGRAM: &str = "/usr/bin/qrexec-policy-exec";
/// dom0: qubesd.
pub const QUBESD_SOCKET: &str = "/run/qubesd.sock";
/// dom0: directory of the daemons' logs, `qrexec.NAME.log`.
pub const DAEMON_LOG_DIR: &str = "/var/log/qubes";
/// Qube: the memory reporter's pid file.
pub const MEMINFO_WRITER_PID: &str = "/var/run/meminfo-writer.pid";
/// Qube and dom0: directories of services, first match wins.
pub const SERVICE_PATH: &str = "/run/qubes-rpc:/usr/local/etc/qubes-rpc:/etc/qubes-rpc";
/// Qube and dom0: directories of service configuration, first match wins.
pub const SERVICE_CONFIG_PATH: &str =
    "/run/qubes/rpc-config:/usr/local/etc/qubes/rpc-config:/etc/qubes/rpc-config";
