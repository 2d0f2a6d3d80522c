//! Every block marked `sh` on every page, in an empty directory.

use docs::{blocks, pages};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// `cargo run -p qubes-host -- …` is `qubes-host …`, built when this was. Anything else that a page wants of cargo is refused.
const CARGO: &str = r#"#!/bin/sh
[ "$1 $2 $3 $4" = "run -p qubes-host --" ] || { echo "no stand-in for: cargo $*" >&2; exit 1; }
shift 4
exec qubes-host "$@"
"#;

pub(crate) fn blocks_run() {
    let mut count = 0;
    for page in pages() {
        let blocks = blocks(&fs::read_to_string(&page).unwrap());
        let script: String =
            blocks.iter().filter(|block| block.kind == "sh").map(|block| block.text.as_str()).collect();
        if script.is_empty() {
            continue;
        }
        count += 1;
        let directory = tempfile::tempdir().unwrap();
        fixture::executable(&directory.path().join("cargo"), CARGO);
        symlink(std::env::current_exe().unwrap(), directory.path().join("qubes-host")).unwrap();
        let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
        let work = directory.path().join("work");
        fs::create_dir(&work).unwrap();
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(&work)
            .env("PATH", path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}: {output:?}", page.display());
    }
    assert!(count >= 1);
}
