//! Where a sink is: written in the configuration, or in a file, because some addresses are secrets themselves. No text that
//! is shown has more of one than scheme and host.

use std::fmt;
use std::path::PathBuf;

use http::Uri;
use process::file;
use reqwest::Url;

/// Where a sink is.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// `http` or `https`; without credentials.
    Written(Url),
    /// A file that says it, read anew for each request.
    File(PathBuf),
}

/// A longer file is no address.
const FILE_BYTES_MAX: usize = 16 * 1024;

impl Address {
    /// The address as it is now; an error says what is wrong with the file, and not what is in it.
    pub(crate) async fn now(&self) -> Result<Url, String> {
        let path = match self {
            Self::Written(url) => return Ok(url.clone()),
            Self::File(path) => path,
        };
        let fault = |what: &str| format!("urlFile {} {what}", path.display());
        let text = file::text(path, FILE_BYTES_MAX).await;
        match text.map_err(|error| fault(&format!("cannot be read: {error}")))?.trim() {
            "" => Err(fault("is empty: write the address into it")),
            text => address(text).map_err(|why| fault(&format!("holds none: {why}"))),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(url) => write!(out, "{}/…", url.origin().ascii_serialization()),
            Self::File(path) => write!(out, "in {}", path.display()),
        }
    }
}

/// An address to POST to. What is wrong with it is said without showing it.
pub(super) fn address(text: &str) -> Result<Url, String> {
    const EXPECTED: &str = "expected an address, for example https://collector.example.com/v1/issues";
    // A parser of addresses drops line breaks and tabs.
    if text.contains(|char: char| char.is_ascii_control()) {
        return Err(format!("{EXPECTED}: it must be one line, without tabs"));
    }
    let url = Url::parse(text).map_err(|error| format!("{EXPECTED}: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "an address must not hold credentials: put a bearer token into a file and name it in tokenFile".into()
        );
    }
    // Of these schemes there is none without a host.
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{EXPECTED}: it must begin with https:// or http://"));
    }
    // A host may be more to a parser of addresses than to who sends requests.
    Uri::try_from(url.as_str()).map_err(|error| format!("{EXPECTED}: {error}"))?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_anew_and_what_is_wrong_with_it_is_said_without_showing_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("url");
        let address = Address::File(path.clone());
        let shown = path.display();
        let missing = address.now().await.expect_err("there is no file");
        assert_eq!(missing, format!("urlFile {shown} cannot be read: No such file or directory (os error 2)"));
        let expected = "holds none: expected an address, for example https://collector.example.com/v1/issues";
        let credentials =
            "holds none: an address must not hold credentials: put a bearer token into a file and name it in tokenFile";
        for (text, why) in [
            (" \n".to_owned(), "is empty: write the address into it".to_owned()),
            ("x".repeat(20_000), "cannot be read: it is longer than 16384 bytes".to_owned()),
            ("hunter2".to_owned(), format!("{expected}: relative URL without a base")),
            ("https://h\"/hunter2".to_owned(), format!("{expected}: invalid uri character")),
            ("ftp://h/hunter2".to_owned(), format!("{expected}: it must begin with https:// or http://")),
            ("https://me:hunter2@h".to_owned(), credentials.to_owned()),
            ("https://hunter2@h".to_owned(), credentials.to_owned()),
            ("https://:hunter2@h".to_owned(), credentials.to_owned()),
        ] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(address.now().await, Err(format!("urlFile {shown} {why}")));
        }
        for url in ["https://h/hunter2", "http://other/in?key=hunter2"] {
            std::fs::write(&path, format!("{url}\n")).expect("written");
            assert_eq!(address.now().await.expect("an address").as_str(), url);
        }
    }

    #[tokio::test]
    async fn what_has_no_end_or_nobody_writes_into_is_no_address() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("url");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("it runs").success());
        for path in [pipe, "/dev/zero".into()] {
            let shown = format!("urlFile {} cannot be read: it is no regular file", path.display());
            assert_eq!(Address::File(path).now().await, Err(shown));
        }
    }

    #[tokio::test]
    async fn two_lines_are_no_address() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("url");
        let address = Address::File(path.clone());
        for text in [
            "https://hooks.example\n.attacker.example/in\n",
            "https://h/services/T0/one\nhttps://h/services/T0/two\n",
            "https://h/in\n# the old one was https://h/old\n",
        ] {
            std::fs::write(&path, text).expect("written");
            let now = address.now().await;
            assert!(now.is_err(), "{text:?} is read as {now:?}");
        }
    }

    #[test]
    fn more_than_scheme_and_host_is_never_shown() {
        let address = Address::Written("https://h:8443/hunter2?key=hunter2".parse().expect("a URL"));
        assert_eq!(format!("{address:?}"), "https://h:8443/…");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("url");
        std::fs::write(&path, "https://h/hunter2").expect("written");
        assert_eq!(format!("{:?}", Address::File(path.clone())), format!("in {}", path.display()));
    }
}
