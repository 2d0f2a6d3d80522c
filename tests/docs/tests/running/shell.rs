//! Every block marked `sh` on every page, in an empty directory.

use docs::{Terminals, blocks, pages};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// `cargo run -p qubes-host -- …` is `qubes-host …`, built when this was. Anything else that a page wants of cargo is refused.
const CARGO: &str = r#"#!/bin/sh
[ "$1 $2 $3 $4" = "run -p qubes-host --" ] || { echo "no stand-in for: cargo $*" >&2; exit 1; }
shift 4
exec qubes-host "$@"
"#;

/// `qubes-host`, but for the place where a host lives that is given none: the user's own may be in it.
const HOST: &str = r#"#!/bin/sh
here=${0%/*}
case $1 in
serve | exec | ls)
    word=$1
    shift
    exec "$here/host/qubes-host" "$word" --state "$here/state" "$@"
    ;;
esac
exec "$here/host/qubes-host" "$@"
"#;

pub(crate) fn blocks_run() {
    let mut stayed = 0;
    for page in pages() {
        let blocks = blocks(&page.text);
        let own: Vec<_> = blocks
            .iter()
            .filter_map(|block| Some((block, block.commands()?)))
            .filter(|(_, (gate, _))| gate.is_empty())
            .collect();
        if own.is_empty() {
            continue;
        }
        // Not in /tmp, which may be too small, and in memory, for the homes of qubes.
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let at = |name: &str| directory.path().join(name);
        fixture::executable(&at("cargo"), CARGO);
        fixture::executable(&at("qubes-host"), HOST);
        for name in ["host", "work"] {
            fs::create_dir(at(name)).unwrap();
        }
        symlink(std::env::current_exe().unwrap(), at("host/qubes-host")).unwrap();
        let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
        let shell = || {
            let mut shell = Command::new("bash");
            shell.args(["-euo", "pipefail", "-c"]).current_dir(at("work")).env("PATH", &path);
            shell
        };
        let mut terminals = Terminals::new(&shell);
        for (block, (_, stays)) in own {
            stayed += usize::from(stays);
            terminals.run(block, stays).unwrap_or_else(|error| panic!("{}: {error}", page.name));
        }
        terminals.close().unwrap_or_else(|error| panic!("{}: {error}", page.name));
    }
    assert!(stayed >= 1, "no page has a command that stays");
}
