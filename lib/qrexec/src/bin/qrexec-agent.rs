//! Doorbell of [`qrexec::agent`].
#![no_main]

os::program!(|_, words| {
    let closed = os::descriptors::close_inherited();
    env_logger::init();
    if let Err(error) = closed {
        log::warn!("inherited descriptors stay open: {error}");
    }
    qrexec::agent::main(&words)
});
