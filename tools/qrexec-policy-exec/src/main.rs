//! Doorbell of `qrexec-policy-exec`.
#![no_main]

os::program!(|_, words| {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    version::told("qrexec-policy-exec", &words).unwrap_or_else(|| qrexec_policy_exec::main(&words))
});
