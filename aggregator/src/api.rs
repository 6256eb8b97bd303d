//! The API: what is open, for people who look and for scripts, on the loopback interface (`kubectl port-forward`).

mod issues;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use process::Readiness;
use process::port::{Pages, response};
use serde::Serialize;

use crate::leader::{Elsewhere, Office};

pub(crate) use self::issues::{is_open, severity};

/// What the API shows.
#[derive(Clone, Debug)]
pub struct Api {
    /// Not there before it is known which cluster this is.
    pub office: Arc<OnceLock<Office>>,
    /// Says what that waits for.
    pub readiness: Readiness,
}

/// What an answer says when there is nothing to answer.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    error: &'a str,
}

const ISSUES_PATH: &str = "/api/v1/issues";

impl Pages for Api {
    const HERE: &'static str = "here is /api/v1/issues";

    fn page(&self, path: &str, _: &HeaderMap) -> Option<Response<Full<Bytes>>> {
        (path == ISSUES_PATH).then(|| match self.office.get() {
            Some(office) => issues_of(office),
            None => {
                let waits_for = self.readiness.unready_because().unwrap_or_default();
                let waits_for = waits_for.trim_end().replace('\n', "; ");
                unavailable(&format!("this replica has just started: ask again in a moment ({waits_for})"))
            }
        })
    }

    fn refusal(status: StatusCode, why: &'static str) -> Response<Full<Bytes>> {
        json(status, &Problem { error: why })
    }
}

fn issues_of(office: &Office) -> Response<Full<Bytes>> {
    match office.core() {
        Ok(core) => json(StatusCode::OK, &core.quietly(|pipeline, now| issues::page(pipeline, now))),
        Err(Elsewhere { leader, .. }) if leader.is_empty() => unavailable("nobody leads yet: ask again in a moment"),
        Err(Elsewhere { leader, .. }) => {
            unavailable(&format!("this replica stands by: ask the one that leads, {leader}"))
        }
    }
}

fn unavailable(error: &str) -> Response<Full<Bytes>> {
    json(StatusCode::SERVICE_UNAVAILABLE, &Problem { error })
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).expect("plain strings and numbers have a JSON form");
    response(status, "application/json", body)
}

#[cfg(test)]
mod tests;
