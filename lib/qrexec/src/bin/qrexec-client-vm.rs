//! Doorbell of [`qrexec::client_vm`].

fn main() -> std::process::ExitCode {
    env_logger::init();
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    qrexec::client_vm::main(&args).into()
}
