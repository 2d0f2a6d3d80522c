//! What people do all day.

use crate::common::{Serve, code, text};
use crate::domains::{domains, listed, vchan_names, waiting};
use crate::edits::EDITS;
use crate::{EDITOR, without_refill};
use fixture::{eventually, random_bytes};
use std::collections::HashSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn a_file_is_edited_in_a_preloaded_disposable_and_nothing_of_it_stays() {
    let mut serve = Serve::start(&["--preload=1", "--with", EDITOR]);
    assert_eq!(waiting().len(), 1, "{:?}", domains());
    without_refill(&serve);
    serve.put("work", "report.txt", b"a draft\n");
    let begun = Instant::now();
    let output = serve.run("work", ["qvm-open-in-dvm", "report.txt"]);
    println!("\nfigure: preloaded call: {} ms emulated", begun.elapsed().as_millis());
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(serve.get("work", "report.txt"), b"a final\n");
    assert!(serve.stop(), "the host did not end cleanly");
    eventually("only dom0 is left", || domains().is_empty());
    assert_eq!(listed(), ["Domain-0"]);
    assert_eq!(vchan_names(), Vec::<String>::new());
}

/// The application says what it got and what it gives back: 20 MiB and two sums.
#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn twenty_mebibytes_arrive_unchanged_both_ways() {
    const LENGTH: usize = 20 << 20;
    let application = "sh -c 'got=$(sha256sum < \"$0\"); head -c 20971520 /dev/urandom > \"$0\"; \
                       gives=$(sha256sum < \"$0\"); echo \"$got $gives\" >> \"$0\"'";
    let serve = Serve::start(&["--preload=1", "--with", application]);
    without_refill(&serve);
    let sent = random_bytes(20, LENGTH);
    serve.put("work", "film", &sent);
    let begun = Instant::now();
    let output = serve.run("work", ["qvm-open-in-dvm", "film"]);
    println!("\nfigure: 20 MiB there and 20 MiB back: {} ms emulated", begun.elapsed().as_millis());
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let back = serve.get("work", "film");
    assert!(back.len() > LENGTH, "{} bytes", back.len());
    let (content, said) = back.split_at(LENGTH);
    let said = text(said);
    let sums: Vec<&str> = said.split_whitespace().filter(|word| *word != "-").collect();
    assert_eq!(sums, [sha256(&sent), sha256(content)]);
}

fn sha256(bytes: &[u8]) -> String {
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sum.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = sum.wait_with_output().unwrap();
    text(&output.stdout).split_whitespace().next().unwrap().to_owned()
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn cold_starts_edit_a_file_show_it_view_only_and_open_a_url() {
    let application = "sh -c 'case \"$0\" in \"https://example.org/a?b=c\") exit 42;; esac; \
                       sed -i s/draft/final/ \"$0\"'";
    let serve = Serve::start(&["--preload=0", "--with", application]);
    let begun = Instant::now();
    serve.put("work", "view", b"a draft\n");
    let output = serve.run("work", ["qvm-open-in-dvm", "--view-only", "view"]);
    println!("\nfigure: cold call: {} ms emulated", begun.elapsed().as_millis());
    // What the application could not change it says so of.
    assert!(code(&output) < 125, "{}", text(&output.stderr));
    assert_eq!(serve.get("work", "view"), b"a draft\n", "view only brings nothing back");
    serve.put("work", "edit", b"a draft\n");
    let output = serve.run("work", ["qvm-open-in-dvm", "edit"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(serve.get("work", "edit"), b"a final\n");
    let output = serve.run("work", ["qvm-open-in-dvm", "https://example.org/a?b=c"]);
    assert_eq!(code(&output), 42, "the URL did not arrive: {}", text(&output.stderr));
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn p1_five_at_once_on_a_queue_of_three_get_five_different_disposables() {
    let serve = Serve::start(&["--preload=3", "--with", "sh -c 'hostname >> \"$1\"; sleep 1' sh"]);
    without_refill(&serve);
    let ready = waiting();
    assert_eq!(ready.len(), 3, "{ready:?}");
    let files: Vec<String> = (0..5).map(|number| format!("f{number}")).collect();
    files.iter().for_each(|file| serve.put("work", file, b""));
    let calls: Vec<_> =
        files.iter().map(|file| serve.exec("work", ["qvm-open-in-dvm", file]).spawn().unwrap()).collect();
    for call in calls {
        let output = call.wait_with_output().unwrap();
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    }
    let names: HashSet<String> =
        files.iter().map(|file| text(&serve.get("work", file)).trim_end().to_owned()).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert!(
        ready.iter().all(|domain| names.contains(&domain.name)),
        "{ready:?} were not all taken: {names:?}"
    );
}

/// One host for all: which edit it is to be, the application tells by the file's name.
#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn every_way_of_saving_comes_back() {
    let busybox = [
        ("sed", "sed -i s/draft/final/", "a draft\n", "a final\n", 0),
        (
            "ed",
            r#"sh -c 'printf "%s\n" s/draft/final/ w q | ed "$0" >/dev/null'"#,
            "a draft\n",
            "a final\n",
            0,
        ),
        (
            "vi",
            r#"sh -c 'TERM=linux vi -c ":%s/draft/final/g" -c ":wq" "$0" </dev/null >/dev/null'"#,
            "a draft\n",
            "a final\n",
            0,
        ),
    ];
    let edits: Vec<_> = busybox.into_iter().chain(EDITS.iter().copied()).collect();
    let cases: Vec<_> = edits
        .iter()
        .enumerate()
        .map(|(number, (name, with, ..))| format!("*/{number}{name}) {with} \"$0\";; "))
        .collect();
    let script = format!("case \"$0\" in {} esac", cases.concat()).replace('\'', "'\\''");
    let serve = Serve::start(&["--preload=2", "--with", &format!("sh -c '{script}'")]);
    for (number, (name, _, old, new, exit)) in edits.iter().enumerate() {
        let file = format!("{number}{name}");
        serve.put("work", &file, old.as_bytes());
        let output = serve.run("work", ["qvm-open-in-dvm", &file]);
        assert_eq!(code(&output), *exit, "{name}: {}", text(&output.stderr));
        assert_eq!(text(&serve.get("work", &file)), *new, "{name}");
    }
    let names = text(&serve.run("work", ["ls"]).stdout);
    let beside: Vec<&str> = names.lines().filter(|name| name.contains('.')).collect();
    assert_eq!(beside.len(), 1, "only what a killed editor had saved is kept beside its file: {names}");
}
