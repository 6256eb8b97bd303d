//! Files that the configuration names: tokens, certificates, addresses. Whatever is there in their place (a pipe, a device,
//! something without end), reading it neither waits nor takes more memory than its bound.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Reads a regular file, or what a link to one leads to, of at most `bytes_max` bytes. Blocks for as long as its disk takes.
pub fn read_blocking(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    // Opening a pipe waits for who writes into it, but for this; of a regular file it changes nothing.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    // One byte more than is allowed shows that there is too much.
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// The same without blocking.
pub async fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || read_blocking(&path, bytes_max)).await?
}

/// The same of a file that is text.
pub async fn text(path: &Path, bytes_max: usize) -> io::Result<String> {
    let text = String::from_utf8(read(path, bytes_max).await?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_regular_file_is_read_up_to_its_bound_also_through_links() {
        let folder = tempfile::tempdir().expect("a folder");
        let (version, link) = (folder.path().join("..1"), folder.path().join("token"));
        std::fs::create_dir(&version).expect("a folder");
        std::fs::write(version.join("token"), "12345").expect("written");
        std::os::unix::fs::symlink("..1", folder.path().join("..data")).expect("a link");
        std::os::unix::fs::symlink("..data/token", &link).expect("a link");
        assert_eq!(text(&link, 5).await.expect("it fits"), "12345");
        let error = read(&link, 4).await.expect_err("it is too long");
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::FileTooLarge, "it is longer than 4 bytes")
        );
        let endless = File::options().write(true).open(&link).expect("a file");
        endless.set_len(1 << 40).expect("nothing is written");
        assert_eq!(read(&link, 5).await.expect_err("it is too long").kind(), io::ErrorKind::FileTooLarge);
        std::fs::write(version.join("token"), [0xff]).expect("written");
        assert_eq!(text(&link, 5).await.expect_err("it is no text").to_string(), "it is not UTF-8 text");
        let missing = read(&folder.path().join("missing"), 5).await.expect_err("there is none");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn what_is_no_regular_file_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("it runs").success());
        std::os::unix::fs::symlink(&pipe, &link).expect("a link");
        for path in [&pipe, &link, folder.path(), Path::new("/dev/zero")] {
            let error = read(path, 5).await.expect_err("it is none");
            assert_eq!(error.to_string(), "it is no regular file", "{}", path.display());
        }
    }
}
