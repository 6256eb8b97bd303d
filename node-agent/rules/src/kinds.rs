//! One file for each kind: its row of the catalogue, its rule, its table of tests.

pub(crate) mod agent_silent;
pub(crate) mod crash_loop;
pub(crate) mod evicted;
pub(crate) mod image_pull;
pub(crate) mod node_not_ready;
pub(crate) mod not_ready;
pub(crate) mod oom_killed;
pub(crate) mod pod_failed;
pub(crate) mod stuck_terminating;
pub(crate) mod unschedulable;
