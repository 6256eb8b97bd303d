//! Two aggregators: one leads first, and something happens to it; the other stands by, and goes on.
//!
//! Agents come by way of the other: it is there all the time, as the Service of an installation is.

use std::process::ExitStatus;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::Value;
use tocsin_aggregator::told_log::keeper;

use super::{AGGREGATOR, Installation, LIMIT, NAMESPACE, OWN_KUBECONFIG, TOLD_LOG, path_of};
use crate::apiserver::{ApiServer, Fault, FaultId, On};
use crate::processes::{Ended, Process, Programs};

/// The account of the one that leads first: faults that are meant for its process are set by that.
pub(super) const LEADER: &str = "tocsin-aggregator-a";
pub(super) const KUBECONFIG: &str = "leader.kubeconfig";
/// The other's pod.
const STANDBY: &str = "tocsin-aggregator-b";

impl Installation {
    /// As [`Self::start`], with two aggregators, of which the first has come to lead.
    pub fn start_two(programs: Programs, nodes: &[&str], rules: &Value) -> Result<Self> {
        let mut installation = Self::prepare(programs, nodes, rules, None)?;
        let command = |installation: &Self, kubeconfig, pod| {
            let mut command = installation.aggregator_command(None, kubeconfig);
            command.args(as_pod(pod));
            command
        };
        let (leader, _) = Self::run_aggregator(LEADER, command(&installation, KUBECONFIG, LEADER))?;
        leader.until_said("leading", LIMIT)?;
        let standby = command(&installation, OWN_KUBECONFIG, STANDBY);
        let (standby, addresses) = Self::run_aggregator(STANDBY, standby)?;
        installation.addresses = addresses;
        (installation.leader, installation.aggregator) = (Some(leader), Some(standby));
        installation.start_agents(nodes)?;
        Ok(installation)
    }

    /// As [`Self::start`], with one aggregator that had itself elected.
    pub fn start_elected(programs: Programs, nodes: &[&str], rules: &Value) -> Result<Self> {
        let mut installation = Self::prepare(programs, nodes, rules, None)?;
        let mut command = installation.aggregator_command(None, OWN_KUBECONFIG);
        command.args(as_pod(AGGREGATOR));
        let (aggregator, addresses) = Self::run_aggregator(AGGREGATOR, command)?;
        aggregator.until_said("leading", LIMIT)?;
        (installation.aggregator, installation.addresses) = (Some(aggregator), addresses);
        installation.start_agents(nodes)?;
        Ok(installation)
    }

    /// Kills the leader without asking.
    pub fn kill_leader(&mut self) -> Result<()> {
        self.leader.take().context("there is no leader")?.kill().map(drop)
    }

    /// Sends the leader a signal: to stop in its tracks, to go on, to end.
    pub fn signal_leader(&self, signal: Signal) -> Result<()> {
        self.leader()?.signal(signal)
    }

    /// Waits until the one that led has ended by itself; how, and whether it has said so.
    pub fn leader_ends(&mut self, message: &str) -> Result<(ExitStatus, bool)> {
        let Ended { status, lines } = self.leader.take().context("there is no leader")?.wait(LIMIT)?;
        Ok((status, lines.iter().any(|line| line.contains(message))))
    }

    /// Waits until the leader has logged that.
    pub fn until_leader_says(&self, message: &str) -> Result<()> {
        self.leader()?.until_said(message, LIMIT).map(drop)
    }

    /// Waits until the other leads.
    pub fn until_other_leads(&self) -> Result<()> {
        let other = self.aggregator.as_ref().context("there is no other")?;
        other.until_said("leading", LIMIT).map(drop).with_context(|| self.tails())
    }

    /// From now on the leader's requests to the API server get no answer, and its watches are silent.
    pub fn cut_leader_off(&self) -> FaultId {
        let all = On::anything().user(&account(LEADER));
        self.cluster.hold(&all);
        self.cluster.fault(all, Fault::BlackHole)
    }

    /// From now on nothing that the leader writes into ConfigMaps is answered.
    pub fn swallow_leaders_writes(&self) {
        self.cluster.fault(On::request("patch", "configmaps").user(&account(LEADER)), Fault::BlackHole);
    }

    /// Waits until somebody asks to write a ConfigMap, after as many times as `before` says.
    pub fn until_a_write(&self, before: u64) -> Result<()> {
        let asks = |cluster: &ApiServer| cluster.asked().of("patch", "configmaps") > before;
        self.block_on(self.cluster.until("a ConfigMap is written", LIMIT, asks))
    }

    /// Waits until a notification stands in the journal with its body.
    pub fn until_journal_has_a_body(&self) -> Result<()> {
        let path = path_of("configmaps", &keeper::names(TOLD_LOG).0);
        let has_one = |cluster: &ApiServer| {
            let map = cluster.object(&path).unwrap_or_default();
            map["data"]["told"].as_str().is_some_and(|text| text.contains("\"bodies\":{\""))
        };
        self.block_on(self.cluster.until("the journal has a body", LIMIT, has_one))
    }

    fn leader(&self) -> Result<&Process> {
        self.leader.as_ref().context("there is no leader")
    }
}

/// What an aggregator is told of its pod.
pub(super) fn as_pod(name: &str) -> [String; 2] {
    [format!("--pod-name={name}"), "--pod-ip=127.0.0.1".to_owned()]
}

fn account(name: &str) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{name}")
}
