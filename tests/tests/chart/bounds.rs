//! What the chart lets through, our programs take: every duration and number of the values at both ends, and addresses.

use serde_json::Value;
use tocsin_tests::chart::{self, Helm};

use crate::installation::{refused, with};
use crate::program::checked;

/// A value with the least and the most that it may be, as `--set` takes them.
struct Bounded {
    path: String,
    least: String,
    most: String,
}

#[test]
fn the_programs_accept_both_bounds_of_every_duration_and_number() {
    let text = std::fs::read_to_string(chart::folder().join("values.schema.json")).expect("it is there");
    let schema: Value = serde_json::from_str(&text).expect("it is JSON");
    let mut all = Vec::new();
    bounded("", &schema, &mut all);
    for path in ["reporting.heartbeat", "sinks.team.timeout", "rules.ImagePull.hold", "ingest.batch"] {
        assert!(all.iter().any(|it| it.path == path), "{path} was not found");
    }
    let sinks =
        ["token=t", "ingest.url=https://x.example", "sinks.team.type=ingest", "sinks.team.url=https://x.example"];
    let at = |bound: fn(&Bounded) -> &String| {
        let sets = all.iter().map(|it| format!("{}={}", it.path, bound(it)));
        with(&[sinks.join(","), sets.collect::<Vec<_>>().join(",")].each_ref().map(String::as_str))
    };
    for (end, arguments) in [("least", at(|it| &it.least)), ("most", at(|it| &it.most))] {
        for (kind, name) in [("Deployment", "-aggregator"), ("DaemonSet", "-node-agent")] {
            checked(kind, name, &arguments).unwrap_or_else(|said| panic!("{name} at the {end}: {said}"));
        }
    }
}

#[test]
fn an_address_that_the_aggregator_refuses_is_refused_before_it_runs() {
    let to = |url: &str| with(&["sinks.team.type=webhook", &format!("sinks.team.url={url}")]);
    for url in [
        "https://:99999",
        "https://:443/in",
        "https://x.example:65536/in",
        "https://x.example:99999999999",
        "https://x.example:port",
        "https://10.0.0.256/in",
        "https://10.0.0.08",
        "https://1.x.2",
        "https://[::1/in",
        "https://[1::2::3]/in",
        "https://[1:2:3]/in",
        "https://x%zz.example",
        "https://x|y.example",
        "https://x\"y.example",
        "https://x`y.example",
        "x.example/in",
        "ftp://x.example/in",
        "https://me:hunter2@x.example",
        "https://x.example/a b",
    ] {
        let says = "sinks.team.url: there can be no such address: it begins with https:// or http://, needs a host, holds no \
                    credentials, and its port, if it has one, is at most 65535, for example https://hooks.example.com:9443/tocsin";
        refused(&to(url), &[says]);
        let shown = Helm::Four.template(&to(url)).expect_err("it is refused");
        assert!(!format!("{shown:#}").contains(url), "it may be a secret: {shown:#}");
    }
    for url in [
        "http://x",
        "https://x.example/in%zz",
        "https://x.example:65535/in?key=a:b@c",
        "https://x.example?key=a/b",
        "https://x_y.example.:443",
        "https://10.0.0.255:9443/in",
        "https://[::1]:9443/in",
        "https://[fd00::7]",
        "https://[1:2:3:4:5:6:7:8]/in",
        "https://[::ffff:10.0.0.1]/in",
        "https://b\u{fc}cher.example/in",
    ] {
        checked("Deployment", "-aggregator", &to(url)).unwrap_or_else(|said| panic!("{url}: {said}"));
    }
}

