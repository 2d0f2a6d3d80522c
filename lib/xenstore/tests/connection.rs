//! Against a small xenstored that lives in a thread: values in a map, watches fire on each write.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};
use xenstore::Xenstore;

const LONG: Duration = Duration::from_secs(60);

/// Answers until the connection is closed. Only what the tests ask.
fn serve(mut stream: UnixStream) {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut watches: Vec<(String, String)> = Vec::new();
    let mut ended_badly = false;
    loop {
        let mut head = [0u8; 16];
        if stream.read_exact(&mut head).is_err() {
            return;
        }
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let mut payload = vec![0; word(12) as usize];
        stream.read_exact(&mut payload).unwrap();
        let texts: Vec<String> =
            payload.split(|byte| *byte == 0).map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
        let below = format!("{}/", texts[0]);
        let mut events = Vec::new();
        let mut send = |kind: u32, payload: &[u8]| {
            let mut bytes = Vec::new();
            // A watch is answered as the kernel does: without the request's number.
            let number = if matches!(kind, 4 | 15) { 0 } else { word(4) };
            for word in [kind, number, word(8), u32::try_from(payload.len()).unwrap()] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(payload);
            // In two pieces: a reader must not take the first for the whole.
            stream.write_all(&bytes[..5]).unwrap();
            stream.write_all(&bytes[5..]).unwrap();
        };
        let kind = word(0);
        match kind {
            1 => {
                let names: Vec<_> = values.keys().filter_map(|key| key.strip_prefix(&below)).collect();
                let answer: String = names.iter().map(|name| format!("{name}\0")).collect();
                send(kind, answer.as_bytes());
            }
            2 => match values.get(&texts[0]) {
                Some(value) => send(kind, value.as_bytes()),
                None => send(16, b"ENOENT\0"),
            },
            4 => {
                watches.push((texts[0].clone(), texts[1].clone()));
                send(kind, b"OK\0");
                events.push((texts[0].clone(), texts[1].clone()));
            }
            6 => send(kind, b"9\0"),
            // The first transaction is overtaken.
            7 if !std::mem::replace(&mut ended_badly, true) => send(16, b"EAGAIN\0"),
            7 => send(kind, b"OK\0"),
            11 => {
                values.insert(texts[0].clone(), texts[1].clone());
                // Before the answer: a client must keep it for later.
                for (path, token) in watches.iter().filter(|(path, _)| texts[0].starts_with(path.as_str())) {
                    send(15, format!("{}\0{token}\0", texts[0].clone() + &path[path.len()..]).as_bytes());
                }
                send(kind, b"OK\0");
            }
            13 => {
                let gone = values.keys().any(|key| *key == texts[0] || key.starts_with(&below));
                values.retain(|key, _| *key != texts[0] && !key.starts_with(&below));
                if gone { send(kind, b"OK\0") } else { send(16, b"ENOENT\0") }
            }
            17 => send(kind, if texts[0] == "7" { b"T\0" } else { b"F\0" }),
            _ => send(16, b"EPERM\0"),
        }
        for (path, token) in events {
            send(15, format!("{path}\0{token}\0").as_bytes());
        }
    }
}

fn store() -> Xenstore {
    let (client, server) = UnixStream::pair().unwrap();
    thread::spawn(move || serve(server));
    Xenstore::from(client)
}

#[test]
fn values_are_written_read_listed_and_removed() {
    let mut store = store();
    assert_eq!(store.read("a/b").unwrap(), None);
    store.write("a/b", "1").unwrap();
    store.write("a/c", "2").unwrap();
    assert_eq!(store.read_text("a/b").unwrap().as_deref(), Some("1"));
    assert_eq!(store.list("a").unwrap(), ["b", "c"]);
    store.remove("a/b").unwrap();
    store.remove("a/b").unwrap();
    assert_eq!(store.list("a").unwrap(), ["c"]);
}

#[test]
fn a_directory_goes_with_its_last_name_and_an_overtaken_change_is_made_again() {
    let mut store = store();
    store.write("vchan/0/513", "x").unwrap();
    store.remove_and_prune("vchan/0", "513").unwrap();
    assert_eq!(store.list("vchan").unwrap(), Vec::<String>::new());
}

#[test]
fn events_come_at_once_and_those_before_an_answer_are_kept() {
    let mut store = store();
    store.watch("a", "token").unwrap();
    assert_eq!(store.next_event(LONG).unwrap().unwrap().path, "a");
    store.write("a/b", "1").unwrap();
    let event = store.next_event(LONG).unwrap().unwrap();
    assert_eq!((event.path.as_str(), event.token.as_str()), ("a/b", "token"));
    assert_eq!(store.next_event(Duration::from_millis(10)).unwrap(), None);
}

#[test]
fn who_is_known() {
    let mut store = store();
    assert!(store.is_introduced(7u32.try_into().unwrap()).unwrap());
    assert!(!store.is_introduced(8u32.try_into().unwrap()).unwrap());
}

#[test]
fn p11_a_slow_xenstore_is_not_waited_for_without_bound() {
    let (client, server) = UnixStream::pair().unwrap();
    let mut store = Xenstore::from(client).with_patience(Duration::from_millis(30));
    let begun = Instant::now();
    assert_eq!(store.read("domid").unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(begun.elapsed() < LONG);
    drop(server);
    assert!(store.read("domid").is_err());
}
