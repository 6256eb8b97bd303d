//! Container images made without an engine or a registry: a docker archive of one layer, which `docker load` and
//! `ctr images import` take. The same files give the same bytes.

mod dockerfile;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use ring::digest::{SHA256, digest};
use serde_json::json;

use crate::processes::Programs;

/// An image: its name, what is in it, and what it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// With a tag. The registry `localhost` is one that a pull can never reach.
    pub name: String,
    /// Parent folders need no entry of their own.
    pub files: Vec<ImageFile>,
    /// `uid:gid`; empty for root.
    pub user: String,
    /// Program and arguments.
    pub entrypoint: Vec<String>,
}

/// One entry of an image's file system. Paths inside the image have no leading slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageFile {
    /// An executable copied from this machine. It must be linked statically, or bring its libraries.
    Program {
        /// Path inside the image.
        path: String,
        /// The file on this machine.
        from: PathBuf,
    },
    /// A symbolic link.
    Link {
        /// Path inside the image.
        path: String,
        /// What it points to.
        target: String,
    },
    /// An empty folder that everybody may write to.
    Folder {
        /// Path inside the image.
        path: String,
    },
}

impl Image {
    /// Our own images, as the Dockerfile has them, with `programs` in them: `tocsin/node-agent` and `tocsin/aggregator`,
    /// tagged with the version.
    pub fn shipped(programs: &Programs) -> Result<Vec<Self>> {
        let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Dockerfile");
        Self::of_dockerfile(&dockerfile, env!("CARGO_PKG_VERSION"), programs)
    }

    /// The same with another Dockerfile and another tag.
    pub(crate) fn of_dockerfile(dockerfile: &Path, tag: &str, programs: &Programs) -> Result<Vec<Self>> {
        let text = std::fs::read_to_string(dockerfile).with_context(|| format!("reading {}", dockerfile.display()))?;
        dockerfile::images(&text, tag, &[&programs.node_agent, &programs.aggregator])
    }

    /// An image of a single statically linked program.
    pub fn of_program(name: &str, program: &Path) -> Self {
        let files = vec![ImageFile::Program { path: "program".to_owned(), from: program.to_owned() }];
        Self { name: name.to_owned(), files, user: String::new(), entrypoint: vec!["/program".to_owned()] }
    }

    /// An image of a single program for tests, with the shared libraries that it needs here.
    pub fn with_libraries(name: &str, program: &Path) -> Result<Self> {
        let output = Command::new("ldd").arg(program).stdin(Stdio::null()).output().context("starting ldd")?;
        ensure!(output.status.success(), "ldd {}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
        let listed = String::from_utf8_lossy(&output.stdout);
        // `name => /path (0x…)`, or `/path (0x…)`; what the kernel brings has no path.
        let paths = listed.split_whitespace().filter_map(|word| word.strip_prefix('/'));
        let library = |path: &str| ImageFile::Program { path: path.to_owned(), from: format!("/{path}").into() };
        let image = Self::of_program(name, program);
        let files = image.files.into_iter().chain(paths.map(library)).collect();
        Ok(Self { files, user: "65532:65532".to_owned(), ..image })
    }

    /// Writes a docker archive to `path`. Returns the size of what is in the image, in bytes.
    pub fn write_archive(&self, path: &Path) -> Result<u64> {
        let layer = self.layer()?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": { "User": self.user, "Entrypoint": self.entrypoint, "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))] },
        });
        let manifest = json!([{ "Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"] }]);
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        let mut archive = tar::Builder::new(file);
        append(&mut archive, "config.json", 0o644, config.to_string().as_bytes())?;
        append(&mut archive, "layer.tar", 0o644, &layer)?;
        append(&mut archive, "manifest.json", 0o644, manifest.to_string().as_bytes())?;
        archive.finish().context("finishing an image archive")?;
        Ok(layer.len() as u64)
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut layer = tar::Builder::new(Vec::new());
        for file in &self.files {
            match file {
                ImageFile::Program { path, from } => {
                    let program = std::fs::read(from).with_context(|| format!("reading {}", from.display()))?;
                    append(&mut layer, path, 0o755, &program)?;
                }
                ImageFile::Link { path, target } => {
                    let mut header = header(tar::EntryType::Symlink, 0o777, 0);
                    layer.append_link(&mut header, path, target)?;
                }
                ImageFile::Folder { path } => {
                    let mut header = header(tar::EntryType::Directory, 0o1777, 0);
                    layer.append_data(&mut header, path, std::io::empty())?;
                }
            }
        }
        layer.into_inner().context("finishing an image layer")
    }
}

fn append<W: Write>(archive: &mut tar::Builder<W>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
    archive.append_data(&mut header, path, content).with_context(|| format!("adding {path} to an image"))
}

/// Without times and owners, so that the same files give the same image.
fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// This machine's architecture as Go, and so the image format, spells it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_archive_and_name_their_layer() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("program");
        std::fs::write(&program, "not really one").expect("written");
        let image = Image { user: "65532:65532".to_owned(), ..Image::of_program("localhost/it:1", &program) };
        let archives = ["one.tar", "two.tar"].map(|name| folder.path().join(name));
        for archive in &archives {
            image.write_archive(archive).expect("it is written");
        }
        let [one, two] = archives.map(|archive| std::fs::read(archive).expect("it is there"));
        assert_eq!(one, two);

        let mut entries = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(&one[..]).entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let name = entry.path().expect("a path").display().to_string();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).expect("a content");
            entries.insert(name, content);
        }
        let json = |name: &str| serde_json::from_slice::<serde_json::Value>(&entries[name]).expect("JSON");
        assert_eq!(json("manifest.json")[0]["RepoTags"], json!(["localhost/it:1"]));
        let config = json("config.json");
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", sha256(&entries["layer.tar"]))]));
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
