//! The other end of a vchan, in a guest of the lab: `vchan-peer echo PORT` serves dom0 and gives each byte back;
//! `vchan-peer send PORT COUNT` connects to dom0's server and sends so many bytes.
#![allow(clippy::print_stderr)]

use names::DomId;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use vchan::{Config, Server, Vchan};

fn main() -> ExitCode {
    let words = std::env::args().skip(1).collect::<Vec<_>>();
    match run(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vchan-peer: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(words: &[&str]) -> io::Result<()> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "echo PORT or send PORT COUNT");
    match *words {
        ["echo", port] => echo(port.parse().map_err(|_| wrong())?),
        ["send", port, count] => {
            send(port.parse().map_err(|_| wrong())?, count.parse().map_err(|_| wrong())?)
        }
        _ => Err(wrong()),
    }
}

fn echo(port: u16) -> io::Result<()> {
    let vchan = Server::bind(&Config::from_env(), DomId::DOM0, port)?.accept(None)?;
    let mut buffer = [0; 1 << 16];
    loop {
        match (&vchan).read(&mut buffer)? {
            0 => return Ok(()),
            count => (&vchan).write_all(&buffer[..count])?,
        }
    }
}

fn send(port: u16, count: usize) -> io::Result<()> {
    let vchan = Vchan::connect(&Config::from_env(), DomId::DOM0, port, None)?;
    (&vchan).write_all(&vec![b'x'; count])
}
