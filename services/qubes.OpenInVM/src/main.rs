//! Doorbell of `qubes.OpenInVM`; packaging installs it as `/etc/qubes-rpc/qubes.OpenInVM`.
#![no_main]

os::program!(|_, _| open_in_vm::main());
