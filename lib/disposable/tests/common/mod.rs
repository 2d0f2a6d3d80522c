//! What tests of the queue share.
#![allow(dead_code, reason = "each test uses a part of it")]

use disposable::entry::Entry;
use disposable::queue::Queue;
use names::{DomId, Generation, QubeName, Uuid};
use std::path::Path;
use std::time::Duration;

pub(crate) fn template() -> QubeName {
    "default-dvm".parse().unwrap()
}

pub(crate) fn entry(number: u32) -> Entry {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    Entry {
        name: format!("disp{number}").parse().unwrap(),
        uuid: Uuid::from_random(bytes),
        domid: DomId::try_from(number % 30_000 + 1).unwrap(),
        template: template(),
        generation: Generation(0),
        created: 1,
        claimer: None,
    }
}

pub(crate) fn queue(root: &Path) -> Queue {
    Queue::create(root, &template(), Duration::from_secs(20)).unwrap()
}

pub(crate) fn fill(queue: &Queue, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let reservation = queue.reserve(&format!("r{number}"), usize::MAX).unwrap().unwrap();
        queue.note(&reservation, &entry(number)).unwrap();
        assert!(queue.enqueue(&reservation).unwrap());
    }
}
