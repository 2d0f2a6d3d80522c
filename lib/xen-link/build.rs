//! Our executables are static (.cargo/config.toml), but whoever links libxenctrl asks for a shared library, and a static
//! archive does not say which others it needs. So, for a static build, a directory of small linker scripts comes first on
//! the linker's path: `libxenctrl.a` stands there for the archive of that name and all below it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), String> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CC");
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let is_static = features.split(',').any(|feature| feature == "crt-static");
    if env::var_os("CARGO_FEATURE_LINK").is_none() || !is_static {
        return Ok(());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    for (name, archives) in [("xenctrl", XENCTRL), ("xenvchan", XENVCHAN)] {
        let paths = archives.iter().map(|archive| find(archive)).collect::<Result<Vec<_>, _>>()?;
        write(&out.join(format!("lib{name}.a")), &paths)?;
    }
    println!("cargo:rustc-link-search=native={}", out.display());
    Ok(())
}

/// Where the C compiler finds a static archive.
fn find(name: &str) -> Result<String, String> {
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let file = format!("lib{name}.a");
    let output = Command::new(&compiler)
        .arg(format!("-print-file-name={file}"))
        .output()
        .map_err(|error| format!("{compiler}: {error}; install a C compiler"))?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // A compiler that does not know the file gives the bare name back.
    if Path::new(&path).is_absolute() {
        Ok(path)
    } else {
        Err(format!("there is no {file}; install Xen's development files (Debian: libxen-dev)"))
    }
}

fn write(path: &Path, archives: &[String]) -> Result<(), String> {
    let script = format!("GROUP ( {} )\n", archives.join(" "));
    fs::write(path, script).map_err(|error| format!("{}: {error}", path.display()))
}

/// libxenctrl and what its pkg-config file names as needed.
const XENCTRL: &[&str] = &[
    "xenctrl",
    "xenevtchn",
    "xengnttab",
    "xenforeignmemory",
    "xendevicemodel",
    "xencall",
    "xentoollog",
    "xentoolcore",
];
/// The same of libxenvchan.
const XENVCHAN: &[&str] = &["xenvchan", "xenstore", "xengnttab", "xenevtchn", "xentoollog", "xentoolcore"];
