//! The command line and the environment, and what they resolve to.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use process::options::{Invalid, ProcessConfig, ProcessOptions, address, invalid, present};
use rules::name::{is_label, is_object_name};
use rules::time::parse_span;

use crate::certificates::Origin;
use crate::leader::Election;
use crate::told_log::keeper;

/// Where a Secret is mounted, as a rule.
const TLS_CERT: &str = "/var/run/tocsin/tls/tls.crt";
const TLS_KEY: &str = "/var/run/tocsin/tls/tls.key";

/// Collects what Tocsin's node-agents find, deduplicates it, and tells the outside world, once.
#[derive(Clone, Debug, Parser)]
#[command(name = "tocsin-aggregator", version, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    task: Option<TaskOptions>,
}

/// What else the program does than to run.
#[derive(Clone, Debug, Subcommand)]
enum TaskOptions {
    /// Looks whether an aggregator with these options could do its work and does it: configuration, API server, clock,
    /// rights, who leads, agents, certificate, sinks; says what to do about what is wrong, and tells no sink anything
    Doctor {
        #[command(flatten)]
        options: Box<Options>,
        /// How it is said
        #[arg(long, value_enum, default_value_t, value_name = "FORM")]
        output: Form,
        /// How long to wait for a leader, and for all agents to be connected, 0s to 5m
        #[arg(long, default_value = "30s", value_name = "DURATION")]
        patience: String,
    },
}

/// The options of the process, whatever it is to do.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The configuration, YAML; followed as it changes
    #[arg(long, env = "TOCSIN_CONFIG", default_value = "/etc/tocsin/config.yaml", value_name = "FILE")]
    config: PathBuf,
    /// The namespace of this installation
    #[arg(long, env = "TOCSIN_NAMESPACE", default_value = "tocsin", value_name = "NAME")]
    namespace: String,
    /// Where agents report
    #[arg(long, env = "TOCSIN_AGENTS_LISTEN", default_value = "0.0.0.0:8443", value_name = "IP:PORT")]
    agents_listen: String,
    /// Where /api/v1/issues is; on the loopback interface, as it asks nobody who they are
    #[arg(long, env = "TOCSIN_API_LISTEN", default_value = "127.0.0.1:8081", value_name = "IP:PORT")]
    api_listen: String,
    /// The certificate chain that agents are shown, PEM; read again when it changes [default:
    /// /var/run/tocsin/tls/tls.crt, unless it is in a Secret]
    #[arg(long, env = "TOCSIN_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<OsString>,
    /// Its private key, PEM [default: /var/run/tocsin/tls/tls.key, unless it is in a Secret]
    #[arg(long, env = "TOCSIN_TLS_KEY", value_name = "FILE")]
    tls_key: Option<OsString>,
    /// A Secret of the namespace that the aggregator keeps a certificate and its CA in, which it makes and renews itself;
    /// to be created without data
    #[arg(long, env = "TOCSIN_TLS_SECRET", value_name = "NAME")]
    tls_secret: Option<String>,
    /// A Secret of the namespace with a certificate of your own (tls.crt, tls.key, ca.crt, as cert-manager writes them);
    /// only read, and again when it changes
    #[arg(long, env = "TOCSIN_TLS_EXISTING_SECRET", value_name = "NAME")]
    tls_existing_secret: Option<String>,
    /// The ConfigMap of the namespace in which the CA of that Secret is published for agents; to be created without data
    #[arg(long, env = "TOCSIN_CA_CONFIG_MAP", value_name = "NAME")]
    ca_config_map: Option<String>,
    /// The Service through which agents come: the certificate is made for its names
    #[arg(long, env = "TOCSIN_SERVICE", default_value = "tocsin-aggregator", value_name = "NAME")]
    service: String,
    /// The pod that this is, from the downward API (metadata.name): with it, one of several aggregators leads and the
    /// others stand by; without it, this one is alone
    #[arg(long, env = "TOCSIN_POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
    /// Where agents reach that pod, from the downward API (status.podIP)
    #[arg(long, env = "TOCSIN_POD_IP", value_name = "IP")]
    pod_ip: Option<String>,
    /// Whether a Lease says who leads; false only where there is never more than one aggregator
    #[arg(long, env = "TOCSIN_LEADER_ELECTION", default_value = "true", value_name = "BOOL")]
    leader_election: String,
    /// That Lease, in the namespace of this installation; made where there is none
    #[arg(long, env = "TOCSIN_LEASE", default_value = "tocsin-aggregator", value_name = "NAME")]
    lease: String,
    /// The Deployment of the aggregators, with which the Lease goes
    #[arg(long, env = "TOCSIN_DEPLOYMENT", default_value = "tocsin-aggregator", value_name = "NAME")]
    deployment: String,
    /// Where a successor finds what was told: the ConfigMaps NAME-journal and NAME-snapshot-0 to -3 of the namespace, to be
    /// created without data; without it, what was told is remembered in memory
    #[arg(long, env = "TOCSIN_TOLD_LOG", value_name = "NAME")]
    told_log: Option<String>,
    #[command(flatten)]
    process: ProcessOptions,
}

