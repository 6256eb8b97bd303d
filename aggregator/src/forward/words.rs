//! How an issue sounds: plain words for people, from its facts.

use std::time::Duration;

use rules::{Finding, Time};

use super::outbox::Status;
use super::text::shown;
use crate::dedupe::IssueKey;
use crate::settings::Cluster;

/// What the text of an issue is made of.
pub(super) struct Facts<'a> {
    pub(super) key: &'a IssueKey,
    /// Whose evidence is shown.
    pub(super) finding: &'a Finding,
    pub(super) since: Time,
    pub(super) ended: Option<Time>,
    /// How many pods (or nodes) are or were part of it.
    pub(super) subjects: usize,
    /// How many pods it explains.
    pub(super) swallowed: usize,
}

/// "prod-eu-1 · payments/Deployment api is crash-looping".
pub(super) fn title(cluster: &Cluster, key: &IssueKey, status: Status) -> String {
    let row = key.kind.row();
    let what = match status {
        Status::Firing => row.headline,
        Status::Resolved => row.recovered,
    };
    format!("{} · {} {what}", cluster.name, place(key))
}

/// "3 pods since 2026-05-01T02:14:05Z. Container `app` exited 1, 9 restarts. Image api:1.8.2."
pub(super) fn text(facts: &Facts<'_>) -> String {
    let Facts { key, finding, since, ended, subjects, swallowed } = *facts;
    let begun = to_the_second(since);
    let when = match ended {
        None => format!("since {begun}"),
        Some(ended) => format!("from {begun}, for {}", lasting(ended.since(since))),
    };
    let mut sentences = match (&*finding.subject.pod, subjects) {
        ("", 0 | 1) => vec![format!("{}{}.", when[..1].to_uppercase(), &when[1..])],
        ("", nodes) => vec![format!("{nodes} nodes {when}.")],
        (_, pods) => vec![format!("{} {when}.", counted(pods, "pod"))],
    };
    sentences.extend(container(key, finding));
    sentences.extend(finding.evidence.image.as_deref().map(|image| format!("Image {}.", shown(image))));
    let was = if ended.is_some() { "It was: " } else { "" };
    sentences.extend(cause(finding).map(|cause| format!("{was}{cause}")));
    if swallowed > 0 {
        sentences
            .push(format!("It explains what {} suffer; they get no messages of their own.", counted(swallowed, "pod")));
    }
    sentences.join(" ")
}

/// The command to look closer.
pub(super) fn look(key: &IssueKey, finding: &Finding) -> String {
    let owner = format!("{}/{}", key.owner.kind.to_lowercase(), key.owner.name);
    key.kind
        .row()
        .look
        .replace("{namespace}", &finding.subject.namespace)
        .replace("{owner}", &owner)
        .replace("{pod}", &finding.subject.pod)
        .replace("{container}", &key.container)
        .replace("{node}", &finding.subject.node)
}

/// How to hear no more of it. The annotation is read from pods, so a controller's pods get it from their template.
pub(super) fn quiet(key: &IssueKey, finding: &Finding) -> String {
    let (kind, subject) = (key.kind.name(), &finding.subject);
    match (&*subject.pod, &*key.owner.kind) {
        ("", _) => format!("set rules.{kind}.enabled=false"),
        (pod, "Pod" | "Node") => {
            format!("kubectl -n {} annotate pod {pod} tocsin.dev/ignore={kind}", subject.namespace)
        }
        (_, _) => format!("annotate the pods of {} with tocsin.dev/ignore={kind}", place(key)),
    }
}

/// `payments/Deployment api`, `Node ip-10-2-3-4`, `ci/Workflow` where only the owner's kind counts.
fn place(key: &IssueKey) -> String {
    let space = if key.owner.name.is_empty() { "" } else { " " };
    let owner = format!("{}{space}{}", key.owner.kind, key.owner.name);
    if key.namespace.is_empty() { owner } else { format!("{}/{owner}", key.namespace) }
}

/// "Container `app` exited 137 (killed), memory limit 20Mi, 9 restarts."
fn container(key: &IssueKey, finding: &Finding) -> Option<String> {
    if key.container.is_empty() {
        return None;
    }
    let evidence = &finding.evidence;
    let ended = evidence.exit_code.map(|code| {
        let meaning = meaning(code).map(|meaning| format!(" ({meaning})")).unwrap_or_default();
        format!(" exited {code}{meaning}")
    });
    let of_memory = evidence.reason.as_deref() == Some("OOMKilled");
    let limit =
        evidence.memory_limit.as_deref().filter(|_| of_memory).map(|limit| format!("memory limit {}", shown(limit)));
    let restarts =
        evidence.restarts.filter(|restarts| *restarts > 0).map(|restarts| counted(restarts as usize, "restart"));
    let container = format!("Container `{}`{}", key.container, ended.unwrap_or_default());
    let facts: Vec<_> = [Some(container), limit, restarts].into_iter().flatten().collect();
    Some(facts.join(", ") + ".")
}

