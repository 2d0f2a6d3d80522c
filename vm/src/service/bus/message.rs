//! Messages of D-Bus, as far as they are needed here (D-Bus Specification, "Message Protocol").

use std::str;

/// The longest message that is looked at. The specification allows 128 MiB.
const LONGEST: usize = 16 << 20;
const FIXED: usize = 16;

const CALL: u8 = 1;
const REPLY: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
const REPLY_TO: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;

/// A message that came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::service) struct Message {
    kind: u8,
    pub(in crate::service) serial: u32,
    pub(in crate::service) reply_to: u32,
    pub(in crate::service) destination: String,
    pub(in crate::service) sender: String,
    big_endian: bool,
    pub(in crate::service) body: Vec<u8>,
}

impl Message {
    pub(in crate::service) fn is_call(&self) -> bool {
        self.kind == CALL
    }

    pub(super) fn is_reply(&self) -> bool {
        self.kind == REPLY
    }

    pub(in crate::service) fn is_error(&self) -> bool {
        self.kind == ERROR
    }

    /// The bus's signal NameOwnerChanged: a name, and whether somebody has it now (D-Bus Specification, "Message Bus Messages").
    /// For a listener whose rules let no other signal with such a body through.
    pub(in crate::service) fn owner_changed(&self) -> Option<(String, bool)> {
        let mut reader = Reader { bytes: &self.body, at: 0, big_endian: self.big_endian };
        let mut text = || reader.text().filter(|_| self.kind == SIGNAL);
        let (name, _old, new) = (text()?, text()?, text()?);
        Some((name, !new.is_empty()))
    }

    /// A body that is one number, or a truth value.
    pub(super) fn number(&self) -> Option<u32> {
        Reader { bytes: &self.body, at: 0, big_endian: self.big_endian }.number()
    }

    /// A body that is one list of names.
    pub(super) fn names(&self) -> Option<Vec<String>> {
        let mut reader = Reader { bytes: &self.body, at: 0, big_endian: self.big_endian };
        let end = reader.length()?.checked_add(reader.at)?;
        let mut names = Vec::new();
        while reader.at < end {
            names.push(reader.text()?);
        }
        Some(names)
    }
}

