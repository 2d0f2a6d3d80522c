//! Doorbell of [`qrexec::agent`].

fn main() -> std::process::ExitCode {
    let closed = os::descriptors::close_inherited();
    env_logger::init();
    if let Err(error) = closed {
        log::warn!("inherited descriptors stay open: {error}");
    }
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    qrexec::agent::main(&args).into()
}
