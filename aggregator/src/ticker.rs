//! The ticker: tells the pipeline that time has passed, when that matters.

use std::sync::Arc;
use std::time::Duration;

use process::Pulse;

use crate::core::Core;
use crate::pipeline::Pipeline;

/// It looks up at least so often, to show that it is alive.
const REST_MAX: Duration = Duration::from_secs(30);

/// Ticks until it is dropped; `pulse` beats on every turn.
pub(crate) async fn run(core: Arc<Core>, pulse: Pulse) -> anyhow::Result<()> {
    let mut bell = core.bell();
    loop {
        pulse.beat();
        bell.listen();
        let rest = core.clock().now() + REST_MAX;
        let deadline = core.quietly(|pipeline, _| pipeline.next_deadline());
        tokio::select! {
            // What is new may have moved the deadline.
            () = bell.rung() => {}
            () = core.clock().sleep_until(deadline.map_or(rest, |deadline| deadline.min(rest))) => {
                if deadline.is_some_and(|deadline| deadline <= core.clock().now()) {
                    core.with(Pipeline::on_tick);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use process::{Clock, Liveness};
    use rules::{Evidence, Finding, FindingId, Incarnation, Kind, Owner, Seen, Severity, State, Subject, Time};
    use wire::{Body, Entry, Epoch, Hello, OpenSet, Report, SessionId};

    use super::*;
    use crate::settings::Settings;

    fn finding(since: Time) -> Finding {
        let kind = Kind::named("CrashLoopBackOff").expect("it is in the catalogue");
        let subject = Subject { namespace: "shop".into(), pod: "a".into(), node: "n1".into(), ..Subject::default() };
        Finding {
            id: FindingId::of(kind, &subject),
            kind,
            subject,
            owner: Owner { kind: "Deployment".into(), name: "a".into() },
            incarnation: Incarnation(1),
            state: State::Active,
            since,
            seen: Seen::Happening,
            severity: Severity::Critical,
            evidence: Evidence::default(),
        }
    }

    /// The agent of `n1` reports one finding.
    fn report(pipeline: &mut Pipeline, now: Time) {
        let session = SessionId(1);
        let hello = Hello { versions: wire::VERSIONS.to_vec(), build: String::new(), kinds: Vec::new() };
        pipeline.on_hello(&"n1".into(), &hello, session, now);
        let entries = vec![Entry { revision: 1, finding: finding(now) }];
        let open: OpenSet = entries.iter().collect();
        let report =
            Report { session, seq: 1, body: Body::Full(entries), open, settled_seen: 0, config_hash: 0, shed: 0 };
        pipeline.on_report(report, now);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_sees_any_more_ends_when_its_hold_has_passed_and_not_sooner() {
        let clock = Clock::starting_at(Time::from_millis(1_000_000));
        let core = Arc::new(Core::new(Pipeline::new(Settings::default(), Epoch(1), 7, clock.now()), clock.clone()));
        let pulse = Liveness::new(clock.clone()).pulse("ticker", REST_MAX);
        let hold = finding(clock.now()).kind.row().hold;
        let story = async {
            core.with(|pipeline, now| {
                pipeline.on_expected(std::iter::empty(), now);
                report(pipeline, now);
            });
            clock.sleep(Duration::from_mins(7)).await;
            let gone = core.with(|pipeline, now| {
                pipeline.on_node_gone(&"n1".into(), now);
                now
            });
            let mut bell = core.bell();
            while core.quietly(|pipeline, _| pipeline.dedupe().issues().count()) > 0 {
                bell.rung().await;
            }
            assert_eq!(clock.now(), gone + hold);
        };
        tokio::select! {
            ended = run(Arc::clone(&core), pulse) => panic!("it ended: {ended:?}"),
            outcome = tokio::time::timeout(Duration::from_hours(1), story) => outcome.expect("it ends"),
        }
    }
}
