//! Whether a watch may be believed: what nobody can see neither fires nor resolves. Pure.
//!
//! While a watch is quiet, time stands still for what it shows. When it is heard again after a time in which something
//! would have fired or resolved, everything is listed first: what happened meanwhile comes only after [`Event::Live`], and
//! must be known before any of it is judged.

use super::Event;

/// What a caller makes of the events of one watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sight {
    /// Nothing is heard yet, or nothing any more: time stands still.
    #[default]
    Blind,
    /// It is heard again, but what happened in between comes with the next LIST: time stands still until then.
    Catching,
    /// What happens is heard.
    Live,
}

impl Sight {
    /// Takes note of an event, before it is shown to anybody. `is_due` says whether something would have fired or
    /// resolved by now. True when everything is to be listed again, with [`super::Watch::list_again`].
    #[must_use]
    pub fn on<V>(&mut self, event: &Event<V>, is_due: bool) -> bool {
        let (next, list_again) = match (event, *self) {
            (Event::Listed { .. }, Self::Catching) => (Self::Live, false),
            (Event::Quiet { .. }, _) => (Self::Blind, false),
            (Event::Live, Self::Blind) if is_due => (Self::Catching, true),
            (Event::Live, Self::Blind) => (Self::Live, false),
            (_, as_it_is) => (as_it_is, false),
        };
        *self = next;
        list_again
    }

    /// Whether time goes on.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Live)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Failure;
    use super::*;

    fn listed() -> Event<()> {
        Event::Listed { objects: Vec::new(), skipped: Vec::new(), first: true, restored: false }
    }

    fn quiet() -> Event<()> {
        Event::Quiet { reason: Failure::Silent }
    }

    /// Shows events in turn, with whether something is due; what is seen in the end, and how often to list again.
    #[track_caller]
    fn check(events: &[(Event<()>, bool)], sees: Sight, lists: usize) {
        let mut sight = Sight::default();
        let again = events.iter().filter(|(event, is_due)| sight.on(event, *is_due)).count();
        assert_eq!((sight, again), (sees, lists));
    }

    #[test]
    fn time_goes_on_once_the_watch_is_open() {
        check(&[(listed(), false)], Sight::Blind, 0);
        check(&[(listed(), false), (Event::Live, false)], Sight::Live, 0);
    }

    #[test]
    fn what_was_due_in_the_dark_waits_for_a_list() {
        let dark = || [(listed(), false), (Event::Live, false), (quiet(), true), (Event::Live, true)];
        check(&dark(), Sight::Catching, 1);
        let events = |more: Vec<(Event<()>, bool)>| dark().into_iter().chain(more).collect::<Vec<_>>();
        check(&events(vec![(Event::Applied(()), true)]), Sight::Catching, 1);
        check(&events(vec![(listed(), true)]), Sight::Live, 1);
        check(&events(vec![(quiet(), true), (listed(), true)]), Sight::Blind, 1);
        check(&events(vec![(quiet(), true), (Event::Live, true)]), Sight::Catching, 2);
    }

    #[test]
    fn a_short_silence_in_which_nothing_was_due_needs_no_list() {
        check(&[(listed(), false), (quiet(), false), (Event::Live, false)], Sight::Live, 0);
    }
}
