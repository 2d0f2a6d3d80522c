//! A page's commands, run as its reader runs them: block after block, what stays in a terminal of its own.

use crate::Block;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// What a command that stays says when the others can begin.
const READY: &str = "ready: qubes-host exec";

/// The terminals of one page.
pub struct Terminals<'a> {
    shell: &'a dyn Fn() -> Command,
    staying: Vec<(usize, Child, Receiver<String>)>,
}

impl<'a> Terminals<'a> {
    /// `shell` makes a shell, in the reader's place, that lacks only its last argument: the commands.
    #[must_use]
    pub fn new(shell: &'a dyn Fn() -> Command) -> Self {
        Self { shell, staying: Vec::new() }
    }

    /// Runs one block; for one that stays, until it says that it is ready.
    ///
    /// # Errors
    /// What did not go well, with the block's line and what the commands said.
    pub fn run(&mut self, block: &Block, stays: bool) -> Result<(), String> {
        let at = |text: String| format!("line {}: {text}", block.line);
        let mut command = (self.shell)();
        command.stdin(Stdio::null());
        if !stays {
            let output = command.arg(&block.text).output().map_err(|error| at(error.to_string()))?;
            return if output.status.success() { Ok(()) } else { Err(at(format!("{output:?}"))) };
        }
        // It takes the shell's place, so that its own end is seen: some shells end by Ctrl-C too, whatever it says of that.
        command.arg(format!("exec {}", block.text.trim_start()));
        // A group of its own, as a terminal's foreground has: Ctrl-C reaches all of it.
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| at(error.to_string()))?;
        let said = listen(&mut child);
        let mut lines = String::new();
        let is_ready = loop {
            match said.recv_timeout(fixture::LIMIT) {
                Ok(line) if line.contains(READY) => break true,
                Ok(line) => lines += &line,
                Err(_) => break false,
            }
        };
        self.staying.push((block.line, child, said));
        if is_ready { Ok(()) } else { Err(at(format!("did not say \"{READY}\", but:\n{lines}"))) }
    }

    /// Ends what stays, as Ctrl-C does.
    ///
    /// # Errors
    /// What did not end well.
    pub fn close(mut self) -> Result<(), String> {
        for (line, mut child, said) in std::mem::take(&mut self.staying) {
            let status = end(&mut child, Signal::SIGINT);
            let words: String = said.iter().collect();
            match status {
                Ok(status) if status.success() => {}
                status => return Err(format!("line {line}: ended with {status:?}:\n{words}")),
            }
        }
        Ok(())
    }
}

impl Drop for Terminals<'_> {
    fn drop(&mut self) {
        for (_, mut child, _) in std::mem::take(&mut self.staying) {
            drop(end(&mut child, Signal::SIGTERM));
        }
    }
}

/// Sends a signal to a terminal's group and waits for its shell.
fn end(child: &mut Child, signal: Signal) -> std::io::Result<ExitStatus> {
    if child.try_wait()?.is_none() {
        let group = i32::try_from(child.id()).map_err(std::io::Error::other)?;
        killpg(Pid::from_raw(group), signal)?;
    }
    child.wait()
}

/// The lines of both outputs as they come; read on to the end, as a full pipe would hold up whoever writes.
fn listen(child: &mut Child) -> Receiver<String> {
    let (line, lines) = channel();
    let output = child.stdout.take().map(|output| Box::new(output) as Box<dyn Read + Send>);
    let errors = child.stderr.take().map(|errors| Box::new(errors) as Box<dyn Read + Send>);
    for stream in output.into_iter().chain(errors) {
        let line = line.clone();
        thread::spawn(move || {
            for text in BufReader::new(stream).lines().map_while(Result::ok) {
                // Whoever listened may be gone.
                line.send(text + "\n").ok();
            }
        });
    }
    lines
}
