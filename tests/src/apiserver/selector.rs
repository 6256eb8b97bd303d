//! Field and label selectors, as `fields.Selector` and `labels.Selector` of apimachinery read them.

use serde_json::Value;

use super::target::Query;

/// A watch's or a LIST's selectors, joined by "and".
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    fields: Vec<FieldTerm>,
    labels: Vec<LabelTerm>,
}

/// What selectors see of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selectable {
    fields: Vec<(&'static str, Box<str>)>,
    labels: Vec<(String, String)>,
}

/// The index that a selector can be answered from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Bucket {
    /// `spec.nodeName=`: its pods; the empty name stands for those not yet scheduled.
    Node(String),
    /// `metadata.name=`.
    Name(String),
    /// No index helps.
    All,
}

#[derive(Clone, Debug)]
struct FieldTerm {
    path: String,
    equal: bool,
    value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LabelTerm {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Selector {
    /// Reads both selectors; the error is the message that the server answers 400 with.
    pub(super) fn parse(query: &Query, resource: &str) -> Result<Self, String> {
        let fields = parse_fields(query.get("fieldSelector").unwrap_or_default(), resource)?;
        let labels = parse_labels(query.get("labelSelector").unwrap_or_default())?;
        Ok(Self { fields, labels })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.labels.is_empty()
    }

    /// The index to use for a resource.
    pub(super) fn bucket(&self, resource: &str) -> Bucket {
        let exact = |path: &str| self.fields.iter().find(|term| term.equal && term.path == path);
        match (exact("metadata.name"), exact("spec.nodeName")) {
            (Some(name), _) => Bucket::Name(name.value.clone()),
            (None, Some(node)) if resource == "pods" => Bucket::Node(node.value.clone()),
            _ => Bucket::All,
        }
    }

    pub(super) fn matches(&self, object: &Selectable) -> bool {
        self.fields.iter().all(|term| (object.field(&term.path) == term.value) == term.equal)
            && self.labels.iter().all(|term| term.matches(&object.labels))
    }
}

impl Selectable {
    pub(super) fn of(object: &Value, resource: &str) -> Self {
        let names = ["metadata.name", "metadata.namespace"].iter().chain(selectable(resource));
        let fields = names.map(|path| (*path, field(object, path).into())).collect();
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_string()))).collect();
        Self { fields, labels }
    }

    /// A selectable field; empty for all others.
    pub(super) fn field(&self, path: &str) -> &str {
        self.fields.iter().find(|(name, _)| *name == path).map_or("", |(_, value)| value)
    }
}

impl LabelTerm {
    fn matches(&self, labels: &[(String, String)]) -> bool {
        let label = |key: &String| labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let among = |key, values: &[String]| label(key).map(|found| values.iter().any(|value| value == found));
        match self {
            Self::In(key, values) => among(key, values) == Some(true),
            Self::NotIn(key, values) => among(key, values) != Some(true),
            Self::Exists(key) => label(key).is_some(),
            Self::Missing(key) => label(key).is_none(),
        }
    }
}

/// The fields that each resource can be selected by (`AddFieldLabelConversionFunc` in kubernetes/pkg/apis).
fn selectable(resource: &str) -> &'static [&'static str] {
    match resource {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "nodes" => &["spec.unschedulable"],
        "namespaces" => &["status.phase"],
        "secrets" => &["type"],
        "jobs.batch" => &["status.successful"],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        _ => &[],
    }
}

