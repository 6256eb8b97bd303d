//! Finds out what there is to judge: reads files, asks the API server, the leader and the sinks. Each question has its time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use process::objects::{Lease, Objects};
use process::{Clock, kube_client};
use reqwest::Url;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::fleet::{self, Figures};
use super::judge::{self, Unasked};
use super::rights::{Answer, Question, Right};
use super::sink::{self, Found, Reached};
use super::{Check, Outcome};
use crate::BUILD;
use crate::certificates::examine;
use crate::config::proxy::Via;
use crate::config::reload::Reload;
use crate::config::{Agents, Config, Coverage, SinkTarget};
use crate::ingest::identity::Identity;
use crate::leader::lease;
use crate::options::Launch;
use crate::sinks::{self, Sink};

/// For one question to the API server or the leader.
const DEADLINE: Duration = Duration::from_secs(5);
/// For an address, and for a connection there.
const CONNECT: Duration = Duration::from_secs(10);
/// Questions about rights that are with the API server at once.
const AT_ONCE: usize = 8;
/// Between two looks at what is still coming up.
const AGAIN: Duration = Duration::from_secs(1);
/// A longer page of metrics is none.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// By these other programs find a proxy.
const PROXIES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
/// A token that nobody was given.
const NO_TOKEN: &str = "doctor";

/// Every check of an aggregator that is launched so. What is still coming up is waited for, up to `patience`.
pub(super) async fn everything(launch: &Launch, patience: Duration, clock: &Clock) -> Vec<Check> {
    let read = Reload::begin(&launch.config, &launch.namespace).await;
    let read = read.map(|(_, config)| config).map_err(|error| format!("{error:#}"));
    let mut checks = vec![judge::configuration(&launch.config, &read)];
    // What an error says stands in the check above.
    let config = read.ok();
    if let Some(config) = &config {
        checks.push(judge::files(config.check_files().await.map_err(|error| format!("{error:#}"))));
    }
    let of_sinks = async {
        match &config {
            Some(config) => of_each_sink(config, clock).await,
            None => vec![Check::not_applicable("sinks", "the configuration cannot be read")],
        }
    };
    let (of_cluster, of_sinks) = tokio::join!(cluster(launch, config.as_ref(), patience, clock), of_sinks);
    checks.extend(of_cluster);
    checks.extend(of_sinks);
    checks
}

