//! The habits that a compiler does not check: dead files, impure pure crates, undocumented files, files grown too long.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest a file may be, in lines: past that it holds more than one idea.
const LINES_MAX: usize = 500;

/// The crates in which nothing waits, asks for the time, or touches the world.
const PURE: &[&str] = &["node-agent/rules/src", "aggregator/wire/src"];

/// What pure code does not say.
const IMPURE: &[&str] = &[
    "async ",
    ".await",
    "tokio::",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "fastrand::",
    "Rng::new()",
    "std::fs",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "std::env",
    "std::thread",
];

/// What it may say though it begins so: a generator of chance is handed in.
const PURE_THOUGH: &[&str] = &[".awaiting", "fastrand::Rng"];

struct Source {
    path: PathBuf,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace holds this package")
}

/// Every Rust file of the workspace.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for top in ["node-agent", "aggregator", "tests", "benches"] {
        collect(&root().join(top), &mut sources);
    }
    assert!(sources.len() > 50, "the sources were not found below {}", root().display());
    sources
}

fn collect(path: &Path, sources: &mut Vec<Source>) {
    if path.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry")).collect();
        entries.sort_by_key(fs::DirEntry::path);
        for entry in entries.iter().filter(|entry| entry.file_name() != "target") {
            collect(&entry.path(), sources);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let text = fs::read_to_string(path).expect("a source file is text");
        sources.push(Source { path: path.strip_prefix(root()).expect("below the root").to_owned(), text });
    }
}

#[track_caller]
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn every_file_is_part_of_a_crate() {
    let sources = sources();
    let mut reached: BTreeSet<PathBuf> = BTreeSet::new();
    let mut next: Vec<PathBuf> = sources.iter().map(|s| s.path.clone()).filter(|path| is_crate_root(path)).collect();
    while let Some(path) = next.pop() {
        let Some(source) = sources.iter().find(|source| source.path == path) else { continue };
        if !reached.insert(path.clone()) {
            continue;
        }
        let stem = path.file_stem().expect("a file").to_string_lossy().into_owned();
        let folder = path.parent().expect("in a folder");
        // A crate's root file names modules beside itself, any other file in a folder of its own name.
        let homes = [folder.to_owned(), folder.join(stem)];
        for module in source.text.lines().filter_map(module_name) {
            next.extend(homes.iter().map(|home| home.join(format!("{module}.rs"))));
        }
    }
    let dead: Vec<_> = sources
        .iter()
        .map(|source| &source.path)
        .filter(|path| !reached.contains(*path))
        .map(|path| path.display().to_string())
        .collect();
    assert_none("dead files, that no module names", &dead);
}

/// Whether cargo finds a crate there by itself: `src/{lib,main}.rs`, `src/bin/x.rs`, `{tests,benches}/x.rs` or
/// `{tests,benches}/x/main.rs` of a package.
fn is_crate_root(path: &Path) -> bool {
    let is_package =
        |folder: Option<&Path>| folder.is_some_and(|folder| root().join(folder).join("Cargo.toml").is_file());
    let parts: Vec<_> = path.iter().rev().take(3).filter_map(|part| part.to_str()).collect();
    match parts[..] {
        ["lib.rs" | "main.rs", "src", ..] => is_package(path.ancestors().nth(2)),
        [_, "bin", "src"] => is_package(path.ancestors().nth(3)),
        ["main.rs", _, "tests" | "benches"] => is_package(path.ancestors().nth(3)),
        [_, "tests" | "benches", ..] => is_package(path.ancestors().nth(2)),
        _ => false,
    }
}

/// `module` of `mod module;`, whatever its visibility.
fn module_name(line: &str) -> Option<&str> {
    let line = line.trim().strip_suffix(';')?;
    let (before, module) = line.rsplit_once("mod ")?;
    (before.is_empty() || before.starts_with("pub")).then_some(module)
}

#[test]
fn pure_code_neither_waits_nor_asks_for_the_time_nor_touches_the_world() {
    let sources = sources();
    let said: Vec<_> = sources.iter().filter_map(Pure::of).collect();
    assert!(said.len() > 20, "files that say of themselves that they are pure: {}", said.len());
    let is_pure =
        |path: &Path| PURE.iter().any(|pure| path.starts_with(pure)) || said.iter().any(|pure| pure.holds(path));
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| is_pure(&source.path)) {
        for (number, line) in source.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(impure) = IMPURE.iter().find(|impure| is_said(impure, code)) {
                found.push(format!("{}:{}: {impure}", source.path.display(), number + 1));
            }
        }
    }
    assert_none("impure words in pure code", &found);
}

fn is_said(impure: &str, code: &str) -> bool {
    let is_pure = |at: usize| PURE_THOUGH.iter().any(|pure| code[at..].starts_with(pure));
    code.match_indices(impure).any(|(at, _)| !is_pure(at))
}

/// A file that calls itself pure where it says what it is, and with it the folder of its name.
struct Pure {
    file: PathBuf,
    /// The module that it takes out, as "Pure but for [`module`]".
    but_for: Option<PathBuf>,
}

impl Pure {
    fn of(source: &Source) -> Option<Self> {
        let about: Vec<_> = source.text.lines().map_while(|line| line.strip_prefix("//!")).collect();
        let about = about.join(" ");
        about.split_whitespace().find(|word| word.trim_end_matches(['.', ':', ';']) == "Pure")?;
        let but_for = about.split_once("Pure but for [`").and_then(|(_, rest)| rest.split_once("`]"));
        let but_for = but_for.map(|(module, _)| source.path.with_extension("").join(module));
        Some(Self { file: source.path.clone(), but_for })
    }

    fn holds(&self, path: &Path) -> bool {
        let is_out = |module: &PathBuf| path == module.with_extension("rs") || path.starts_with(module);
        (path == self.file || path.starts_with(self.file.with_extension("")))
            && !self.but_for.as_ref().is_some_and(is_out)
    }
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.display().to_string())
        .collect();
    assert_none("files that do not open with `//! `", &silent);
}

#[test]
fn no_file_has_grown_too_long() {
    let long: Vec<_> = sources()
        .iter()
        .map(|source| (source.path.display(), source.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{path}: {lines} lines, more than {LINES_MAX}"))
        .collect();
    assert_none("files that hold more than one idea", &long);
}

#[test]
fn modules_are_named_for_what_they_are() {
    let vague: Vec<_> = sources()
        .iter()
        .filter(|source| {
            let stem = source.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            ["mod", "util", "utils", "common", "helper", "helpers", "manager", "misc"].contains(&stem)
        })
        .map(|source| source.path.display().to_string())
        .collect();
    assert_none("files with a name that says nothing", &vague);
}
