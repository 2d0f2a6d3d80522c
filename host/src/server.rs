//! A unix socket whose connections are answered by threads that wait for them.
//!
//! A few threads wait in accept(2); the one that the kernel wakes serves its connection itself, so that no other thread
//! has to be started or woken on the way of a call. When none is left waiting, another is started.

use nix::sys::socket::{Shutdown as End, shutdown};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// More connections than this at once are closed unanswered: only a broken client has so many.
const MOST_CONNECTIONS: usize = 1024;
/// So many threads wait for connections, at least at first and at most later.
const WAITING: usize = 3;
/// How long the end waits for threads whose connections were cut.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers connections until it is stopped.
#[derive(Debug)]
pub(crate) struct Server {
    path: PathBuf,
    desk: Option<Arc<Desk>>,
}

/// What the threads of a server share.
struct Desk {
    name: &'static str,
    listener: UnixListener,
    serve: Box<dyn Fn(UnixStream) + Send + Sync>,
    waiting: AtomicUsize,
    threads: AtomicUsize,
    connections: Connections,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Connections {
    open: Mutex<(u64, HashMap<u64, UnixStream>)>,
}

impl Server {
    /// Listens at `path`, in place of a stale socket, and calls `serve` for each connection, several at the same time.
    ///
    /// # Errors
    /// The socket or the first thread cannot be made.
    pub(crate) fn start(
        name: &'static str,
        path: &Path,
        serve: impl Fn(UnixStream) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let desk = Arc::new(Desk {
            name,
            listener: os::socket::listen(path)?,
            serve: Box::new(serve),
            waiting: AtomicUsize::new(0),
            threads: AtomicUsize::new(0),
            connections: Connections::default(),
        });
        for _ in 0..WAITING {
            desk.hire()?;
        }
        Ok(Self { path: path.to_owned(), desk: Some(desk) })
    }

    /// No new connections; those that are open are cut. Returns when their threads have ended.
    pub(crate) fn stop(&mut self) {
        let Some(desk) = self.desk.take() else { return };
        // Wakes all that wait in accept(2), which then fails with EINVAL.
        if let Err(error) = shutdown(desk.listener.as_raw_fd(), End::Both) {
            log::error!("{}: {error}", self.path.display());
        }
        if let Err(error) = fs::remove_file(&self.path) {
            log::debug!("{}: {error}", self.path.display());
        }
        let until = Instant::now() + PATIENCE;
        while desk.threads.load(Ordering::Acquire) > 0 && Instant::now() < until {
            desk.connections.cut();
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Desk {
    /// Starts a thread that waits for connections.
    fn hire(self: &Arc<Self>) -> io::Result<()> {
        let desk = self.clone();
        self.waiting.fetch_add(1, Ordering::AcqRel);
        self.threads.fetch_add(1, Ordering::AcqRel);
        let started = thread::Builder::new().name(self.name.to_owned()).spawn(move || {
            desk.wait_and_serve();
            desk.threads.fetch_sub(1, Ordering::AcqRel);
        });
        if let Err(error) = started {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            self.threads.fetch_sub(1, Ordering::AcqRel);
            return Err(error);
        }
        Ok(())
    }

    /// Returns when the server is stopped, or when enough others wait.
    fn wait_and_serve(self: &Arc<Self>) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
                        if let Err(error) = self.hire() {
                            log::error!("{}: starting a thread: {error}", self.name);
                        }
                    }
                    self.answer(stream);
                    if self.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING {
                        break;
                    }
                }
                Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => break,
                Err(error) => {
                    log::error!("{}: accepting a connection: {error}", self.name);
                    // Out of descriptors, most likely: give others time to close theirs.
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    fn answer(&self, stream: UnixStream) {
        let Some(number) = self.connections.add(&stream) else {
            return log::error!("{}: too many connections; one was closed", self.name);
        };
        (self.serve)(stream);
        self.connections.remove(number);
    }
}

impl Connections {
    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, HashMap<u64, UnixStream>)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection under a new number; `None` when there are too many.
    fn add(&self, stream: &UnixStream) -> Option<u64> {
        let clone = stream.try_clone().ok()?;
        let mut open = self.lock();
        if open.1.len() >= MOST_CONNECTIONS {
            return None;
        }
        open.0 += 1;
        let number = open.0;
        open.1.insert(number, clone);
        Some(number)
    }

    fn remove(&self, number: u64) {
        self.lock().1.remove(&number);
    }

    /// Cuts all.
    fn cut(&self) {
        let open = self.lock();
        for stream in open.1.values() {
            if let Err(error) = stream.shutdown(Shutdown::Both) {
                // The other side was faster.
                log::trace!("{error}");
            }
        }
    }
}
