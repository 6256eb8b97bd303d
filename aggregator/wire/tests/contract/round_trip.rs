//! What is written is what is read, and what was damaged is not read at all.

use super::VERSION;
use proptest::prelude::*;
use wire::DecodeError;
use wire::codec::{HEADER, LIMIT, REPORT_HEAD, session_of_report, version_of_report};

use super::messages::any_message;
use super::{Any, TYPES};

proptest! {
    #[test]
    fn every_message_survives_the_way(message in any_message()) {
        prop_assert_eq!(message.message_type().decode(&message.encode()), Ok(message));
    }

    #[test]
    fn a_message_cut_off_anywhere_or_followed_by_more_is_an_error(message in any_message()) {
        let mut bytes = message.encode();
        for end in 0..bytes.len() {
            let cut = matches!(message.message_type().decode(&bytes[..end]), Err(DecodeError::CutOff { .. }));
            prop_assert!(cut, "cut at {} of {}", end, bytes.len());
        }
        bytes.push(0);
        prop_assert_eq!(message.message_type().decode(&bytes), Err(DecodeError::Trailing(1)));
    }

    #[test]
    fn a_message_with_any_one_bit_flipped_is_an_error(message in any_message(), at in any::<prop::sample::Index>()) {
        let mut bytes = message.encode();
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(message.message_type().decode(&bytes).is_err(), "bit {} of {} flipped", bit, bytes.len() * 8);
    }

    #[test]
    fn the_head_of_a_report_names_its_session(message in any_message()) {
        let bytes = message.encode();
        let head = &bytes[..bytes.len().min(REPORT_HEAD)];
        match &message {
            Any::Report(report) => {
                prop_assert_eq!(session_of_report(head), Ok(report.session));
                prop_assert_eq!(session_of_report(&bytes), Ok(report.session));
                prop_assert!(session_of_report(&bytes[..HEADER]).is_err());
                prop_assert_eq!(version_of_report(&bytes[..HEADER]), Some(VERSION));
                prop_assert_eq!(version_of_report(&bytes[..HEADER - 1]), None);
            }
            _ => {
                prop_assert!(session_of_report(head).is_err());
                prop_assert_eq!(version_of_report(head), None);
            }
        }
    }

    #[test]
    fn a_message_taken_for_another_type_is_an_error(message in any_message()) {
        let bytes = message.encode();
        let readers = TYPES.iter().filter(|other| other.decode(&bytes).is_ok()).count();
        prop_assert_eq!(readers, 1);
    }
}

#[test]
fn every_bit_of_a_header_counts() {
    let message = Any::Hello(wire::Hello { versions: vec![1], build: "b".into(), kinds: Vec::new() });
    let good = message.encode();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(message.message_type().decode(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn errors_say_what_is_wrong_with_the_bytes() {
    let message = Any::Hello(wire::Hello { versions: vec![1], build: "b".into(), kinds: Vec::new() });
    let decode = |at: usize, byte: u8| {
        let mut bytes = message.encode();
        bytes[at] = byte;
        message.message_type().decode(&bytes).expect_err("a byte is wrong").to_string()
    };
    assert_eq!(decode(0, b'G'), "this is no Tocsin message: is the other end a Tocsin of any version?");
    assert_eq!(decode(4, 9), "format version 9 is not spoken here: upgrade the older of the two ends");
    assert_eq!(decode(6, 9), "message type 9 came where 1 was expected");
    assert_eq!(decode(10, 9), format!("the message claims {} bytes, more than {LIMIT}", (9 << 24) + 5));
    assert_eq!(decode(18, 0), "the checksum is wrong: the message was damaged on its way");
}

#[test]
fn a_payload_with_more_in_it_than_its_message_is_an_error() {
    let message = Any::Hello(wire::Hello { versions: vec![1], build: "b".into(), kinds: Vec::new() });
    let mut payload = message.encode().split_off(wire::codec::HEADER);
    payload.push(0);
    let frame = message.message_type().frame(&payload);
    assert_eq!(message.message_type().decode(&frame), Err(DecodeError::Malformed("1 bytes are left over".into())));
}

#[test]
fn a_version_that_is_not_spoken_is_not_written() {
    let reply = wire::Reply::Retired;
    assert_eq!(wire::encode_in(99, &reply), Err(wire::EncodeError::Version(99)));
    let newest = wire::encode(&reply).expect("it fits");
    assert_eq!(wire::encode_in(wire::VERSION, &reply).as_ref(), Ok(&newest));
    assert_eq!(wire::decode(&newest), Ok(reply));
}

#[test]
fn a_message_longer_than_the_limit_is_not_even_written() {
    let hello = wire::Hello { versions: Vec::new(), build: "x".repeat(LIMIT), kinds: Vec::new() };
    assert_eq!(wire::encode(&hello), Err(wire::EncodeError::TooLong));
}
