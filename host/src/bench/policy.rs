//! Figures of the policy: in this process, and as the program that qrexec-daemon falls back to.

use super::figure::Figure;
use super::site;
use crate::cli::Failure;
use policy::{Call, Options, Policy, PolicyCache, QubeInfo, SystemInfo};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

pub(super) const NAMES: &[&str] = &[
    "policy_cold",
    "policy_warm",
    "policy_1000_rules",
    "policy_10000_rules",
    "system_info_100",
    "policy_exec",
];

/// All figures of the policy.
pub(super) fn policy() -> Result<Vec<Figure>, Failure> {
    let directory = site::directory("policy")?;
    let result = measure(&directory)
        .map_err(|cause| Failure::trouble("measure the policy in", directory.display(), cause));
    drop(std::fs::remove_dir_all(&directory));
    result
}

fn measure(directory: &Path) -> Result<Vec<Figure>, String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let stock = directory.join("policy.d");
    write_stock(&stock).map_err(|error| failed(&error))?;
    let system = system(20).map_err(|error| failed(&error))?;
    // The last rule decides: every other is tried first.
    let call = Call::new("work", "test.Last", "vault");
    let decide = |policy: &Policy| policy.evaluate(&call, &system, Options::default()).is_allowed();
    if !decide(&Policy::load(&[&stock]).map_err(|error| failed(&error))?) {
        return Err("the last rule does not decide".into());
    }

    let cold = times(RUNS, || Policy::load(&[&stock]).is_ok_and(|policy| decide(&policy)));
    // Files that have just changed are read again each time.
    std::thread::sleep(Duration::from_millis(100));
    let mut cache = PolicyCache::new(vec![stock.clone()]);
    let warm = times(RUNS, || cache.evaluate(&call, &system, Options::default()).is_allowed());
    let mut figures = vec![
        Figure::of_times("policy_cold", None, cold),
        Figure::of_times("policy_warm", Some("policy_cold"), warm),
    ];

    for (name, floor, count) in
        [("policy_1000_rules", None, 1000), ("policy_10000_rules", Some("policy_1000_rules"), 10_000)]
    {
        let many = directory.join(name);
        write_rules(&many, "90-many.policy", count).map_err(|error| failed(&error))?;
        let each = times(RUNS / 20, || Policy::load(&[&many]).is_ok_and(|policy| decide(&policy)));
        figures.push(Figure::of_times(name, floor, each));
    }

    let json = self::system(100).map_err(|error| failed(&error))?.to_json();
    let parsed = times(RUNS, || SystemInfo::from_json(&json).is_ok());
    figures.push(Figure::of_times("system_info_100", None, parsed));
    figures.push(Figure::of_times(
        "policy_exec",
        Some("exec_floor"),
        programs(directory, &stock, &system).map_err(|error| failed(&error))?,
    ));
    Ok(figures)
}

/// The whole program, from its start to its end, with the answer read: beside an empty program that is started the same way.
fn programs(directory: &Path, stock: &Path, system: &SystemInfo) -> std::io::Result<Vec<u64>> {
    let socket = directory.join("qubesd");
    let answer = [b"0\0", system.to_json().as_slice()].concat();
    let listener = os::socket::listen(&socket)?;
    // Ends with its listener's last call, or with this process.
    std::thread::Builder::new().name("bench-qubesd".into()).spawn(move || {
        for stream in listener.incoming().take(PROGRAMS) {
            let Ok(mut stream) = stream else { return };
            drop(stream.read_to_end(&mut Vec::new()).and_then(|_| stream.write_all(&answer)));
        }
    })?;
    let config = directory.join("dispvm.toml");
    std::fs::write(&config, format!("qubesd-internal-socket = \"{}\"\n", socket.display()))?;
    let executable = std::env::current_exe()?;
    let mut times = Vec::with_capacity(PROGRAMS);
    for _ in 0..PROGRAMS {
        let begun = os::monotonic_ns();
        let status = Command::new(&executable)
            .arg0("qrexec-policy-exec")
            .arg("--path")
            .arg(stock)
            .args(["--", "work", "vault", "test.Last"])
            .env("QUBES_DISPVM_CONFIG", &config)
            .stdout(Stdio::null())
            .status()?;
        times.push(os::monotonic_ns() - begun);
        if !status.success() {
            return Err(std::io::Error::other(format!("qrexec-policy-exec: {status}")));
        }
    }
    Ok(times)
}

fn times(runs: usize, mut work: impl FnMut() -> bool) -> Vec<u64> {
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let begun = os::monotonic_ns();
        black_box(work());
        times.push(os::monotonic_ns() - begun);
    }
    times
}

/// About the size of the directory of Qubes OS: 60 rules in four files.
fn write_stock(directory: &Path) -> std::io::Result<()> {
    write_rules(directory, "90-default.policy", 51)?;
    std::fs::write(directory.join("80-dispvm.policy"), include_str!("../../../policy.d/80-dispvm.policy"))?;
    std::fs::write(directory.join("30-user.policy"), "## Your own rules.\n")?;
    std::fs::write(directory.join("35-compat.policy"), "!compat-4.0\n")
}

/// So many rules, the last of which is for `test.Last`.
fn write_rules(directory: &Path, file: &str, count: usize) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut text = String::from("## Rules that are tried one after the other.\n\n");
    for number in 1..count {
        let action = if number % 2 == 0 { "deny" } else { "ask default_target=@dispvm" };
        text.push_str(&format!("test.Service{number:<5}  *  @anyvm  @anyvm  {action}\n"));
    }
    text.push_str("test.Last  *  @anyvm  @anyvm  allow\n");
    std::fs::write(directory.join(file), text)
}

fn system(count: u16) -> Result<SystemInfo, policy::SystemInfoError> {
    let qubes = (0..count).map(|number| QubeInfo {
        name: match number {
            0 => "work".into(),
            1 => "vault".into(),
            _ => format!("qube-{number}"),
        },
        class: "AppVM".into(),
        tags: vec!["created-by-dom0".into()],
        template_for_dispvms: number % 10 == 0,
        default_dispvm: Some("default-dvm".into()),
        power_state: "Running".into(),
        uuid: format!("00000000-0000-4000-8000-{number:012x}").parse().ok(),
        internal: None,
        icon: "appvm-green".into(),
        label: "0x73d216".into(),
        guivm: Some("dom0".into()),
        relayvm: None,
        transport_rpc: None,
    });
    SystemInfo::new(qubes)
}

const RUNS: usize = 2000;
const PROGRAMS: usize = 200;
