//! The certificate in a Secret, against the simulated API server: real requests and handshakes, and time that the tests
//! move.
#![allow(clippy::disallowed_methods, reason = "a test has tasks of its own")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use process::kube_client::{self, Access};
use process::objects::Objects;
use process::shutdown::Script;
use process::tls::{self, ClientTls, ServerTls, server_name};
use process::{Clock, Readiness, Tasks};
use rules::Time;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tocsin_aggregator::certificates::{Certificate, Health, Origin};
use tocsin_aggregator::options::CertificateFrom;
use tocsin_node_agent::connection::{Connection, Event, Settings, Trust};
use tocsin_node_agent::report::Target;
use tocsin_tests::apiserver::{ApiServer, Fault, On, Options};
use tocsin_tests::certs::Authority;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use wire::Hello;

const NAMESPACE: &str = "tocsin";
const SECRET: &str = "/api/v1/namespaces/tocsin/secrets/tls";
const MAP: &str = "/api/v1/namespaces/tocsin/configmaps/ca";
const NAME: &str = "tocsin-aggregator.tocsin.svc";
/// Far above what anything takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A cluster with a Secret and a ConfigMap as the chart creates them.
struct World {
    server: ApiServer,
    folder: TempDir,
}

/// One aggregator, as far as its certificate goes.
struct Replica {
    clock: Clock,
    health: Arc<Health>,
    readiness: Readiness,
    running: JoinHandle<()>,
    tls: tokio::sync::watch::Receiver<Option<Arc<ServerTls>>>,
}

impl World {
    async fn new() -> Result<Self> {
        tls::use_ring();
        let server = ApiServer::start(Options::default()).await?;
        let labels = json!({"app.kubernetes.io/name": "tocsin"});
        for (kind, name) in [("Secret", "tls"), ("ConfigMap", "ca")] {
            let metadata = json!({"name": name, "namespace": NAMESPACE, "labels": labels});
            server.put(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata}));
        }
        let folder = tempfile::tempdir()?;
        server.write_kubeconfig(&folder.path().join("kubeconfig"), None)?;
        Ok(Self { server, folder })
    }

    async fn replica(&self, origin: Origin) -> Result<Replica> {
        let clock = Clock::by_hand(Time::from_millis(self.server.now().as_millisecond()));
        let kubeconfig = Some(Path::join(self.folder.path(), "kubeconfig"));
        let client = kube_client::connect(&Access { kubeconfig, ..Access::default() }, &clock, "tocsin-test").await?;
        let dns_names = ["tocsin-aggregator", "tocsin-aggregator.tocsin", NAME].map(str::to_owned).into();
        let (name, config_map) = ("tls".to_owned(), Some("ca".to_owned()));
        let from = CertificateFrom::Secret { name, origin, config_map, dns_names };
        let (health, readiness): (Arc<Health>, _) = (Arc::default(), Readiness::new());
        let mut certificate = Certificate::from(from, &client, NAMESPACE, &clock, Arc::clone(&health))?;
        let (sender, tls) = tokio::sync::watch::channel(None);
        let waiting = readiness.handle("certificate");
        let its_clock = clock.clone();
        let running = tokio::spawn(async move {
            sender.send_replace(Some(certificate.serve(&waiting).await));
            drop(waiting);
            certificate.keep_fresh(&its_clock).await;
        });
        Ok(Replica { clock, health, readiness, running, tls })
    }

    fn data(&self, path: &str) -> Value {
        self.server.object(path).map(|object| object["data"].clone()).unwrap_or_default()
    }

    /// The CAs that agents read.
    fn bundle(&self) -> Result<String> {
        Ok(self.data(MAP)["ca.crt"].as_str().context("nothing is published")?.to_owned())
    }

    fn set(&self, path: &str, data: Value) {
        self.server.edit(path, |object| object["data"] = data);
    }

    async fn until(&self, what: &str, holds: impl FnMut(&ApiServer) -> bool) -> Result<()> {
        self.server.until(what, LIMIT, holds).await
    }

    /// How often the Secret was written, or was tried to be.
    fn writes(&self) -> u64 {
        self.server.asked().of("patch", "secrets")
    }

    /// Each of the replicas looks once more, one after the other, to the end.
    async fn look(&self, replicas: &[&Replica]) -> Result<()> {
        for replica in replicas {
            replica.rests().await?;
            let before = self.server.asked().of("get", "configmaps");
            replica.clock.advance(Duration::from_secs(24));
            self.until("a look", |server| server.asked().of("get", "configmaps") > before).await?;
            replica.rests().await?;
        }
        Ok(())
    }
}