/// What could not be a message: the connection is of no use any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Takes the first message off these bytes; `Ok(None)` while it has not come whole.
pub(super) fn take(bytes: &mut Vec<u8>) -> Result<Option<Message>, Malformed> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Ok(None) };
    let big_endian = match fixed[0] {
        b'l' => false,
        b'B' => true,
        _ => return Err(Malformed),
    };
    let kind = fixed[1];
    let mut reader = Reader { bytes: &bytes[..], at: 4, big_endian };
    let body = reader.length().ok_or(Malformed)?;
    let serial = reader.number().ok_or(Malformed)?;
    let fields = reader.length().ok_or(Malformed)?;
    let begin = FIXED + fields.checked_next_multiple_of(8).ok_or(Malformed)?;
    let whole = begin.checked_add(body).filter(|&whole| whole <= LONGEST).ok_or(Malformed)?;
    if bytes.len() < whole {
        return Ok(None);
    }
    let mut message = Message { kind, serial, big_endian, ..Message::default() };
    let mut reader = Reader { bytes: &bytes[..FIXED + fields], at: FIXED, big_endian };
    while reader.at < FIXED + fields {
        reader.field(&mut message).ok_or(Malformed)?;
    }
    message.body = bytes[begin..whole].to_vec();
    bytes.drain(..whole);
    Ok(Some(message))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    fn some(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let some = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(some)
    }

    fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.checked_next_multiple_of(to)?;
        Some(())
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4)?;
        let bytes: [u8; 4] = self.some(4)?.try_into().ok()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        let text = str::from_utf8(self.some(length)?).ok()?;
        self.some(1)?;
        Some(text.to_owned())
    }

    fn signature(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(*self.some(1)?.first()?);
        let signature = self.some(length)?;
        self.some(1)?;
        Some(signature)
    }

    /// One field of the header: its code and a value with its type.
    fn field(&mut self, message: &mut Message) -> Option<()> {
        self.align(8)?;
        let code = *self.some(1)?.first()?;
        match self.signature()? {
            b"s" | b"o" => {
                let text = self.text()?;
                match code {
                    DESTINATION => message.destination = text,
                    SENDER => message.sender = text,
                    _ => {}
                }
            }
            b"g" => drop(self.signature()?),
            b"u" => {
                let number = self.number()?;
                if code == REPLY_TO {
                    message.reply_to = number;
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// An argument of a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Argument<'a> {
    Text(&'a str),
    Texts(&'a [&'a str]),
    Number(u32),
}

/// A call to a method of `interface` of the bus itself.
pub(super) fn call_to_bus(serial: u32, interface: &str, member: &str, arguments: &[Argument<'_>]) -> Vec<u8> {
    let mut body = Writer::default();
    let mut signature = String::new();
    for argument in arguments {
        match argument {
            Argument::Text(text) => {
                signature.push('s');
                body.text(text);
            }
            Argument::Texts(texts) => {
                signature.push_str("as");
                body.list(|list| texts.iter().for_each(|text| list.text(text)));
            }
            Argument::Number(number) => {
                signature.push('u');
                body.number(*number);
            }
        }
    }
    let mut message = Writer(vec![b'l', CALL, 0, 1]);
    message.length(body.0.len());
    message.number(serial);
    message.list(|fields| {
        fields.field(1, 'o', "/org/freedesktop/DBus");
        fields.field(2, 's', interface);
        fields.field(3, 's', member);
        fields.field(DESTINATION, 's', "org.freedesktop.DBus");
        if !signature.is_empty() {
            fields.field(8, 'g', &signature);
        }
    });
    message.align(8);
    message.0.extend(body.0);
    message.0
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        self.number(u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend(text.bytes().chain([0]));
    }

    /// A list, whose length in bytes comes first.
    fn list(&mut self, write: impl FnOnce(&mut Self)) {
        self.number(0);
        let begin = self.0.len();
        write(self);
        let length = u32::try_from(self.0.len() - begin).unwrap_or(u32::MAX);
        if let Some(place) = self.0.get_mut(begin - 4..begin) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    fn field(&mut self, code: u8, kind: char, text: &str) {
        self.align(8);
        self.0.extend([code, 1]);
        self.0.extend(kind.to_string().bytes().chain([0]));
        if kind == 'g' {
            self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            self.0.extend(text.bytes().chain([0]));
        } else {
            self.text(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        call_to_bus(7, "a.b", "C", &[Argument::Text("n.m"), Argument::Texts(&["x"]), Argument::Number(3)])
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut bytes = [sample(), sample()].concat();
        for _ in 0..2 {
            let message = take(&mut bytes).unwrap().unwrap();
            assert!(message.is_call() && !message.is_reply());
            assert_eq!(message.destination, "org.freedesktop.DBus");
            assert_eq!(message.body, b"\x03\0\0\0n.m\0\x06\0\0\0\x01\0\0\0x\0\0\0\x03\0\0\0");
        }
        assert_eq!(take(&mut bytes), Ok(None));
    }

    #[test]
    fn numbers_and_lists_of_names_are_read() {
        let body = |body: &[u8]| Message { body: body.to_vec(), ..Message::default() };
        assert_eq!(body(b"\x01\0\0\0").number(), Some(1));
        assert_eq!(body(b"\x01\0\0").number(), None);
        let list = body(b"\x0e\0\0\0\x01\0\0\0a\0\0\0\x01\0\0\0b\0");
        assert_eq!(list.names(), Some(vec!["a".into(), "b".into()]));
        assert_eq!(body(b"\xff\xff\xff\xff\x01\0\0\0a\0").names(), None);
        let swapped = Message { big_endian: true, body: vec![0, 0, 0, 9], ..Message::default() };
        assert_eq!(swapped.number(), Some(9));
    }

    #[test]
    fn who_comes_and_goes_is_read() {
        let signal = |body: &[u8]| Message { kind: SIGNAL, body: body.to_vec(), ..Message::default() };
        let gone = b"\x03\0\0\0a.b\0\x04\0\0\0:1.7\0\0\0\0\0\0\0\0\0";
        assert_eq!(signal(gone).owner_changed(), Some(("a.b".into(), false)));
        let came = b"\x03\0\0\0a.b\0\0\0\0\0\0\0\0\0\x04\0\0\0:1.7\0";
        assert_eq!(signal(came).owner_changed(), Some(("a.b".into(), true)));
        assert_eq!(signal(&gone[..24]).owner_changed(), None, "NameLost has one name");
        assert_eq!(Message { kind: CALL, ..signal(gone) }.owner_changed(), None);
    }

    #[test]
    fn a_part_is_waited_for_and_nonsense_is_refused() {
        let whole = sample();
        for length in 0..whole.len() {
            assert_eq!(take(&mut whole[..length].to_vec()), Ok(None), "{length}");
        }
        let mut long = whole.clone();
        long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(take(&mut long), Err(Malformed));
        assert_eq!(take(&mut vec![b'x'; 16]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(mut bytes: Vec<u8>, place in 0usize..200, byte: u8) {
            drop(take(&mut bytes));
            let mut bytes = sample();
            if let Some(spot) = bytes.get_mut(place) {
                *spot = byte;
            }
            drop(take(&mut bytes));
        }
    }
}
