//! The userland to write failing pods in: `sh` and all that this machine's static busybox can do.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::command::output;
use super::parts::BUSYBOX;
use crate::images::{Image, ImageFile};

/// It as an image of this name.
pub(super) fn image(name: &str) -> Result<Image> {
    let mut files = vec![
        ImageFile::Program { path: "bin/busybox".to_owned(), from: PathBuf::from(BUSYBOX) },
        ImageFile::Folder { path: "tmp".to_owned() },
    ];
    for applet in output(Command::new(BUSYBOX).arg("--list"))?.lines().filter(|applet| *applet != "busybox") {
        files.push(ImageFile::Link { path: format!("bin/{applet}"), target: "busybox".to_owned() });
    }
    Ok(Image { name: name.to_owned(), files, user: String::new(), entrypoint: vec!["/bin/sh".to_owned()] })
}
