//! What becomes of findings, told as short stories. A sink that takes everything at once stands behind it, unless the
//! story says otherwise.

mod causes;
mod issues;
mod recalled;
mod sinks;
mod telling;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rules::{Evidence, Finding, FindingId, Incarnation, Kind, Owner, Seen, State, Subject, Time};

use super::decision::Decision;
use super::*;
use crate::forward::outbox::Status;
use crate::settings::SinkSettings;

const START: Time = Time::from_millis(1_000_000_000);
const DEPLOYMENT: &str = "api";

/// A dedupe stage with a clock, and what came out of it.
struct Story {
    dedupe: Dedupe,
    now: Time,
    /// Whether the sink answers, and how.
    sink: Option<Fate>,
    verdict: Option<Checked>,
    told: Vec<String>,
    settled: Vec<(FindingId, u32)>,
    asked_full: Vec<Observer>,
    waiting: Vec<(Arc<str>, Arc<IssueKey>, Intent)>,
    checks: Vec<Check>,
    /// All that any observer has named.
    named: HashSet<FindingId>,
}

impl Story {
    fn begin() -> Self {
        Self::with_sinks(&[("sink", SinkSettings::default())])
    }

    fn with_sinks(sinks: &[(&str, SinkSettings)]) -> Self {
        let sinks: BTreeMap<_, _> = sinks.iter().map(|(name, sink)| (Arc::from(*name), sink.clone())).collect();
        let mut dedupe = Dedupe::new(Arc::new(Settings { sinks, ..Settings::default() }), START);
        dedupe.on_resynced(START);
        Self {
            dedupe,
            now: START,
            sink: Some(Fate::Delivered),
            verdict: Some(Checked::NoDoubt),
            told: Vec::new(),
            settled: Vec::new(),
            asked_full: Vec::new(),
            waiting: Vec::new(),
            checks: Vec::new(),
            named: HashSet::new(),
        }
    }

    fn see(&mut self, finding: Finding) -> &mut Self {
        let observer = match &*finding.subject.pod {
            "" => Arc::from(""),
            _ => Arc::clone(&finding.subject.node),
        };
        self.report(&observer, vec![finding])
    }

    /// One report of several findings.
    fn report(&mut self, observer: &Observer, findings: Vec<Finding>) -> &mut Self {
        self.named.extend(findings.iter().map(|finding| finding.id));
        let entries = findings.into_iter().map(|finding| Entry { revision: 1, finding }).collect();
        self.dedupe.on_findings(observer, entries, self.now);
        self.run()
    }

    fn after(&mut self, span: Duration) -> &mut Self {
        self.now = self.now + span;
        self.dedupe.on_tick(self.now);
        self.run()
    }

    fn full_report(&mut self, node: &str, absent: &[&Finding]) -> &mut Self {
        let is_absent = |id: &FindingId| absent.iter().any(|finding| finding.id == *id);
        let named = self.named.iter().copied().filter(|id| !is_absent(id)).collect();
        self.dedupe.on_full_report(&Arc::from(node), &named, self.now);
        self.run()
    }

    /// Carries out what dedupe wants, until it wants nothing more; then the books must balance.
    fn run(&mut self) -> &mut Self {
        loop {
            let effects = self.dedupe.take_effects();
            if effects.is_empty() {
                assert!(self.dedupe.balances(), "the books do not balance: {:?}", self.dedupe.accounts());
                return self;
            }
            for effect in effects {
                match effect {
                    Effect::Settle(member, revision) => self.settled.push((member.finding, revision)),
                    Effect::NeedFull(observer) => self.asked_full.push(observer),
                    Effect::Changed(..) | Effect::Over(..) => {}
                    Effect::Verify(check) => match self.verdict {
                        Some(verdict) => self.dedupe.on_checked(&check, verdict, self.now),
                        None => self.checks.push(check),
                    },
                    Effect::Tell(sink, issue, intent) => {
                        self.told.push(format!(
                            "{} {} {}",
                            issue.owner.name,
                            issue.kind,
                            match intent.status {
                                Status::Firing => "firing",
                                Status::Resolved => "resolved",
                            }
                        ));
                        match &self.sink {
                            Some(fate) => {
                                self.dedupe.on_fate(&sink, &issue, &intent, *fate, self.now);
                            }
                            None => self.waiting.push((sink, issue, intent)),
                        }
                    }
                }
            }
        }
    }

    fn sink_answers(&mut self, fate: Fate) -> &mut Self {
        for (sink, issue, intent) in std::mem::take(&mut self.waiting) {
            self.dedupe.on_fate(&sink, &issue, &intent, fate, self.now);
        }
        self.sink = Some(fate);
        self.run()
    }

    #[track_caller]
    fn told(&mut self, expected: &[&str]) -> &mut Self {
        assert_eq!(self.told, expected);
        self
    }

    /// Every non-zero account but `observed`, which is their sum.
    #[track_caller]
    fn accounts(&mut self, expected: &[(Decision, u64)]) -> &mut Self {
        let accounts = self.dedupe.accounts();
        let found: Vec<_> = Decision::ALL.into_iter().map(|at| (at, accounts.at(at))).filter(|(_, n)| *n > 0).collect();
        let mut expected = expected.to_vec();
        expected.sort_by_key(|(decision, _)| Decision::ALL.iter().position(|other| other == decision));
        assert_eq!(found, expected);
        self
    }
}

fn kind(name: &str) -> Kind {
    Kind::named(name).expect("a kind of the catalogue")
}

/// An active finding of `kind_name` about the pod of a Deployment on a node.
fn pod(kind_name: &str, node: &str, pod: &str) -> Finding {
    let container = match kind_name {
        "NotReady" | "PodFailed" | "Evicted" | "Unschedulable" => "",
        _ => "app",
    };
    let subject = Subject {
        namespace: "shop".into(),
        pod: pod.into(),
        uid: format!("uid-{pod}").into(),
        container: container.into(),
        node: node.into(),
    };
    let owner = Owner { kind: "Deployment".into(), name: DEPLOYMENT.into() };
    finding(kind_name, subject, owner)
}

fn node(kind_name: &str, node: &str) -> Finding {
    let subject = Subject { node: node.into(), ..Subject::default() };
    finding(kind_name, subject, Owner { kind: "Node".into(), name: node.into() })
}

fn finding(kind_name: &str, subject: Subject, owner: Owner) -> Finding {
    let kind = kind(kind_name);
    Finding {
        id: FindingId::of(kind, &subject),
        kind,
        subject,
        owner,
        incarnation: Incarnation(1),
        state: State::Active,
        since: START,
        seen: Seen::Happening,
        severity: kind.row().severity,
        evidence: Evidence::default(),
    }
}

fn pending(finding: Finding) -> Finding {
    Finding { state: State::Pending, ..finding }
}

fn cleared(finding: Finding) -> Finding {
    Finding { state: State::Cleared, ..finding }
}

fn again(finding: Finding, incarnation: u64, since: Time) -> Finding {
    Finding { incarnation: Incarnation(incarnation), since, ..finding }
}

fn found(finding: Finding, since: Time) -> Finding {
    Finding { seen: Seen::Found, since, ..finding }
}

const SECOND: Duration = Duration::from_secs(1);
const TOLD: Decision = Decision::Told;
const MERGED: Decision = Decision::Merged;

const fn suppressed(reason: decision::Suppression) -> Decision {
    Decision::Suppressed(reason)
}
