//! The ingestion API: one request for a batch. The contract is `aggregator/openapi.yaml`.

use ring::digest::{Context, SHA256};
use rules::Time;

use super::{Endpoint, Sent, Tried};
use crate::forward::outbox::Record;

/// Sends `records` in one request, in the order of their keys: the same batch is the same bytes under the same key.
pub(super) async fn send(endpoint: &Endpoint, records: &[Record], now: Time) -> Sent {
    let mut records: Vec<_> = records.iter().collect();
    records.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    endpoint.post(&batch_key(&records), body(&records), now).await.sent
}

/// Sends a batch of no records.
pub(super) async fn try_out(endpoint: &Endpoint, now: Time) -> Tried {
    endpoint.post(&batch_key(&[]), body(&[]), now).await
}

/// A key for the batch, made from its records' keys. (Each record's own key is in its body, and is what counts: a batch
/// may come again in parts.)
fn batch_key(records: &[&Record]) -> String {
    let mut hash = Context::new(&SHA256);
    for record in records {
        hash.update(record.key.as_bytes());
        hash.update(b"\n");
    }
    let hash = hash.finish();
    let name = hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
    format!("batch.{:032x}", u128::from_be_bytes(*name))
}

/// The records' bodies, to the letter.
fn body(records: &[&Record]) -> String {
    let bodies: Vec<_> = records.iter().map(|record| &*record.body).collect();
    format!(r#"{{"records":[{}]}}"#, bodies.join(","))
}
