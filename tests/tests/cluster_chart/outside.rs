//! The world outside: a receiver that pods reach, and all that it was told held against all that had to be.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use process::tls::{ClientTls, server_name};
use tocsin_tests::cluster::Cluster;
use tocsin_tests::receiver::{Received, Receiver};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::{LIMIT, OWN};

/// The ingestion API's path.
pub(crate) const INGEST: &str = "/v1/issues";
/// The path of the team's webhook at first, and the one that it moves to.
pub(crate) const FORMER_TEAM: &str = "/former-team";
pub(crate) const TEAM: &str = "/team";
/// The token that the receiver wants at first.
pub(crate) const TOKEN: &str = "outside.secret";

pub(crate) struct Outside {
    pub(crate) receiver: Receiver,
    runtime: Runtime,
    expected: Vec<String>,
}

impl Outside {
    /// Its threads are in the network that the calling thread is in.
    pub(crate) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let receiver = runtime.block_on(Receiver::start_at(Cluster::REACHED_BY_PODS))?;
        receiver.require_token(TOKEN);
        Ok(Self { receiver, runtime, expected: Vec::new() })
    }

    /// Waits until these, each a path, an owner's name and a status, have been told beside all that was expected before; and
    /// nothing else, and none of them twice.
    pub(crate) fn hears(&mut self, news: &[(&str, &str, &str)]) -> Result<()> {
        self.expected.extend(news.iter().map(|(path, name, status)| format!("{path} {name} {status}")));
        self.expected.sort_unstable();
        let expected = &self.expected;
        let all = |received: &[Received]| {
            let told = told(received);
            expected.iter().all(|one| told.contains(one))
        };
        let received = self.runtime.block_on(self.receiver.until(&format!("{news:?}"), LIMIT, all))?;
        let told = told(&received);
        ensure!(told == *expected, "expected {expected:#?}, was told {told:#?}");
        let unfrozen = self.receiver.unfrozen();
        ensure!(unfrozen.is_empty(), "not the same under one key: {unfrozen:?}");
        Ok(())
    }

    /// Whether who trusts these CAs alone accepts what is shown at this address, as agents do.
    pub(crate) fn accepts(&self, authorities: &str, address: &str) -> Result<()> {
        let tls = ClientTls::from_pem(authorities.as_bytes())?;
        let name = server_name(&format!("{OWN}-aggregator.{OWN}.svc"))?;
        self.runtime.block_on(async {
            let stream = TcpStream::connect(address).await?;
            tls.connect(name, stream).await.map(drop).with_context(|| format!("what {address} shows"))
        })
    }

    /// Waits until it has refused something about this owner for its token.
    pub(crate) fn refuses(&self, name: &str) -> Result<()> {
        let is_refused = |request: &Received| {
            request.status == Some(401) && request.keyed().iter().any(|(_, record)| record["owner"]["name"] == name)
        };
        let refused = |received: &[Received]| received.iter().any(is_refused);
        self.runtime.block_on(self.receiver.until(&format!("{name} refused"), LIMIT, refused)).map(drop)
    }
}

/// What was accepted, in order: one line for each key at each path. An empty batch, which is how a sink is tried out, tells
/// nothing.
fn told(received: &[Received]) -> Vec<String> {
    let accepted = received.iter().filter(|request| request.accepted());
    let records =
        accepted.flat_map(|request| request.keyed().into_iter().map(move |(key, record)| (request, key, record)));
    let by_key: BTreeMap<_, _> = records
        .filter_map(|(Received { path, .. }, key, record)| {
            let (name, status) = (record["owner"]["name"].as_str()?, record["status"].as_str()?);
            Some(((path, key), format!("{path} {name} {status}")))
        })
        .collect();
    let mut told: Vec<_> = by_key.into_values().collect();
    told.sort_unstable();
    told
}
