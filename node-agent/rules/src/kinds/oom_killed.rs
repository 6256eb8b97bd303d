//! OOMKilled: the kernel ended a container because it wanted more memory than it may have.
//!
//! `lastState` goes on saying so for as long as the pod lives, so an occurrence is told by its container id. An exit
//! code of 137 alone says only that something killed it.

use std::time::Duration;

use crate::catalogue::{Nature, Row, Side};
use crate::finding::{Evidence, Severity};
use crate::gates::Gates;
use crate::verdict::{ContainerCase, Observation, Rule, Verdict, some_text};

pub(crate) static ROW: Row = Row {
    name: "OOMKilled",
    headline: "was killed for want of memory",
    recovered: "has enough memory again",
    look: "kubectl -n {namespace} describe pod {pod}",
    nature: Nature::Edge,
    side: Side::NodeAgent,
    severity: Severity::Critical,
    sustain: Duration::ZERO,
    hold: Duration::from_mins(5),
    thresholds: &[],
    explains: &["CrashLoopBackOff", "NotReady"],
    gates: Gates::CRASH,
    rule: Rule::Container(oom_killed),
};

fn oom_killed(case: &ContainerCase<'_>) -> Verdict {
    if case.is_sidecar_after_the_end() {
        return Verdict::unclear();
    }
    let status = case.status;
    // An ended container was started as often as its status says, the one before it once less.
    let now = status.state.terminated.as_ref().map(|ended| (ended, status.restart_count));
    let before = status.last_state.terminated.as_ref().map(|ended| (ended, status.restart_count.saturating_sub(1)));
    let newest = now.into_iter().chain(before).find(|(ended, _)| &*ended.reason == "OOMKilled");
    let Some((ended, start)) = newest else { return Verdict::Not(case.health()) };

    let since = ended.finished_at.map_or(case.moment.now, |at| case.moment.kubelet(at));
    let incarnation = match &*ended.container_id {
        "" => case.identity(&start.to_string()),
        id => id.to_owned(),
    };
    let occurrence = Observation {
        evidence: Evidence {
            reason: some_text(&ended.reason),
            message: some_text(&ended.message),
            exit_code: Some(ended.exit_code),
            ..case.evidence()
        },
        ..Observation::new(since, &[&incarnation])
    };
    Verdict::Happened(occurrence, case.health())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::Seen;
    use crate::testing::Step::{Amnesia, Gone, Relist, Restart, Sees};
    use crate::testing::{Draft, check, ended, last_told, pod, running, waiting};

    fn killed(at: i64) -> Draft {
        pod().app(ended(137, "OOMKilled", at), 0).unready(at)
    }

    /// Killed at a time, started again and ready since another.
    fn again(at: i64, ready: i64) -> Draft {
        pod().app(running(ready), 1).last(ended(137, "OOMKilled", at)).ready(ready)
    }

    #[test]
    fn kills_for_want_of_memory() {
        let check = |what, story: &[_], expected| check(what, "OOMKilled", story, expected);

        check("are told at once, and are over an hour later", &[(10, Sees(killed(9)))], "10 active, 3609 cleared");
        check(
            "are over when the container is ready for the hold",
            &[(10, Sees(killed(9))), (30, Sees(again(9, 30)))],
            "10 active, 330 cleared",
        );
        check("are seen in the state before, too", &[(10, Sees(again(5, 9)))], "10 active, 309 cleared");
        check(
            "are not over while the container is not ready",
            &[
                (10, Sees(killed(9))),
                (30, Sees(again(9, 30))),
                (200, Sees(again(9, 30).unready(200))),
                (400, Sees(again(9, 30).ready(400))),
            ],
            "10 active, 700 cleared",
        );
        check(
            "are not told again as long as the pod lives",
            &[(10, Sees(again(5, 9))), (5000, Sees(again(5, 9))), (90_000, Relist(vec![again(5, 9)]))],
            "10 active, 309 cleared",
        );
        check(
            "are told again when they happen again",
            &[(10, Sees(again(5, 9))), (5000, Sees(again(4990, 5000)))],
            "10 active, 309 cleared, 5000 active, 5300 cleared",
        );
        check(
            "that recur while open renew the finding",
            &[(10, Sees(killed(9))), (20, Sees(again(9, 20))), (60, Sees(killed(59)))],
            "10 active, 60 active, 3659 cleared",
        );
        check(
            "are over when the pod is gone for the hold",
            &[(10, Sees(killed(9))), (60, Gone(killed(9)))],
            "10 active, 360 cleared",
        );
        check(
            "survive a restart",
            &[(10, Sees(killed(9))), (20, Restart(vec![again(9, 15)])), (30, Amnesia(vec![again(9, 15)]))],
            "10 active, 315 cleared",
        );
        check(
            "are not told anew after a restart while they are open",
            &[(10, Sees(killed(9))), (20, Restart(vec![killed(9)])), (30, Sees(killed(9)))],
            "10 active, 3609 cleared",
        );
        check(
            "that are old are told all the same, and are over at once",
            &[(10, Restart(vec![again(-90_000, -80_000)]))],
            "10 active, 10 cleared",
        );
        check(
            "of a static pod stay told when its mirror is made anew",
            &[
                (10, Sees(mirror(again(5, 9)))),
                (2000, Gone(mirror(again(5, 9)))),
                (2010, Sees(mirror(again(5, 9)).set("/metadata/uid", json!("another")))),
            ],
            "10 active, 309 cleared",
        );
        check(
            "of a static pod stay told long after its mirror was made anew",
            &[
                (10, Sees(mirror(again(5, 9)))),
                (2000, Gone(mirror(again(5, 9)))),
                (2010, Sees(mirror(again(5, 9)))),
                (6000, Sees(mirror(again(5, 9)))),
            ],
            "10 active, 309 cleared",
        );
        check(
            "without a container id are told apart by the restarts",
            &[
                (10, Sees(nameless(killed(9), "state"))),
                (20, Sees(nameless(again(9, 20), "lastState"))),
                (60, Sees(nameless(killed(59).app(ended(137, "OOMKilled", 59), 1), "state"))),
            ],
            "10 active, 60 active, 3659 cleared",
        );
    }

    fn nameless(pod: Draft, state: &str) -> Draft {
        pod.set(&format!("/status/containerStatuses/0/{state}/terminated/containerID"), json!(""))
    }

    fn mirror(pod: Draft) -> Draft {
        pod.annotated("kubernetes.io/config.mirror", "8b1")
    }

    #[test]
    fn what_is_no_want_of_memory() {
        let none = |what, pod| check(what, "OOMKilled", &[(10, Sees(pod))], "");

        none("another kill", pod().app(ended(137, "Error", 9), 0).unready(9));
        none("a waiting container", pod().app(waiting("ContainerCreating"), 0));
        none("a pod that has succeeded", again(5, 9).set("/status/phase", json!("Succeeded")));
        none("a pod that is being deleted", killed(9).deleted(40, 30));
        none("a pod that is being disrupted", killed(9).condition("DisruptionTarget", "True", 9));
        none("a placeholder", killed(9).set("/spec/priority", json!(-10)));
        none(
            "a sidecar after its main containers have ended",
            pod()
                .with_sidecar("mesh")
                .container("initContainerStatuses", "mesh", ended(137, "OOMKilled", 9), 0)
                .app(ended(0, "Completed", 5), 0),
        );
    }

    #[test]
    fn one_that_is_ignored_when_it_happens_is_not_told_later() {
        let ignored = again(5, 9).annotated("tocsin.dev/ignore", "all");
        check("", "OOMKilled", &[(10, Sees(ignored)), (20, Sees(again(5, 9)))], "");
    }

    #[test]
    fn it_says_how_often_it_happened_within_the_hour() {
        let story =
            [(10, Sees(killed(9))), (700, Sees(killed(699))), (1500, Sees(killed(1499))), (5000, Sees(killed(4999)))];
        assert_eq!(last_told("OOMKilled", &story[..3]).evidence.occurrences, Some(3));
        assert_eq!(last_told("OOMKilled", &story).evidence.occurrences, Some(2));
        let told = last_told("OOMKilled", &story[..1]);
        assert_eq!(told.evidence.memory_limit.as_deref(), Some("64Mi"));
        assert_eq!(told.seen, Seen::Happening);
    }

    #[test]
    fn one_that_the_first_list_shows_may_be_old() {
        let found = |story: &[_]| last_told("OOMKilled", story).seen;
        assert_eq!(found(&[(10, Restart(vec![again(5, 9)]))]), Seen::Found);
        assert_eq!(found(&[(10, Relist(vec![again(5, 9)]))]), Seen::Happening);
        assert_eq!(found(&[(10, Sees(killed(9))), (20, Restart(vec![killed(9)]))]), Seen::Happening, "adopted");
        assert_eq!(found(&[(10, Sees(killed(9))), (20, Restart(vec![killed(19)]))]), Seen::Found, "missed");
    }
}
