//! What one line of a watch says, decoded in one pass: `metav1.WatchEvent` with its `type` ahead of its `object`. Pure.

use rules::view::Object;
use serde::Deserialize;

use super::failure::{Failure, Status, one_line};

/// What one line of a watch says.
#[derive(Debug, PartialEq)]
pub(super) enum Change<V> {
    /// `ADDED` or `MODIFIED`: the object as it is now.
    Applied(V),
    /// `DELETED`: the object as it was last.
    Deleted(V),
    /// `BOOKMARK`: nothing happened up to this version.
    Bookmark(String),
    /// `ERROR`: the watch has failed.
    Failed(Failure),
    /// A line that cannot be decoded. Its version still counts, if it has one.
    Undecodable {
        /// `metadata.resourceVersion`.
        version: Option<String>,
        /// What is wrong.
        error: String,
    },
}

/// `metav1.WatchEvent`.
#[derive(Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
enum Line<V> {
    Added(V),
    Modified(V),
    Deleted(V),
    Bookmark(Versioned),
    Error(Status),
}

#[derive(Default, Deserialize)]
struct Versioned {
    #[serde(default)]
    metadata: Version,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Version {
    resource_version: Option<String>,
}

#[derive(Deserialize)]
struct OnlyVersion {
    object: Versioned,
}

impl<V: Object> Change<V> {
    /// Decodes one line.
    pub(super) fn decode(line: &[u8]) -> Self {
        match serde_json::from_slice::<Line<V>>(line) {
            Ok(Line::Added(object) | Line::Modified(object)) => Self::Applied(object),
            Ok(Line::Deleted(object)) => Self::Deleted(object),
            Ok(Line::Error(status)) => Self::Failed(Failure::from_event(status)),
            Ok(Line::Bookmark(Versioned { metadata: Version { resource_version: Some(version) } })) => {
                Self::Bookmark(version)
            }
            Ok(Line::Bookmark(_)) => Self::Undecodable { version: None, error: "a bookmark without a version".into() },
            Err(error) => Self::Undecodable { version: version_of(line), error: one_line(&error.to_string()) },
        }
    }
}

/// The version of an object whose other fields cannot be read.
fn version_of(line: &[u8]) -> Option<String> {
    serde_json::from_slice::<OnlyVersion>(line).ok()?.object.metadata.resource_version
}

#[cfg(test)]
mod tests {
    use super::super::tests::Thing;
    use super::*;

    fn decode(line: &str) -> Change<Thing> {
        Change::decode(line.as_bytes())
    }

    #[test]
    fn every_type_of_event_is_told_apart() {
        let thing = r#""object":{"metadata":{"name":"a","resourceVersion":"7"},"size":3}"#;
        for (event, applied) in [("ADDED", true), ("MODIFIED", true), ("DELETED", false)] {
            let (Change::Applied(object) | Change::Deleted(object)) =
                decode(&format!(r#"{{"type":"{event}",{thing}}}"#))
            else {
                panic!("{event} carries an object");
            };
            assert_eq!((&*object.metadata.name, object.size), ("a", 3));
            assert_eq!(matches!(decode(&format!(r#"{{{thing},"type":"{event}"}}"#)), Change::Applied(_)), applied);
        }
        let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"Thing","metadata":{"resourceVersion":"9"}}}"#;
        assert_eq!(decode(bookmark), Change::Bookmark("9".into()));
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#;
        assert_eq!(decode(gone), Change::Failed(Failure::Gone));
    }

    #[test]
    fn an_object_that_cannot_be_decoded_still_gives_its_version() {
        let line = r#"{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"8"},"size":"large"}}"#;
        let Change::Undecodable { version, error } = decode(line) else { panic!("size is no number") };
        assert_eq!(version.as_deref(), Some("8"));
        assert!(error.contains("expected u32"), "{error}");
        for line in ["{}", "not json", r#"{"type":"NEW","object":{}}"#, r#"{"type":"BOOKMARK","object":{}}"#] {
            assert!(matches!(decode(line), Change::Undecodable { version: None, .. }), "{line}");
        }
    }
}
