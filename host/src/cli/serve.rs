//! Starts the embedded dom0 and stays.

use super::failure::Failure;
use super::options::Settings;
use super::place;
use super::running::Running;
use std::time::Duration;
use trace::Event;

pub(super) fn serve(settings: &Settings) -> Result<u8, Failure> {
    let place = place::for_serve(settings.state.as_deref())?;
    let mut running = Running::start(settings, &place, Vec::new())?;
    let begun = begin(&mut running, settings);
    let ended = match begun {
        Ok(()) => running.wait(Duration::MAX / 4, |_| false).map(drop),
        Err(failure) => Err(failure),
    };
    running.stop()?;
    match ended {
        // Ctrl-C and SIGTERM are how serve ends.
        Err(failure) if failure.exit > 128 => Ok(0),
        Err(failure) => Err(failure),
        Ok(()) => Ok(0),
    }
}

fn begin(running: &mut Running, settings: &Settings) -> Result<(), Failure> {
    running.host.start_qube("work").map_err(|error| Failure::trouble("start", "work", error))?;
    for (name, error) in running.host.start_autostarted() {
        // The others shall be served all the same.
        running.story.tell(&Event::now(
            "host",
            "not-started",
            name.as_str(),
            format!("{name} did not start: {error}"),
        ));
    }
    running.preload(&settings.dispvm, settings.preload)?;
    let state = match &settings.state {
        Some(_) => format!(" --state {}", running.layout.state().display()),
        None => String::new(),
    };
    let text = format!("ready: qubes-host exec{state} work -- qvm-open-in-dvm FILE; Ctrl-C ends");
    running.story.tell(&Event::now("host", "ready", "dom0", text));
    running.story.waiting_for("");
    Ok(())
}
