//! A webhook: one request for each record.

use rules::Time;

use super::{Endpoint, Sent};
use crate::forward::outbox::Record;

/// Sends each of `records` with its own key, up to the first that does not arrive. The configuration allows a webhook
/// one record at a time, so that the answer is about that record; were there more, those that did arrive would go again
/// under their keys.
pub(super) async fn send(endpoint: &Endpoint, records: &[Record], now: Time) -> Sent {
    for record in records {
        let sent = endpoint.post(&record.key, record.body.to_string(), now).await.sent;
        if sent != Sent::DELIVERED {
            return sent;
        }
    }
    Sent::DELIVERED
}
