//! The proxy between the aggregator and its sinks, and which of them go through it. What the environment says of proxies is
//! not followed. Its credentials are in files alone, and no text that is shown ever has them.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

/// How sinks are reached; by default directly. It holds no credentials, so it may be logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// The proxy for sinks at `http://` addresses.
    pub http: Option<Url>,
    /// The proxy for sinks at `https://` addresses.
    pub https: Option<Url>,
    /// Hosts, domains with all that is in them, and networks that are reached directly, with commas between them.
    pub no_proxy: Option<String>,
    /// A folder with files `http`, `https` and `noProxy`: what is in them goes before the above. Read anew for each request.
    pub folder: Option<PathBuf>,
}

/// A proxy that a sink is reached through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Via {
    /// Scheme, host and port.
    pub(crate) address: Uri,
    /// The `Proxy-Authorization` header; it does not show itself.
    pub(crate) credentials: Option<HeaderValue>,
}

/// The files of a folder. No `Debug`: these have credentials.
#[derive(Default)]
struct Files {
    http: Option<String>,
    https: Option<String>,
    no_proxy: Option<String>,
}

/// The longest list of what is reached directly, in bytes.
const NO_PROXY_BYTES_MAX: usize = 16 * 1024;
/// A longer file is none of these.
const FILE_BYTES_MAX: usize = NO_PROXY_BYTES_MAX;

impl Proxy {
    /// The proxy to `to` as things are now; `None` when it is reached directly. An error says what is wrong with the files:
    /// nothing is sent past a proxy that should be there.
    pub(crate) async fn to(&self, to: &Url) -> Result<Option<Via>, String> {
        let Some(folder) = &self.folder else { return self.beside(&Files::default(), to) };
        let fault = |what: String| format!("proxy.folder {}: {what}", folder.display());
        let files = Files::read(folder).await.map_err(fault)?;
        self.beside(&files, to).map_err(fault)
    }

    fn beside(&self, files: &Files, to: &Url) -> Result<Option<Via>, String> {
        let chosen = |key: &str, said: Option<&String>, own: Option<&Url>| match said {
            Some(text) => address(text).map_err(|why| format!("{key}: {why}")).map(Some),
            None => Ok(own.cloned()),
        };
        let http = chosen("http", files.http.as_ref(), self.http.as_ref())?;
        let https = chosen("https", files.https.as_ref(), self.https.as_ref())?;
        let no_proxy = files.no_proxy.as_ref().or(self.no_proxy.as_ref()).map_or("", String::as_str);
        direct(no_proxy).map_err(|why| format!("noProxy: {why}"))?;
        choose([http, https], no_proxy, to)
    }
}

impl Files {
    async fn read(folder: &Path) -> Result<Self, String> {
        let files = Self {
            http: file(folder, "http").await?,
            https: file(folder, "https").await?,
            no_proxy: file(folder, "noProxy").await?,
        };
        if files.http.is_none() && files.https.is_none() && files.no_proxy.is_none() {
            return Err("none of http, https and noProxy is in it: give the Secret these keys".to_owned());
        }
        Ok(files)
    }
}

impl Via {
    /// Where it listens.
    pub(crate) fn host_and_port(&self) -> (&str, u16) {
        let usual = if self.address.scheme_str() == Some("https") { 443 } else { 80 };
        (self.address.host().unwrap_or_default(), self.address.port_u16().unwrap_or(usual))
    }
}

impl fmt::Display for Via {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.address.scheme_str().unwrap_or_default();
        write!(out, "{scheme}://{}", self.address.authority().map_or("", |authority| authority.as_str()))
    }
}

