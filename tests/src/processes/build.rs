//! Where our programs are.
//!
//! Cargo tells a test the path of programs of its own package only, and `cargo test` does not even build those of others.
//! So cargo is asked to build them, and says where they are: nothing to do when they are fresh, never a stale one, and the
//! same with `cargo test`, `cargo test --workspace` and `cargo run`, on a fresh clone, too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};

const NODE_AGENT: &str = "tocsin-node-agent";
const AGGREGATOR: &str = "tocsin-aggregator";
/// Each program's package, and the profile that it is shipped in. The Dockerfile says the same.
pub(crate) const SHIPPED: [(&str, &str); 2] = [(NODE_AGENT, "release-agent"), (AGGREGATOR, "release")];
/// No shared libraries: there are none in an image from scratch. The Dockerfile says the same.
pub(crate) const STATIC: &str = "target-feature=+crt-static";
/// Built together with this package they have its features of their dependencies, which are compiled already.
const THIS: &str = env!("CARGO_PKG_NAME");
const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// How the variables begin that cargo sets for what it runs.
const TOLD: &[&str] = &[
    "CARGO_BIN_",
    "CARGO_CRATE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_",
    "CARGO_TARGET_TMPDIR",
    "OUT_DIR",
];

/// The paths of our programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `tocsin-node-agent`.
    pub node_agent: PathBuf,
    /// `tocsin-aggregator`.
    pub aggregator: PathBuf,
}

impl Programs {
    /// Programs for tests, built once per process.
    pub fn built() -> Result<Self> {
        static BUILT: OnceLock<Result<Programs, String>> = OnceLock::new();
        let built = BUILT.get_or_init(|| {
            let packages = ["--package", NODE_AGENT, "--package", AGGREGATOR, "--package", THIS];
            let [node_agent, aggregator] =
                build(Path::new(HERE), &packages, [NODE_AGENT, AGGREGATOR]).map_err(|error| format!("{error:#}"))?;
            Ok(Self { node_agent, aggregator })
        });
        built.clone().map_err(|error| anyhow!(error))
    }

    /// Programs for tests that speak the next version of the report format, too: of these the present ones are the
    /// predecessors.
    pub fn successors() -> Result<Self> {
        let packages = ["--package", THIS, "--features", "successor"];
        let [node_agent, aggregator] =
            build(Path::new(HERE), &packages, ["successor-node-agent", "successor-aggregator"])?;
        Ok(Self { node_agent, aggregator })
    }

    /// Programs as they are shipped: each in its own profile, with no features but its own, without shared libraries, and
    /// without the names of this machine's folders.
    pub fn released() -> Result<Self> {
        Self::released_of(Path::new(HERE))
    }

    /// The same of other sources, of which `folder` is one of the workspace's. The flags are the same to the letter, so that
    /// crates of others are compiled once for both: only here are the names of this machine's folders not in the programs.
    pub(crate) fn released_of(folder: &Path) -> Result<Self> {
        let (target, sources) = (host()?, Path::new(HERE).join(".."));
        let folders = [(cargo_home()?, "/cargo"), (sources.canonicalize()?, "/tocsin")];
        let renamed = folders.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
        let flags = json!([["-C", STATIC].map(str::to_owned), renamed].concat());
        let flags = format!("target.{target}.rustflags={flags}");
        let shipped = SHIPPED.map(|(package, profile)| {
            let selection = ["--package", package, "--profile", profile, "--target", &target, "--config", &flags];
            build(folder, &selection, [package]).map(|[path]| path)
        });
        let [node_agent, aggregator] = shipped;
        Ok(Self { node_agent: node_agent?, aggregator: aggregator? })
    }
}

/// Where cargo keeps the sources of others.
fn cargo_home() -> Result<PathBuf> {
    let home = |name: &str| std::env::var_os(name).map(PathBuf::from);
    home("CARGO_HOME").or_else(|| Some(home("HOME")?.join(".cargo"))).context("neither CARGO_HOME nor HOME is set")
}

/// What this machine is called as a target.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said =
        Command::new(rustc).args(["--version", "--verbose"]).stdin(Stdio::null()).output().context("running rustc")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).with_context(|| format!("rustc does not say which target it runs on: {said}"))
}

/// Builds programs of the sources that `folder` belongs to, and takes their paths from cargo's own messages: those are right
/// with every target folder and profile.
fn build<const N: usize>(folder: &Path, selection: &[&str], programs: [&str; N]) -> Result<[PathBuf; N]> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    // What cargo tells this process about its package. Some build scripts look at it, and would all run again.
    let told = std::env::vars_os().map(|(name, _)| name);
    for name in told.filter(|name| TOLD.iter().any(|told| name.to_string_lossy().starts_with(told))) {
        command.env_remove(name);
    }
    if folder != Path::new(HERE) {
        // Where this workspace's own is: what is compiled there already is not compiled again.
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "../target".into());
        command.env("CARGO_TARGET_DIR", Path::new(HERE).join(target));
    }
    let built = command
        .args(["build", "--quiet", "--locked", "--message-format=json-render-diagnostics"])
        .args(selection)
        .args(programs.iter().flat_map(|program| ["--bin", program]))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo")?;
    ensure!(built.status.success(), "cargo build {}: {}", selection.join(" "), built.status);
    let text = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let path = |program: &str| {
        let mut of = messages.iter().filter(|message| message["target"]["name"] == program);
        of.find_map(|message| message["executable"].as_str()).map(PathBuf::from)
    };
    let paths: Vec<PathBuf> = programs.iter().filter_map(|program| path(program)).collect();
    paths.try_into().map_err(|built| anyhow!("cargo has not built all of {programs:?}, but {built:?}"))
}
