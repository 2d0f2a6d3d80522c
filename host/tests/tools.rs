//! `qvm-dispvm` beside a running host, and calls whose target is a tag.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{EXECUTABLE, exchange};
use fixture::eventually;
use names::{QubeRef, Tag};
use qubes_host::Layout;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};

struct Serve {
    child: Child,
    layout: Layout,
    _directory: tempfile::TempDir,
}

impl Serve {
    fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let layout = Layout::new(directory.path().join("state"));
        let mut child = Command::new(EXECUTABLE)
            .args(["serve", "--json", "--state", layout.state().to_str().unwrap()])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("\"step\":\"ready\"")), "the host is not ready");
        // Reads on: a full pipe would hold the host up.
        std::thread::spawn(move || lines.count());
        Self { child, layout, _directory: directory }
    }

    fn admin(&self) -> admin::Client {
        admin::Client::new(self.layout.qubesd_socket())
    }

    fn state(&self) -> &str {
        self.layout.state().to_str().unwrap()
    }

    fn tool(&self, command: &str, call: [&str; 3]) -> Output {
        Command::new(EXECUTABLE)
            .arg0("qvm-dispvm")
            .args(["policy", command, "--state", self.state()])
            .args(call)
            .output()
            .unwrap()
    }

    fn exec(&self, words: &[&str]) -> Output {
        Command::new(EXECUTABLE)
            .args(["exec", "--state", self.state(), "work", "--"])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn eval_prints_what_the_daemon_is_answered_and_explain_finds_the_waiting_disposable() {
    let serve = Serve::start(&["--preload=1"]);
    for (target, service) in
        [("@dispvm", "qubes.OpenInVM"), ("@adminvm", "qubes.OpenURL"), ("@dispvm:nosuch", "qubes.OpenInVM")]
    {
        let question = format!("source=work\nintended_target={target}\nservice_and_arg={service}\n\n");
        let answered = text(&exchange(&serve.layout.policy_socket(), question.as_bytes()));
        let printed = serve.tool("eval", ["work", service, target]);
        assert_eq!(text(&printed.stdout), answered + "\n", "{target}: {}", text(&printed.stderr));
    }
    let explained = serve.tool("explain", ["work", "qubes.OpenInVM", "@dispvm"]);
    let page = text(&explained.stdout);
    assert_eq!(explained.status.code(), Some(0), "{page}");
    for part in ["decides", "80-dispvm.policy:", "is a disposable of default-dvm", "yes: 1 preloaded: disp"] {
        assert!(page.contains(part), "no {part:?} in\n{page}");
    }
    assert_eq!(serve.tool("explain", ["work", "qubes.OpenInVM", "vault"]).status.code(), Some(2));
}

#[test]
fn p8_a_call_by_tag_gets_the_template_that_has_it_and_none_that_its_name_may_not_reach() {
    let serve = Serve::start(&["--preload=1", "--with", "sed -i s/draft/final/"]);
    let target = "@dispvm:@tag:open-in-disposable";
    let open = || {
        assert_eq!(serve.exec(&["sh", "-c", "echo draft > file"]).status.code(), Some(0));
        let output = serve.exec(&["qvm-open-in-vm", target, "file"]);
        (output.status.code(), text(&serve.exec(&["cat", "file"]).stdout))
    };
    let template: QubeRef = qubes_host::DEFAULT_TEMPLATE.parse().unwrap();
    let tag: Tag = "open-in-disposable".parse().unwrap();
    // Nothing has the tag: dom0's program refuses.
    serve.admin().tag_remove(&template, &tag).unwrap();
    assert_eq!(open(), (Some(126), "draft\n".into()));
    let explained = serve.tool("explain", ["work", "qubes.OpenInVM", target]);
    assert_eq!(explained.status.code(), Some(1));
    assert!(
        text(&explained.stdout).contains("qvm-tags TEMPLATE add open-in-disposable"),
        "{}",
        text(&explained.stdout)
    );

    serve.admin().tag_set(&template, &tag).unwrap();
    assert_eq!(open(), (Some(0), "final\n".into()));

    // By name it is denied, so by tag too.
    let rule = "qubes.OpenInVM * work @dispvm:default-dvm deny\n";
    std::fs::write(serve.layout.policy().join("30-user.policy"), rule).unwrap();
    assert_eq!(open(), (Some(126), "draft\n".into()));
    eventually("explain says so", || {
        let explained = serve.tool("explain", ["work", "qubes.OpenInVM", target]);
        text(&explained.stdout).contains("may mean a disposable of \"default-dvm\"")
    });
}
