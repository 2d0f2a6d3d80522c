//! Bytes in any portions in, whole messages out.

use super::{Channel, Message, WireError};
use qubes_qrexec_sys::Header;

/// Collects bytes of one direction of a connection until they are a message.
///
/// It holds at most one message's bytes more than one portion given to [`Self::push`]: a header is checked as soon as it
/// is complete, and the room for a body is reserved only after that.
#[derive(Debug)]
pub struct Decoder {
    channel: Channel,
    bytes: Vec<u8>,
    /// Where the next message begins.
    start: usize,
}

impl Decoder {
    /// For a channel; most begin as [`Channel::Hello`].
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self { channel, bytes: Vec::new(), start: 0 }
    }

    /// From the next message on this is another channel. Bytes already here are kept.
    pub const fn switch(&mut self, channel: Channel) {
        self.channel = channel;
    }

    /// Takes what was read.
    pub fn push(&mut self, portion: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(portion);
    }

    /// The next whole message; `None` until more bytes come. After an error the connection must be given up.
    ///
    /// # Errors
    /// A header that may not come here.
    #[expect(clippy::should_implement_trait, reason = "None is not the end: more may come")]
    pub fn next(&mut self) -> Result<Option<Message>, WireError> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let Some((header, after)) = rest.split_first_chunk::<{ Header::SIZE }>() else { return Ok(None) };
        let header = Header::from_bytes(*header);
        self.channel.check(header)?;
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        let Some(body) = after.get(..len) else {
            self.bytes.reserve(len - after.len());
            return Ok(None);
        };
        let message = Message::from_parts(header.kind, body);
        self.start += Header::SIZE + len;
        // The channel's table has no type that Message does not know and no length too short for it.
        message.map(Some).ok_or(WireError::Length { kind: header.kind, len: header.len, least: 0, most: 0 })
    }

    /// Whether the connection may end here: no part of a message is waiting for its rest.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// The bytes that came after the last message taken, for whoever reads on by other means.
    #[must_use]
    pub fn into_rest(mut self) -> Vec<u8> {
        self.bytes.split_off(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Exec, Ident, Trigger, agree, agree_client, message_type};
    use super::*;
    use proptest::prelude::*;

    fn messages() -> Vec<(Channel, Message)> {
        let agent = Channel::AgentToDaemon { version: 4 };
        let old = Channel::AgentToDaemon { version: 2 };
        let data = Channel::Data { version: 4 };
        let ident = Ident(*b"SOCKET7\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        let trigger = Trigger::new(b"", b"@dispvm", ident, b"qubes.OpenInVM+");
        let old_trigger = qubes_qrexec_sys::TriggerService2 { service: [1; 64], target: [2; 32], ident };
        vec![
            (Channel::Hello, Message::Hello { version: 4 }),
            (Channel::DaemonToAgent, Message::ExecCmdline(Exec::command(0, 513, b"user:x"))),
            (Channel::ClientToDaemon, Message::JustExec(Exec::command(0, 0, b"DEFAULT:x"))),
            (Channel::ClientToDaemon, Message::ServiceConnect(Exec::request(3, 514, ident))),
            (Channel::DaemonToClient, Message::ExecCmdline(Exec::answer(3, 514))),
            (Channel::DaemonToAgent, Message::ServiceRefused(ident)),
            (agent, Message::ConnectionTerminated { domain: 3, port: 514 }),
            (agent, Message::TriggerService3(trigger.clone())),
            (agent, Message::TriggerService4(trigger.clone())),
            (Channel::Trigger, Message::TriggerService4(trigger)),
            (old, Message::TriggerService2(old_trigger)),
            (data, Message::Stdin(vec![7; 65536])),
            (data, Message::Stdout(vec![])),
            (data, Message::Stderr(b"warning".to_vec())),
            (data, Message::ExitCode(-3)),
        ]
    }

    proptest! {
        #[test]
        fn round_trip_in_any_portions(which in 0usize..15, portions in proptest::collection::vec(1usize..300, 1..50)) {
            let (channel, message) = messages().swap_remove(which);
            let bytes = [message.to_bytes(), message.to_bytes()].concat();
            let mut decoder = Decoder::new(channel);
            let mut got = Vec::new();
            let mut rest = &bytes[..];
            let mut sizes = portions.iter().cycle();
            while !rest.is_empty() {
                let (portion, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                decoder.push(portion);
                rest = after;
                while let Some(message) = decoder.next().unwrap() {
                    got.push(message);
                }
            }
            prop_assert_eq!(got, vec![message.clone(), message]);
            prop_assert!(decoder.is_between_messages());
        }

        #[test]
        fn no_bytes_whatever_make_it_panic_or_hoard(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0x180u32..0x310, len: u32) {
            for (channel, _) in messages() {
                let mut decoder = Decoder::new(channel);
                decoder.push(&Header { kind, len }.to_bytes());
                decoder.push(&bytes);
                while let Ok(Some(_)) = decoder.next() {}
                prop_assert!(decoder.bytes.capacity() < 200_000);
            }
        }
    }

    #[test]
    fn a_length_is_refused_before_its_body_is_there() {
        for (channel, kind, len) in [
            (Channel::Hello, message_type::HELLO, 5),
            (Channel::Data { version: 2 }, message_type::DATA_STDIN, 4097),
            (Channel::Data { version: 3 }, message_type::DATA_STDIN, 65537),
            (Channel::ClientToDaemon, message_type::EXEC_CMDLINE, 8),
            (Channel::ClientToDaemon, message_type::EXEC_CMDLINE, 65536),
            (Channel::AgentToDaemon { version: 4 }, message_type::TRIGGER_SERVICE4, 160),
            (Channel::AgentToDaemon { version: 4 }, message_type::TRIGGER_SERVICE4, 65161),
        ] {
            let mut decoder = Decoder::new(channel);
            decoder.push(&Header { kind, len }.to_bytes());
            assert!(matches!(decoder.next(), Err(WireError::Length { .. })), "{channel:?} {kind:#x} {len}");
        }
    }

    #[test]
    fn a_type_on_the_wrong_channel_is_refused() {
        for (channel, kind) in [
            (Channel::Hello, message_type::EXEC_CMDLINE),
            (Channel::AgentToDaemon { version: 3 }, message_type::TRIGGER_SERVICE4),
            (Channel::AgentToDaemon { version: 4 }, message_type::TRIGGER_SERVICE),
            (Channel::AgentToDaemon { version: 2 }, message_type::TRIGGER_SERVICE3),
            (Channel::DaemonToAgent, message_type::TRIGGER_SERVICE4),
            (Channel::Data { version: 4 }, message_type::HELLO),
            (Channel::Trigger, message_type::HELLO),
        ] {
            let mut decoder = Decoder::new(channel);
            decoder.push(&Header { kind, len: 200 }.to_bytes());
            assert!(matches!(decoder.next(), Err(WireError::Kind { .. })), "{channel:?} {kind:#x}");
        }
    }

    #[test]
    fn versions() {
        assert_eq!([agree(2), agree(3), agree(4), agree(99)], [Ok(2), Ok(3), Ok(4), Ok(4)]);
        assert!(agree(1).is_err() && agree_client(2).is_err());
        assert_eq!(agree_client(3), Ok(3));
    }

    #[test]
    fn texts_of_an_exec() {
        let exec = Exec { domain: 0, port: 0, text: b"user:cmdX".to_vec() };
        assert!(!exec.is_terminated());
        assert_eq!(exec.command_text(), b"user:cmd");
        assert_eq!(Exec::command(0, 0, b"a").command_text(), b"a");
        assert_eq!(Exec::answer(0, 0).command_text(), b"");
        assert_eq!(Exec { text: vec![b'x'; 33], ..exec }.ident(), None);
    }
}
