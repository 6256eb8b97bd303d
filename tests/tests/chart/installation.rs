//! What helm would install, and how a test asks for it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tocsin_tests::chart::{self, Helm};

/// Release, chart and namespace of every test that says nothing else.
pub(crate) fn release() -> Vec<String> {
    ["tocsin", &chart::folder().display().to_string(), "--namespace", "tocsin"].map(str::to_owned).to_vec()
}

/// Arguments for a release with these values, each `--set`, beside the one that must be set.
pub(crate) fn with(sets: &[&str]) -> Vec<String> {
    let sets = ["clusterName=prod-eu-1"].iter().chain(sets);
    [release(), sets.flat_map(|set| ["--set", set].map(str::to_owned)).collect()].concat()
}

/// Arguments for a release with a file of values.
pub(crate) fn with_file(values: &Path) -> Vec<String> {
    [release(), vec!["--values".to_owned(), values.display().to_string()]].concat()
}

/// What helm 4 renders. The chart is such that it must.
#[track_caller]
pub(crate) fn rendered(arguments: &[String]) -> Vec<Value> {
    Helm::Four.template(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error:#}"))
}

/// The notes. The chart is such that there must be some.
#[track_caller]
pub(crate) fn notes(arguments: &[String]) -> String {
    Helm::notes(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error:#}"))
}

/// That both helms refuse these arguments, and say all of this.
#[track_caller]
pub(crate) fn refused(arguments: &[String], says: &[&str]) {
    for helm in Helm::BOTH {
        let error = match helm.template(arguments) {
            Ok(_) => panic!("{helm:?} renders {arguments:?}"),
            Err(error) => format!("{error:#}"),
        };
        for words in says {
            assert!(error.contains(words), "{helm:?} {arguments:?}: not said: {words}\n{error}");
        }
    }
}

/// The one object of this kind whose name ends so.
#[track_caller]
pub(crate) fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_meant = |object: &&Value| {
        object["kind"] == kind && object["metadata"]["name"].as_str().is_some_and(|given| given.ends_with(name))
    };
    let found: Vec<_> = objects.iter().filter(is_meant).collect();
    assert_eq!(
        found.len(),
        1,
        "{kind} …{name} among {:?}",
        objects.iter().map(|o| &o["metadata"]["name"]).collect::<Vec<_>>()
    );
    found[0]
}

/// Every object of these kinds.
pub(crate) fn of_kinds<'a>(objects: &'a [Value], kinds: &'a [&str]) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(|object| kinds.iter().any(|kind| object["kind"] == *kind))
}

/// Every file of values that the chart is tried with, its presets among them.
pub(crate) fn matrix() -> Vec<PathBuf> {
    let folder = chart::folder();
    let mut files: Vec<_> = std::fs::read_dir(folder.join("ci"))
        .expect("the chart has a folder ci")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() > 10, "the matrix was not found");
    files
}

/// The aggregator's configuration.
#[track_caller]
pub(crate) fn config(objects: &[Value]) -> Value {
    let text = object(objects, "ConfigMap", "-config")["data"]["config.yaml"].as_str().expect("a configuration");
    chart::yaml(text).expect("it is YAML")
}