/// What the process is to do.
#[derive(Clone, Debug)]
pub enum Task {
    /// To run.
    Run(Launch),
    /// To look whether one that is launched so could run, and does.
    Doctor(Launch, Consultation),
}

/// How it is looked, and said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consultation {
    /// How it is said.
    pub form: Form,
    /// How long what is still coming up is waited for.
    pub patience: Duration,
}

/// In which form something is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// What the process goes by: checked, with nothing left to look up but the files.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The configuration file.
    pub config: PathBuf,
    /// The namespace of this installation.
    pub namespace: String,
    /// Where agents report.
    pub agents_listen: SocketAddr,
    /// Where the API is: on the loopback interface.
    pub api_listen: SocketAddr,
    /// Where the certificate is that agents are shown.
    pub certificate: CertificateFrom,
    /// How one of several aggregators is chosen; `None`: this one is alone.
    pub election: Option<Election>,
    /// What the objects are named after in which a successor finds what was told; `None`: memory only.
    pub told_log: Option<String>,
    /// What every program goes by.
    pub process: ProcessConfig,
}

/// Where the certificate is that agents are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFrom {
    /// In two files.
    Files {
        /// The certificate chain.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// In a Secret of the namespace.
    Secret {
        /// Its name.
        name: String,
        /// Whose it is.
        origin: Origin,
        /// The ConfigMap in which its CAs are published.
        config_map: Option<String>,
        /// The names that agents may use for the aggregator.
        dns_names: Vec<String>,
    },
}

/// The longest that is waited for what is still coming up.
const PATIENCE_MAX: Duration = Duration::from_mins(5);

impl CommandLine {
    /// Checks every option.
    pub fn resolve(self) -> Result<Task, Invalid> {
        let Self { options, task } = self;
        let Some(TaskOptions::Doctor { options, output, patience }) = task else {
            return options.resolve().map(Task::Run);
        };
        let parsed = parse_span(&patience).filter(|patience| *patience <= PATIENCE_MAX);
        let Some(parsed) = parsed else {
            return Err(invalid("patience", format!("{patience:?} is no duration from 0s to 5m, for example 30s")));
        };
        let launch = options.resolve()?;
        if launch.process.check {
            return Err(invalid("check", "doctor looks at all that --check looks at, and at more: leave it out"));
        }
        Ok(Task::Doctor(launch, Consultation { form: output, patience: parsed }))
    }
}

impl Options {
    /// Checks every option.
    pub fn resolve(self) -> Result<Launch, Invalid> {
        let Self {
            config,
            namespace,
            agents_listen,
            api_listen,
            tls_cert,
            tls_key,
            tls_secret,
            tls_existing_secret,
            ca_config_map,
            service,
            pod_name,
            pod_ip,
            leader_election,
            lease,
            deployment,
            told_log,
            process,
        } = self;
        if !is_object_name(&namespace) {
            let hint = "is no namespace: set TOCSIN_NAMESPACE from the downward API (metadata.namespace)";
            return Err(invalid("namespace", format!("{namespace:?} {hint}")));
        }
        let files = (present(tls_cert).map(PathBuf::from), present(tls_key).map(PathBuf::from));
        let secrets = (present(tls_secret), present(tls_existing_secret));
        let certificate = certificate(files, secrets, present(ca_config_map), &service, &namespace)?;
        let api_listen = address("api-listen", &api_listen, "127.0.0.1:8081")?;
        if !api_listen.ip().is_loopback() {
            let hint = "is not on the loopback interface: use 127.0.0.1 and kubectl port-forward";
            return Err(invalid("api-listen", format!("{api_listen} {hint}")));
        }
        Ok(Launch {
            config,
            namespace,
            agents_listen: address("agents-listen", &agents_listen, "0.0.0.0:8443")?,
            api_listen,
            certificate,
            election: election((pod_name, pod_ip), &leader_election, lease, deployment)?,
            told_log: told_log_name(told_log)?,
            process: process.resolve()?,
        })
    }
}