#[test]
fn runbooks_that_the_aggregator_refuses_are_refused_before_it_runs() {
    let at = |url: &str| with(&[&format!("runbookBaseUrl={url}")]);
    let path = |chars: usize| format!("https://wiki.example/{}", "x".repeat(chars - 21));
    for url in [
        "wiki",
        "ftp://wiki",
        "https://wiki?page=",
        "https://wiki/a#b",
        "https://me:pw@wiki",
        "https://w/\u{fc}",
        "https://wiki:65536",
    ] {
        let says =
            "runbookBaseUrl: there can be no such address: it begins with https:// or http://, has a host, and no user";
        refused(&at(url), &[says]);
    }
    refused(&at(&path(501)), &["/runbookBaseUrl"]);
    for url in ["http://wiki", "https://wiki.example/a/b//", "https://[fd00::7]:8443/~a/%20/b;c=d@e", &path(500)] {
        checked("Deployment", "-aggregator", &at(url)).unwrap_or_else(|said| panic!("{url}: {said}"));
    }
}

#[test]
fn an_address_of_a_proxy_that_the_aggregator_refuses_is_refused_before_it_runs_and_not_shown() {
    for wrong in [
        "proxy:3128",
        "socks5://proxy:1080",
        "http://proxy:3128/path",
        "http://proxy:3128?query",
        "http://proxy:99999",
        "http://10.0.0.256",
        "http://",
    ] {
        let says =
            "proxy.https: expected the address of a proxy, for example http://proxy.example.com:3128: it begins with";
        refused(&with(&[&format!("proxy.https={wrong}")]), &[says]);
    }
    for wrong in
        ["*.example.com", "host:8080", "https://host", "10.0.0.0/33", "10.0.", "a/8", "a b", "256.1.1.1", "fd00::/129"]
    {
        let says =
            "proxy.noProxy: entry 2 is no host, domain (.example.com), IP address or network (10.0.0.0/8): write it";
        refused(&with(&[&format!("proxy.noProxy=ok.example\\,{wrong}")]), &[says]);
    }
    let with = |address: &str, list: &str| {
        let list = list.replace(',', "\\,");
        let proxy =
            [format!("proxy.http={address}"), format!("proxy.https={address}"), format!("proxy.noProxy={list}")];
        with(&["sinks.team.type=webhook", "sinks.team.url=https://x.example", &proxy.join(",")])
    };
    for address in ["http://proxy:3128", "https://proxy.example.com", "http://10.0.0.255:1/", "http://[fd00::7]:3128"] {
        for list in ["", "*", "a.example, .b,my_host.svc.", "10.0.0.1,10.0.0.0/8,fd00::/8,::1,1.2.3.4/32"] {
            let said = checked("Deployment", "-aggregator", &with(address, list));
            said.unwrap_or_else(|said| panic!("{address} {list}: {said}"));
        }
    }
}

/// Looks for values with bounds in the schema of what is at `path`. A sink's name can be any: here it is `team`.
fn bounded(path: &str, schema: &Value, found: &mut Vec<Bounded>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        bounded(&below(key), schema, found);
    }
    if schema["additionalProperties"].is_object() {
        bounded(&below("team"), &schema["additionalProperties"], found);
    }
    if let (Value::Number(least), Value::Number(most)) = (&schema["minimum"], &schema["maximum"]) {
        found.push(Bounded { path: path.to_owned(), least: least.to_string(), most: most.to_string() });
    } else if schema["examples"][0] == "30s" {
        let (least, most) = refused_span(path);
        found.push(Bounded { path: path.to_owned(), least, most });
    }
}

/// The bounds of a duration, which the chart says when one is refused.
fn refused_span(path: &str) -> (String, String) {
    // A sink has to be one, or its type is what is refused.
    let sets = ["sinks.team.type=ingest,sinks.team.url=https://x.example", "ingest.url=https://x.example,token=t"];
    let error = Helm::Four.template(&with(&[&sets[..], &[&format!("{path}=9999999d")]].concat())).expect_err(path);
    let error = format!("{error:#}");
    let says = error.split_once(&format!("{path} must be from ")).and_then(|(_, says)| says.split_once(", found"));
    let (least, most) = says.and_then(|(says, _)| says.split_once(" to ")).unwrap_or_else(|| panic!("{path}: {error}"));
    (least.to_owned(), most.to_owned())
}
