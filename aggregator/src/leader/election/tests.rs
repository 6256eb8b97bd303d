//! One elector against scripted answers, and several against one Lease in virtual time.

use super::*;

mod model;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: f64) -> Mark {
    Mark::from_start(Duration::from_secs_f64(seconds))
}

fn record(version: u32, holder: &str, renewed: &str) -> Record {
    Record {
        version: version.to_string(),
        holder: holder.into(),
        address: format!("{holder}:8443").into(),
        transitions: 7,
        renewed: renewed.to_owned(),
    }
}

fn elector() -> Elector {
    Elector::new("me".into())
}

fn unreachable() -> Failure {
    Failure::Unreachable("away".into())
}

fn forbidden() -> Failure {
    Failure::Forbidden("no".into())
}

/// One that has seen, at 0 s, that `other` has the Lease.
fn standing_by() -> Elector {
    let mut elector = elector();
    assert_eq!(elector.next(at(0.0)), Action::Read);
    elector.on_read(Ok(Some(record(1, "other", "a"))), at(0.0));
    elector
}

/// One that took a Lease over that was free, at 0 s, at version 2.
fn leading() -> Elector {
    let mut elector = elector();
    assert_eq!(elector.next(at(0.0)), Action::Read);
    elector.on_read(Ok(Some(record(1, "", "a"))), at(0.0));
    claims(&mut elector, 0.0, Why::Resigned, Some("1"));
    elector.on_written(Ok(Record { transitions: 8, ..record(2, "me", "b") }), at(0.0));
    assert_eq!(elector.role(), Role::Leading { send_until: at(10.0) });
    elector
}

#[track_caller]
fn claims(elector: &mut Elector, now: f64, why: Why, version: Option<&str>) -> Claim {
    let Action::Write(claim) = elector.next(at(now)) else { panic!("it does not write") };
    assert_eq!((claim.why, claim.version.as_deref()), (why, version));
    claim
}

#[track_caller]
fn is_lost_to(elector: &mut Elector, holder: &str, now: f64) {
    assert_eq!(elector.next(at(now)), Action::Stop);
    assert_eq!(elector.role(), Role::Ended(End::Lost(holder.into())));
    assert!(!elector.role().may_send(at(now)));
}

#[test]
fn a_standby_looks_every_two_seconds_and_knows_who_leads_and_where() {
    let mut elector = standing_by();
    let role = Role::StandingBy { leader: "other".into(), address: "other:8443".into() };
    assert_eq!((elector.role(), elector.next(at(0.5))), (role, Action::Wait(at(2.0))));
    for (look, renewed) in [(2.0, "b"), (4.0, "b"), (6.0, "c")] {
        assert_eq!(elector.next(at(look)), Action::Read);
        elector.on_read(Ok(Some(record(2, "other", renewed))), at(look));
    }
    assert!(!elector.role().may_send(at(6.0)));
}

#[test]
fn a_lease_that_does_not_change_for_fifteen_seconds_is_taken_over_at_that_moment() {
    let mut elector = standing_by();
    for look in [2.0, 4.0, 6.0, 8.0, 10.0] {
        assert_eq!(elector.next(at(look)), Action::Read);
        elector.on_read(Ok(Some(record(1, "other", "a"))), at(look));
    }
    assert_eq!(elector.next(at(12.0)), Action::Wait(at(15.0)), "no read is under way at 15 s");
    let claim = claims(&mut elector, 15.0, Why::Expired, Some("1"));
    assert_eq!((claim.transitions, claim.number), (8, 1));
    elector.on_written(Ok(Record { transitions: 8, ..record(2, "me", "b") }), at(15.5));
    assert_eq!(elector.role(), Role::Leading { send_until: at(25.0) }, "it counts from when the claim left");
    assert_eq!(elector.transitions(), 8);
}

#[test]
fn a_change_counts_from_the_end_of_the_read_that_shows_it() {
    let mut elector = standing_by();
    assert_eq!(elector.next(at(2.0)), Action::Read);
    elector.on_read(Ok(Some(record(2, "other", "b"))), at(4.9));
    for look in [5.0, 8.0, 11.0, 14.0] {
        assert_eq!(elector.next(at(look)), Action::Read);
        elector.on_read(Ok(Some(record(2, "other", "b"))), at(look));
    }
    assert_eq!(elector.next(at(18.0)), Action::Wait(at(19.9)));
}

#[test]
fn what_others_write_into_the_lease_beside_its_content_puts_off_nothing() {
    let mut elector = standing_by();
    for look in [3.0, 6.0, 9.0] {
        assert_eq!(elector.next(at(look)), Action::Read);
        elector.on_read(Ok(Some(record(look as u32, "other", "a"))), at(look));
    }
    claims(&mut elector, 15.0, Why::Expired, Some("9"));
}

#[test]
fn a_lease_that_its_holder_gave_up_is_taken_over_at_the_next_look() {
    let mut elector = standing_by();
    assert_eq!(elector.next(at(2.0)), Action::Read);
    elector.on_read(Ok(Some(record(2, "", "b"))), at(2.0));
    assert_eq!(claims(&mut elector, 2.0, Why::Resigned, Some("2")).transitions, 8);
}

