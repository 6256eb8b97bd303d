//! Payloads with a correct header and checksum, written to do harm: no panic, and no more memory than promised.

use proptest::prelude::*;
use wire::codec::{LIMIT, MEMORY_MAX};
use wire::{DecodeError, LIST_MAX};

use super::messages::any_message;
use super::{Any, TYPES, Type};

/// Decodes, and holds it to its promise about memory.
fn decode(message_type: Type, payload: &[u8]) -> Result<Any, DecodeError> {
    let frame = message_type.frame(payload);
    let mut outcome = None;
    let memory = allocation_counter::measure(|| outcome = Some(message_type.decode(&frame)));
    assert!(memory.bytes_max <= MEMORY_MAX as u64, "{message_type:?} held {} bytes", memory.bytes_max);
    outcome.expect("the closure has run")
}

/// bincode's variable-length integer that claims `value` elements or bytes.
fn claim(value: u64) -> Vec<u8> {
    let mut bytes = vec![253];
    bytes.extend(value.to_le_bytes());
    bytes
}

proptest! {
    #[test]
    fn garbage_is_an_error_and_costs_little(payload in prop::collection::vec(any::<u8>(), 0..500)) {
        for message_type in TYPES {
            let _ = decode(message_type, &payload);
        }
    }

    #[test]
    fn a_message_with_bytes_replaced_is_read_or_refused_and_costs_little(
        message in any_message(),
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..10),
    ) {
        let mut payload = message.encode().split_off(wire::codec::HEADER);
        prop_assume!(!payload.is_empty());
        let start = at.index(payload.len());
        let end = payload.len().min(start + bytes.len());
        payload.splice(start..end, bytes);
        let _ = decode(message.message_type(), &payload);
    }

    #[test]
    fn a_claim_of_any_length_at_any_place_costs_little(
        message in any_message(),
        at in any::<prop::sample::Index>(),
        claimed in prop_oneof![0..20_000_000_u64, any::<u64>()],
    ) {
        let mut payload = message.encode().split_off(wire::codec::HEADER);
        let start = at.index(payload.len() + 1);
        payload.truncate(start);
        payload.extend(claim(claimed));
        let _ = decode(message.message_type(), &payload);
    }
}

/// A report up to its body: session 0, number 1, `Delta`.
const REPORT: [u8; 3] = [0, 1, 1];

#[test]
fn lists_that_claim_too_much_are_refused_at_their_count() {
    for claimed in [LIST_MAX as u64 + 1, 1 << 24, u64::from(u32::MAX), u64::MAX / 2, u64::MAX] {
        let mut payload = REPORT.to_vec();
        payload.extend(claim(claimed));
        payload.resize(1_000, 0);
        let error = decode(Type::Report, &payload).expect_err("it claims too much").to_string();
        assert!(error.contains("at most 4096 elements"), "{claimed}: {error}");
    }
}

/// A finding as short as can be: empty texts, `tail` in place of the evidence's names and what follows.
fn entry(tail: &[u8]) -> Vec<u8> {
    let mut entry = vec![1, 2];
    entry.push(9);
    entry.extend(b"OOMKilled");
    entry.extend([0; 7]);
    entry.extend([3, 1, 4, 0, 2]);
    entry.extend([0; 7]);
    entry.extend(tail);
    entry
}

fn report_of(entries: impl Iterator<Item = Vec<u8>>, count: u64) -> Vec<u8> {
    let mut payload = REPORT.to_vec();
    payload.extend(claim(count));
    entries.for_each(|entry| payload.extend(entry));
    payload.extend([0; 5]);
    payload
}

#[test]
fn as_many_tiny_findings_as_are_allowed_cost_little() {
    let tiny = entry(&[0, 0]);
    let count = LIST_MAX as u64;
    let entries = std::iter::repeat_n(tiny, LIST_MAX);
    let Ok(Any::Report(report)) = decode(Type::Report, &report_of(entries, count)) else { panic!("it is well formed") };
    assert_eq!(report.body.entries().len(), LIST_MAX);
}

#[test]
fn names_beyond_what_a_finding_carries_are_refused() {
    for claimed in [17, 1_000_000] {
        let mut tail = claim(claimed);
        tail.resize(1_000_000, 0);
        let error = decode(Type::Report, &report_of(std::iter::once(entry(&tail)), 1)).expect_err("too many names");
        assert!(error.to_string().contains("at most 16 elements"), "{error}");
    }
}

#[test]
fn one_text_of_the_greatest_length_is_held_twice_at_most() {
    // The build of a Hello, and the namespace of a finding, which moves from one owner to another.
    let length = LIMIT - 1_000;
    let text = || [claim(length as u64), vec![b'x'; length]].concat();
    let hello = [vec![0], text(), vec![0]].concat();
    decode(Type::Hello, &hello).expect("it is well formed");
    let mut finding = entry(&[0, 0]);
    finding.splice(12..13, text());
    decode(Type::Report, &report_of(std::iter::once(finding), 1)).expect("it is well formed");
}

#[test]
fn a_configuration_of_very_many_kinds_is_refused_at_their_count() {
    // An opening: hash 7, no patterns, critical, then kinds.
    let mut payload = vec![7, 0, 0, 0];
    payload.extend(claim(100_000));
    payload.resize(LIMIT, 1);
    let error = decode(Type::Opening, &payload).expect_err("too many kinds").to_string();
    assert!(error.contains("at most 512 entries"), "{error}");
}

#[test]
fn a_settled_batch_of_the_greatest_length_costs_little() {
    let mut payload = vec![0, 1, 1, 1];
    payload.extend(claim(LIST_MAX as u64));
    payload.extend([9, 9].repeat(LIST_MAX));
    payload.extend([0, 0, 0, 0]);
    decode(Type::Reply, &payload).expect("it is well formed");
}
