//! Doorbell of `qubes.OpenURL`; packaging installs it as `/etc/qubes-rpc/qubes.OpenURL`.
use std::process::ExitCode;

fn main() -> ExitCode {
    open_url::main().into()
}
