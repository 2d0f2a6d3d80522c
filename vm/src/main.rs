//! The doorbell of all in-qube programs: answers to the name it was called by, or to its first argument.
#![no_main]
#![allow(clippy::print_stderr)]

use std::ffi::{OsStr, OsString};
use std::path::Path;

os::program!(main);

fn main(called: OsString, mut words: Vec<OsString>) -> u8 {
    let mut name = Path::new(&called).file_name().unwrap_or_default().to_owned();
    if !is_program(&name) && !words.is_empty() {
        name = words.remove(0);
    }
    if is_service(&name) {
        if os::descriptors::close_inherited().is_err() {
            // A kernel before 5.9: nothing is closed here. Whatever we open ourselves is close-on-exec all the same.
        }
    } else if let Some(code) = version::told(&name.to_string_lossy(), &words) {
        // A service's words come from another qube, which need not know.
        return code;
    }
    name.to_str().and_then(|name| vm::run(name, &words)).unwrap_or_else(|| {
        eprintln!("usage: qubes-vm PROGRAM [ARGUMENT...], PROGRAM one of: {}", vm::PROGRAMS.join(" "));
        2
    })
}

fn is_program(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| vm::PROGRAMS.contains(&name))
}

/// Services get three descriptors and no more (promise P10). Commands keep what their user's shell gave them: a file may
/// be named as /dev/fd/3.
fn is_service(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| vm::SERVICES.iter().any(|&(_, program)| program == name))
}