#[test]
fn where_there_is_no_lease_it_waits_as_for_one_that_expires_since_its_leader_may_live() {
    let mut elector = elector();
    for look in [0.0, 3.0, 6.0, 9.0] {
        assert_eq!(elector.next(at(look)), Action::Read);
        elector.on_read(Ok(None), at(look));
    }
    assert_eq!(elector.next(at(12.0)), Action::Wait(at(15.0)));
    assert_eq!(claims(&mut elector, 15.0, Why::Absent, None).transitions, 0);
}

#[test]
fn who_comes_second_goes_on_standing_by() {
    let mut elector = standing_by();
    claims(&mut elector, 15.0, Why::Expired, Some("1"));
    elector.on_written(Err(Failure::Conflict), at(15.2));
    assert_eq!(elector.next(at(15.2)), Action::Wait(at(17.0)));
    assert_eq!(elector.next(at(17.0)), Action::Read);
    elector.on_read(Ok(Some(record(2, "third", "b"))), at(17.0));
    assert_eq!(elector.role(), Role::StandingBy { leader: "third".into(), address: "third:8443".into() });
    assert_eq!(elector.next(at(19.0)), Action::Read);
}

#[test]
fn a_claim_that_was_not_answered_and_took_place_is_found_to_be_its_own() {
    let mut elector = standing_by();
    claims(&mut elector, 15.0, Why::Expired, Some("1"));
    elector.on_written(Err(unreachable()), at(18.0));
    claims(&mut elector, 18.0, Why::Expired, Some("1"));
    elector.on_written(Err(Failure::Conflict), at(18.1));
    assert_eq!(elector.next(at(20.0)), Action::Read);
    elector.on_read(Ok(Some(Record { transitions: 8, ..record(2, "me", "b") })), at(20.0));
    assert_eq!(claims(&mut elector, 20.0, Why::Ours, Some("2")).transitions, 8);
}

#[test]
fn a_claim_on_a_lease_that_is_gone_waits_for_another_lease() {
    let mut elector = standing_by();
    claims(&mut elector, 15.0, Why::Expired, Some("1"));
    elector.on_written(Err(Failure::NotFound), at(15.0));
    assert_eq!(elector.next(at(17.0)), Action::Read);
    elector.on_read(Ok(None), at(17.0));
    assert_eq!(elector.next(at(31.0)), Action::Wait(at(32.0)));
    claims(&mut elector, 32.0, Why::Absent, None);
}

#[test]
fn a_standby_that_is_refused_or_not_answered_asks_again_in_two_seconds_and_claims_nothing() {
    for failure in [unreachable(), forbidden(), Failure::Invalid("?".into())] {
        let mut elector = elector();
        for look in 0..100 {
            let look = 2.0 * f64::from(look);
            assert_eq!(elector.next(at(look)), Action::Read);
            elector.on_read(Err(failure.clone()), at(look));
            assert_eq!(elector.next(at(look)), Action::Wait(at(look + 2.0)));
        }
    }
}

#[test]
fn a_leader_renews_every_three_seconds_and_no_two_writes_look_the_same() {
    let mut elector = leading();
    for round in 1..5 {
        let now = 3.0 * f64::from(round);
        assert_eq!(elector.next(at(now - 0.1)), Action::Wait(at(now)));
        let claim = claims(&mut elector, now, Why::Renewal, Some(&(round + 1).to_string()));
        assert_eq!((claim.transitions, claim.number), (8, u64::from(round) + 1));
        elector.on_written(Ok(Record { transitions: 8, ..record(round + 2, "me", "") }), at(now + 0.5));
        assert_eq!(elector.role(), Role::Leading { send_until: at(now + 10.0) });
    }
}

#[test]
fn a_leader_that_cannot_renew_stops_sending_after_ten_seconds_and_goes_on_when_it_can() {
    for failure in [unreachable(), forbidden(), Failure::Invalid("?".into())] {
        let mut elector = leading();
        let mut now = 3.0;
        while now < 3_600.0 {
            claims(&mut elector, now, Why::Renewal, Some("2"));
            elector.on_written(Err(failure.clone()), at(now));
            assert_eq!(elector.next(at(now)), Action::Wait(at(now + 1.0)));
            assert_eq!(elector.role().may_send(at(now)), now < 10.0, "{now}");
            now += 1.0;
        }
        claims(&mut elector, now, Why::Renewal, Some("2"));
        elector.on_written(Ok(record(3, "me", "c")), at(now));
        assert!(elector.role().may_send(at(now)), "its memory is its own again");
    }
}

#[test]
fn a_renewal_that_was_not_answered_and_took_place_costs_one_read() {
    let mut elector = leading();
    claims(&mut elector, 3.0, Why::Renewal, Some("2"));
    elector.on_written(Err(unreachable()), at(6.0));
    claims(&mut elector, 6.0, Why::Renewal, Some("2"));
    elector.on_written(Err(Failure::Conflict), at(6.0));
    assert_eq!(elector.next(at(7.0)), Action::Read);
    elector.on_read(Ok(Some(record(3, "me", "c"))), at(7.0));
    assert_eq!(elector.role(), Role::Leading { send_until: at(10.0) }, "a read renews nothing");
    claims(&mut elector, 7.0, Why::Renewal, Some("3"));
}

