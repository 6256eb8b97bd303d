//! The products whose agents Tocsin replaces: each command and each example of their documents works with our chart, as it
//! stands there but for the chart's name, and `clusterName` where it has none.

use std::path::Path;

use serde_json::{Value, json};
use tocsin_tests::chart::{self, Helm};

use crate::installation::{config, notes, object, of_kinds};

/// A command as it is in a document.
struct Line(&'static str);

const KLUSTERALERT: &str = "klusteralert/agent";
const INCIDENTFOX: &str = "incidentfox/incidentfox-k8s-agent";

/// What both helms render for it; every line ends with the same.
#[track_caller]
fn rendered(Line(line): &Line) -> Vec<Value> {
    let arguments = arguments(line);
    let four = Helm::Four.template(&arguments).unwrap_or_else(|error| panic!("{line}: {error:#}"));
    Helm::Three.template(&arguments).unwrap_or_else(|error| panic!("{line}: {error:#}"));
    four
}

/// Everything behind `helm install` (or `helm upgrade`), with our chart, the variables of the shell, and a name for the
/// cluster.
fn arguments(line: &str) -> Vec<String> {
    let folder = chart::folder().display().to_string();
    let line =
        line.strip_prefix("helm install ").or_else(|| line.strip_prefix("helm upgrade ")).expect("a command of helm");
    let line = line.replace("$PROD_AGENT_TOKEN", "prod.secret").replace("$STAGING_AGENT_TOKEN", "staging.secret");
    let word = |word: &str| if [KLUSTERALERT, INCIDENTFOX].contains(&word) { folder.clone() } else { word.to_owned() };
    let mut arguments: Vec<_> = line.split_whitespace().filter(|it| *it != "\\").map(word).collect();
    if !line.contains("clusterName") {
        arguments.extend(["--set", "clusterName=named"].map(str::to_owned));
    }
    arguments
}

/// The arguments of a line, and a file of values.
fn with_values(folder: &Path, line: &str, values: &str) -> Vec<String> {
    let file = folder.join("values.yaml");
    std::fs::write(&file, values).expect("it can be written");
    arguments(&line.replace("values.yaml", &file.display().to_string()))
}

#[track_caller]
fn aggregator(objects: &[Value]) -> Value {
    object(objects, "Deployment", "-aggregator")["spec"]["template"]["spec"].clone()
}

fn token(objects: &[Value], sink: &str) -> Option<String> {
    let secret = objects.iter().find(|object| object["kind"] == "Secret" && object.get("data").is_some())?;
    secret["data"][sink].as_str().map(str::to_owned)
}

#[test]
fn klusteralert_with_a_secret() {
    let line = Line(
        "helm install klusteralert-agent klusteralert/agent \\ --namespace klusteralert-agent \\ --create-namespace \\ \
         --set clusterName=production \\ --set existingSecret=klusteralert-creds",
    );
    let objects = rendered(&line);
    assert_eq!(config(&objects)["clusterName"], "production");
    assert_eq!(token(&objects, "ingest"), None);
    // With the address that the product had built in, the token of its Secret is used.
    let url = format!("{} --set ingest.url=https://collector.example.com", line.0);
    let objects = rendered(&Line(url.leak()));
    let volume = aggregator(&objects)["volumes"].as_array().and_then(|all| all.last()).cloned();
    let items = json!([{"key": "AGENT_TOKEN", "path": "token"}]);
    assert_eq!(
        volume,
        Some(json!({"name": "token-ingest", "secret": {"secretName": "klusteralert-creds", "items": items}}))
    );
    assert_eq!(config(&objects)["sinks"]["ingest"]["tokenFile"], "/etc/tocsin/token/ingest/token");
}

#[test]
fn klusteralert_in_each_of_several_clusters() {
    for (line, name) in [
        (
            "helm install klusteralert-agent klusteralert/agent \\ --namespace klusteralert-agent --create-namespace \\ \
             --set agentToken=$PROD_AGENT_TOKEN \\ --set clusterName=prod-eu-west-1 \\ --kube-context prod-context",
            "prod-eu-west-1",
        ),
        (
            "helm install klusteralert-agent klusteralert/agent \\ --namespace klusteralert-agent --create-namespace \\ \
             --set agentToken=$STAGING_AGENT_TOKEN \\ --set clusterName=staging \\ --kube-context staging-context",
            "staging",
        ),
    ] {
        let objects = rendered(&Line(line));
        assert_eq!(config(&objects)["clusterName"], name);
        assert_eq!(config(&objects)["sinks"], json!({}), "no address has a default");
    }
    let line = "helm install klusteralert-agent klusteralert/agent --namespace klusteralert-agent --set agentToken=x \
                --set clusterName=prod-eu-west-1";
    let notes = notes(&arguments(line));
    assert!(notes.contains("agentToken is read as token."), "{notes}");
    assert!(notes.contains("The token is not used: it is for ingest.url, which is not set"), "{notes}");
    assert!(notes.contains("nowhere but to standard output"), "{notes}");
}

#[test]
fn klusteralert_upgraded() {
    rendered(&Line("helm upgrade klusteralert-agent klusteralert/agent \\ --namespace klusteralert-agent"));
}

#[test]
fn klusteralert_with_all_of_its_values() {
    let arguments = |line: &str| arguments(line);
    let file = chart::folder().join("ci/klusteralert-values.yaml").display().to_string();
    let line =
        format!("helm install klusteralert-agent klusteralert/agent --values {file} --set clusterName=production");
    let objects = rendered(&Line(line.clone().leak()));
    let container = &aggregator(&objects)["containers"][0];
    assert_eq!(container["resources"]["limits"], json!({"cpu": "200m", "memory": "256Mi"}));
    assert_eq!(container["image"], format!("tocsin/aggregator:{}", env!("CARGO_PKG_VERSION")), "not another product's");
    let notes = notes(&arguments(&line));
    assert!(notes.contains("image.repository=klusteralert/agent: that is another product's image."), "{notes}");
    assert!(!notes.contains("proxy:"), "nothing is said of it: {notes}");
}

#[test]
fn klusteralert_with_namespaces_a_node_selector_and_a_proxy() {
    let line = "helm install klusteralert-agent klusteralert/agent --set agentToken=x --set watchNamespaces={production,staging} \
                --set nodeSelector.pool=general --set tolerations[0].operator=Exists --set proxy.https=http://proxy:3128";
    let objects = rendered(&Line(line));
    assert_eq!(config(&objects)["watchNamespaces"], json!(["production", "staging"]));
    assert_eq!(aggregator(&objects)["nodeSelector"], json!({"kubernetes.io/os": "linux", "pool": "general"}));
    assert_eq!(aggregator(&objects)["tolerations"], json!([{"operator": "Exists"}]));
    let notes = notes(&arguments(line));
    assert!(notes.contains("What is at https:// is reached through the proxy http://proxy:3128."), "{notes}");
    assert_eq!(config(&objects)["proxy"], json!({"https": "http://proxy:3128"}));
}

#[test]
fn incidentfox_installed() {
    let line = "helm install incidentfox-agent incidentfox/incidentfox-k8s-agent \\ --namespace incidentfox \\ \
                --set apiKey=ixfx_k8s_YOUR_API_KEY \\ --set clusterName=prod-us-east-1";
    assert_eq!(config(&rendered(&Line(line)))["clusterName"], "prod-us-east-1");
    let notes = notes(&arguments(line));
    assert!(notes.contains("apiKey is read as token."), "{notes}");
}

#[test]
fn incidentfox_with_each_of_its_options() {
    let line = "helm install incidentfox-agent incidentfox/incidentfox-k8s-agent --namespace incidentfox --set apiKey=x \
                --set clusterName=prod-us-east-1 --set gatewayUrl=https://orchestrator.incidentfox.ai/gateway \
                --set replicaCount=3 --set logLevel=WARNING";
    let objects = rendered(&Line(line));
    assert_eq!(object(&objects, "Deployment", "-aggregator")["spec"]["replicas"], 3);
    assert!(aggregator(&objects)["containers"][0]["args"].to_string().contains("--log-level=warning"));
    let notes = notes(&arguments(line));
    for says in ["gatewayUrl: there is no gateway connection yet.", "replicaCount is read as aggregator.replicas."] {
        assert!(notes.contains(says), "{notes}");
    }
}

#[test]
fn incidentfox_restricted_to_namespaces() {
    let folder = tempfile::tempdir().expect("a folder");
    let values = "# values.yaml
rbac:
  # Only allow access to specific namespaces
  namespaceRestriction:
    enabled: true
    namespaces:
      - production
      - staging

  # Add custom rules
  additionalRules:
    - apiGroups: [\"apps\"]
      resources: [\"statefulsets\"]
      verbs: [\"get\", \"list\", \"watch\"]
";
    let line =
        "helm upgrade incidentfox-agent incidentfox/incidentfox-k8s-agent \\ --namespace incidentfox \\ -f values.yaml";
    let arguments = with_values(folder.path(), line, values);
    let objects = Helm::Four.template(&arguments).expect("it renders");
    Helm::Three.template(&arguments).expect("it renders");
    assert_eq!(config(&objects)["restrictToNamespaces"], json!(["production", "staging"]));
    let roles: Vec<_> =
        of_kinds(&objects, &["Role"]).filter(|role| role["rules"].to_string().contains("statefulsets")).collect();
    let namespaces: Vec<_> = roles.iter().map(|role| &role["metadata"]["namespace"]).collect();
    assert_eq!(namespaces, ["production", "staging"]);
    let notes = notes(&arguments);
    assert!(
        notes.contains("Only these namespaces are watched, by the aggregator itself: production, staging."),
        "{notes}"
    );
}

#[test]
fn incidentfox_in_each_of_several_clusters() {
    for line in [
        "helm install incidentfox-agent-prod incidentfox/incidentfox-k8s-agent \\ --namespace incidentfox \\ \
         --set apiKey=ixfx_k8s_PROD_KEY \\ --set clusterName=prod-us-east-1",
        "helm install incidentfox-agent-staging incidentfox/incidentfox-k8s-agent \\ --namespace incidentfox \\ \
         --set apiKey=ixfx_k8s_STAGING_KEY \\ --set clusterName=staging",
    ] {
        rendered(&Line(line));
    }
}

#[test]
fn incidentfox_with_more_memory() {
    let objects = rendered(&Line(
        "helm upgrade incidentfox-agent incidentfox/incidentfox-k8s-agent \\ --namespace incidentfox \\ \
         --set resources.requests.memory=256Mi \\ --set resources.limits.memory=512Mi",
    ));
    let resources = json!({"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}});
    assert_eq!(aggregator(&objects)["containers"][0]["resources"], resources, "the rest is our default");
}

/// Its document lists values; the command itself is made by its platform.
#[test]
fn ankra_with_a_token() {
    let line = "helm install ankra-agent klusteralert/agent --set config.token=outside.secret \
                --set config.ankra_url=https://platform.ankra.app";
    let objects = rendered(&Line(line));
    let sink = &config(&objects)["sinks"]["ingest"];
    assert_eq!((&sink["type"], &sink["url"]), (&json!("ingest"), &json!("https://platform.ankra.app")));
    assert_eq!(token(&objects, "ingest").as_deref(), Some("b3V0c2lkZS5zZWNyZXQ="));
    let notes = notes(&arguments(line));
    for says in [
        "config.ankra_url is read as ingest.url.",
        "config.token is read as token.",
        "to the sink ingest, of type ingest, at https://platform.ankra.app",
        "if it is still the other product's address, set ingest.url to a receiver of yours.",
    ] {
        assert!(notes.contains(says), "{notes}");
    }
}

#[test]
fn ankra_with_a_secret() {
    let objects = rendered(&Line(
        "helm install ankra-agent klusteralert/agent --set config.existing_secret_name=ankra --set config.secret_key=token \
         --set config.ankra_url=https://platform.ankra.app",
    ));
    let volume = aggregator(&objects)["volumes"].as_array().and_then(|all| all.last()).cloned();
    let items = json!([{"key": "token", "path": "token"}]);
    assert_eq!(volume, Some(json!({"name": "token-ingest", "secret": {"secretName": "ankra", "items": items}})));
    assert_eq!(token(&objects, "ingest"), None);
}

#[test]
fn ankra_tuned_for_large_clusters() {
    let line = "helm install ankra-agent klusteralert/agent --set nats_worker_max_workers=30 --set resources.limits.memory=400Mi \
                --set resources.requests.memory=200Mi --set replica_count=2 --set log_level=WARNING \
                --set terminationGracePeriodSeconds=600";
    let objects = rendered(&Line(line));
    assert_eq!(aggregator(&objects)["terminationGracePeriodSeconds"], 600);
    assert_eq!(aggregator(&objects)["containers"][0]["resources"]["limits"], json!({"memory": "400Mi"}));
    let notes = notes(&arguments(line));
    assert!(notes.contains("nats_worker_max_workers: there are no such workers."), "{notes}");
}

#[test]
fn ankra_with_its_later_reference() {
    let file = chart::folder().join("ci/ankra-values.yaml").display().to_string();
    let notes = notes(&arguments(&format!("helm install ankra-agent klusteralert/agent --values {file}")));
    assert!(notes.contains("k8s_watch: there is no live streaming of resources yet."), "{notes}");
}
