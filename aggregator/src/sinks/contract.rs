//! `aggregator/openapi.yaml` says what is sent: real records are held against it.

use std::collections::BTreeSet;

use rules::{Evidence, Finding, FindingId, Incarnation, Kind, Owner, Seen, Severity, State, Subject, Time};
use serde_json::Value;
use wire::Epoch;

use crate::forward::outbox::{Next, Outcome};
use crate::pipeline::Pipeline;
use crate::settings::{Cluster, Settings, SinkSettings};

const NOW: Time = Time::from_millis(1_000_000_000);

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

/// The records of a node that goes and comes back.
fn records() -> Vec<Value> {
    let sinks = [("sink".into(), SinkSettings::default())].into();
    let labels = [("team".to_owned(), "platform".to_owned())].into();
    let cluster = Cluster { name: "prod".to_owned(), id: "0d5e".to_owned(), labels };
    let mut pipeline = Pipeline::new(Settings { cluster, sinks, ..Settings::default() }, Epoch(1), 7, NOW);
    pipeline.on_expected(std::iter::empty(), NOW);
    let kind = Kind::named("NodeNotReady").expect("a kind of the catalogue");
    let subject = Subject { node: "node-1".into(), ..Subject::default() };
    let firing = Finding {
        id: FindingId::of(kind, &subject),
        kind,
        subject,
        owner: Owner { kind: "Node".into(), name: "node-1".into() },
        incarnation: Incarnation(1),
        state: State::Active,
        since: NOW,
        seen: Seen::Happening,
        severity: Severity::Critical,
        evidence: Evidence { reason: Some("KubeletStopped".into()), names: vec!["x".into()], ..Evidence::default() },
    };
    let over = Finding { state: State::Cleared, ..firing.clone() };
    let mut bodies = Vec::new();
    for finding in [firing, over] {
        pipeline.on_own_findings(vec![finding], NOW);
        let Next::Send(records) = pipeline.next(&"sink".into(), NOW) else { panic!("there is something to tell") };
        pipeline.on_outcome(&"sink".into(), Outcome::Delivered, NOW);
        bodies.extend(records.iter().map(|record| serde_json::from_str(&record.body).expect("JSON")));
    }
    bodies
}

#[test]
fn records_are_what_the_contract_says() {
    let contract = Contract::read();
    let records = records();
    let statuses: Vec<_> = records.iter().map(|record| record["status"].as_str().expect("a status")).collect();
    assert_eq!(statuses, ["firing", "resolved"]);
    for record in &records {
        contract.check_named("Record", record);
    }
    contract.check_named("Batch", &serde_json::json!({ "records": records }));
}

#[test]
fn both_forms_of_delivery_expect_the_same_answers() {
    let Contract(contract) = Contract::read();
    let batch = &contract["paths"]["/"]["post"]["responses"];
    assert_eq!(*batch, contract["webhooks"]["record"]["post"]["responses"]);
    let statuses: Vec<_> = batch.as_object().expect("answers").keys().map(String::as_str).collect();
    assert_eq!(statuses, ["2XX", "400", "401", "403", "413", "422", "429", "503", "default"]);
}
