//! Doorbell of `qubes.OpenInVM`; packaging installs it as `/etc/qubes-rpc/qubes.OpenInVM`.
use std::process::ExitCode;

fn main() -> ExitCode {
    open_in_vm::main().into()
}