/// The API's own words, and what they name.
fn cause(finding: &Finding) -> Option<String> {
    let evidence = &finding.evidence;
    let names = evidence.names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    let words = [evidence.reason.as_deref(), evidence.message.as_deref(), Some(&*names)];
    let words: Vec<_> = words.into_iter().flatten().map(shown).filter(|words| !words.is_empty()).collect();
    // The reason `Error` alone says no more than the exit code.
    (!words.is_empty() && words != ["Error"]).then(|| words.join(": "))
}

/// What an exit code means where it means the same for every program.
fn meaning(exit_code: i32) -> Option<&'static str> {
    match exit_code {
        126 => Some("the command cannot be executed"),
        127 => Some("the command was not found"),
        137 => Some("killed"),
        139 => Some("a segmentation fault"),
        143 => Some("asked to terminate"),
        _ => None,
    }
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// RFC 3339 without what is smaller than a second.
fn to_the_second(at: Time) -> String {
    at.shifted(-at.as_millis().rem_euclid(1_000)).to_string().replace(".000", "")
}

/// "40 s", "18 min", "3 h", "2 d": as exact as people say it.
fn lasting(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use rules::{Evidence, FindingId, Incarnation, Kind, Owner, Seen, State, Subject};

    use super::*;

    const SINCE: Time = Time::from_millis(1_777_601_645_678);

    fn finding(kind: &str, pod: &str, evidence: Evidence) -> Finding {
        let kind = Kind::named(kind).expect("a kind of the catalogue");
        let pod_less = pod.is_empty();
        Finding {
            id: FindingId(1),
            kind,
            subject: Subject {
                namespace: if pod_less { "" } else { "payments" }.into(),
                pod: pod.into(),
                container: if pod_less { "" } else { "app" }.into(),
                node: "n1".into(),
                ..Subject::default()
            },
            owner: match pod_less {
                true => Owner { kind: "Node".into(), name: "n1".into() },
                false => Owner { kind: "Deployment".into(), name: "api".into() },
            },
            incarnation: Incarnation(1),
            state: State::Active,
            since: SINCE,
            seen: Seen::Happening,
            severity: kind.row().severity,
            evidence,
        }
    }

    #[track_caller]
    fn check(finding: &Finding, lasted: Option<Duration>, subjects: usize, swallowed: usize, expected: &[&str]) {
        let key = IssueKey::of(finding);
        let ended = lasted.map(|lasted| SINCE + lasted);
        let status = if ended.is_some() { Status::Resolved } else { Status::Firing };
        let cluster = Cluster { name: "prod-eu-1".to_owned(), ..Cluster::default() };
        let text = text(&Facts { key: &key, finding, since: SINCE, ended, subjects, swallowed });
        let said = [title(&cluster, &key, status), text, look(&key, finding), quiet(&key, finding)];
        assert_eq!(said.each_ref().map(String::as_str), expected);
    }

    #[test]
    fn a_crash_loop_sounds_like_this() {
        let evidence = Evidence {
            reason: Some("Error".into()),
            message: Some("cannot connect,\npassword=hunter2".into()),
            image: Some("api:1.8.2".into()),
            restarts: Some(9),
            exit_code: Some(1),
            memory_limit: Some("256Mi".into()),
            ..Evidence::default()
        };
        check(
            &finding("CrashLoopBackOff", "api-1", evidence),
            None,
            3,
            0,
            &[
                "prod-eu-1 · payments/Deployment api is crash-looping",
                "3 pods since 2026-05-01T02:14:05Z. Container `app` exited 1, 9 restarts. Image api:1.8.2. \
                 Error: cannot connect, password=[redacted]",
                "kubectl -n payments logs api-1 -c app --previous",
                "annotate the pods of payments/Deployment api with tocsin.dev/ignore=CrashLoopBackOff",
            ],
        );
    }

    #[test]
    fn an_oom_kill_that_is_over_sounds_like_this() {
        let evidence = Evidence {
            reason: Some("OOMKilled".into()),
            restarts: Some(1),
            exit_code: Some(137),
            memory_limit: Some("20Mi".into()),
            ..Evidence::default()
        };
        check(
            &finding("OOMKilled", "api-1", evidence),
            Some(Duration::from_mins(18)),
            1,
            0,
            &[
                "prod-eu-1 · payments/Deployment api has enough memory again",
                "1 pod from 2026-05-01T02:14:05Z, for 18 min. Container `app` exited 137 (killed), memory limit 20Mi, \
                 1 restart. It was: OOMKilled",
                "kubectl -n payments describe pod api-1",
                "annotate the pods of payments/Deployment api with tocsin.dev/ignore=OOMKilled",
            ],
        );
    }

    #[test]
    fn a_dead_node_sounds_like_this() {
        check(
            &finding("NodeNotReady", "", Evidence::default()),
            None,
            1,
            31,
            &[
                "prod-eu-1 · Node n1 stopped answering",
                "Since 2026-05-01T02:14:05Z. It explains what 31 pods suffer; they get no messages of their own.",
                "kubectl describe node n1",
                "set rules.NodeNotReady.enabled=false",
            ],
        );
    }

    #[test]
    fn spans_are_as_exact_as_people_say_them() {
        for (seconds, said) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7_199, "119 min"), (7_200, "2 h"), (180_000, "2 d")]
        {
            assert_eq!(lasting(Duration::from_secs(seconds)), said);
        }
    }
}