fn is_set(variable: &&str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

async fn cluster(launch: &Launch, config: Option<&Config>, patience: Duration, clock: &Clock) -> Vec<Check> {
    let client = match connect(launch, clock).await {
        Ok(client) => client,
        Err(why) => {
            let left_out = ["clock", "rights", "token review", "leader", "agents", "certificate"];
            let left_out = left_out.map(|name| Check::not_applicable(name, "the API server cannot be asked"));
            return std::iter::once(judge::api_server(&Err(why))).chain(left_out).collect();
        }
    };
    let mut checks = vec![judge::api_server(&Ok(())), judge::clock(clock.node_offset_millis())];
    match config {
        Some(Config { coverage, agents, .. }) => {
            checks.extend(rights(&Right::needed(launch, coverage), &client).await);
            checks.push(match coverage {
                Coverage::Agents => token_review(agents, &client, clock).await,
                _ => Check::not_applicable("token review", "there are no agents"),
            });
        }
        None => {
            let unknown = |name| Check::not_applicable(name, "the configuration cannot be read");
            checks.extend(["rights", "token review"].map(unknown));
        }
    }
    // What leads goes by an earlier configuration then, and says so.
    let coverage = config.map_or(&Coverage::Agents, |config| &config.coverage);
    checks.extend(until_it_is_up((launch, coverage), &client, patience, clock).await);
    checks
}

/// A client of an API server that has answered, and knows who asks.
async fn connect(launch: &Launch, clock: &Clock) -> Result<Client, Unasked> {
    let client = kube_client::connect(&launch.process.access, clock, BUILD).await;
    let client = client.map_err(|error| Unasked::Options(format!("{error:#}")))?;
    let request = http::Request::get("/api/v1/namespaces/kube-system").body(Vec::new());
    let request = request.map_err(|error| Unasked::Options(error.to_string()))?;
    match timeout(DEADLINE, client.request_text(request)).await {
        Ok(Err(kube::Error::Api(status))) if status.code == 401 => Err(Unasked::Unknown(status.message)),
        // What it may be asked is another question.
        Ok(Ok(_) | Err(kube::Error::Api(_))) => Ok(client),
        Ok(Err(error)) => Err(Unasked::Unreachable(innermost(&error))),
        Err(_) => Err(Unasked::Unreachable(format!("none in {} s", DEADLINE.as_secs()))),
    }
}

async fn rights(needed: &[Right], client: &Client) -> Vec<Check> {
    let questions = needed.iter().flat_map(Right::questions);
    let answers = stream::iter(questions).map(|question| async move {
        let answer = may(&question, client).await;
        (question, answer)
    });
    let answers: Vec<_> = answers.buffered(AT_ONCE).collect().await;
    // They come in the order in which they were asked.
    let mut rest = &answers[..];
    let judged = needed.iter().map(|right| {
        let (own, others) = rest.split_at(right.questions().count());
        rest = others;
        right.judge(own)
    });
    judged.collect()
}

async fn may(question: &Question<'_>, client: &Client) -> Answer {
    let Question { right, verb, name } = question;
    let attributes = ResourceAttributes {
        namespace: right.namespace.clone(),
        group: Some(right.group.to_owned()),
        resource: Some(right.resource.to_owned()),
        name: Some((*name).to_owned()).filter(|name| !name.is_empty()),
        verb: Some((*verb).to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    match timeout(DEADLINE, api.create(&PostParams::default(), &review)).await {
        Ok(Ok(review)) => {
            review.status.map(|status| status.allowed).ok_or_else(|| "its answer has no status".to_owned())
        }
        Ok(Err(error)) => Err(innermost(&error)),
        Err(_) => Err(format!("no answer in {} s", DEADLINE.as_secs())),
    }
}

async fn token_review(agents: &Agents, client: &Client, clock: &Clock) -> Check {
    let identity = Identity::new(client.clone(), clock.clone());
    judge::token_review(&identity.admit(agents, NO_TOKEN).await)
}

/// What an aggregator that has just been installed comes to in a while: looked at until nothing of it has failed, or the
/// patience is over.
async fn until_it_is_up(
    (launch, coverage): (&Launch, &Coverage),
    client: &Client,
    patience: Duration,
    clock: &Clock,
) -> Vec<Check> {
    let until = clock.mark() + patience;
    loop {
        let (mut checks, certificate) =
            tokio::join!(fleet(launch, coverage, client, clock), certificate(launch, client, clock));
        checks.extend(certificate);
        let is_well = checks.iter().all(|check| check.outcome != Outcome::Failed);
        if is_well || clock.mark() + AGAIN > until {
            return checks;
        }
        clock.sleep(AGAIN).await;
    }
}

async fn certificate(launch: &Launch, client: &Client, clock: &Clock) -> Vec<Check> {
    let (examined, published) = examine(&launch.certificate, client, &launch.namespace, clock.now()).await;
    judge::certificate(&launch.certificate, &examined, &published, clock.now())
}

/// Who leads, and what it says. One that is alone is asked where these options would have it.
async fn fleet(launch: &Launch, coverage: &Coverage, client: &Client, clock: &Clock) -> Vec<Check> {
    let port = launch.process.metrics_listen.port();
    let Some(election) = &launch.election else {
        let ip = launch.process.metrics_listen.ip();
        let ip = if ip.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { ip };
        let alone = Check::not_applicable("leader", "without --pod-name an aggregator is alone");
        let said = leader(SocketAddr::new(ip, port), coverage).await;
        return std::iter::once(alone).chain(said).collect();
    };
    let objects = Objects::new(client.clone(), &launch.namespace, DEADLINE);
    let read = objects.get::<Lease>(&election.lease).await.map(lease::record);
    let (check, said) = match fleet::lease(&election.lease, &read, clock.now()) {
        Ok((check, address)) => (check, leader(SocketAddr::new(address.ip(), port), coverage).await),
        Err(check) => (check, vec![Check::not_applicable("agents", "nobody leads who could say")]),
    };
    std::iter::once(check).chain(said).collect()
}

/// What the aggregator says of itself whose figures are there.
async fn leader(address: SocketAddr, coverage: &Coverage) -> Vec<Check> {
    let url = format!("http://{address}/metrics");
    let page = match timeout(DEADLINE, page(&url)).await {
        Ok(page) => page,
        Err(_) => Err(format!("no answer in {} s", DEADLINE.as_secs())),
    };
    fleet::figures(&url, &page.and_then(|page| Figures::read(&page)), coverage)
}

async fn page(url: &str) -> Result<String, String> {
    let said = sinks::client(DEADLINE)?.get(url).send().await;
    let mut answer = said.map_err(|error| innermost(&error))?;
    if !answer.status().is_success() {
        return Err(format!("it answered {}", answer.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| innermost(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > PAGE_BYTES_MAX {
            return Err(format!("its page is longer than {PAGE_BYTES_MAX} bytes"));
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The proxy, and each sink.
async fn of_each_sink(config: &Config, clock: &Clock) -> Vec<Check> {
    let tried = config.targets.iter().map(|(name, target)| async move {
        let found = reach(target, clock).await;
        (sink::judge(name, target, &found), (&**name, found.via))
    });
    let (checks, ways): (Vec<_>, Vec<_>) = join_all(tried).await.into_iter().unzip();
    let set: Vec<_> = PROXIES.into_iter().filter(is_set).collect();
    std::iter::once(judge::proxy(&ways, &set)).chain(checks).collect()
}

/// Where a sink is, the proxy to it, and as far as one comes with it: an address, a connection, an answer.
async fn reach(target: &SinkTarget, clock: &Clock) -> Found {
    let mut found = Found { url: None, via: None, reached: Reached::Nobody };
    let (SinkTarget::Ingest(http) | SinkTarget::Webhook(http)) = target else { return found };
    let url = match http.url().await {
        Ok(url) => found.url.insert(url),
        Err(why) => return Found { reached: Reached::NoUrl(why), ..found },
    };
    match http.proxy.to(url).await {
        Err(why) => found.reached = Reached::NoWay(why),
        Ok(via) => {
            found.reached = ask(target, url, via.as_ref(), clock).await;
            found.via = via;
        }
    }
    found
}

async fn ask(target: &SinkTarget, url: &Url, via: Option<&Via>, clock: &Clock) -> Reached {
    let addresses = match timeout(CONNECT, addresses(url, via)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(why)) => return Reached::NoAddress(why),
        Err(_) => return Reached::NoAddress(format!("no answer in {} s", CONNECT.as_secs())),
    };
    match timeout(CONNECT, TcpStream::connect(&*addresses)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Reached::NoConnection(error.to_string()),
        Err(_) => return Reached::NoConnection(format!("none in {} s", CONNECT.as_secs())),
    }
    Sink::new(target).try_out(clock.now()).await.map_or(Reached::Nobody, Reached::Asked)
}

/// Of whoever is to be connected to: the proxy, or the sink itself.
async fn addresses(url: &Url, via: Option<&Via>) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = match via {
        Some(via) => via.host_and_port(),
        None => (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default()),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<_> = lookup_host((host, port)).await.map_err(|error| error.to_string())?.collect();
    if addresses.is_empty() { Err("the name is known, and has none".to_owned()) } else { Ok(addresses) }
}

/// The innermost cause says most.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let innermost = std::iter::successors(Some(error), |error| (*error).source()).last();
    innermost.map(ToString::to_string).unwrap_or_default()
}
