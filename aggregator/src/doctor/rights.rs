//! The rights that an aggregator needs, in one table, and what it means when one is missing. The chart's are held against
//! it. Pure.

use super::Check;
use crate::certificates::Origin;
use crate::config::Coverage;
use crate::forward::text::shown;
use crate::options::{CertificateFrom, Launch};
use crate::told_log::keeper;

/// What may be done with objects of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Where; `None`: everywhere.
    pub namespace: Option<String>,
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The resource, as paths name it.
    pub resource: &'static str,
    /// Which objects; empty: all of them.
    pub names: Vec<String>,
    /// What is done with them.
    pub verbs: &'static [&'static str],
    /// What for.
    pub purpose: &'static str,
}

/// One question to the API server: may I do this?
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question<'a> {
    pub(super) right: &'a Right,
    pub(super) verb: &'static str,
    /// Empty: any object.
    pub(super) name: &'a str,
}

/// What the API server said to one: whether, or why it has not said.
pub(super) type Answer = Result<bool, String>;

const LEASES: &str = "coordination.k8s.io";
/// What a watch takes.
const LISTED: &[&str] = &["list", "watch"];
/// Where nodes say that they live.
const NODE_LEASES: &str = "kube-node-lease";

impl Right {
    /// Every right that an aggregator with these options needs, where pods are watched so.
    pub fn needed(launch: &Launch, coverage: &Coverage) -> Vec<Self> {
        let everywhere = |group, resource, names: &[&str], verbs, purpose| Self {
            namespace: None,
            group,
            resource,
            names: names.iter().map(ToString::to_string).collect(),
            verbs,
            purpose,
        };
        let within = |namespace: &str, group, resource, names, verbs, purpose| Self {
            namespace: Some(namespace.to_owned()),
            group,
            resource,
            names,
            verbs,
            purpose,
        };
        let own =
            |group, resource, names, verbs, purpose| within(&launch.namespace, group, resource, names, verbs, purpose);
        let nodes = everywhere("", "nodes", &[], LISTED, "to see nodes");
        let cluster = everywhere("", "namespaces", &["kube-system"], &["get"], "to know which cluster this is");
        let pods = "to see what happens to pods";
        let mut rights = match coverage {
            Coverage::Agents => vec![
                everywhere("", "pods", &[], &["get", "list", "watch"], "to see pods that no agent sees"),
                nodes,
                cluster,
                everywhere("authentication.k8s.io", "tokenreviews", &[], &["create"], "to know who an agent is"),
                within(
                    NODE_LEASES,
                    LEASES,
                    "leases",
                    Vec::new(),
                    &["get"],
                    "to know whether a silent agent's node lives",
                ),
            ],
            Coverage::Cluster => vec![everywhere("", "pods", &[], LISTED, pods), nodes, cluster],
            Coverage::Namespaces(names) => {
                let id = vec![launch.namespace.clone()];
                let of = |name| within(name, "", "pods", Vec::new(), LISTED, pods);
                let id = own("", "namespaces", id, &["get"], "to know which installation this is");
                names.iter().map(|name| of(name)).chain([id]).collect()
            }
        };
        if let CertificateFrom::Secret { name, origin, config_map, .. } = &launch.certificate {
            let verbs: &[_] = if *origin == Origin::Made { &["get", "patch"] } else { &["get"] };
            rights.push(own("", "secrets", vec![name.clone()], verbs, "to keep the certificate that agents are shown"));
            let maps = config_map.iter().cloned().collect::<Vec<_>>();
            if !maps.is_empty() {
                rights.push(own("", "configmaps", maps, &["get", "patch"], "to publish the CA that agents trust"));
            }
        }
        if let Some(told_log) = &launch.told_log {
            let (journal, snapshots) = keeper::names(told_log);
            let names = std::iter::once(journal).chain(snapshots).collect();
            rights.push(own("", "configmaps", names, &["get", "patch"], "to remember what was told"));
        }
        if let Some(election) = &launch.election {
            let (lease, deployment) = (vec![election.lease.clone()], vec![election.deployment.clone()]);
            rights.push(own(LEASES, "leases", lease, &["get", "patch"], "to choose who leads"));
            rights.push(own(LEASES, "leases", Vec::new(), &["create"], "to choose who leads, for the first time"));
            rights.push(own("apps", "deployments", deployment, &["get"], "to let the Lease go with its Deployment"));
        }
        rights
    }

