//! Every layout survives the way to bytes and back, and has the offsets of the specification.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use qubes_qrexec_sys::layout::{padded, text};
use qubes_qrexec_sys::*;

proptest! {
    #[test]
    fn words_round_trip(a: u32, b: u32, c: i32) {
        let header = Header { kind: a, len: b };
        prop_assert_eq!(Header::from_bytes(header.to_bytes()), header);
        let exec = ExecParams { connect_domain: a, connect_port: b };
        prop_assert_eq!(ExecParams::from_bytes(exec.to_bytes()), exec);
        let hello = PeerInfo { version: a };
        prop_assert_eq!(PeerInfo::from_bytes(hello.to_bytes()), hello);
        let code = ExitCode { code: c };
        prop_assert_eq!(ExitCode::from_bytes(code.to_bytes()), code);
    }

    #[test]
    fn triggers_round_trip(bytes in proptest::collection::vec(any::<u8>(), 160)) {
        let v2: [u8; 128] = bytes[..128].try_into().unwrap();
        prop_assert_eq!(TriggerService2::from_bytes(&v2).to_bytes(), v2);
        let v3: [u8; 96] = bytes[..96].try_into().unwrap();
        prop_assert_eq!(TriggerService3::from_bytes(&v3).to_bytes(), v3);
        let v4: [u8; 160] = bytes[..].try_into().unwrap();
        prop_assert_eq!(TriggerService4::from_bytes(&v4).to_bytes(), v4);
    }

    #[test]
    fn texts_round_trip(name in "[a-zA-Z0-9@.:_-]{0,63}") {
        let field: [u8; 64] = padded(name.as_bytes()).unwrap();
        prop_assert_eq!(text(&field), name.as_bytes());
    }
}

#[test]
fn offsets_are_those_of_the_specification() {
    assert_eq!(Header { kind: 0x300, len: 4 }.to_bytes()[..4], 0x300u32.to_ne_bytes());
    assert_eq!(Header { kind: 0x300, len: 4 }.to_bytes()[4..], 4u32.to_ne_bytes());
    let v4 = TriggerService4 { source: [1; 64], target: [2; 64], ident: Ident([3; 32]) }.to_bytes();
    assert_eq!((v4[0], v4[63], v4[64], v4[127], v4[128], v4[159]), (1, 1, 2, 2, 3, 3));
    let v3 = TriggerService3 { target: [2; 64], ident: Ident([3; 32]) }.to_bytes();
    assert_eq!((v3[0], v3[63], v3[64], v3[95]), (2, 2, 3, 3));
    let v2 = TriggerService2 { service: [1; 64], target: [2; 32], ident: Ident([3; 32]) }.to_bytes();
    assert_eq!((v2[63], v2[64], v2[95], v2[96]), (1, 2, 2, 3));
}

#[test]
fn a_text_that_does_not_fit_is_refused() {
    assert!(padded::<4>(b"abc").is_some());
    assert!(padded::<4>(b"abcd").is_none());
    assert!(padded::<4>(b"a\0").is_none());
    assert_eq!(text(b"abcd"), b"abcd");
}

#[test]
fn ports_and_chunks() {
    assert!(!limit::is_data_port(512) && limit::is_data_port(513));
    assert!(limit::is_data_port(768) && !limit::is_data_port(769));
    assert_eq!((limit::data_chunk(2), limit::data_chunk(3), limit::data_chunk(4)), (4096, 65536, 65536));
}
