//! What a request names: the parts of the path, and the query.

use std::fmt::Write as _;

/// The parts of a path below `/api/v1` or `/apis/GROUP/VERSION`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: Option<String>,
    pub(super) plural: String,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

/// A query's parameters, decoded, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Target {
    /// Reads a path; `None` when it names no resource.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            _ => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some(*name), None),
            [plural, name, subresource] => (*plural, Some(*name), Some(*subresource)),
            _ => return None,
        };
        let text = |part: Option<&str>| part.map(ToString::to_string);
        (!plural.is_empty()).then(|| Self {
            group: group.to_string(),
            version: version.to_string(),
            namespace: text(namespace),
            plural: plural.to_string(),
            name: text(name),
            subresource: text(subresource),
        })
    }

    /// As kubectl and RBAC messages write it: `pods`, `deployments.apps`.
    pub(super) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// With the subresource, as requests are counted: `pods/status`.
    pub(super) fn counted(&self) -> String {
        let mut text = self.resource();
        if let Some(subresource) = &self.subresource {
            let _ = write!(text, "/{subresource}");
        }
        text
    }

    /// Namespace and name, both empty when not given.
    pub(super) fn key(&self) -> (String, String) {
        (self.namespace.clone().unwrap_or_default(), self.name.clone().unwrap_or_default())
    }

    /// `v1`, `apps/v1`.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The parameter's value; an empty one counts as not given, as in Kubernetes.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1"))
    }

    /// Both selectors as one text, as requests are counted: `spec.nodeName=n1`, `app=api;spec.nodeName=n1`.
    pub(super) fn selector_text(&self) -> String {
        let parts: Vec<&str> = [self.get("labelSelector"), self.get("fieldSelector")].into_iter().flatten().collect();
        parts.join(";")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, counted: &str, namespace: Option<&str>, name: Option<&str>) {
        let target = Target::parse(path).expect("the path names a resource");
        assert_eq!(
            (target.counted().as_str(), target.namespace.as_deref(), target.name.as_deref()),
            (counted, namespace, name)
        );
    }

    #[test]
    fn a_path_names_its_resource() {
        check("/api/v1/pods", "pods", None, None);
        check("/api/v1/namespaces", "namespaces", None, None);
        check("/api/v1/namespaces/shop", "namespaces", None, Some("shop"));
        check("/api/v1/namespaces/shop/status", "namespaces/status", None, Some("shop"));
        check("/api/v1/namespaces/shop/pods", "pods", Some("shop"), None);
        check("/api/v1/namespaces/shop/pods/api-0/status", "pods/status", Some("shop"), Some("api-0"));
        check("/apis/apps/v1/namespaces/shop/deployments/api", "deployments.apps", Some("shop"), Some("api"));
        assert_eq!(Target::parse("/version"), None);
        assert_eq!(Target::parse("/api/v1"), None);
    }
}
