//! The command line and the environment, and what they resolve to.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use process::options::{Invalid, ProcessConfig, ProcessOptions, invalid, present};
use process::tls;
use rules::name::is_object_name;

use crate::connection;

/// Where a ConfigMap with the CAs is mounted, as a rule.
const CA_FILE: &str = "/var/run/tocsin/ca/ca.crt";

/// Watches one node of a Kubernetes cluster and reports what is wrong on it to the Tocsin aggregator.
#[derive(Clone, Debug, Parser)]
#[command(name = "tocsin-node-agent", version, mut_arg("shutdown_deadline", |arg| arg.default_value("10s")))]
pub struct Options {
    /// The node to watch; in a pod, from the downward API's `spec.nodeName`
    #[arg(long, env = "NODE_NAME")]
    node_name: String,
    /// The aggregator's Service, host:port
    #[arg(long, env = "TOCSIN_AGGREGATOR", value_name = "HOST:PORT")]
    aggregator: String,
    /// The name in the aggregator's certificate [default: the host of --aggregator]
    #[arg(long, env = "TOCSIN_AGGREGATOR_NAME", value_name = "NAME")]
    aggregator_name: Option<String>,
    /// The CAs that the aggregator's certificate may be from, PEM; read anew for each connection [default:
    /// /var/run/tocsin/ca/ca.crt, unless they are in a ConfigMap]
    #[arg(long, env = "TOCSIN_CA_FILE", value_name = "FILE")]
    ca_file: Option<OsString>,
    /// The ConfigMap in which the aggregator publishes them; read at the start, and again when its certificate is not by
    /// one of them
    #[arg(long, env = "TOCSIN_CA_CONFIG_MAP", value_name = "NAME")]
    ca_config_map: Option<String>,
    /// The namespace of that ConfigMap, which is that of the installation
    #[arg(long, env = "TOCSIN_NAMESPACE", default_value = "tocsin", value_name = "NAME")]
    namespace: String,
    /// A ServiceAccount token for the aggregator's audience; read anew for each session
    #[arg(long, env = "TOCSIN_TOKEN_FILE", default_value = "/var/run/tocsin/token/token", value_name = "FILE")]
    token_file: PathBuf,
    #[command(flatten)]
    process: ProcessOptions,
}

/// What the process goes by: checked, with nothing left to look up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node that is watched.
    pub node: Arc<str>,
    /// Where the aggregator is.
    pub aggregator: connection::Settings,
    /// The CAs that the aggregator's certificate may be from.
    pub authorities: AuthoritiesFrom,
    /// What every program goes by.
    pub process: ProcessConfig,
}

/// Where the CAs are that the aggregator's certificate may be from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthoritiesFrom {
    /// In a file.
    File(PathBuf),
    /// In a ConfigMap.
    ConfigMap {
        /// The namespace of the installation.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Options {
    /// Checks every option and fills in what follows from others.
    pub fn resolve(self) -> Result<Config, Invalid> {
        let Self { node_name, aggregator, aggregator_name, ca_file, ca_config_map, namespace, token_file, process } =
            self;
        if !is_object_name(&node_name) {
            let hint = "is no node's name: set NODE_NAME from the downward API (spec.nodeName)";
            return Err(invalid("node-name", format!("{node_name:?} {hint}")));
        }
        let Some(host) = host_of(&aggregator) else {
            let hint = "is not of the form host:port, as tocsin-aggregator.tocsin.svc:8443";
            return Err(invalid("aggregator", format!("{aggregator:?} {hint}")));
        };
        let name = present(aggregator_name).unwrap_or_else(|| host.to_owned());
        let name = tls::server_name(&name).map_err(|error| invalid("aggregator-name", error))?;
        let authorities = authorities(present(ca_file), present(ca_config_map), namespace)?;
        Ok(Config {
            node: node_name.into(),
            aggregator: connection::Settings { address: aggregator, name, token_file },
            authorities,
            process: process.resolve()?,
        })
    }
}