#[test]
fn a_leader_whose_lease_another_has_leads_no_more() {
    for holder in ["other", ""] {
        let mut elector = leading();
        claims(&mut elector, 3.0, Why::Renewal, Some("2"));
        elector.on_written(Err(Failure::Conflict), at(3.0));
        assert!(elector.role().may_send(at(3.5)), "a conflict alone says nothing");
        assert_eq!(elector.next(at(4.0)), Action::Read);
        elector.on_read(Ok(Some(record(3, holder, "c"))), at(4.0));
        is_lost_to(&mut elector, holder, 4.0);
    }
}

#[test]
fn a_leader_whose_lease_is_gone_makes_it_anew_at_once() {
    let mut elector = leading();
    claims(&mut elector, 3.0, Why::Renewal, Some("2"));
    elector.on_written(Err(Failure::NotFound), at(3.0));
    assert_eq!(claims(&mut elector, 3.0, Why::Renewal, None).transitions, 8);
    elector.on_written(Err(Failure::Conflict), at(3.0));
    assert_eq!(elector.next(at(4.0)), Action::Read);
    elector.on_read(Ok(None), at(4.0));
    claims(&mut elector, 4.0, Why::Renewal, None);
    elector.on_written(Ok(record(9, "me", "c")), at(4.0));
    assert_eq!(elector.role(), Role::Leading { send_until: at(14.0) });
}

#[test]
fn a_leader_that_finds_its_lease_gone_after_it_stopped_sending_does_not_know_who_led_since() {
    let mut elector = leading();
    claims(&mut elector, 9.0, Why::Renewal, Some("2"));
    elector.on_written(Err(Failure::NotFound), at(9.9));
    claims(&mut elector, 9.9, Why::Renewal, None);
    elector.on_written(Err(unreachable()), at(12.0));
    is_lost_to(&mut elector, "", 12.0);
}

#[test]
fn a_process_paused_past_its_lease_may_not_send_when_it_goes_on() {
    let mut elector = leading();
    assert!(elector.role().may_send(at(9.9)));
    assert!(!elector.role().may_send(at(60.0)));
    claims(&mut elector, 60.0, Why::Renewal, Some("2"));
    elector.on_written(Err(Failure::Conflict), at(60.0));
    assert_eq!(elector.next(at(61.0)), Action::Read);
    elector.on_read(Ok(Some(record(9, "other", "c"))), at(61.0));
    is_lost_to(&mut elector, "other", 61.0);
}

#[test]
fn a_process_paused_while_its_claim_was_under_way_leads_without_sending() {
    let mut elector = standing_by();
    claims(&mut elector, 15.0, Why::Expired, Some("1"));
    elector.on_written(Ok(record(2, "me", "b")), at(60.0));
    assert_eq!(elector.role(), Role::Leading { send_until: at(25.0) });
    claims(&mut elector, 60.0, Why::Renewal, Some("2"));
}

#[test]
fn one_that_resigns_sends_nothing_more_and_frees_the_lease() {
    let mut elector = leading();
    elector.resign(at(4.0));
    assert_eq!(elector.role(), Role::Ended(End::Resigned));
    assert_eq!(claims(&mut elector, 4.0, Why::Resigning, Some("2")).transitions, 8);
    elector.on_written(Ok(record(3, "", "c")), at(4.1));
    assert_eq!((elector.next(at(4.1)), elector.role()), (Action::Stop, Role::Ended(End::Resigned)));
}

#[test]
fn one_that_resigns_while_its_lease_is_in_doubt_frees_it_if_it_is_still_its_own() {
    for (found, frees) in [(Some(record(3, "me", "c")), true), (Some(record(3, "other", "c")), false), (None, false)] {
        let mut elector = leading();
        elector.resign(at(4.0));
        claims(&mut elector, 4.0, Why::Resigning, Some("2"));
        elector.on_written(Err(Failure::Conflict), at(4.0));
        assert_eq!(elector.next(at(5.0)), Action::Read);
        elector.on_read(Ok(found), at(5.0));
        match frees {
            true => drop(claims(&mut elector, 5.0, Why::Resigning, Some("3"))),
            false => assert_eq!(elector.next(at(5.0)), Action::Stop),
        }
    }
}

#[test]
fn resigning_takes_five_seconds_at_the_most() {
    let mut elector = leading();
    elector.resign(at(4.0));
    for now in [4.0, 5.0, 6.0, 7.0, 8.0] {
        claims(&mut elector, now, Why::Resigning, Some("2"));
        elector.on_written(Err(unreachable()), at(now));
    }
    assert_eq!(elector.next(at(8.5)), Action::Wait(at(9.0)));
    assert_eq!(elector.next(at(9.0)), Action::Stop);
}

#[test]
fn a_standby_that_resigns_just_ends() {
    let mut elector = standing_by();
    elector.resign(at(1.0));
    assert_eq!(elector.next(at(1.0)), Action::Stop);
}