impl Replica {
    async fn tls(&self) -> Result<Arc<ServerTls>> {
        let mut tls = self.tls.clone();
        let tls = tokio::time::timeout(LIMIT, tls.wait_for(Option::is_some)).await.context("no certificate")??;
        Ok(tls.clone().expect("that is what was waited for"))
    }

    /// Returns when it waits for its next look.
    async fn rests(&self) -> Result<()> {
        let resting = async {
            while self.clock.sleepers() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, resting).await.context("it does not come to rest")
    }

    /// The certificate that agents are shown by now; empty before there is one.
    fn shows(&self) -> Vec<u8> {
        self.tls.borrow().as_ref().map(|tls| tls.certificate().to_vec()).unwrap_or_default()
    }

    fn failures(&self, reason: &'static str) -> u64 {
        self.health.failures.get_or_create(&[("reason", reason)]).get()
    }

    fn wrote(&self, what: &'static str) -> u64 {
        self.health.renewals.get_or_create(&[("wrote", what)]).get()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Whether an agent that trusts these CAs accepts what a replica shows.
async fn accepts(bundle: &str, tls: &ServerTls) -> Result<bool> {
    let client = ClientTls::from_pem(bundle.as_bytes())?;
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (connected, _) = tokio::join!(client.connect(server_name(NAME)?, near), tls.acceptor().accept(far));
    Ok(connected.is_ok())
}

#[tokio::test]
async fn replicas_that_start_at_once_agree_on_one_ca_and_publish_it() -> Result<()> {
    let world = World::new().await?;
    // All have read before any can write.
    let held = world.server.fault(On::request("patch", "secrets"), Fault::BlackHole);
    let replicas =
        [world.replica(Origin::Made).await?, world.replica(Origin::Made).await?, world.replica(Origin::Made).await?];
    world.until("all want to write", |server| server.asked().of("patch", "secrets") == 3).await?;
    world.server.lift(held);
    for replica in &replicas {
        let tls = replica.tls().await?;
        ensure!(accepts(&world.bundle()?, &tls).await?, "agents accept none");
        ensure!(replica.shows() == replicas[0].shows(), "they show different ones");
        ensure!(replica.readiness.is_ready());
    }
    ensure!(world.writes() == 3 && replicas.iter().map(|replica| replica.wrote("authority")).sum::<u64>() == 1);
    let written = world.server.object(SECRET).context("it is there")?;
    ensure!(written["metadata"]["labels"]["app.kubernetes.io/name"] == "tocsin", "{}", written["metadata"]);
    let keys: Vec<_> = written["data"].as_object().context("data")?.keys().cloned().collect();
    ensure!(keys == ["ca.crt", "ca.key", "tls.crt", "tls.key"], "{keys:?}");
    ensure!(world.data(MAP).as_object().context("data")?.keys().eq(["ca.crt"]), "no key is published");
    // From now on all of them look, and none writes.
    let changes = world.server.changes();
    for _ in 0..5 {
        world.look(&[&replicas[0], &replicas[1], &replicas[2]]).await?;
    }
    ensure!(world.server.changes() == changes, "somebody goes on writing");
    Ok(())
}

#[tokio::test]
async fn wiped_objects_are_back_after_one_look_as_they_were() -> Result<()> {
    let world = World::new().await?;
    let replicas = [world.replica(Origin::Made).await?, world.replica(Origin::Made).await?];
    for replica in &replicas {
        replica.tls().await?;
    }
    let (secret, map) = (world.data(SECRET), world.data(MAP));
    for (path, wiped) in [(SECRET, Value::Null), (MAP, Value::Null), (SECRET, json!({"tls.key": "", "ca.key": "AAAA"}))]
    {
        world.set(path, wiped);
        world.look(&[&replicas[0]]).await?;
        ensure!(world.data(SECRET) == secret && world.data(MAP) == map, "it is not back");
    }
    ensure!(replicas[0].wrote("restored") == 2 && replicas[0].wrote("authority") + replicas[1].wrote("authority") == 1);
    // One that has not seen it is content.
    world.look(&[&replicas[1]]).await?;
    ensure!(replicas[1].wrote("restored") == 0 && world.data(SECRET) == secret);
    Ok(())
}

#[tokio::test]
async fn a_ca_that_somebody_asks_for_is_made_by_one_of_all_and_the_former_stays_trusted() -> Result<()> {
    let world = World::new().await?;
    let replicas = [world.replica(Origin::Made).await?, world.replica(Origin::Made).await?];
    for replica in &replicas {
        replica.tls().await?;
    }
    let (former, shown) = (world.bundle()?, replicas[0].shows());
    let ask = |renew: &str| {
        world.server.edit(SECRET, |secret| secret["data"]["renew"] = json!(base64(renew)));
    };
    ask("CA");
    world.look(&[&replicas[0]]).await?;
    ensure!(replicas[0].failures("unusable") == 1 && world.bundle()? == former, "nobody has said what is wrong");
    ask("ca");
    world.look(&[&replicas[0], &replicas[1]]).await?;
    let bundle = world.bundle()?;
    ensure!(bundle != former && bundle.contains(former.trim_end()), "{bundle}");
    for replica in &replicas {
        ensure!(replica.shows() != shown && replica.shows() == replicas[0].shows());
        let tls = replica.tls().await?;
        ensure!(accepts(&bundle, &tls).await? && !accepts(&former, &tls).await?, "agents would not follow");
    }
    ensure!(world.data(SECRET)["renew"].is_null(), "it is asked for still");
    ensure!(replicas.iter().map(|replica| replica.wrote("authority")).sum::<u64>() == 2, "one by each, or none");
    Ok(())
}

/// Nobody remembers it either: the replica that made it is gone.
#[tokio::test]
async fn where_the_key_of_the_ca_is_lost_another_ca_can_be_asked_for() -> Result<()> {
    let world = World::new().await?;
    world.replica(Origin::Made).await?.tls().await?;
    let former = world.bundle()?;
    let ask = |renew: &str| {
        world.server.edit(SECRET, |secret| {
            secret["data"]["renew"] = json!(base64(renew));
            secret["data"]["ca.key"] = Value::Null;
        });
    };
    ask("certificate");
    let replica = world.replica(Origin::Made).await?;
    let tls = replica.tls().await?;
    ensure!(replica.failures("unusable") == 1 && accepts(&former, &tls).await?, "nobody has said what is wrong");
    ask("ca");
    world.look(&[&replica]).await?;
    let bundle = world.bundle()?;
    ensure!(bundle != former && bundle.contains(former.trim_end()), "{bundle}");
    ensure!(accepts(&bundle, &tls).await? && !accepts(&former, &tls).await?, "agents would not follow");
    ensure!(world.data(SECRET)["renew"].is_null() && !world.data(SECRET)["ca.key"].is_null());
    Ok(())
}

#[tokio::test]
async fn a_ca_is_published_before_what_it_signed_is_shown() -> Result<()> {
    let world = World::new().await?;
    let replica = world.replica(Origin::Made).await?;
    let tls = replica.tls().await?;
    let (shown, old) = (replica.shows(), world.bundle()?);
    // Another aggregator, in another cluster, gives us a Secret that is whole, and strange.
    let elsewhere = World::new().await?;
    elsewhere.replica(Origin::Made).await?.tls().await?;
    world.server.deny(On::request("patch", "configmaps"));
    world.set(SECRET, elsewhere.data(SECRET));
    world.look(&[&replica, &replica]).await?;
    ensure!(replica.shows() == shown && world.bundle()? == old, "agents could not verify it");
    ensure!(replica.failures("forbidden") > 0 && replica.health.is_published() == Some(false));
    world.server.allow_all();
    world.look(&[&replica]).await?;
    ensure!(
        replica.shows() != shown && world.bundle()? != old && replica.wrote("restored") == 0,
        "it is not taken over"
    );
    ensure!(accepts(&world.bundle()?, &tls).await? && !accepts(&old, &tls).await?, "the old CA is no more");
    ensure!(replica.health.is_published() == Some(true));
    Ok(())
}

#[tokio::test]
async fn without_a_right_or_a_secret_it_waits_and_says_what_is_missing() -> Result<()> {
    let world = World::new().await?;
    world.server.deny(On::request("patch", "secrets"));
    let replica = world.replica(Origin::Made).await?;
    let says = |what: &str| replica.readiness.unready_because().is_some_and(|why| why.contains(what));
    replica.rests().await?;
    ensure!(replica.failures("forbidden") > 0 && says("Secret tls: not allowed") && says("needs patch on it"));
    ensure!(replica.shows().is_empty() && world.data(SECRET).is_null() && world.data(MAP).is_null());
    world.server.allow_all();
    let secret = world.server.object(SECRET).context("it is there")?;
    world.server.remove(SECRET);
    world.look(&[&replica]).await?;
    ensure!(replica.failures("not_found") > 0 && says("create it without data"));
    world.server.put(secret);
    world.look(&[&replica]).await?;
    ensure!(accepts(&world.bundle()?, &*replica.tls().await?).await? && replica.readiness.is_ready());
    Ok(())
}

#[tokio::test]
async fn what_runs_goes_on_while_the_api_server_is_away() -> Result<()> {
    let world = World::new().await?;
    let replica = world.replica(Origin::Made).await?;
    let tls = replica.tls().await?;
    let bundle = world.bundle()?;
    world.server.go_down().await;
    for failures in 1..=3 {
        replica.rests().await?;
        replica.clock.advance(Duration::from_secs(24));
        while replica.failures("unreachable") < failures {
            tokio::task::yield_now().await;
        }
    }
    ensure!(accepts(&bundle, &tls).await?);
    world.server.come_up().await?;
    world.look(&[&replica]).await?;
    ensure!(world.bundle()? == bundle && replica.wrote("authority") == 1 && world.writes() == 1);
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_shown_published_and_followed_and_never_written() -> Result<()> {
    let world = World::new().await?;
    let replica = world.replica(Origin::Given).await?;
    replica.rests().await?;
    ensure!(replica.failures("unusable") > 0 && world.bundle().is_err());
    let give = |authority: &Authority| -> Result<()> {
        let leaf = authority.leaf(&[NAME])?;
        let data = [("tls.crt", &*leaf.cert_pem), ("tls.key", &leaf.key_pem), ("ca.crt", authority.ca_pem())];
        world.set(SECRET, data.into_iter().map(|(key, text)| (key.to_owned(), json!(base64(text)))).collect());
        Ok(())
    };
    let mut shown = Vec::new();
    for authority in [Authority::new("first")?, Authority::new("second")?] {
        give(&authority)?;
        world.look(&[&replica]).await?;
        let tls = replica.tls().await?;
        ensure!(world.bundle()? == authority.ca_pem(), "it is not published");
        ensure!(accepts(authority.ca_pem(), &tls).await?, "it is not shown");
        shown.push(replica.shows());
    }
    ensure!(shown[0] != shown[1]);
    // Nobody here could make another.
    let failures = replica.failures("unusable");
    world.server.edit(SECRET, |secret| secret["data"]["renew"] = json!(base64("ca")));
    world.look(&[&replica]).await?;
    ensure!(replica.failures("unusable") == failures + 1 && replica.shows() == shown[1]);
    // What is no use changes nothing.
    world.set(SECRET, json!({"tls.crt": "AAAA"}));
    world.look(&[&replica]).await?;
    ensure!(replica.shows() == shown[1] && !world.bundle()?.is_empty());
    ensure!(world.writes() == 0, "it was written");
    Ok(())
}

/// Neither is started again: the CA changes under both.
#[tokio::test]
async fn an_agent_follows_to_another_ca_with_its_next_connection() -> Result<()> {
    let world = World::new().await?;
    let replica = world.replica(Origin::Made).await?;
    let tls = replica.tls().await?;
    let port = TcpListener::bind("127.0.0.1:0").await?;
    let address = port.local_addr()?.to_string();
    // Without tickets each handshake is a full one: as after the aggregator has moved.
    let mut config = ServerConfig::clone(tls.acceptor().config());
    config.send_tls13_tickets = 0;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    // It shows who it is, and hangs up.
    let verified = tokio::spawn(async move {
        let mut verified = Vec::new();
        while verified.len() < 2 {
            let (stream, _) = port.accept().await?;
            if let Ok(stream) = acceptor.accept(stream).await {
                verified.push(tls.certificate().to_vec());
                drop(stream);
            }
        }
        anyhow::Ok(verified)
    });
    let script = Script::new();
    let (tasks, _failures) = Tasks::new(script.phases());
    let kubeconfig = Some(world.folder.path().join("kubeconfig"));
    let clock = Clock::system();
    let client = kube_client::connect(&Access { kubeconfig, ..Access::default() }, &clock, "tocsin-test").await?;
    let objects = Objects::new(client, NAMESPACE, LIMIT);
    let trust = Trust::in_config_map(objects, "ca".to_owned(), clock, fastrand::Rng::with_seed(7));
    let token_file = world.folder.path().join("token");
    std::fs::write(&token_file, "token")?;
    let mut agent = Connection::new(Settings { address, name: server_name(NAME)?, token_file }, trust, tasks);
    let elsewhere = World::new().await?;
    elsewhere.replica(Origin::Made).await?.tls().await?;
    for other in [None, Some(elsewhere.data(SECRET))] {
        if let Some(other) = other {
            world.set(SECRET, other);
            world.look(&[&replica]).await?;
        }
        agent.hello(&Target::Service, &Hello { versions: vec![1], build: String::new(), kinds: Vec::new() });
        let Event::Failed(failure) = agent.next().await else { anyhow::bail!("nobody answers there") };
        ensure!(failure.label() == "http", "it was not verified: {failure}");
    }
    let verified = tokio::time::timeout(LIMIT, verified).await???;
    ensure!(verified[0] != verified[1], "the same certificate");
    Ok(())
}

/// As a Secret's values are written.
fn base64(text: &str) -> Value {
    json!(k8s_openapi::ByteString(text.as_bytes().to_vec()))
}