/// A field's value as a selector sees it: text, with nothing for a missing one.
fn field(object: &Value, path: &str) -> String {
    let path = if path == "source" { "source.component" } else { path };
    let found = path.split('.').try_fold(object, |value, part| value.get(part));
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None if matches!(path, "spec.unschedulable" | "spec.hostNetwork") => "false".to_string(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn parse_fields(text: &str, resource: &str) -> Result<Vec<FieldTerm>, String> {
    let mut terms = Vec::new();
    for term in text.split(',').filter(|term| !term.is_empty()) {
        let (path, equal, value) = if let Some((path, value)) = term.split_once("!=") {
            (path, false, value)
        } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
            (path, true, value)
        } else {
            return Err(format!("invalid selector: '{text}'; can't understand '{term}'"));
        };
        if !matches!(path, "metadata.name" | "metadata.namespace") && !selectable(resource).contains(&path) {
            return Err(format!("field label not supported: {path}"));
        }
        terms.push(FieldTerm { path: path.to_string(), equal, value: value.to_string() });
    }
    Ok(terms)
}

fn parse_labels(text: &str) -> Result<Vec<LabelTerm>, String> {
    split_outside_parentheses(text).into_iter().filter(|term| !term.is_empty()).map(parse_label).collect()
}

fn parse_label(term: &str) -> Result<LabelTerm, String> {
    let one = |value: &str| vec![value.trim().to_string()];
    let key = |key: &str| key.trim().to_string();
    if let Some((name, values)) = term.split_once(" notin ") {
        return Ok(LabelTerm::NotIn(key(name), parse_set(values)?));
    }
    if let Some((name, values)) = term.split_once(" in ") {
        return Ok(LabelTerm::In(key(name), parse_set(values)?));
    }
    if let Some((name, value)) = term.split_once("!=") {
        return Ok(LabelTerm::NotIn(key(name), one(value)));
    }
    if let Some((name, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(LabelTerm::In(key(name), one(value)));
    }
    match term.strip_prefix('!') {
        Some(name) => Ok(LabelTerm::Missing(key(name))),
        None if term.contains([' ', '(', ')']) => Err(format!("unable to parse requirement: {term}")),
        None => Ok(LabelTerm::Exists(key(term))),
    }
}

fn parse_set(text: &str) -> Result<Vec<String>, String> {
    let inner = text.trim().strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    let inner = inner.ok_or_else(|| format!("unable to parse requirement: expected '(' and ')' in {text}"))?;
    Ok(inner.split(',').map(|value| value.trim().to_string()).collect())
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|character| {
        depth += i32::from(character == '(') - i32::from(character == ')');
        character == ',' && depth == 0
    })
    .map(str::trim)
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(labels: &str, fields: &str, object: &Value) -> bool {
        let selector = Selector {
            fields: parse_fields(fields, "pods").expect("fields"),
            labels: parse_labels(labels).expect("labels"),
        };
        selector.matches(&Selectable::of(object, "pods"))
    }

    #[test]
    fn selectors_select_as_kubernetes_does() {
        let pod = json!({
            "metadata": {"name": "api-0", "namespace": "shop", "labels": {"app": "api", "tier": "front"}},
            "spec": {"nodeName": "n1"}, "status": {"phase": "Running"},
        });
        for (labels, fields, expected) in [
            ("", "spec.nodeName=n1", true),
            ("", "spec.nodeName=", false),
            ("", "spec.nodeName!=n1", false),
            ("", "spec.nodeName==n1,status.phase=Running", true),
            ("", "metadata.name=api-0,metadata.namespace=shop", true),
            ("", "spec.hostNetwork=false", true),
            ("app=api", "", true),
            ("app==api,tier!=back", "", true),
            ("app!=api", "", false),
            ("none!=x", "", true),
            ("app in (web, api),tier notin (back)", "", true),
            ("app notin (web, api)", "", false),
            ("none notin (a)", "", true),
            ("tier", "", true),
            ("!tier", "", false),
            ("!none,app", "status.phase=Running", true),
        ] {
            assert_eq!(selects(labels, fields, &pod), expected, "labels {labels:?} fields {fields:?}");
        }
    }

    #[test]
    fn an_unscheduled_pod_has_an_empty_node_name() {
        assert!(selects("", "spec.nodeName=", &json!({"spec": {}})));
    }

    #[test]
    fn what_cannot_be_selected_by_is_refused() {
        assert_eq!(
            parse_fields("spec.color=red", "pods").map(|_| ()),
            Err("field label not supported: spec.color".into())
        );
        assert!(parse_labels("app in api").is_err());
    }
}