/// Where the certificate is, of the two ways in which it can be given: files and Secrets are not mixed.
fn certificate(
    files: (Option<PathBuf>, Option<PathBuf>),
    secrets: (Option<String>, Option<String>),
    config_map: Option<String>,
    service: &str,
    namespace: &str,
) -> Result<CertificateFrom, Invalid> {
    let (option, name, origin) = match (secrets, files) {
        ((None, None), (certificate, key)) => {
            if let Some(config_map) = config_map {
                let hint = "is for the CA of a Secret: name that with --tls-secret or --tls-existing-secret";
                return Err(invalid("ca-config-map", format!("{config_map:?} {hint}")));
            }
            let certificate = certificate.unwrap_or_else(|| TLS_CERT.into());
            return Ok(CertificateFrom::Files { certificate, key: key.unwrap_or_else(|| TLS_KEY.into()) });
        }
        ((Some(name), None), (None, None)) => ("tls-secret", name, Origin::Made),
        ((None, Some(name)), (None, None)) => ("tls-existing-secret", name, Origin::Given),
        ((Some(name), Some(_)), _) => {
            let hint = "cannot be used with --tls-existing-secret: give one of them";
            return Err(invalid("tls-secret", format!("{name:?} {hint}")));
        }
        ((Some(name), None) | (None, Some(name)), _) => {
            let hint = "is in the way of the Secret: give either --tls-cert and --tls-key or the Secret";
            return Err(invalid("tls-cert", format!("a file beside the Secret {name:?} {hint}")));
        }
    };
    if origin == Origin::Made && config_map.is_none() {
        let problem = "agents learn its CA from a ConfigMap: name that with --ca-config-map";
        return Err(invalid(option, problem));
    }
    if !is_label(service) {
        return Err(invalid("service", format!("{service:?} is no name of a Service")));
    }
    Ok(CertificateFrom::Secret {
        name: object_name(option, name)?,
        origin,
        config_map: config_map.map(|name| object_name("ca-config-map", name)).transpose()?,
        dns_names: vec![service.to_owned(), format!("{service}.{namespace}"), format!("{service}.{namespace}.svc")],
    })
}

/// How one of several aggregators is chosen; `None` where that is turned off, or the pod is not known.
fn election(
    (name, ip): (Option<String>, Option<String>),
    is_wanted: &str,
    lease: String,
    deployment: String,
) -> Result<Option<Election>, Invalid> {
    let is_wanted = match is_wanted {
        "true" | "" => true,
        "false" => false,
        _ => return Err(invalid("leader-election", format!("{is_wanted:?} is neither true nor false"))),
    };
    let Some(pod) = present(name).filter(|_| is_wanted) else { return Ok(None) };
    let given = ip.unwrap_or_default();
    let Some(ip) = given.parse::<IpAddr>().ok().filter(|ip| !ip.is_unspecified()) else {
        let hint = "is no address of a pod: set TOCSIN_POD_IP from the downward API (status.podIP)";
        return Err(invalid("pod-ip", format!("{given:?} {hint}")));
    };
    Ok(Some(Election {
        pod: object_name("pod-name", pod)?,
        ip,
        lease: object_name("lease", lease)?,
        deployment: object_name("deployment", deployment)?,
    }))
}

/// What the objects of the told-log are named after.
fn told_log_name(name: Option<String>) -> Result<Option<String>, Invalid> {
    let Some(name) = present::<String>(name) else { return Ok(None) };
    let (journal, shards) = keeper::names(&name);
    match std::iter::once(&journal).chain(&shards).all(|name| is_object_name(name)) {
        true => Ok(Some(name)),
        false => Err(invalid("told-log", format!("no ConfigMap can be named {journal:?}"))),
    }
}

