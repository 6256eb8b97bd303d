//! The chart, rendered by both helms and held against our programs, its documentation, and the rules for pods.
//!
//! `ci/*-values.yaml` of the chart is the matrix; what is asked of every installation is asked of each of them.

#[path = "chart/alerts.rs"]
mod alerts;
#[path = "chart/aliases.rs"]
mod aliases;
#[path = "chart/bounds.rs"]
mod bounds;
#[path = "chart/dashboard.rs"]
mod dashboard;
#[path = "chart/doctor.rs"]
mod doctor;
#[path = "chart/installation.rs"]
mod installation;
#[path = "chart/lint.rs"]
mod lint;
#[path = "chart/matrix.rs"]
mod matrix;
#[path = "chart/metrics.rs"]
mod metrics;
#[path = "chart/package.rs"]
mod package;
#[path = "chart/pods.rs"]
mod pods;
#[path = "chart/program.rs"]
mod program;
#[path = "chart/rights.rs"]
mod rights;
#[path = "chart/seeds.rs"]
mod seeds;
#[path = "chart/startable.rs"]
mod startable;
#[path = "chart/suites.rs"]
mod suites;
#[path = "chart/values.rs"]
mod values;
