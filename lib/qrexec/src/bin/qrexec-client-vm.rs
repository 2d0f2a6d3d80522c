//! Doorbell of [`qrexec::client_vm`].
#![no_main]

os::program!(|_, words| {
    env_logger::init();
    qrexec::client_vm::main(&words)
});
