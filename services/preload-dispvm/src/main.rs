//! Doorbell of the keeper.
#![no_main]

os::program!(|_, words| {
    version::told("preload-dispvm", &words).unwrap_or_else(|| preload_dispvm::main(&words))
});
