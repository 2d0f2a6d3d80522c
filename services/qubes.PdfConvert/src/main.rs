//! The dom0 provider of `qubes.PdfConvert`: hands the PDF on to a disposable, and back what is safe to look at.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    disposable::call::main("qubes.PdfConvert").into()
}
