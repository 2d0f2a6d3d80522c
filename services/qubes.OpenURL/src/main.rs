//! Doorbell of `qubes.OpenURL`; packaging installs it as `/etc/qubes-rpc/qubes.OpenURL`.
#![no_main]

os::program!(|_, _| open_url::main());
