//! With a ring made of a socket pair of few bytes: what moves, and when either side ends.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A ring whose peer is the other end of a socket pair.
struct Fake {
    stream: UnixStream,
    alive: Arc<AtomicBool>,
    silenced: Arc<AtomicUsize>,
}

impl Ring for Fake {
    fn read(&mut self, buffer: &mut [u8]) -> Moved {
        match (&self.stream).read(buffer) {
            Ok(0) => Moved::Closed,
            Ok(count) => Moved::Some(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Moved::Wait,
            Err(_) => Moved::Closed,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Moved {
        match (&self.stream).write(bytes) {
            Ok(count) => Moved::Some(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // A ring asks for an event when there is room; a socket without POLLOUT is looked at again.
                thread::sleep(Duration::from_millis(1));
                Moved::Wait
            }
            Err(_) => Moved::Closed,
        }
    }

    fn silence(&mut self) -> io::Result<()> {
        self.silenced.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn events(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn is_peer_alive(&mut self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }
}

struct Rig {
    own: UnixStream,
    peer: UnixStream,
    alive: Arc<AtomicBool>,
    silenced: Arc<AtomicUsize>,
    pump: Pump,
}

fn rig() -> Rig {
    rig_with(Pump::start)
}

fn rig_lingering(linger: Duration) -> Rig {
    rig_with(|ring, socket| Pump::lingering(ring, socket, linger))
}

fn rig_with(start: impl FnOnce(Fake, UnixStream) -> io::Result<Pump>) -> Rig {
    let (own, socket) = UnixStream::pair().unwrap();
    let (stream, peer) = UnixStream::pair().unwrap();
    stream.set_nonblocking(true).unwrap();
    let (alive, silenced) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let ring = Fake { stream, alive: alive.clone(), silenced: silenced.clone() };
    let pump = start(ring, socket).unwrap();
    Rig { own, peer, alive, silenced, pump }
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

#[test]
fn bytes_go_both_ways_at_once_and_the_end_comes_after_them() {
    let Rig { mut own, mut peer, pump, .. } = rig();
    let content = noise(3_000_000);
    let expected = content.clone();
    let mut writer = peer.try_clone().unwrap();
    let sent = content.clone();
    let sending = thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut reader = own.try_clone().unwrap();
    let receiving = thread::spawn(move || {
        let mut got = vec![0; expected.len()];
        reader.read_exact(&mut got).unwrap();
        assert!(got == expected);
        // The peer has closed by then: the end.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    });
    let mut got = vec![0; content.len()];
    let writing = thread::spawn(move || own.write_all(&content).map(|()| own).unwrap());
    peer.read_exact(&mut got).unwrap();
    assert!(got == noise(3_000_000));
    let own = writing.join().unwrap();
    sending.join().unwrap();
    drop(peer);
    receiving.join().unwrap();
    assert_eq!((&own).write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    drop(pump);
}

#[test]
fn dropping_waits_until_the_ring_has_the_last_words() {
    let Rig { mut own, mut peer, pump, .. } = rig();
    own.write_all(&noise(150_000)).unwrap();
    drop(own);
    let reading = thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        got
    });
    drop(pump);
    assert!(reading.join().unwrap() == noise(150_000));
}

#[test]
fn p5_a_peer_that_takes_nothing_does_not_hold_a_dropped_vchan() {
    let Rig { mut own, peer, pump, .. } = rig_lingering(Duration::from_millis(50));
    own.set_nonblocking(true).unwrap();
    while !matches!(own.write(&noise(65_536)), Err(error) if error.kind() == io::ErrorKind::WouldBlock) {}
    drop(own);
    let begun = Instant::now();
    drop(pump);
    assert!(begun.elapsed() >= Duration::from_millis(50), "it was not waited for");
    drop(peer);
}

#[test]
fn a_peer_that_takes_a_little_now_and_then_gets_all_of_it() {
    let Rig { mut own, mut peer, pump, .. } = rig_lingering(Duration::from_millis(400));
    own.set_nonblocking(true).unwrap();
    let mut count = 0;
    loop {
        match own.write(&noise(65_536)) {
            Ok(written) => count += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    drop(own);
    let reading = thread::spawn(move || {
        let mut buffer = vec![0; 50_000];
        let mut got = 0;
        loop {
            // All together longer than it may let lie, each pause shorter.
            thread::sleep(Duration::from_millis(60));
            match peer.read(&mut buffer).unwrap() {
                0 => return got,
                more => got += more,
            }
        }
    });
    drop(pump);
    assert_eq!(reading.join().unwrap(), count);
}

#[test]
fn a_peer_that_closes_is_an_end_and_no_reset_even_when_it_has_not_read_all() {
    let Rig { mut own, mut peer, pump, .. } = rig();
    own.set_nonblocking(true).unwrap();
    // More than rings and sockets hold.
    while !matches!(own.write(&noise(65_536)), Err(error) if error.kind() == io::ErrorKind::WouldBlock) {}
    peer.write_all(b"enough").unwrap();
    drop(peer);
    own.set_nonblocking(false).unwrap();
    let mut got = Vec::new();
    own.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"enough");
    drop((own, pump));
}

#[test]
fn what_is_left_in_the_ring_is_dropped_when_our_side_has_closed() {
    let Rig { own, mut peer, pump, .. } = rig();
    peer.write_all(&noise(150_000)).unwrap();
    drop(own);
    drop(pump);
}

#[test]
fn the_death_of_the_peers_domain_is_noticed_without_an_event_and_its_last_bytes_arrive() {
    let Rig { mut own, mut peer, alive, pump, .. } = rig();
    peer.write_all(b"last words").unwrap();
    alive.store(false, Ordering::Relaxed);
    let mut got = Vec::new();
    own.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"last words");
    drop((own, pump));
}

#[test]
fn nothing_to_do_is_nothing_done() {
    let Rig { own, mut peer, silenced, pump, .. } = rig();
    peer.write_all(b"x").unwrap();
    (&own).read_exact(&mut [0]).unwrap();
    thread::sleep(Duration::from_millis(300));
    let count = silenced.load(Ordering::Relaxed);
    assert!(count <= 3, "{count} wake-ups for one byte");
    drop((own, pump));
}
