//! The admin port: `/metrics`, `/livez`, `/readyz` and their aliases, and nothing else.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::Full;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::liveness::Liveness;
use crate::port::{Pages, response};
use crate::readiness::Readiness;

mod plain;

/// What `prometheus_client::encoding::text` writes (OpenMetrics 1.0.0).
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What everybody else reads who asks for metrics.
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// What the admin port shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// `/readyz`.
    pub readiness: Readiness,
    /// `/livez`.
    pub liveness: Liveness,
    /// `/metrics`.
    pub registry: Arc<Registry>,
}

impl Pages for Shown {
    const HERE: &'static str = "here are /metrics, /livez and /readyz";

    fn page(&self, path: &str, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
        match path {
            "/metrics" => Some(self.metrics(reads_openmetrics(headers))),
            "/livez" | "/healthz" | "/health" => Some(ok_unless(self.liveness.stalled())),
            "/readyz" | "/ready" => Some(ok_unless(self.readiness.unready_because())),
            _ => None,
        }
    }

    fn refusal(status: StatusCode, why: &'static str) -> Response<Full<Bytes>> {
        text(status, format!("{why}\n"))
    }
}

impl Shown {
    fn metrics(&self, as_openmetrics: bool) -> Response<Full<Bytes>> {
        let mut body = String::new();
        match encode(&mut body, &self.registry) {
            Ok(()) if !as_openmetrics => response(StatusCode::OK, PLAIN, plain::plain(&body)),
            Ok(()) => response(StatusCode::OK, OPENMETRICS, body),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("a metric cannot be written: {error}\n")),
        }
    }
}

/// Whether who asks has said so, as Prometheus does.
fn reads_openmetrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|range| range.trim_start().starts_with("application/openmetrics-text"))
}

fn ok_unless(trouble: Option<String>) -> Response<Full<Bytes>> {
    match trouble {
        None => text(StatusCode::OK, "ok\n".into()),
        Some(trouble) => text(StatusCode::SERVICE_UNAVAILABLE, trouble),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    response(status, TEXT, body)
}

#[cfg(test)]
mod tests;