fn object_name(option: &'static str, given: String) -> Result<String, Invalid> {
    match is_object_name(&given) {
        true => Ok(given),
        false => Err(invalid(option, format!("{given:?} is no name of an object"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(args: &[&str]) -> Result<Task, Invalid> {
        CommandLine::try_parse_from(["aggregator"].iter().chain(args)).expect("the options are known").resolve()
    }

    fn resolve(args: &[&str]) -> Result<Launch, Invalid> {
        task(args).map(|task| match task {
            Task::Run(launch) | Task::Doctor(launch, _) => launch,
        })
    }

    #[test]
    fn the_doctor_is_given_the_options_of_what_it_looks_at() {
        let Ok(Task::Doctor(launch, consultation)) = task(&["doctor", "--namespace=watch", "--namespace=more"]) else {
            panic!("it is the doctor");
        };
        assert_eq!(&*launch.namespace, "more", "of an option that is given twice the last one counts");
        assert_eq!(consultation, Consultation { form: Form::Text, patience: Duration::from_secs(30) });
        let Ok(Task::Doctor(_, consultation)) = task(&["doctor", "--output=json", "--patience=0s"]) else {
            panic!("it is the doctor");
        };
        assert_eq!(consultation, Consultation { form: Form::Json, patience: Duration::ZERO });
        assert!(matches!(task(&["--namespace=watch"]), Ok(Task::Run(_))));
        for given in ["soon", "301s"] {
            let said = task(&["doctor", &format!("--patience={given}")]).expect_err(given).to_string();
            assert_eq!(said, format!("--patience: {given:?} is no duration from 0s to 5m, for example 30s"));
        }
        let said = task(&["doctor", "--check"]).expect_err("one of them").to_string();
        assert_eq!(said, "--check: doctor looks at all that --check looks at, and at more: leave it out");
        for args in [&["docter"][..], &["--namespace=a", "doctor"], &["doctor", "--output=xml"], &["--output=json"]] {
            assert!(CommandLine::try_parse_from(["aggregator"].iter().chain(args)).is_err(), "{args:?}");
        }
    }

    #[test]
    fn the_defaults_run() {
        let launch = resolve(&[]).expect("they are valid");
        assert_eq!((launch.agents_listen.port(), launch.api_listen.port()), (8443, 8081));
        assert_eq!((launch.process.shutdown_deadline.as_secs(), &*launch.namespace), (25, "tocsin"));
        assert_eq!(launch.certificate, CertificateFrom::Files { certificate: TLS_CERT.into(), key: TLS_KEY.into() });
    }

    #[test]
    fn what_is_given_is_taken() {
        let launch = resolve(&["--namespace=watch", "--api-listen=[::1]:0", "--check"]).expect("they are valid");
        assert_eq!((&*launch.namespace, launch.api_listen.to_string()), ("watch", "[::1]:0".to_owned()));
        assert!(launch.process.check);
    }

    #[test]
    fn a_certificate_is_in_files_or_in_a_secret() {
        let from = |args: &[&str]| resolve(args).map(|launch| launch.certificate).map_err(|error| error.to_string());
        let files = from(&["--tls-cert=a", "--tls-key=b", "--tls-secret=", "--ca-config-map="]).expect("files");
        assert_eq!(files, CertificateFrom::Files { certificate: "a".into(), key: "b".into() });
        let made = from(&["--tls-secret=tls", "--ca-config-map=ca", "--namespace=watch", "--service=front"]);
        let CertificateFrom::Secret { name, origin: Origin::Made, config_map, dns_names } = made.expect("ours") else {
            panic!("it is made");
        };
        assert_eq!((&*name, config_map.as_deref()), ("tls", Some("ca")));
        assert_eq!(dns_names, ["front", "front.watch", "front.watch.svc"]);
        let given = from(&["--tls-existing-secret=own"]).expect("theirs");
        assert!(matches!(given, CertificateFrom::Secret { origin: Origin::Given, config_map: None, .. }), "{given:?}");
        for (args, problem) in [
            (
                &["--tls-secret=a"][..],
                "--tls-secret: agents learn its CA from a ConfigMap: name that with --ca-config-map",
            ),
            (&["--ca-config-map=a"], "--ca-config-map: \"a\" is for the CA of a Secret"),
            (&["--tls-secret=a", "--tls-existing-secret=b"], "--tls-secret: \"a\" cannot be used with"),
            (&["--tls-existing-secret=b", "--tls-key=f"], "--tls-cert: a file beside the Secret \"b\" is in the way"),
            (&["--tls-existing-secret=../x"], "--tls-existing-secret: \"../x\" is no name of an object"),
            (&["--tls-existing-secret=x", "--service="], "--service: \"\" is no name of a Service"),
        ] {
            let error = from(args).expect_err(problem);
            assert!(error.starts_with(problem), "{error}");
        }
    }

    #[test]
    fn one_of_several_is_elected_where_the_pod_is_known_unless_that_is_turned_off() {
        let election = |args: &[&str]| resolve(args).expect("they are valid").election;
        assert_eq!(election(&["--pod-ip=10.0.0.7"]), None);
        assert_eq!(election(&["--pod-name=", "--pod-ip=", "--leader-election="]), None);
        assert_eq!(election(&["--pod-name=a", "--leader-election=false"]), None);
        let named = |lease: &str, deployment: &str| {
            let (pod, ip) = ("a".into(), "fd00::7".parse().expect("an address"));
            Some(Election { pod, ip, lease: lease.into(), deployment: deployment.into() })
        };
        let own = ["--pod-name=a", "--pod-ip=fd00::7"];
        assert_eq!(election(&own), named("tocsin-aggregator", "tocsin-aggregator"));
        assert_eq!(election(&[&own[..], &["--lease=b", "--deployment=c"]].concat()), named("b", "c"));
        let address = election(&own).map(|election| election.address(8443).to_string());
        assert_eq!(address.as_deref(), Some("[fd00::7]:8443"));
        let no_ip = "is no address of a pod: set TOCSIN_POD_IP from the downward API (status.podIP)";
        for (args, problem) in [
            (&["--pod-name=a"][..], format!("--pod-ip: \"\" {no_ip}")),
            (&["--pod-name=a", "--pod-ip=0.0.0.0"], format!("--pod-ip: \"0.0.0.0\" {no_ip}")),
            (&["--leader-election=no"], "--leader-election: \"no\" is neither true nor false".to_owned()),
            (&["--pod-name=A", "--pod-ip=::1"], "--pod-name: \"A\" is no name of an object".to_owned()),
            (&["--pod-name=a", "--pod-ip=::1", "--lease=a/b"], "--lease: \"a/b\" is no name of an object".to_owned()),
            (
                &["--pod-name=a", "--pod-ip=::1", "--deployment="],
                "--deployment: \"\" is no name of an object".to_owned(),
            ),
        ] {
            assert_eq!(resolve(args).expect_err(&problem).to_string(), problem);
        }
    }

    #[test]
    fn what_was_told_is_kept_in_objects_of_that_name_and_else_in_memory() {
        let told_log = |arg: &str| resolve(&[arg]).map(|launch| launch.told_log).map_err(|error| error.to_string());
        assert_eq!(told_log("--told-log="), Ok(None));
        assert_eq!(told_log("--told-log=tocsin-told"), Ok(Some("tocsin-told".to_owned())));
        assert_eq!(told_log("--told-log=T"), Err("--told-log: no ConfigMap can be named \"T-journal\"".to_owned()));
        assert!(told_log(&format!("--told-log={}", "t".repeat(243))).is_err(), "with -snapshot-0 it is too long");
    }

    #[test]
    fn what_cannot_be_used_is_named_with_what_to_do() {
        for (arg, problem) in [
            (
                "--namespace=",
                "--namespace: \"\" is no namespace: set TOCSIN_NAMESPACE from the downward API (metadata.namespace)",
            ),
            (
                "--api-listen=0.0.0.0:8081",
                "--api-listen: 0.0.0.0:8081 is not on the loopback interface: use 127.0.0.1 and kubectl port-forward",
            ),
            ("--agents-listen=8443", "--agents-listen: \"8443\" is not of the form IP:port, as 0.0.0.0:8443"),
            ("--api-listen=8081", "--api-listen: \"8081\" is not of the form IP:port, as 127.0.0.1:8081"),
            ("--log-level=loud", "--log-level: unknown log level \"loud\": use error, warn, info, debug or trace"),
        ] {
            assert_eq!(resolve(&[arg]).expect_err(arg).to_string(), problem);
        }
    }
}