fn authorities(
    file: Option<OsString>,
    config_map: Option<String>,
    namespace: String,
) -> Result<AuthoritiesFrom, Invalid> {
    match (file, config_map) {
        (file, None) => Ok(AuthoritiesFrom::File(file.map_or_else(|| CA_FILE.into(), PathBuf::from))),
        (Some(_), Some(name)) => {
            let hint = "cannot be used with --ca-file: give one of them";
            Err(invalid("ca-config-map", format!("{name:?} {hint}")))
        }
        (None, Some(name)) if !is_object_name(&name) => {
            Err(invalid("ca-config-map", format!("{name:?} is no name of a ConfigMap")))
        }
        (None, Some(_)) if !is_object_name(&namespace) => {
            let hint = "is no namespace: set TOCSIN_NAMESPACE from the downward API (metadata.namespace)";
            Err(invalid("namespace", format!("{namespace:?} {hint}")))
        }
        (None, Some(name)) => Ok(AuthoritiesFrom::ConfigMap { namespace, name }),
    }
}

/// The host of `host:port`, an IPv6 address without its brackets; `None` when it is not of that form.
fn host_of(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
    (!host.is_empty() && host.bytes().all(is_plain)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Options of the command line alone.
    fn options(args: &[&str]) -> Options {
        let needed = ["agent", "--node-name=node-1", "--aggregator=tocsin.svc:8443"];
        Options::try_parse_from(needed.iter().chain(args)).expect("the options are known")
    }

    #[track_caller]
    fn refused(mut options: Options, change: impl FnOnce(&mut Options), says: &str) {
        change(&mut options);
        let error = options.resolve().expect_err("it cannot be used").to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn the_defaults_run() {
        let config = options(&[]).resolve().expect("they are valid");
        assert_eq!((&*config.node, &*config.aggregator.address), ("node-1", "tocsin.svc:8443"));
        assert_eq!(config.aggregator.name.to_str(), "tocsin.svc");
        assert_eq!(config.process.shutdown_deadline.as_secs(), 10);
        assert_eq!(config.authorities, AuthoritiesFrom::File(CA_FILE.into()));
    }

    #[test]
    fn the_cas_are_in_a_file_or_in_a_config_map() {
        let from = |args: &[&str]| options(args).resolve().map(|config| config.authorities);
        assert_eq!(from(&["--ca-file=a", "--ca-config-map="]), Ok(AuthoritiesFrom::File("a".into())));
        let published = AuthoritiesFrom::ConfigMap { namespace: "watch".into(), name: "ca".into() };
        assert_eq!(from(&["--ca-file=", "--ca-config-map=ca", "--namespace=watch"]), Ok(published));
        refused(options(&["--ca-file=a", "--ca-config-map=ca"]), |_| {}, "cannot be used with --ca-file");
        refused(options(&["--ca-config-map=../ca"]), |_| {}, "--ca-config-map: \"../ca\" is no name of a ConfigMap");
        refused(options(&["--ca-config-map=ca", "--namespace="]), |_| {}, "--namespace: \"\" is no namespace");
    }

    #[test]
    fn what_is_given_is_taken() {
        let given = ["--aggregator-name=other", "--shutdown-deadline=1m", "--check"];
        let config = options(&given).resolve().expect("they are valid");
        assert_eq!(config.aggregator.name.to_str(), "other");
        assert_eq!((config.process.shutdown_deadline.as_secs(), config.process.check), (60, true));
    }

    #[test]
    fn an_empty_value_is_none() {
        let config = options(&["--aggregator-name="]).resolve().expect("it is valid");
        assert_eq!(config.aggregator.name.to_str(), "tocsin.svc");
    }

    #[test]
    fn an_address_may_be_an_ip_of_either_kind() {
        for (address, host) in [("10.0.0.7:8443", "10.0.0.7"), ("[fd00::7]:8443", "fd00::7")] {
            let config = Options { aggregator: address.into(), ..options(&[]) }.resolve().expect("it is valid");
            assert_eq!(config.aggregator.name.to_str(), host);
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_with_what_to_do() {
        let good = options(&[]);
        let set_node = |name: &'static str| move |options: &mut Options| options.node_name = name.into();
        for name in ["", "Node", "a,metadata.name=b", "-a", "a..b"] {
            refused(good.clone(), set_node(name), "--node-name: ");
        }
        let set_aggregator = |address: &'static str| move |options: &mut Options| options.aggregator = address.into();
        for address in
            ["", "tocsin", "tocsin:", "tocsin:0", "tocsin:99999", ":8443", "https://t:1", "a b:1", "fd00::7:1"]
        {
            refused(good.clone(), set_aggregator(address), "not of the form host:port");
        }
        refused(good, |options| options.aggregator_name = Some("a b".into()), "neither a DNS name nor an IP");
        refused(options(&["--log-level=loud"]), |_| (), "use error, warn, info, debug or trace");
    }
}
