//! Doorbell of [`qrexec::agent`].

fn main() -> std::process::ExitCode {
    env_logger::init();
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    qrexec::agent::main(&args).into()
}
