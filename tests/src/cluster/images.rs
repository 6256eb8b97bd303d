//! Container images made without a registry: a docker archive of one layer, which containerd imports.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::command::output;
use super::parts::BUSYBOX;

/// An image: its name, what is in it, and what it runs.
#[derive(Clone, Debug)]
pub struct Image {
    /// With a tag and the registry `localhost`, so that a pull can never leave the machine.
    pub name: String,
    /// Parent folders need no entry of their own.
    pub files: Vec<ImageFile>,
    /// Program and arguments.
    pub entrypoint: Vec<String>,
}

/// One entry of an image's file system. Paths inside the image have no leading slash.
#[derive(Clone, Debug)]
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
    /// An image of a single statically linked program.
    pub fn of_program(name: &str, program: &Path) -> Self {
        let files = vec![ImageFile::Program { path: "program".to_owned(), from: program.to_owned() }];
        Self { name: name.to_owned(), files, entrypoint: vec!["/program".to_owned()] }
    }

    /// A userland to write failing pods in: `sh` and all that this machine's static busybox can do.
    pub(super) fn busybox(name: &str) -> Result<Self> {
        let mut files = vec![
            ImageFile::Program { path: "bin/busybox".to_owned(), from: PathBuf::from(BUSYBOX) },
            ImageFile::Folder { path: "tmp".to_owned() },
        ];
        for applet in output(Command::new(BUSYBOX).arg("--list"))?.lines().filter(|applet| *applet != "busybox") {
            files.push(ImageFile::Link { path: format!("bin/{applet}"), target: "busybox".to_owned() });
        }
        Ok(Self { name: name.to_owned(), files, entrypoint: vec!["/bin/sh".to_owned()] })
    }

    /// Writes a docker archive (`docker load`'s form) to `path`.
    pub(super) fn write_archive(&self, path: &Path) -> Result<()> {
        let layer = self.layer()?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": { "Entrypoint": self.entrypoint, "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer, path)?)] },
        });
        let manifest = json!([{ "Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"] }]);
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        let mut archive = tar::Builder::new(file);
        append(&mut archive, "config.json", 0o644, config.to_string().as_bytes())?;
        append(&mut archive, "layer.tar", 0o644, &layer)?;
        append(&mut archive, "manifest.json", 0o644, manifest.to_string().as_bytes())?;
        archive.finish().context("finishing an image archive")
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

/// containerd compares the unpacked layer with its digest. coreutils has it; a crate for one digest is not worth it.
fn sha256(layer: &[u8], archive: &Path) -> Result<String> {
    let file = archive.with_extension("layer");
    std::fs::write(&file, layer)?;
    let answer = output(Command::new("sha256sum").arg(&file))?;
    std::fs::remove_file(&file)?;
    Ok(answer.split_whitespace().next().context("sha256sum says a digest")?.to_owned())
}

/// This machine's architecture as Go, and so the image format, spells it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
