//! Stories are drawn, played, and made short where they end badly.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

const STORIES: u64 = 15;

/// Why a story ends badly, if it does.
fn play(mode: Mode, actions: &[Action]) -> Result<(), String> {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut story = Story::begin(mode);
        for &action in actions {
            story.act(action);
        }
        story.end(mode, actions);
    }));
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// Leaves out of a story what it fails without.
fn shrink(mode: Mode, mut actions: Vec<Action>, why: &str) -> Vec<Action> {
    let class: String = why.chars().take(12).collect();
    let mut at = actions.len();
    while at > 0 {
        at -= 1;
        let mut fewer = actions.clone();
        fewer.remove(at);
        if play(mode, &fewer).is_err_and(|why| why.starts_with(&class)) {
            actions = fewer;
        }
    }
    actions
}

/// Plays [`STORIES`] stories, from that seed on.
pub(super) fn tell(mode: Mode, first: u64) {
    let mut failed = 0;
    for seed in first..first + STORIES {
        let mut rng = Rng::with_seed(seed);
        let actions: Vec<_> = (0..rng.usize(8..30)).map(|_| draw(&mut rng, mode, 9)).collect();
        if let Err(why) = play(mode, &actions) {
            failed += 1;
            eprintln!("### seed {seed} {mode:?}: {why}");
            let short = shrink(mode, actions, &why);
            eprintln!("### seed {seed} shrunk: {short:?}");
        }
    }
    assert_eq!(failed, 0, "{failed} of {STORIES} stories ended badly");
}
