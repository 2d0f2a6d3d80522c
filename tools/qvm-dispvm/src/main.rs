//! Doorbell of `qvm-dispvm`.
#![no_main]

os::program!(|_, words| {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    version::told("qvm-dispvm", &words).unwrap_or_else(|| qvm_dispvm::main(&words))
});
