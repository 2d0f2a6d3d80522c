//! Applications that were given a file or URL over the session's bus (M37, M38).
//!
//! GNOME's and KDE's applications run once: a later start, or one by the bus itself, is no process of ours, and the
//! application that runs shows the file without keeping it open. So we hear what applications are asked to open, and one
//! that was asked to open ours holds it as long as its name is on the bus.

use super::bus::{Asker, Listener, Message};
use std::time::{Duration, Instant};

/// What applications are asked to open things by, and what may become of that.
const RULES: [&str; 5] = [
    // An application that cannot be started.
    "type='error',sender='org.freedesktop.DBus'",
    // One that came and went between two looks.
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'",
    "type='method_call',interface='org.freedesktop.Application'",
    "type='method_call',interface='org.gtk.Application'",
    "type='method_call',interface='org.kde.KDBusService'",
];
/// How long an application may take to come: a bus gives up starting it in this time.
const LONGEST_START: Duration = Duration::from_secs(120);

pub(super) struct Takers {
    listener: Listener,
    asker: Asker,
    /// Bytes that name what was opened, whatever else a call says.
    sign: Vec<u8>,
    /// Applications that do not count.
    others: Vec<String>,
    takers: Vec<Taker>,
}

struct Taker {
    name: String,
    /// Who asked, and the number of the call.
    call: (String, u32),
    asked: Instant,
    seen: bool,
}

impl Takers {
    /// Begins to listen, to be called before anything is opened; `None` in a session without a bus. `sign` has no character
    /// that a URL would write in another way.
    pub(super) fn of_file(sign: &str) -> Option<Self> {
        let listener = Asker::connect()?.listen(&RULES).ok()?;
        let asker = Asker::connect()?;
        Some(Self { listener, asker, sign: sign.into(), others: Vec::new(), takers: Vec::new() })
    }

    /// The same for a URL. Nothing of it comes back, so that an application that runs already is not waited for.
    pub(super) fn of_url(url: &str) -> Option<Self> {
        let mut takers = Self::of_file(url)?;
        takers.others = takers.asker.names().ok()?;
        Some(takers)
    }

    /// The name of an application that has it.
    pub(super) fn first(&mut self) -> Option<String> {
        for message in self.listener.heard().unwrap_or_default() {
            if message.is_call() {
                self.add(message);
            } else if message.is_error() {
                let failed = (message.destination, message.reply_to);
                self.takers.retain(|taker| taker.seen || taker.call != failed);
            } else if let Some((name, is_there)) = message.owner_changed() {
                self.takers.retain(|taker| is_there || taker.name != name);
            }
        }
        let asker = &mut self.asker;
        self.takers.retain_mut(|taker| {
            // The bus is gone: so is everybody's name.
            let is_there = asker.is_there(&taker.name).unwrap_or(false);
            taker.seen |= is_there;
            is_there || (!taker.seen && taker.asked.elapsed() < LONGEST_START)
        });
        self.takers.first().map(|taker| taker.name.clone())
    }

    fn add(&mut self, call: Message) {
        let name = call.destination;
        let is_ours = call.body.windows(self.sign.len()).any(|part| part == self.sign);
        let is_known = self.others.contains(&name) || self.takers.iter().any(|taker| taker.name == name);
        if is_ours && !is_known {
            let call = (call.sender, call.serial);
            self.takers.push(Taker { name, call, asked: Instant::now(), seen: false });
        }
    }
}
