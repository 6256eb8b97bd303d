//! The API: what is open, for people who look and for scripts, on the loopback interface (`kubectl port-forward`).

mod issues;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use process::port::{Pages, response};
use serde::Serialize;

use crate::leader::{Elsewhere, Office};

pub(crate) use self::issues::{is_open, severity};

/// What the API shows.
#[derive(Clone, Debug)]
pub struct Api(pub Office);

/// What an answer says when there is nothing to answer.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    error: &'a str,
}

const ISSUES_PATH: &str = "/api/v1/issues";

impl Pages for Api {
    const HERE: &'static str = "here is /api/v1/issues";

    fn page(&self, path: &str) -> Option<Response<Full<Bytes>>> {
        (path == ISSUES_PATH).then(|| match self.0.core() {
            Ok(core) => json(StatusCode::OK, &core.quietly(|pipeline, now| issues::page(pipeline, now))),
            Err(Elsewhere { leader, .. }) if leader.is_empty() => {
                Self::refusal(StatusCode::SERVICE_UNAVAILABLE, "nobody leads yet: ask again in a moment")
            }
            Err(Elsewhere { leader, .. }) => {
                let error = format!("this replica stands by: ask the one that leads, {leader}");
                json(StatusCode::SERVICE_UNAVAILABLE, &Problem { error: &error })
            }
        })
    }

    fn refusal(status: StatusCode, why: &'static str) -> Response<Full<Bytes>> {
        json(status, &Problem { error: why })
    }
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).expect("plain strings and numbers have a JSON form");
    response(status, "application/json", body)
}

#[cfg(test)]
mod tests;
