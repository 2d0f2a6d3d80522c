//! `qubes-host` and every program that it starts: one executable, told apart by its name.
#![no_main]

os::program!(|name, words| qubes_host::main(&name, &words));
