//! Doorbell of [`qrexec::daemon`].
#![no_main]

os::program!(|_, words| {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    qrexec::daemon::main(&words)
});
