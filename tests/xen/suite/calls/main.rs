//! Whole calls with qubes that are domains: what only Xen can make go wrong, and what only Xen can show. Steps share one
//! host, because a qube's start takes long under emulation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "../../../common/mod.rs"]
mod common;
mod domains;
#[path = "../../../common/edits.rs"]
mod edits;

mod broken;
mod everyday;
mod numbers;
mod page;
mod scarce;
mod touched;
mod traces;

/// Puts the refill off: a start that no step waits for costs the others half their time.
fn without_refill(serve: &common::Serve) {
    let admin = admin::Client::new(serve.state.join("run/qubesd.sock"));
    let template = names::QubeRef::Name("default-dvm".parse().unwrap());
    admin.feature_set(&template, "preload-dispvm-delay", "100000").unwrap();
}

/// Edits a file; a file that asks for it keeps it busy, so that a call can be cut short.
const EDITOR: &str =
    "sh -c 'grep -q stay \"$1\" && touch ~/running && sleep 1000; sed -i s/draft/final/ \"$1\"' sh";
