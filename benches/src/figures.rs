//! Figures and their budgets.

use std::time::{Duration, Instant};

/// What was measured so far.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    missed: usize,
}

impl Figures {
    /// A figure that must be at least `budget`.
    pub(crate) fn at_least(&mut self, what: &str, figure: f64, unit: &str, budget: f64) {
        self.line(what, figure, unit, figure >= budget, &format!("at least {budget}"));
    }

    /// A figure that must be at most `budget`.
    pub(crate) fn at_most(&mut self, what: &str, figure: f64, unit: &str, budget: f64) {
        self.line(what, figure, unit, figure <= budget, &format!("at most {budget}"));
    }

    /// A figure without a budget, to compare others with.
    pub(crate) fn plain(what: &str, figure: f64, unit: &str) {
        println!("  {what:<58} {figure:>12.2} {unit}");
    }

    /// Whether every budget was kept.
    pub(crate) fn all_kept(&self) -> bool {
        self.missed == 0
    }

    fn line(&mut self, what: &str, figure: f64, unit: &str, kept: bool, budget: &str) {
        self.missed += usize::from(!kept);
        let verdict = if kept { "kept" } else { "MISSED" };
        println!("  {what:<58} {figure:>12.2} {unit:<12} {budget}: {verdict}");
    }
}

/// How often `work` runs in a second: the best of some rounds, so that a noisy neighbour in one of them does not count.
pub(crate) fn per_second(mut work: impl FnMut()) -> f64 {
    const ROUNDS: usize = 5;
    const ROUND: Duration = Duration::from_millis(400);
    let mut best = 0.0_f64;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let mut times = 0_u32;
        while started.elapsed() < ROUND {
            work();
            times += 1;
        }
        best = best.max(f64::from(times) / started.elapsed().as_secs_f64());
    }
    best
}
