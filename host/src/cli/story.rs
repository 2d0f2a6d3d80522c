//! Tells the story: events come in on a socket, lines for people or for programs go out.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use trace::{Event, Reporter};

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Lines for people, on stderr.
    Lines,
    /// One JSON object a line, on stdout.
    Json,
    /// Not at all.
    Silent,
}

/// Receives events, shows them and passes them on to whoever waits for one.
#[derive(Debug)]
pub struct Story {
    path: PathBuf,
    form: Form,
    began_ns: u64,
    received: Receiver<Event>,
    /// For events of this very process.
    pub own: Sender<Event>,
    /// What is shown when nothing happens for a while.
    waiting_for: String,
    quiet_since: Instant,
    next_sign: Duration,
    /// Everything is being taken down: what ends now is told in one line.
    ending: bool,
}

impl Story {
    /// Listens on a socket at `path`, which must not exist.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(path: &Path, form: Form) -> io::Result<Self> {
        let socket = os::socket::bind_datagram(path)?;
        let (own, received) = mpsc::channel();
        let sender = own.clone();
        std::thread::Builder::new().name("story".into()).spawn(move || receive(&socket, &sender))?;
        let began_ns = os::monotonic_ns();
        if form == Form::Lines {
            show("    time      took  what happened\n");
        }
        let quiet_since = Instant::now();
        Ok(Self {
            path: path.to_owned(),
            form,
            began_ns,
            received,
            own,
            waiting_for: String::new(),
            quiet_since,
            next_sign: FIRST_SIGN,
            ending: false,
        })
    }

    /// Says what is being waited for, in case it takes long.
    pub fn waiting_for(&mut self, what: impl Into<String>) {
        self.waiting_for = what.into();
        self.quiet_since = Instant::now();
        self.next_sign = FIRST_SIGN;
    }

    /// From now on only the end itself is shown to people.
    pub fn ending(&mut self) {
        self.ending = true;
        self.waiting_for("taking everything down");
    }

    /// The next event, shown already. `None` when none came for `limit`; signs of life are shown meanwhile.
    pub fn next(&mut self, limit: Duration) -> Option<Event> {
        let until = Instant::now() + limit;
        loop {
            let now = Instant::now();
            let sign_at = self.quiet_since + self.next_sign;
            let wait = until.min(sign_at).saturating_duration_since(now);
            match self.received.recv_timeout(wait) {
                Ok(event) => {
                    self.quiet_since = Instant::now();
                    self.next_sign = FIRST_SIGN;
                    self.tell(&event);
                    return Some(event);
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= until => return None,
                Err(RecvTimeoutError::Timeout) => self.sign_of_life(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Shows all that was sent before now: a message to the own socket comes behind it.
    pub fn catch_up(&mut self) {
        Reporter::to(Some(&self.path)).report(&Event::now("host", CAUGHT_UP, "", ""));
        while self.next(CATCH_UP_LIMIT).is_some_and(|event| event.step != CAUGHT_UP) {}
    }

    /// Shows one event.
    pub fn tell(&self, event: &Event) {
        match self.form {
            _ if event.text.is_empty() => {}
            Form::Silent => {}
            Form::Lines if self.ending && event.step != "stopped" && event.step != "recovered" => {}
            Form::Lines if !is_for_people(event) => {}
            Form::Json => drop(writeln!(io::stdout(), "{}", event.to_json())),
            Form::Lines => show(&self.line(event)),
        }
    }

    fn line(&self, event: &Event) -> String {
        let time = event.at_ns.saturating_sub(self.began_ns) / 1_000_000;
        let took = event.took_us.map_or_else(String::new, duration);
        let text = match event.step.as_str() {
            "says" => format!("{}: {}", event.qube, event.text),
            _ => event.text.clone(),
        };
        format!("{:>4}.{:03} s {took:>9}  {text}\n", time / 1000, time % 1000)
    }

    /// After 1, 2, 4, 8 … seconds of silence: long enough apart to be no noise.
    fn sign_of_life(&mut self) {
        if self.form == Form::Lines && !self.waiting_for.is_empty() {
            let seconds = self.quiet_since.elapsed().as_secs();
            let text = format!("… {} ({seconds} s)", self.waiting_for);
            show(&self.line(&Event::now("host", "waiting", "", text)));
        }
        self.next_sign *= 2;
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        // Gone with its directory, where that was private.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Whether an event is a step of the story for people, or only of interest to programs because another event tells the
/// same: the policy's word is told with its rule, a disposable's start and end by those who wanted it.
fn is_for_people(event: &Event) -> bool {
    let of_disposable =
        event.qube.strip_prefix("disp").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    match (event.who.as_str(), event.step.as_str()) {
        ("qrexec-daemon", "allowed" | "ended" | "handed" | "refused") => false,
        ("host", "qube-started" | "qube-ended") => !of_disposable,
        _ => true,
    }
}

/// Microseconds as a person reads them.
#[must_use]
pub fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        10_000..1_000_000 => format!("{} ms", us / 1000),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// A closed stderr must not end a call.
fn show(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}

fn receive(socket: &UnixDatagram, events: &Sender<Event>) {
    os::scheduling::let_others_go_first();
    let mut datagram = vec![0; 64 * 1024];
    while let Ok(length) = socket.recv(&mut datagram) {
        let event = datagram.get(..length).and_then(Event::from_json);
        if event.is_some_and(|event| events.send(event).is_err()) {
            return;
        }
    }
}

const FIRST_SIGN: Duration = Duration::from_secs(1);
/// An event without words, which nobody is shown.
const CAUGHT_UP: &str = "caught-up";
/// Silence of that length means that the own message is lost.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_for_people() {
        for (us, text) in [(7, "7 µs"), (1_234, "1.2 ms"), (43_999, "43 ms"), (2_345_678, "2.3 s")] {
            assert_eq!(duration(us), text);
        }
    }
}
