//! Which cluster this is: the UID of its kube-system namespace, or of our own. It is part of every issue's name, so nothing is told
//! before it is known.

use std::time::Duration;

use kube::Client;
use process::Clock;
use process::backoff::Backoff;
use process::readiness::Handle;
use rules::view::Meta;
use serde::Deserialize;
use thiserror::Error;

use crate::config::Coverage;

/// Every cluster has it, and nobody deletes it.
const KUBE_SYSTEM: &str = "kube-system";
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Namespace {
    metadata: Meta,
}

/// Why a namespace's UID is not known.
#[derive(Debug, Error)]
enum Unknown {
    /// The ServiceAccount may not read it.
    #[error("not allowed to read namespace {0}: its role needs get on namespaces")]
    Denied(String),
    /// The API server could not be asked, and why.
    #[error("cannot read namespace {0}: {1}")]
    Unreadable(String, String),
}

/// Asks until it is known; `waiting` says meanwhile why it is not. Where only the release's own namespace, `own`, may be
/// read, its UID stands in. Who goes by namespaces asks for nothing else, whatever it may: a right that somebody grants
/// later must not give the cluster another name.
pub(crate) async fn learn(client: &Client, coverage: &Coverage, own: &str, clock: &Clock, waiting: &Handle) -> String {
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
    let mut random = fastrand::Rng::new();
    loop {
        let uid = match coverage {
            Coverage::Namespaces(_) => uid_of(client, own).await,
            Coverage::Agents | Coverage::Cluster => match uid_of(client, KUBE_SYSTEM).await {
                Err(Unknown::Denied(_)) => stand_in(client, own).await,
                uid => uid,
            },
        };
        match uid {
            Ok(uid) => return uid,
            Err(reason) => {
                waiting.unready(reason.to_string());
                if backoff.failures() == 0 {
                    tracing::warn!(target: "process", %reason, "cluster_unknown");
                }
            }
        }
        clock.sleep(backoff.next(&mut random)).await;
    }
}

/// The UID of `own`, if kube-system really is denied: an API server that has just started denies everything until it has
/// read its roles, and one moment later would give the cluster another name.
async fn stand_in(client: &Client, own: &str) -> Result<String, Unknown> {
    let own = uid_of(client, own).await?;
    match uid_of(client, KUBE_SYSTEM).await {
        Err(Unknown::Denied(_)) => Ok(own),
        uid => uid,
    }
}

async fn uid_of(client: &Client, namespace: &str) -> Result<String, Unknown> {
    let unreadable = |why: String| Unknown::Unreadable(namespace.to_owned(), why);
    let request = http::Request::get(format!("/api/v1/namespaces/{namespace}"))
        .body(Vec::new())
        .map_err(|error| unreadable(error.to_string()))?;
    match tokio::time::timeout(TIMEOUT, client.request::<Namespace>(request)).await {
        Ok(Ok(Namespace { metadata })) if !metadata.uid.is_empty() => Ok(metadata.uid.to_string()),
        Ok(Ok(_)) => Err(unreadable("it has no uid".to_owned())),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(Unknown::Denied(namespace.to_owned())),
        Ok(Err(error)) => Err(unreadable(error.to_string())),
        Err(_) => Err(unreadable(format!("no answer in {} s", TIMEOUT.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response, StatusCode};
    use kube::client::Body;
    use process::Readiness;
    use rules::Time;
    use tower::service_fn;

    use super::*;

    /// An API server that gives each path in turn what `answer` says to the how-manieth request.
    fn server(answer: fn(&str, usize) -> (StatusCode, &'static str)) -> Client {
        let asked = Arc::new(Mutex::new(0));
        let service = service_fn(move |request: Request<Body>| {
            let mut asked = asked.lock().expect("unpoisoned");
            *asked += 1;
            let (status, body) = answer(request.uri().path(), *asked);
            let mut response = Response::new(Body::from(body.as_bytes().to_vec()));
            *response.status_mut() = status;
            async move { Ok::<_, std::convert::Infallible>(response) }
        });
        Client::new(service, "default")
    }

    async fn learned(answer: fn(&str, usize) -> (StatusCode, &'static str)) -> (String, Option<String>) {
        learned_by(&Coverage::Agents, answer).await
    }

    async fn learned_by(
        coverage: &Coverage,
        answer: fn(&str, usize) -> (StatusCode, &'static str),
    ) -> (String, Option<String>) {
        let readiness = Readiness::new();
        let handle = readiness.handle("cluster");
        let clock = Clock::starting_at(Time::from_millis(0));
        let client = server(answer);
        let learning =
            tokio::time::timeout(Duration::from_hours(1), learn(&client, coverage, "tocsin", &clock, &handle));
        (learning.await.expect("it is learned"), readiness.unready_because())
    }

    const FORBIDDEN: (StatusCode, &str) = (
        StatusCode::FORBIDDEN,
        r#"{"kind":"Status","code":403,"status":"Failure","reason":"Forbidden","message":"no"}"#,
    );
    const AWAY: (StatusCode, &str) = (
        StatusCode::SERVICE_UNAVAILABLE,
        r#"{"kind":"Status","code":503,"status":"Failure","reason":"x","message":"away"}"#,
    );

    #[tokio::test(start_paused = true)]
    async fn a_cluster_is_its_kube_system_namespace() {
        let (uid, _) = learned(|path, _| match path {
            "/api/v1/namespaces/kube-system" => (StatusCode::OK, r#"{"metadata":{"uid":"u1"}}"#),
            _ => panic!("{path}"),
        })
        .await;
        assert_eq!(uid, "u1");
    }

    #[tokio::test(start_paused = true)]
    async fn without_that_right_it_is_its_own_namespace() {
        let (uid, _) = learned(|path, _| match path {
            "/api/v1/namespaces/kube-system" => FORBIDDEN,
            "/api/v1/namespaces/tocsin" => (StatusCode::OK, r#"{"metadata":{"uid":"u2"}}"#),
            _ => panic!("{path}"),
        })
        .await;
        assert_eq!(uid, "u2");
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_by_namespaces_asks_for_its_own_only() {
        let coverage = Coverage::Namespaces(["shop".into()].into());
        let (uid, _) = learned_by(&coverage, |path, _| match path {
            "/api/v1/namespaces/tocsin" => (StatusCode::OK, r#"{"metadata":{"uid":"u2"}}"#),
            _ => panic!("{path}"),
        })
        .await;
        assert_eq!(uid, "u2");
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_away_is_asked_again_and_nothing_stands_in() {
        let (uid, waiting) = learned(|path, asked| match (path, asked) {
            ("/api/v1/namespaces/kube-system", 1..=5) => AWAY,
            ("/api/v1/namespaces/kube-system", _) => (StatusCode::OK, r#"{"metadata":{"uid":"u1"}}"#),
            _ => panic!("{path}"),
        })
        .await;
        assert_eq!(uid, "u1");
        let waiting = waiting.expect("it said why it waits");
        assert!(waiting.starts_with("cluster: cannot read namespace kube-system: "), "{waiting}");
    }
}