/// Which of the proxies for `http://` and for `https://` leads to `to`, if any does.
fn choose([http, https]: [Option<Url>; 2], no_proxy: &str, to: &Url) -> Result<Option<Via>, String> {
    // A token may go to this machine unencrypted, and so never past it.
    if to.scheme() == "http" && is_loopback(to) {
        return Ok(None);
    }
    let text = |url: Option<Url>| url.map(String::from).unwrap_or_default();
    let matcher = Matcher::builder().http(text(http)).https(text(https)).no(no_proxy).build();
    // Nothing goes past the proxy because this cannot be told.
    let origin = to.origin().ascii_serialization().parse::<Uri>();
    let origin = origin.map_err(|error| format!("there can be no proxy for the host of the address: {error}"))?;
    let found = matcher.intercept(&origin);
    Ok(found.map(|found| Via { address: found.uri().clone(), credentials: found.basic_auth().cloned() }))
}

/// The address of a proxy, perhaps with credentials. What is wrong with it is said without showing it.
pub(super) fn address(text: &str) -> Result<Url, String> {
    const EXPECTED: &str = "expected the address of a proxy, for example http://proxy.example.com:3128";
    let ends = "; in a name or password write / as %2F, ? as %3F, # as %23, : as %3A and @ as %40";
    let url = Url::parse(text.trim()).map_err(|error| format!("{EXPECTED}: {error}{ends}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{EXPECTED}: it must begin with http:// or https://"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{EXPECTED}: nothing follows the port{ends}"));
    }
    Ok(url)
}

/// Judges a list of what is reached directly. An entry that would never match is an error, as nobody would see it.
pub(super) fn direct(list: &str) -> Result<(), String> {
    if list.len() > NO_PROXY_BYTES_MAX {
        return Err(format!("it has {} bytes, at most {NO_PROXY_BYTES_MAX} are read", list.len()));
    }
    let wrong = list.split(',').map(str::trim).position(|entry| !entry.is_empty() && !is_direct(entry));
    wrong.map_or(Ok(()), |place| {
        Err(format!(
            "entry {} is no host, domain (.example.com), IP address or network (10.0.0.0/8): write it without scheme, port \
             and wildcards, or * alone for everything",
            place + 1
        ))
    })
}

fn is_direct(entry: &str) -> bool {
    if let Some((ip, bits)) = entry.split_once('/') {
        let most = match ip.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        return bits.parse::<u8>().is_ok_and(|bits| bits <= most);
    }
    let is_name = |name: &str| {
        // Whose last part is a number is an IP address, or none.
        let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
            && !last.chars().all(|c| c.is_ascii_digit())
    };
    entry == "*" || entry.parse::<IpAddr>().is_ok() || is_name(entry)
}

/// Whether nothing that is sent there leaves this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What a file says; `None` when it is not there or empty.
async fn file(folder: &Path, name: &str) -> Result<Option<String>, String> {
    match process::file::text(&folder.join(name), FILE_BYTES_MAX).await {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{name} cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "http://me:hunter2@proxy.example:3128";

    fn proxy(no_proxy: &str) -> Proxy {
        let url = |text: &str| Some(address(text).expect(text));
        Proxy {
            http: url("http://plain.example"),
            https: url("https://secure.example:3129"),
            no_proxy: Some(no_proxy.to_owned()),
            folder: None,
        }
    }

    async fn shown(proxy: &Proxy, to: &str) -> String {
        let via = proxy.to(&to.parse().expect("a URL")).await;
        via.map_or_else(|why| why, |via| via.map_or_else(|| "directly".to_owned(), |via| via.to_string()))
    }

    #[tokio::test]
    async fn the_scheme_of_a_sink_says_which_proxy_leads_to_it() {
        assert_eq!(shown(&proxy(""), "http://collector.example/in").await, "http://plain.example");
        assert_eq!(shown(&proxy(""), "https://collector.example/in").await, "https://secure.example:3129");
        assert_eq!(shown(&Proxy::default(), "https://collector.example/in").await, "directly");
        let half = Proxy { https: None, ..proxy("") };
        assert_eq!(shown(&half, "https://collector.example/in").await, "directly");
        assert_eq!(shown(&proxy(""), "http://127.0.0.1:8080").await, "directly", "a token may be sent there");
    }

    #[tokio::test]
    async fn hosts_domains_and_networks_can_be_left_to_themselves() {
        let proxy = proxy("internal.example, .svc ,10.0.0.0/8,192.0.2.7,,fd00::/8");
        for to in ["https://internal.example", "https://a.internal.example:8443", "https://a.b.svc", "http://10.1.2.3"]
        {
            assert_eq!(shown(&proxy, to).await, "directly", "{to}");
        }
        for to in ["https://192.0.2.7", "https://[fd00::1]:8443"] {
            assert_eq!(shown(&proxy, to).await, "directly", "{to}");
        }
        for to in ["https://notinternal.example", "https://svc.example", "https://11.1.2.3", "https://192.0.2.8"] {
            assert_eq!(shown(&proxy, to).await, "https://secure.example:3129", "{to}");
        }
        assert_eq!(shown(&super::tests::proxy("*"), "https://collector.example").await, "directly");
    }

    #[tokio::test]
    async fn files_go_before_what_is_said_beside_them_and_are_read_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let proxy = Proxy { folder: Some(folder.path().to_owned()), ..proxy("internal.example") };
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write("https", &format!("{CREDENTIALS}\n"));
        assert_eq!(shown(&proxy, "https://collector.example").await, "http://proxy.example:3128");
        assert_eq!(shown(&proxy, "http://collector.example").await, "http://plain.example");
        assert_eq!(shown(&proxy, "https://internal.example").await, "directly");
        let to = "https://collector.example".parse().expect("a URL");
        let via = proxy.to(&to).await.expect("right files").expect("a proxy");
        assert_eq!(via.credentials.as_ref().expect("credentials"), "Basic bWU6aHVudGVyMg==");
        assert!(!format!("{via:?}").contains("bWU6"), "{via:?}");
        write("https", "http://me:p%40ss@other.example:1");
        let other = proxy.to(&to).await.expect("right files").expect("a proxy");
        assert_eq!((other.to_string().as_str(), other == via), ("http://other.example:1", false));
        write("noProxy", "collector.example");
        assert_eq!(shown(&proxy, "https://collector.example").await, "directly");
    }

    #[tokio::test]
    async fn files_that_say_nothing_or_nonsense_are_named_and_nothing_goes_past_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let proxy = Proxy { folder: Some(folder.path().to_owned()), ..Proxy::default() };
        let to = "https://collector.example";
        assert!(
            shown(&proxy, to).await.ends_with("none of http, https and noProxy is in it: give the Secret these keys")
        );
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write("https", " \n");
        assert!(shown(&proxy, to).await.contains("none of http, https and noProxy"), "an empty one says nothing");
        for wrong in [
            "me:hunter2@proxy:3128",
            "socks5://me:hunter2@proxy:1080",
            "http://me:hun/ter2@proxy:1",
            "http://me:1#hunter2@proxy",
        ] {
            write("https", wrong);
            let said = shown(&proxy, to).await;
            assert!(said.contains("https: expected the address of a proxy, for example http://"), "{said}");
            assert!(!said.contains("ter2"), "{said}");
        }
        write("https", &"x".repeat(20_000));
        assert!(shown(&proxy, to).await.ends_with("https cannot be read: it is longer than 16384 bytes"));
    }

    #[test]
    fn an_entry_that_could_never_match_is_named_by_its_place() {
        for list in ["", "*", "a.example,.b", "10.0.0.1,10.0.0.0/8,fd00::/8", "localhost, my_host.svc."] {
            assert_eq!(direct(list), Ok(()), "{list}");
        }
        for entry in ["*.example.com", "host:8080", "https://host", "10.0.0.0/33", "10.0.", "a/8", "a b", "256.1.1.1"] {
            let said = direct(&format!("ok.example,{entry}")).expect_err(entry);
            assert!(said.starts_with("entry 2 is no host, domain (.example.com)"), "{said}");
        }
        assert!(direct(&"a,".repeat(10_000)).expect_err("too long").contains("at most 16384"));
    }
}
