//! A unix socket with a thread per connection.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// More connections than this at once are closed unanswered: only a broken client has so many.
const MOST_CONNECTIONS: usize = 1024;
/// How long the end waits for threads whose connections were cut.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers connections until it is stopped.
#[derive(Debug)]
pub(crate) struct Server {
    path: PathBuf,
    /// Closing this wakes the accepting thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    connections: Arc<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    open: Mutex<(u64, HashMap<u64, UnixStream>)>,
}

impl Server {
    /// Listens at `path`, in place of a stale socket, and calls `serve` for each connection in a thread of its own.
    ///
    /// # Errors
    /// The socket or the thread cannot be made.
    pub(crate) fn start(
        name: &'static str,
        path: &Path,
        serve: impl Fn(UnixStream) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = os::socket::listen(path)?;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = UnixStream::pair()?;
        let connections = Arc::new(Connections::default());
        let (serve, known) = (Arc::new(serve), connections.clone());
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || accept(name, &listener, &stopped, &serve, &known))?;
        Ok(Self { path: path.to_owned(), stop: Some(stop), thread: Some(thread), connections })
    }

    /// No new connections; those that are open are cut. Returns when their threads have ended.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        let Some(thread) = self.thread.take() else { return };
        if thread.join().is_err() {
            log::error!("the thread of {} ended early", self.path.display());
        }
        if let Err(error) = fs::remove_file(&self.path) {
            log::debug!("{}: {error}", self.path.display());
        }
        let until = Instant::now() + PATIENCE;
        while self.connections.cut() > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
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

    /// Cuts all; returns how many there are.
    fn cut(&self) -> usize {
        let open = self.lock();
        for stream in open.1.values() {
            if let Err(error) = stream.shutdown(Shutdown::Both) {
                // The other side was faster.
                log::trace!("{error}");
            }
        }
        open.1.len()
    }
}

fn accept<F: Fn(UnixStream) + Send + Sync + 'static>(
    name: &'static str,
    listener: &UnixListener,
    stopped: &UnixStream,
    serve: &Arc<F>,
    connections: &Arc<Connections>,
) {
    loop {
        let mut fds = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return log::error!("{name}: waiting for connections: {error}"),
        }
        if fds.get(1).and_then(PollFd::any).unwrap_or(true) {
            return;
        }
        match listener.accept() {
            Ok((stream, _)) => begin(name, stream, serve, connections),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                log::error!("{name}: accepting a connection: {error}");
                // Out of descriptors, most likely: give others time to close theirs.
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn begin<F: Fn(UnixStream) + Send + Sync + 'static>(
    name: &'static str,
    stream: UnixStream,
    serve: &Arc<F>,
    connections: &Arc<Connections>,
) {
    let Some(number) = connections.add(&stream) else {
        return log::error!("{name}: too many connections; one was closed");
    };
    let (serve, known) = (serve.clone(), connections.clone());
    let work = move || {
        serve(stream);
        known.remove(number);
    };
    if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(work) {
        connections.remove(number);
        log::error!("{name}: starting a thread: {error}");
    }
}
