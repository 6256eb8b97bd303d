//! `aggregator/openapi.yaml` says what is sent: real records are held against it.

use std::collections::BTreeSet;
use std::time::Duration;

use rules::{Evidence, Finding, FindingId, Incarnation, Kind, Owner, Seen, Severity, State, Subject, Time};
use serde_json::Value;
use wire::Epoch;

use crate::forward::outbox::{Next, Outcome};
use crate::pipeline::Pipeline;
use crate::settings::{Cluster, Settings, SinkSettings};

const NOW: Time = Time::from_millis(1_777_601_645_678);

/// The contract's schemas.
pub(crate) struct Contract(Value);

impl Contract {
    pub(crate) fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml");
        let text = std::fs::read_to_string(path).expect("the contract is there");
        Self(serde_saphyr::from_str(&text).expect("it is YAML"))
    }

    /// Follows a reference.
    fn schema<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(path) => self.0.pointer(path.trim_start_matches('#')).expect("a schema that is there"),
            None => schema,
        }
    }

    /// `value` is what `schema` says, and objects have no property that it does not name.
    #[track_caller]
    fn check(&self, path: &str, schema: &Value, value: &Value) {
        let schema = self.schema(schema);
        let types = match &schema["type"] {
            Value::Array(types) => types.iter().map(|name| name.as_str().expect("a type")).collect(),
            name => vec![name.as_str().unwrap_or_else(|| panic!("{path} has no type"))],
        };
        assert!(types.contains(&type_of(value)), "{path} is {value}, which is none of {types:?}");
        if let Some(allowed) = schema["enum"].as_array() {
            assert!(allowed.contains(value), "{path} is {value}, which is none of {allowed:?}");
        }
        if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str()) {
            let pattern = regex_lite::Regex::new(pattern).expect("a pattern");
            assert!(pattern.is_match(text), "{path} is {text}, which does not match");
        }
        if let Some(elements) = value.as_array() {
            assert!(schema["maxItems"].as_u64().is_none_or(|max| elements.len() as u64 <= max), "{path} is too long");
            for element in elements {
                self.check(&format!("{path}[]"), &schema["items"], element);
            }
        }
        if let Some(members) = value.as_object()
            && schema["additionalProperties"].is_null()
        {
            let named: BTreeSet<_> = schema["properties"].as_object().expect("its properties").keys().collect();
            assert_eq!(members.keys().collect::<BTreeSet<_>>(), named, "{path}");
            let required = schema["required"].as_array().expect("all of them are there").iter();
            let required: BTreeSet<_> = required.map(|name| name.as_str().expect("a name").to_owned()).collect();
            assert_eq!(required.iter().collect::<BTreeSet<_>>(), named, "{path} always has every property");
            for (name, member) in members {
                self.check(&format!("{path}.{name}"), &schema["properties"][name], member);
            }
        }
    }

    /// `value` is what the schema of that name says.
    #[track_caller]
    pub(crate) fn check_named(&self, name: &str, value: &Value) {
        self.check(name, &self.0["components"]["schemas"][name], value);
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Settings of one sink, with runbooks there.
fn settings(runbooks: Option<&str>) -> Settings {
    let sinks = [("sink".into(), SinkSettings::default())].into();
    let labels = [("team".to_owned(), "platform".to_owned())].into();
    let id = "6f1d8a3e-0b57-4c7e-9d5c-2f4d1f9f0a11".to_owned();
    let cluster = Cluster { name: "prod-eu-1".to_owned(), id, labels };
    Settings { cluster, runbooks: runbooks.map(Into::into), sinks, ..Settings::default() }
}

fn pipeline(settings: Settings) -> Pipeline {
    let mut pipeline = Pipeline::new(settings, Epoch(1), 7, NOW);
    pipeline.on_expected(std::iter::empty(), NOW);
    pipeline
}

/// What is told of a finding that comes, stays for a minute and a half, and goes.
fn told_of(firing: &Finding) -> Vec<Value> {
    let mut pipeline = pipeline(settings(Some("https://wiki.example.com/runbooks")));
    let over = Finding { state: State::Cleared, ..firing.clone() };
    let mut bodies = Vec::new();
    for (finding, at) in [(firing.clone(), NOW), (over, NOW + Duration::from_secs(90))] {
        pipeline.on_own_findings(vec![finding], at);
        let Next::Send(records) = pipeline.next(&"sink".into(), at) else { panic!("there is something to tell") };
        pipeline.on_outcome(&"sink".into(), Outcome::Delivered, at);
        bodies.extend(records.iter().map(|record| serde_json::from_str(&record.body).expect("JSON")));
    }
    bodies
}

fn finding(kind: &str, subject: Subject, owner: Owner, evidence: Evidence) -> Finding {
    let kind = Kind::named(kind).expect("a kind of the catalogue");
    Finding {
        id: FindingId::of(kind, &subject),
        kind,
        subject,
        owner,
        incarnation: Incarnation(1),
        state: State::Active,
        since: NOW,
        seen: Seen::Happening,
        severity: Severity::Critical,
        evidence,
    }
}

/// A node that goes and comes back.
fn node() -> Finding {
    let subject = Subject { node: "node-1".into(), ..Subject::default() };
    let owner = Owner { kind: "Node".into(), name: "node-1".into() };
    let evidence = Evidence { reason: Some("KubeletStopped".into()), names: vec!["x".into()], ..Evidence::default() };
    finding("NodeNotReady", subject, owner, evidence)
}

/// A container that ends again and again, until it does not.
fn container() -> Finding {
    let subject = Subject {
        namespace: "payments".into(),
        pod: "api-7d9f8b6c5-x2x4z".into(),
        uid: "5b0e".into(),
        container: "app".into(),
        node: "node-1".into(),
    };
    let evidence = Evidence {
        reason: Some("Error".into()),
        message: Some("cannot connect, password=hunter2".into()),
        image: Some("registry.example.com/api:1.8.2".into()),
        restarts: Some(9),
        exit_code: Some(1),
        memory_limit: Some("256Mi".into()),
        ..Evidence::default()
    };
    finding("CrashLoopBackOff", subject, Owner { kind: "Deployment".into(), name: "api".into() }, evidence)
}

#[test]
fn records_are_what_the_contract_says() {
    let contract = Contract::read();
    let records = told_of(&node());
    let statuses: Vec<_> = records.iter().map(|record| record["status"].as_str().expect("a status")).collect();
    assert_eq!(statuses, ["firing", "resolved"]);
    for record in &records {
        contract.check_named("Record", record);
    }
    contract.check_named("Batch", &serde_json::json!({ "records": records }));
}

#[test]
fn the_examples_are_what_is_sent() {
    let Contract(contract) = Contract::read();
    let records = told_of(&container());
    let examples = &contract["webhooks"]["record"]["post"]["requestBody"]["content"]["application/json"]["examples"];
    let shown: Vec<_> = ["firing", "resolved"].map(|status| &examples[status]["value"]).into_iter().collect();
    assert_eq!(shown, records.iter().collect::<Vec<_>>(), "{}", serde_json::to_string_pretty(&records).expect("JSON"));
}

#[test]
fn a_link_to_a_runbook_is_what_the_configuration_says_when_a_key_is_sent_first() {
    let settings = |runbooks| {
        let sinks = ["sink", "slow"].map(|name| (name.into(), SinkSettings::default())).into();
        Settings { sinks, ..settings(runbooks) }
    };
    let mut pipeline = pipeline(settings(Some("https://old.example")));
    let mut sent = |sink: &str, runbooks, finding, outcome| {
        let sink = sink.into();
        pipeline.configure(settings(runbooks), NOW);
        pipeline.on_own_findings(Vec::from_iter(finding), NOW);
        // Beyond every pause.
        let Next::Send(records) = pipeline.next(&sink, NOW + Duration::from_hours(1)) else {
            panic!("nothing is sent")
        };
        pipeline.on_outcome(&sink, outcome, NOW);
        let body: Value = serde_json::from_str(&records[0].body).expect("JSON");
        (body["revision"].clone(), body["runbookUrl"].clone())
    };
    let [first, second] = [serde_json::json!(1), serde_json::json!(2)];
    let old = Value::from("https://old.example/NodeNotReady");
    assert_eq!(sent("sink", Some("https://old.example"), Some(node()), Outcome::Failed), (first.clone(), old.clone()));
    for sink in ["slow", "sink"] {
        let sent = sent(sink, Some("https://new.example"), None, Outcome::Delivered);
        assert_eq!(sent, (first.clone(), old.clone()), "a key has one body, whoever is sent it");
    }
    let over = Finding { state: State::Cleared, ..node() };
    assert_eq!(
        sent("sink", None, Some(over), Outcome::Delivered),
        (second, Value::Null),
        "nobody has pages by default"
    );
}

#[test]
fn both_forms_of_delivery_expect_the_same_answers() {
    let Contract(contract) = Contract::read();
    let batch = &contract["paths"]["/"]["post"]["responses"];
    assert_eq!(*batch, contract["webhooks"]["record"]["post"]["responses"]);
    let statuses: Vec<_> = batch.as_object().expect("answers").keys().map(String::as_str).collect();
    assert_eq!(statuses, ["2XX", "400", "401", "403", "413", "422", "429", "503", "default"]);
}