    /// What to ask about it.
    pub(super) fn questions(&self) -> impl Iterator<Item = Question<'_>> {
        let names = if self.names.is_empty() { vec![""] } else { self.names.iter().map(String::as_str).collect() };
        let of_name = |name| self.verbs.iter().map(move |verb| Question { right: self, verb, name });
        names.into_iter().flat_map(of_name).collect::<Vec<_>>().into_iter()
    }

    /// `leases.coordination.k8s.io`, as `kubectl auth can-i` takes it.
    fn full_resource(&self) -> String {
        if self.group.is_empty() { self.resource.to_owned() } else { format!("{}.{}", self.resource, self.group) }
    }

    fn place(&self) -> String {
        self.namespace.as_ref().map_or_else(|| "everywhere".to_owned(), |namespace| format!("in {namespace}"))
    }

    /// What the answers to its questions mean.
    pub(super) fn judge(&self, answers: &[(Question<'_>, Answer)]) -> Check {
        let resource = self.full_resource();
        let name = format!("right to {}", self.resource);
        let refused: Vec<_> = answers.iter().filter(|(_, answer)| *answer == Ok(false)).collect();
        if let Some((first, _)) = refused.first() {
            let what = |(question, _): &&(Question<'_>, Answer)| match question.name {
                "" => question.verb.to_owned(),
                name => format!("{} {name}", question.verb),
            };
            let lacks = refused.iter().map(what).collect::<Vec<_>>().join(", ");
            let kind = if self.namespace.is_some() { "Role" } else { "ClusterRole" };
            let at = self.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
            let object = if first.name.is_empty() { resource.clone() } else { format!("{resource}/{}", first.name) };
            return Check::failed(
                name,
                format_args!("{resource} {}: not allowed: {lacks}; it is needed {}", self.place(), self.purpose),
                format_args!(
                    "grant that to the aggregator's ServiceAccount in a {kind}, as the chart does; it is there when \
                     `kubectl auth can-i {} {object}{at} --as=system:serviceaccount:NAMESPACE:NAME` says yes",
                    first.verb
                ),
            );
        }
        if let Some(why) = answers.iter().find_map(|(_, answer)| answer.as_ref().err()) {
            let seen = format_args!("{resource} {}: the API server has not said: {}", self.place(), shown(why));
            return Check::failed(name, seen, "try again; every ServiceAccount may ask for its own rights by default");
        }
        let objects = if self.names.is_empty() { String::new() } else { format!(" {}", self.names.join(", ")) };
        Check::ok(name, format_args!("{} {resource}{objects} {}", self.verbs.join(", "), self.place()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Outcome;
    use super::*;
    use crate::options::{CommandLine, Task};

    fn needed(args: &[&str]) -> Vec<String> {
        needed_for(&Coverage::Agents, args)
    }

    fn needed_for(coverage: &Coverage, args: &[&str]) -> Vec<String> {
        let parsed = CommandLine::try_parse_from(["aggregator"].iter().chain(args)).expect("the options are known");
        let Ok(Task::Run(launch)) = parsed.resolve() else { panic!("they are valid") };
        let line = |right: &Right| {
            format!("{} {} {} {}", right.place(), right.full_resource(), right.names.join(" "), right.verbs.join(" "))
        };
        Right::needed(&launch, coverage).iter().map(line).collect()
    }

    #[test]
    fn rights_are_those_of_what_the_options_turn_on() {
        let always = needed(&[]);
        assert_eq!(always.len(), 5, "{always:?}");
        let election = needed(&["--pod-name=a", "--pod-ip=::1", "--lease=l", "--deployment=d"]);
        let of_election = [
            "in tocsin leases.coordination.k8s.io l get patch",
            "in tocsin leases.coordination.k8s.io  create",
            "in tocsin deployments.apps d get",
        ];
        assert_eq!(election[always.len()..], of_election);
        let made = needed(&["--tls-secret=s", "--ca-config-map=m"]);
        assert_eq!(made[5..], ["in tocsin secrets s get patch", "in tocsin configmaps m get patch"]);
        assert_eq!(needed(&["--tls-existing-secret=s"])[5..], ["in tocsin secrets s get"]);
        let told = "in tocsin configmaps t-journal t-snapshot-0 t-snapshot-1 t-snapshot-2 t-snapshot-3 get patch";
        assert_eq!(needed(&["--told-log=t"])[5..], [told]);
    }

    #[test]
    fn without_agents_no_right_is_for_them_and_in_namespaces_none_is_beside_them() {
        let everywhere =
            ["everywhere pods  list watch", "everywhere nodes  list watch", "everywhere namespaces kube-system get"];
        assert_eq!(needed_for(&Coverage::Cluster, &[]), everywhere);
        let namespaces = Coverage::Namespaces(["a".into(), "b".into()].into());
        let within = ["in a pods  list watch", "in b pods  list watch", "in watch namespaces watch get"];
        assert_eq!(needed_for(&namespaces, &["--namespace=watch"]), within);
    }

    fn maps() -> Right {
        Right {
            namespace: Some("tocsin".to_owned()),
            group: "",
            resource: "configmaps",
            names: vec!["a".to_owned(), "b".to_owned()],
            verbs: &["get", "patch"],
            purpose: "to remember what was told",
        }
    }

    #[track_caller]
    fn check(answers: [Answer; 4], outcome: Outcome, seen: &str) -> Check {
        let right = maps();
        let asked: Vec<_> = right.questions().collect();
        assert_eq!(
            asked.iter().map(|asked| (asked.verb, asked.name)).collect::<Vec<_>>(),
            [("get", "a"), ("patch", "a"), ("get", "b"), ("patch", "b")]
        );
        let check = right.judge(&asked.into_iter().zip(answers).collect::<Vec<_>>());
        assert_eq!((check.outcome, &*check.seen), (outcome, seen));
        check
    }

    #[test]
    fn what_is_missing_is_named_with_what_grants_it() {
        check([Ok(true), Ok(true), Ok(true), Ok(true)], Outcome::Ok, "get, patch configmaps a, b in tocsin");
        let seen = "configmaps in tocsin: not allowed: patch a, patch b; it is needed to remember what was told";
        let missing = check([Ok(true), Ok(false), Ok(true), Ok(false)], Outcome::Failed, seen);
        let says = ["ServiceAccount in a Role,", "kubectl auth can-i patch configmaps/a -n tocsin --as="];
        assert!(says.iter().all(|says| missing.advice.contains(says)), "{}", missing.advice);
        let unsaid = "configmaps in tocsin: the API server has not said: 500 token=[redacted]";
        check([Ok(true), Err("500\n token=abc".into()), Ok(true), Ok(true)], Outcome::Failed, unsaid);
    }
}
