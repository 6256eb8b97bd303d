//! What a Lease says, and how a claim looks in it. Pure.

use std::net::SocketAddr;
use std::sync::Arc;

use process::objects::{Annotations, Lease, LeaseMetadata, LeaseSpec, Stored};
use rules::Time;

use super::election::{Claim, LEASE, Record, Why};

/// Whoever may write the Lease may write what he likes: what is kept of a holder's name, in bytes.
const HOLDER_MAX: usize = 512;

/// What is read in a Lease.
pub(crate) fn record(lease: Stored<Lease>) -> Record {
    let Stored { metadata, content: Lease { metadata: LeaseMetadata { annotations }, spec } } = lease;
    let mut holder = spec.holder_identity.unwrap_or_default();
    holder.truncate(holder.floor_char_boundary(HOLDER_MAX));
    let address = annotations.address.and_then(|address| address.parse::<SocketAddr>().ok());
    Record {
        version: metadata.resource_version,
        // An address that is left there by whoever resigned is nobody's.
        address: address.filter(|_| !holder.is_empty()).map(|address| address.to_string()).unwrap_or_default().into(),
        holder: holder.into(),
        transitions: spec.lease_transitions.unwrap_or_default(),
        renewed: spec.renew_time.unwrap_or_default(),
    }
}

/// The Lease as `identity` writes it. `acquired` and `now` are for people.
pub(super) fn content(
    claim: &Claim,
    identity: &Arc<str>,
    address: SocketAddr,
    acquired: Option<&str>,
    now: Time,
) -> Lease {
    let holder = (claim.why != Why::Resigning).then(|| identity.to_string());
    Lease {
        metadata: LeaseMetadata { annotations: Annotations { address: Some(address.to_string()) } },
        spec: LeaseSpec {
            holder_identity: holder,
            lease_duration_seconds: Some(LEASE.as_secs() as u32),
            acquire_time: acquired.map(str::to_owned),
            renew_time: stamp(now, claim.number),
            lease_transitions: Some(claim.transitions),
        },
    }
}

/// `now` as a `MicroTime`. The last three digits count writes, so that two of them look different even where the clock
/// was set back between them.
pub(super) fn stamp(now: Time, number: u64) -> Option<String> {
    Some(format!("{}{:03}Z", now.to_string().strip_suffix('Z')?, number % 1_000))
}

#[cfg(test)]
mod tests {
    use rules::view::Meta;

    use super::*;

    const NOW: Time = Time::from_millis(1_777_593_600_042);

    fn claim(why: Why) -> Claim {
        Claim { why, version: None, transitions: 3, number: 1_007 }
    }

    fn address() -> SocketAddr {
        "[fd00::7]:8443".parse().expect("an address")
    }

    fn stored(content: Lease) -> Stored<Lease> {
        Stored { metadata: Meta { resource_version: "9".into(), ..Meta::default() }, content }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let content = content(&claim(Why::Expired), &"pod_1".into(), address(), Some("then"), NOW);
        assert_eq!(
            content.spec,
            LeaseSpec {
                holder_identity: Some("pod_1".into()),
                lease_duration_seconds: Some(15),
                acquire_time: Some("then".into()),
                renew_time: Some("2026-05-01T00:00:00.042007Z".into()),
                lease_transitions: Some(3),
            }
        );
        let read = Record {
            version: "9".into(),
            holder: "pod_1".into(),
            address: "[fd00::7]:8443".into(),
            transitions: 3,
            renewed: "2026-05-01T00:00:00.042007Z".into(),
        };
        assert_eq!(record(stored(content)), read);
    }

    #[test]
    fn one_that_was_given_up_has_neither_holder_nor_address() {
        let content = content(&claim(Why::Resigning), &"pod_1".into(), address(), None, NOW);
        let Record { holder, address, transitions, .. } = record(stored(content));
        assert_eq!((&*holder, &*address, transitions), ("", "", 3));
    }

    #[test]
    fn what_others_wrote_into_it_is_bounded_and_no_address_unless_it_is_one() {
        for address in [None, Some(""), Some("leader.evil.example:8443"), Some("10.0.0.7"), Some("10.0.0.7:8443 ")] {
            let content = Lease {
                metadata: LeaseMetadata { annotations: Annotations { address: address.map(str::to_owned) } },
                spec: LeaseSpec { holder_identity: Some("ü".repeat(10_000)), ..LeaseSpec::default() },
            };
            let record = record(stored(content));
            assert_eq!((record.holder.len(), &*record.address), (HOLDER_MAX, ""), "{address:?}");
        }
        assert_eq!(record(stored(Lease::default())), Record { version: "9".into(), ..Record::default() });
    }

    #[test]
    fn two_writes_never_look_the_same() {
        assert_ne!(stamp(NOW, 1), stamp(NOW, 2));
        assert_eq!(stamp(Time::from_millis(i64::MAX), 1), None);
    }
}
