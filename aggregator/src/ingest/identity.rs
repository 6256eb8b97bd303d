//! Who an agent is: its ServiceAccount token says so, and the API server says whether the token is genuine.
//!
//! Only one ServiceAccount is let in, and the node is the token's, never what a body claims. What the API server said
//! is remembered for a short while by the token's hash; the token itself is not kept.

mod review;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use process::Clock;
use ring::digest::{Context, SHA256};
use tokio::sync::Semaphore;

use self::review::{Pod, Reviewed};
use crate::cache::Cache;
use crate::config::{Agents, NamespacedName};
use crate::forward::text::shown;

pub use review::Refusal;

/// What becomes of an agent at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is the agent of that node.
    Admitted(Arc<str>),
    /// It is not let in.
    Refused(Refusal),
    /// The API server could not be asked, and why: it may try again.
    Unavailable(String),
}

/// Asks the API server about tokens.
#[derive(Debug)]
pub struct Identity(Arc<Inner>);

struct Inner {
    client: Client,
    clock: Clock,
    /// How many questions are with the API server at once.
    reviews: Semaphore,
    admitted: Mutex<Cache<Key, Arc<str>>>,
    refused: Mutex<Cache<Key, Refusal>>,
    /// Questions under way: the same token is asked about once.
    asking: Mutex<HashMap<Key, WeakShared<BoxFuture<'static, Admission>>>>,
}

/// The hash of a token and of what it must be good for.
type Key = [u8; 32];

/// How long a token that is good counts as such: as long as the API server's own clients remember it. A deleted pod's
/// token is good for so much longer.
const ADMITTED_LASTS: Duration = Duration::from_mins(2);
/// How long a token that is no good counts as such.
const REFUSED_LASTS: Duration = Duration::from_secs(10);
/// Tokens remembered as good: one for each node of the largest cluster, twice.
const ADMITTED_MAX: usize = 10_000;
/// Tokens remembered as no good. Apart from the others, so that a flood of bad ones drives out no good one.
const REFUSED_MAX: usize = 1_000;
/// Questions that are with the API server at once.
const REVIEWS_MAX: usize = 16;
/// For one answer, the wait for its turn included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A longer token is none.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// When so many questions are on the list, those that nobody waits for any more are taken off it.
const ASKING_SWEEP: usize = 256;

impl Identity {
    /// Asks through `client`; remembers by `clock`.
    pub fn new(client: Client, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            client,
            clock,
            reviews: Semaphore::new(REVIEWS_MAX),
            admitted: Mutex::new(Cache::new(ADMITTED_LASTS, ADMITTED_MAX)),
            refused: Mutex::new(Cache::new(REFUSED_LASTS, REFUSED_MAX)),
            asking: Mutex::default(),
        }))
    }

    /// Whether who holds `token` is one of `agents`, and on which node. Cancel-safe.
    pub async fn admit(&self, agents: &Agents, token: &str) -> Admission {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Admission::Refused(Refusal::NoToken);
        }
        let key = key(agents, token);
        match self.0.known(&key) {
            Some(admission) => admission,
            None => self.ask(key, agents, token).await,
        }
    }

    /// Asks, or waits for the answer to the same question.
    fn ask(&self, key: Key, agents: &Agents, token: &str) -> Shared<BoxFuture<'static, Admission>> {
        let mut asking = self.0.asking();
        if let Some(asked) = asking.get(&key).and_then(WeakShared::upgrade) {
            return asked;
        }
        if asking.len() >= ASKING_SWEEP {
            asking.retain(|_, asked| asked.upgrade().is_some());
        }
        let (inner, agents, token) = (Arc::clone(&self.0), agents.clone(), token.to_owned());
        let question = async move {
            let admission = inner.answer(&agents, token).await;
            inner.remember(key, &admission);
            inner.asking().remove(&key);
            admission
        };
        let question = question.boxed().shared();
        asking.extend(question.downgrade().map(|weak| (key, weak)));
        question
    }
}

impl Inner {
    fn known(&self, key: &Key) -> Option<Admission> {
        let now = self.clock.mark();
        if let Some(node) = lock(&self.admitted).get(key, now) {
            return Some(Admission::Admitted(node));
        }
        lock(&self.refused).get(key, now).map(Admission::Refused)
    }

    fn remember(&self, key: Key, admission: &Admission) {
        let now = self.clock.mark();
        match admission {
            Admission::Admitted(node) => lock(&self.admitted).insert(key, Arc::clone(node), now),
            Admission::Refused(refusal) => lock(&self.refused).insert(key, refusal.clone(), now),
            Admission::Unavailable(_) => {}
        }
    }

    async fn answer(&self, agents: &Agents, token: String) -> Admission {
        let answer = async {
            let _turn = self.reviews.acquire().await.expect("it is never closed");
            self.review(agents, token).await
        };
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(Ok(admission)) => admission,
            Ok(Err(error)) => {
                Admission::Unavailable(format!("the API server cannot review tokens: {}", shown(&error.to_string())))
            }
            Err(_) => Admission::Unavailable(format!("the API server reviewed no token in {} s", TIMEOUT.as_secs())),
        }
    }

    async fn review(&self, agents: &Agents, token: String) -> Result<Admission, kube::Error> {
        let audiences = Some(vec![agents.audience.to_string()]);
        let spec = TokenReviewSpec { audiences, token: Some(token) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let review = Api::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        match review::of_token(&review.status.unwrap_or_default(), agents) {
            Reviewed::Agent(node) => Ok(Admission::Admitted(node)),
            Reviewed::BoundTo(bound) => {
                let namespace = &agents.service_account.namespace;
                let request = http::Request::get(format!("/api/v1/namespaces/{namespace}/pods/{}", bound.name))
                    .body(Vec::new())
                    .map_err(kube::Error::HttpError)?;
                let pod = match self.client.request::<Pod>(request).await {
                    Ok(pod) => Some(pod),
                    Err(kube::Error::Api(status)) if status.code == 404 => None,
                    Err(error) => return Err(error),
                };
                Ok(review::of_pod(&bound, pod).map_or_else(Admission::Refused, Admission::Admitted))
            }
            Reviewed::Refused(refusal) => Ok(Admission::Refused(refusal)),
        }
    }

    fn asking(&self) -> MutexGuard<'_, HashMap<Key, WeakShared<BoxFuture<'static, Admission>>>> {
        lock(&self.asking)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Identity").field("reviews", &self.reviews).finish_non_exhaustive()
    }
}

fn key(agents: &Agents, token: &str) -> Key {
    let NamespacedName { namespace, name } = &agents.service_account;
    let mut hash = Context::new(&SHA256);
    for part in [namespace, name, &agents.audience, token] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is valid after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests;
