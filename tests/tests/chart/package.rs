//! What `make package` writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tocsin_tests::chart::{self, Helm};
use tocsin_tests::package;

use crate::installation::with;

/// 2001-09-09: no time at which anything here was written.
const CREATED: u64 = 1_000_000_000;

fn written() -> TempDir {
    let folder = TempDir::new().expect("a folder can be made");
    package::write(folder.path(), CREATED).expect("it is written");
    folder
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn archive() -> String {
    format!("tocsin-{}.tgz", env!("CARGO_PKG_VERSION"))
}

#[test]
fn the_same_sources_and_time_give_the_same_bytes() {
    let contents = |folder: &TempDir| {
        let entries = std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry"));
        entries
            .map(|entry| (entry.file_name(), std::fs::read(entry.path()).expect("a file")))
            .collect::<BTreeMap<_, _>>()
    };
    let (one, other) = (written(), written());
    assert_eq!(contents(&one).len(), 4);
    assert!(contents(&one) == contents(&other));
    // The two were written in the same second, perhaps: no time of theirs is in them.
    let mut tar = Command::new("tar");
    let tar = tar.args(["--list", "--verbose", "--full-time", "--utc", "--file"]).arg(one.path().join(archive()));
    let listed = String::from_utf8(tar.output().expect("tar runs").stdout).expect("text");
    assert!(
        listed.lines().count() > 20 && listed.lines().all(|line| line.contains(" 2001-09-09 01:46:40 ")),
        "{listed}"
    );
    let index = chart::yaml(&read(one.path(), "index.yaml")).expect("YAML");
    assert_eq!(index["generated"], "2001-09-09T01:46:40Z");
    assert_eq!(index["entries"]["tocsin"][0]["created"], "2001-09-09T01:46:40Z");
}

#[test]
fn both_helms_install_the_archive_as_they_install_the_folder() {
    let folder = written();
    let archive = folder.path().join(archive()).display().to_string();
    for helm in Helm::BOTH {
        let there = helm.template(&with(&["metrics.dashboard.enabled=true"])).expect("it renders");
        let mut arguments = with(&["metrics.dashboard.enabled=true"]);
        arguments[1].clone_from(&archive);
        assert!(helm.template(&arguments).expect("it renders") == there, "{helm:?}");
    }
}

#[test]
fn the_checksums_are_those_of_the_files_and_the_index_has_that_of_the_archive() {
    let folder = written();
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--strict", package::CHECKSUMS]).current_dir(folder.path());
    let said = check.output().expect("it runs");
    assert!(said.status.success(), "{said:?}");
    let sums = read(folder.path(), package::CHECKSUMS);
    assert_eq!(sums.lines().count(), 3);
    let index = chart::yaml(&read(folder.path(), "index.yaml")).expect("YAML");
    let digest = index["entries"]["tocsin"][0]["digest"].as_str().expect("a digest");
    assert!(sums.contains(&format!("{digest}  {}\n", archive())), "{digest}\n{sums}");
}

#[test]
fn the_bill_of_materials_names_what_is_linked_and_nothing_else() {
    let folder = written();
    let text = read(folder.path(), &format!("tocsin-{}.cdx.json", env!("CARGO_PKG_VERSION")));
    let bill: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&Value::from("CycloneDX"), &Value::from("1.5")));
    let components = bill["components"].as_array().expect("components");
    let names: BTreeSet<_> = components.iter().filter_map(|component| component["name"].as_str()).collect();
    for linked in ["tocsin-aggregator", "tocsin-node-agent", "rules", "wire", "process", "rustls", "ring", "bincode"] {
        assert!(names.contains(linked), "{linked} is linked: {names:?}");
    }
    for absent in ["tocsin-tests", "proptest", "serde_derive", "syn", "windows-sys", "cc"] {
        assert!(!names.contains(absent), "{absent} is in no program");
    }
    let lock = std::fs::read_to_string(chart::folder().join("../../Cargo.lock")).expect("it is there");
    for component in components.iter().filter(|component| component.get("purl").is_some()) {
        let of = |key: &str| component[key].as_str().expect("a text");
        let sum = component["hashes"][0]["content"].as_str().expect("a checksum");
        let locked = format!(
            "name = \"{}\"\nversion = \"{}\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"{sum}\"",
            of("name"),
            of("version")
        );
        assert!(lock.contains(&locked), "Cargo.lock has not\n{locked}");
        assert_eq!(of("purl"), format!("pkg:cargo/{}@{}", of("name"), of("version")));
    }
    let references: BTreeSet<_> = components.iter().map(|component| component["bom-ref"].to_string()).collect();
    assert_eq!(references.len(), components.len());
    for dependency in bill["dependencies"].as_array().expect("dependencies") {
        let needs = dependency["dependsOn"].as_array().expect("a list");
        for reference in needs.iter().chain([&dependency["ref"]]) {
            assert!(references.contains(&reference.to_string()), "{reference} is no component");
        }
    }
}
