//! The world outside is reached through a proxy.

use super::*;
use tocsin_tests::forward_proxy::BEHIND;
use tocsin_tests::installation::Proxied;

/// `me:hunter2` and `me:hunter3`, as they are sent.
const FIRST: &str = "bWU6aHVudGVyMg==";
const SECOND: &str = "bWU6aHVudGVyMw==";

fn rules() -> Value {
    json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "1s"}})
}

fn start_through(proxied: Proxied) -> Result<(Installation, Deployment)> {
    let installation = Installation::start_proxied(Programs::built()?, NODES, &rules(), proxied)?;
    // Else the doctor has more to say.
    let connected = |metrics: &Metrics| Ok(metrics.sum("tocsin_agents_connected", &[])? == NODES.len() as u64);
    installation.until_metrics("its agents are known", connected)?;
    let template = PodTemplate::new("api", Container::new("app", IMAGE));
    let api = installation.cluster.deploy("shop", "api", 2, &template, NODES);
    Ok((installation, api))
}

/// What the proxy answered to whoever asked for this host, and nobody asked for another.
fn answered(installation: &Installation, host: &str) -> Result<Vec<u16>> {
    let asked = installation.proxy.as_ref().context("there is a proxy")?.asked();
    ensure!(asked.iter().all(|(to, _)| to.starts_with(&format!("{host}:"))), "{asked:?}");
    Ok(asked.into_iter().map(|(_, status)| status).collect())
}

/// Waits until the sink does not know us: the proxy, that is.
fn until_refused(installation: &Installation, count: u64) -> Result<()> {
    installation.until_metrics("the proxy refuses", |metrics| {
        Ok(metrics.sum("tocsin_sink_attempts_total", &["unauthorized"])? >= count)
    })
}

#[test]
fn a_sink_that_only_a_proxy_finds_is_told_through_it_and_the_doctor_goes_the_same_way() -> Result<()> {
    let (installation, api) = start_through(Proxied { is_behind: true, ..Proxied::default() })?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, LIMIT, &[FIRING])?;
    installation.cluster.run(&api.pods[0]);
    hears(&installation, LIMIT, &[FIRING, RESOLVED])?;
    nothing_is_pending(&installation)?;
    let found = installation.consult()?;
    ensure!(found.code == Some(0), "{found:#?}");
    let proxy = installation.proxy.as_ref().context("there is a proxy")?.address();
    let said = found.checks.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    ensure!(said.contains(&format!("sink outside is reached through http://{proxy}")), "{said}");
    ensure!(said.contains(&format!(" through the proxy http://{proxy} takes a batch of no records")), "{said}");
    let answers = answered(&installation, BEHIND)?;
    ensure!(answers.len() >= 2 && answers.iter().all(|status| *status == 200), "{answers:?}");
    installation.end()
}

#[test]
fn a_proxy_that_refuses_is_named_nothing_is_lost_and_a_changed_secret_is_followed_without_a_restart() -> Result<()> {
    let (installation, api) = start_through(Proxied { is_behind: true, in_file: true, ..Proxied::default() })?;
    let proxy = installation.proxy.as_ref().context("there is a proxy")?;
    proxy.require(FIRST);
    installation.cluster.crash_loop(&api.pods[0], 5);
    until_refused(&installation, 1)?;
    let says = [
        format!(
            "the proxy http://{} answered 407 Proxy Authentication Required: it wants a name and a password",
            proxy.address()
        ),
        "the files http and https of proxy.folder".to_owned(),
    ];
    installation.consult()?.has_failed_for("sink outside", &says.each_ref().map(String::as_str))?;
    ensure!(installation.outside.count() == 0, "nobody went past the proxy");
    installation.replace_proxy_credentials("me:hunter2@")?;
    hears(&installation, SOON, &[FIRING])?;
    // A tunnel that is open stays so.
    proxy.require(SECOND);
    let Installation { cluster, outside, .. } = &installation;
    installation.block_on(outside.go_down());
    installation.block_on(outside.come_up())?;
    cluster.run(&api.pods[0]);
    until_refused(&installation, 2)?;
    let wrong = installation.consult()?;
    wrong.has_failed_for("sink outside", &["it refuses the name and password that it is given"])?;
    ensure!(!format!("{wrong:?}{}", installation.tails()).contains("hunter"), "{wrong:#?}\n{}", installation.tails());
    installation.replace_proxy_credentials("me:hunter3@")?;
    hears(&installation, SOON, &[FIRING, RESOLVED])?;
    ends_in_order(installation, &[FIRING, RESOLVED])
}

#[test]
fn what_no_proxy_names_is_reached_directly_as_soon_as_the_configuration_says_so() -> Result<()> {
    let (mut installation, api) = start_through(Proxied::default())?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    hears(&installation, LIMIT, &[FIRING])?;
    let before = answered(&installation, "127.0.0.1")?.len();
    ensure!(before > 0, "through the proxy");
    installation.change_way(&rules(), Proxied { no_proxy: "127.0.0.0/8", ..Proxied::default() })?;
    installation.cluster.run(&api.pods[0]);
    hears(&installation, LIMIT, &[FIRING, RESOLVED])?;
    let after = answered(&installation, "127.0.0.1")?.len();
    ensure!(after == before, "{} tunnels more", after - before);
    ends_in_order(installation, &[FIRING, RESOLVED])
}
