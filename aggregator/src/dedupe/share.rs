//! Texts that the findings of an issue have in common are kept once: they are most of what a finding is made of, and every one
//! comes with texts of its own.

use std::sync::Arc;

use rules::{Evidence, Finding, Owner, Subject};

use super::issue::{Issue, IssueKey, Observer};

/// Puts in the place of each text of `finding`, which `observer` has told of `issue`, the one that says the same and is kept
/// already, if there is one.
pub(super) fn share(finding: &mut Finding, observer: &Observer, issue: &Issue) {
    let IssueKey { namespace, owner, container, kind: _ } = &*issue.key;
    let Finding { subject, owner: Owner { kind, name }, evidence, .. } = finding;
    let Subject { namespace: in_namespace, container: of_container, node, pod: _, uid: _ } = subject;
    let named = [
        (in_namespace, namespace),
        (of_container, container),
        (node, observer),
        (kind, &owner.kind),
        (name, &owner.name),
    ];
    for (text, known) in named {
        if text == known {
            *text = Arc::clone(known);
        }
    }
    let example = issue.episode.as_ref().map(|episode| &episode.example.finding);
    let Some(other) = example.or_else(|| Some(&issue.members.values().next()?.finding)) else { return };
    let Evidence { reason, message, image, memory_limit, .. } = &other.evidence;
    let said = [
        (&mut evidence.reason, reason),
        (&mut evidence.message, message),
        (&mut evidence.image, image),
        (&mut evidence.memory_limit, memory_limit),
    ];
    for (text, known) in said {
        if text == known {
            text.clone_from(known);
        }
    }
}

#[cfg(test)]
mod tests {
    use rules::{FindingId, Incarnation, Kind, Seen, State, Time};

    use super::*;
    use crate::dedupe::issue::{Member, MemberId};

    fn finding(pod: &str, message: &str) -> Finding {
        let kind = Kind::named("CrashLoopBackOff").expect("it is in the catalogue");
        let subject = Subject {
            namespace: "shop".into(),
            pod: pod.into(),
            uid: format!("uid-{pod}").into(),
            container: "app".into(),
            node: "n1".into(),
        };
        Finding {
            id: FindingId::of(kind, &subject),
            kind,
            subject,
            owner: Owner { kind: "Deployment".into(), name: "api".into() },
            incarnation: Incarnation(1),
            state: State::Active,
            since: Time::from_millis(1_000),
            seen: Seen::Happening,
            severity: kind.row().severity,
            evidence: Evidence { message: Some(message.into()), image: Some("api:1".into()), ..Evidence::default() },
        }
    }

    #[test]
    fn what_two_findings_have_in_common_is_kept_once_and_what_they_say_stays() {
        let observer: Observer = "n1".into();
        let (first, second) = (finding("api-1", "no route to 10.0.0.1"), finding("api-2", "no route to 10.0.0.2"));
        let mut issue = Issue::new(Arc::new(IssueKey::of(&first)));
        let mut shared = second.clone();
        let id = MemberId { observer: Arc::clone(&observer), finding: first.id };
        let (key, image) = (Arc::clone(&issue.key), first.evidence.image.clone().expect("it has one"));
        let member = Member {
            finding: first,
            revision: 1,
            decision: None,
            over: false,
            held: None,
            unseen_since: None,
            recalled: false,
        };
        issue.members.insert(id, Box::new(member));
        share(&mut shared, &observer, &issue);
        assert_eq!(shared, second);
        let Subject { namespace, container, node, .. } = &shared.subject;
        assert!(Arc::ptr_eq(namespace, &key.namespace) && Arc::ptr_eq(container, &key.container));
        assert!(Arc::ptr_eq(&shared.owner.kind, &key.owner.kind) && Arc::ptr_eq(&shared.owner.name, &key.owner.name));
        assert!(Arc::ptr_eq(node, &observer));
        assert!(shared.evidence.image.as_ref().is_some_and(|text| Arc::ptr_eq(text, &image)));
    }
}
