//! The bill of materials: every crate that is linked into the programs, as CycloneDX 1.5 (ECMA-424).
//!
//! Made from what cargo says. The tool that there is for it, cargo-cyclonedx, writes a file for each crate of the workspace,
//! and with each a random number, and would have to be compiled first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// What is shipped.
const PROGRAMS: [&str; 2] = ["tocsin-aggregator", "tocsin-node-agent"];
/// What it may run on: each has the same crates but for some that look at the machine.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];

/// SHA-256 of each crate that comes from a registry, by name and version.
type Checksums = HashMap<(String, String), String>;

/// The bill's text, as of `created`, in RFC 3339.
pub fn sbom(created: &str) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace holds this package")?;
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).context("reading Cargo.lock")?;
    let checksums = checksums(&lock);
    let mut components = BTreeMap::new();
    let mut needs = BTreeMap::new();
    for target in TARGETS {
        collect(&metadata(root, target)?, &checksums, &mut components, &mut needs)?;
    }
    Ok(format!("{:#}\n", bill(components, needs, created)))
}

fn metadata(root: &Path, target: &str) -> Result<Value> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()));
    command.current_dir(root).args(["metadata", "--locked", "--format-version=1", "--filter-platform", target]);
    let output = command.output().context("starting cargo")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cargo metadata prints JSON")
}

fn checksums(lock: &str) -> Checksums {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    let of = |block| Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?));
    lock.split("[[package]]").skip(1).filter_map(of).collect()
}

/// Adds what is linked into the programs on one target, and what each of it needs.
fn collect(
    metadata: &Value,
    checksums: &Checksums,
    components: &mut BTreeMap<String, Value>,
    needs: &mut BTreeMap<String, BTreeSet<String>>,
) -> Result<()> {
    let by_id = |list: &'_ Value| -> HashMap<String, Value> {
        entries(list).map(|entry| (text(&entry["id"]).to_owned(), entry.clone())).collect()
    };
    let (packages, nodes) = (by_id(&metadata["packages"]), by_id(&metadata["resolve"]["nodes"]));
    let is_program = |package: &&Value| PROGRAMS.contains(&text(&package["name"]));
    let mut next: Vec<_> = packages.values().filter(is_program).collect();
    ensure!(next.len() == PROGRAMS.len(), "not all of {PROGRAMS:?} are in the workspace");
    let mut seen = BTreeSet::new();
    while let Some(package) = next.pop() {
        let id = text(&package["id"]);
        if !seen.insert(id) {
            continue;
        }
        let node = nodes.get(id).with_context(|| format!("cargo metadata resolves no {id}"))?;
        let linked = entries(&node["deps"])
            .filter(|dep| entries(&dep["dep_kinds"]).any(|kind| kind["kind"].is_null()))
            .filter_map(|dep| packages.get(text(&dep["pkg"])))
            .filter(|package| !is_macro(package));
        let linked: Vec<_> = linked.collect();
        components.insert(reference(package), component(package, checksums)?);
        needs.entry(reference(package)).or_default().extend(linked.iter().map(|package| reference(package)));
        next.extend(linked);
    }
    Ok(())
}

fn bill(components: BTreeMap<String, Value>, needs: BTreeMap<String, BTreeSet<String>>, created: &str) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let dependencies: Vec<_> = needs.into_iter().map(|(of, needs)| json!({"ref": of, "dependsOn": needs})).collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "component": {"type": "application", "bom-ref": "tocsin", "name": "tocsin", "version": version},
        },
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies,
    })
}

fn component(package: &Value, checksums: &Checksums) -> Result<Value> {
    let (name, version) = (text(&package["name"]), text(&package["version"]));
    // The slash is how licences were written before SPDX expressions.
    let license = package["license"].as_str().with_context(|| format!("{name} names no licence"))?;
    let license = license.replace(" / ", " OR ").replace('/', " OR ");
    let kind = if PROGRAMS.contains(&name) { "application" } else { "library" };
    let mut component = json!({
        "type": kind,
        "bom-ref": reference(package),
        "name": name,
        "version": version,
        "licenses": [{"expression": license}],
    });
    if !package["source"].is_null() {
        let sum = checksums.get(&(name.to_owned(), version.to_owned()));
        let sum = sum.with_context(|| format!("{name} {version} has no checksum in Cargo.lock"))?;
        component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
        component["purl"] = json!(reference(package));
    }
    Ok(component)
}

/// What a crate is called in the bill.
fn reference(package: &Value) -> String {
    let (name, version) = (text(&package["name"]), text(&package["version"]));
    let begins = if package["source"].is_null() { "" } else { "pkg:cargo/" };
    format!("{begins}{name}@{version}")
}

/// Whether it runs while something is compiled, and is in no program.
fn is_macro(package: &Value) -> bool {
    entries(&package["targets"]).any(|target| entries(&target["kind"]).any(|kind| kind == "proc-macro"))
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
