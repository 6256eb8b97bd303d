//! Secrets in every state, years that pass, and replicas that all decide at once.

use std::time::Duration;

use super::*;
use crate::certificates::judge::Life;

const START: Time = Time::from_millis(1_800_000_000_000);

fn days(days: u64) -> Duration {
    Duration::from_hours(24 * days)
}

fn names() -> Vec<String> {
    ["tocsin", "tocsin.watch", "tocsin.watch.svc"].map(str::to_owned).into()
}

/// What a Secret holds after one decision at `now`, by who remembers nothing.
fn settled(found: &Material, now: Time) -> Material {
    let plan = Plan::of(found, None, &names(), now);
    plan.carry_out(found, &names(), now).expect("it can be made").unwrap_or_else(|| found.clone())
}

/// As it is made at [`START`].
fn made() -> Material {
    settled(&Material::default(), START)
}

/// What a plan does, and why, in two words.
fn words(plan: &Plan) -> String {
    match plan {
        Plan::Keep => "keep".to_owned(),
        Plan::Restore(why, _) => format!("restore {}", why.name()),
        Plan::Serving { why, .. } => format!("serving {}", why.name()),
        Plan::Authority { why, .. } => format!("authority {}", why.name()),
    }
}

fn plan(found: &Material, held: Option<&Material>, now: Time) -> String {
    words(&Plan::of(found, held, &names(), now))
}

/// What is decided about `found` days after the start: by who remembers nothing, and by who remembers `made`. After it is
/// done, the Secret is whole and stays so.
#[track_caller]
fn check(found: &Material, made: &Material, after: u64, forgetful: &str, mindful: &str) {
    let now = START + days(after);
    for (held, expected) in [(None, forgetful), (Some(made), mindful)] {
        let plan = Plan::of(found, held, &names(), now);
        assert_eq!(words(&plan), expected, "with memory: {}", held.is_some());
        let kept = plan == Plan::Keep;
        let Some(next) = plan.carry_out(found, &names(), now).expect("it can be made") else { continue };
        assert!(!kept && Judged::of(&next, &names(), now).is_whole());
    }
}

#[test]
fn a_secret_without_data_is_filled_and_then_stays() {
    let made = made();
    assert_eq!(plan(&made, None, START), "keep");
    assert_eq!(plan(&made, Some(&settled(&Material::default(), START)), START), "keep");
    check(&Material::default(), &made, 0, "authority empty", "restore empty");
    let judged = Judged::of(&made, &names(), START);
    let serving = judged.serving.expect("agents accept it");
    assert_eq!((serving.names, serving.has_names), (names(), true));
    assert_eq!(made.authorities.matches("BEGIN CERTIFICATE").count(), 1);
}

#[test]
fn half_a_secret_is_made_whole_from_memory_or_from_the_half_that_is_there() {
    let made = made();
    let without = |key: &str| {
        let mut half = made.clone();
        match key {
            "tls.crt" => half.certificate.clear(),
            "tls.key" => half.key.clear(),
            "ca.crt" => half.authorities.clear(),
            _ => half.authority_key.clear(),
        }
        half
    };
    check(&without("tls.crt"), &made, 0, "serving damaged", "restore damaged");
    check(&without("tls.key"), &made, 0, "serving damaged", "restore damaged");
    check(&without("ca.crt"), &made, 0, "authority damaged", "restore damaged");
    // Without the CA's key it is good until it is time to sign.
    check(&without("ca.key"), &made, 0, "keep", "restore damaged");
    check(&without("ca.key"), &made, 61, "authority damaged", "restore damaged");
    check(&without("ca.key"), &made, 91, "authority out_of_time", "authority out_of_time");
    let renamed = Plan::of(&without("ca.key"), None, &["other".to_owned()], START);
    assert_eq!(words(&renamed), "authority damaged");
}

#[test]
fn garbage_is_replaced_and_what_is_left_of_the_cas_is_kept() {
    let made = made();
    let garbage = |text: &str| text.replace('M', "?");
    let bad = |change: &dyn Fn(&mut Material)| {
        let mut found = made.clone();
        change(&mut found);
        found
    };
    check(
        &bad(&|found| found.certificate = garbage(&found.certificate)),
        &made,
        0,
        "serving damaged",
        "restore damaged",
    );
    check(&bad(&|found| found.key = garbage(&found.key)), &made, 0, "serving damaged", "restore damaged");
    check(&bad(&|found| found.authority_key = "no key".into()), &made, 0, "keep", "restore damaged");
    check(&bad(&|found| found.authorities = "no CA".into()), &made, 0, "authority damaged", "restore damaged");
    let more = bad(&|found| found.authorities.push_str(&garbage(&made.authorities)));
    check(&more, &made, 0, "serving damaged", "restore damaged");
    assert_eq!(settled(&more, START).authorities, made.authorities);
}

#[test]
fn a_pair_of_another_ca_is_replaced_and_a_whole_secret_of_another_is_taken_as_it_is() {
    let (made, other) = (made(), made());
    assert_eq!(plan(&other, Some(&made), START), "keep");
    let foreign_pair = Material { certificate: other.certificate.clone(), key: other.key.clone(), ..made.clone() };
    check(&foreign_pair, &made, 0, "serving damaged", "restore damaged");
    let foreign_key = Material { key: other.key.clone(), ..made.clone() };
    check(&foreign_key, &made, 0, "serving damaged", "restore damaged");
    let foreign_ca = Material { authorities: other.authorities.clone(), ..made.clone() };
    check(&foreign_ca, &made, 0, "authority damaged", "restore damaged");
    let foreign_ca_and_key = Material { authority_key: other.authority_key, ..foreign_ca };
    check(&foreign_ca_and_key, &made, 0, "serving damaged", "restore damaged");
}

#[test]
fn certificates_are_renewed_after_two_thirds_of_their_life_and_replaced_after_all_of_it() {
    let made = made();
    for (after, expected) in
        [(0, "keep"), (59, "keep"), (60, "serving due"), (89, "serving due"), (91, "serving out_of_time")]
    {
        assert_eq!(plan(&made, None, START + days(after)), expected, "after {after} days");
        // Who remembers what has ended remembers nothing that helps.
        assert_eq!(plan(&made, Some(&made), START + days(after)), expected, "after {after} days");
    }
    let renewed_on = |after: u64| settled(&made, START + days(after));
    assert_eq!(plan(&renewed_on(2_400), None, START + days(2_400)), "keep");
    assert_eq!(plan(&renewed_on(2_400), None, START + days(2_434)), "authority due");
    assert_eq!(plan(&made, None, START + days(3_651)), "authority out_of_time");
    // Made by a clock that was ahead: by less than certificates are backdated, by a bit more, by far.
    assert_eq!(plan(&made, None, START - Duration::from_hours(23)), "keep");
    assert_eq!(plan(&made, None, START - Duration::from_hours(47)), "serving out_of_time");
    assert_eq!(plan(&made, None, START - days(3)), "authority out_of_time");
}

#[test]
fn what_is_asked_for_is_made_anew_once_and_the_former_ca_stays_trusted() {
    let made = made();
    let asked = |renew: &str| Material { renew: renew.to_owned(), ..made.clone() };
    assert_eq!(plan(&asked("nonsense"), Some(&made), START), "keep");
    for (renew, expected, authorities) in [("certificate\n", "serving asked", 1), ("ca", "authority asked", 2)] {
        check(&asked(renew), &made, 1, expected, expected);
        let next = settled(&asked(renew), START + days(1));
        assert!(next.renew.is_empty() && next.certificate != made.certificate);
        assert_eq!(next.authorities.matches("BEGIN CERTIFICATE").count(), authorities);
        assert!(next.authorities.contains(made.authorities.trim_end()));
        assert_eq!(plan(&next, Some(&made), START + days(1)), "keep");
        // What has to be repaired first is, and then that is done, too, unless it is what was repaired.
        let damaged = Material { key: String::new(), ..asked(renew) };
        let repaired = settled(&damaged, START + days(1));
        let then = if renew == "ca" { expected } else { "keep" };
        assert_eq!(plan(&repaired, None, START + days(1)), then);
    }
}

#[test]
fn where_the_key_of_the_ca_is_lost_another_ca_can_be_asked_for_and_the_former_stays_trusted() {
    let made = made();
    let asked = |renew: &str| Material { authority_key: String::new(), renew: renew.to_owned(), ..made.clone() };
    check(&asked("ca"), &made, 1, "authority asked", "restore damaged");
    let next = settled(&asked("ca"), START + days(1));
    assert!(next.renew.is_empty() && next.certificate != made.certificate);
    assert!(next.authorities.contains(made.authorities.trim_end()));
    assert_eq!(plan(&next, Some(&made), START + days(1)), "keep");
    // Nobody can sign, and nobody has asked for who could, until it is time to: then that is what was asked for, too.
    check(&asked("certificate"), &made, 1, "keep", "restore damaged");
    check(&asked("certificate"), &made, 61, "authority asked", "restore damaged");
    // Who remembers the key puts it back first.
    let restored = Plan::of(&asked("ca"), Some(&made), &names(), START + days(1));
    let restored = restored.carry_out(&asked("ca"), &names(), START + days(1)).expect("it can be made");
    assert_eq!(plan(&restored.expect("it is put back"), None, START + days(1)), "authority asked");
}

#[test]
fn what_was_asked_for_is_not_made_twice_where_all_had_to_be_made_anyway() {
    let made = made();
    let asked = |renew: &str, found: Material| Material { renew: renew.to_owned(), ..found };
    for found in [
        asked("ca", Material::default()),
        asked("certificate", Material::default()),
        asked("certificate", Material { key: String::new(), ..made.clone() }),
        asked("certificate", Material { certificate: String::new(), ..made.clone() }),
    ] {
        let next = settled(&found, START);
        assert_eq!((plan(&next, None, START).as_str(), next.renew.as_str()), ("keep", ""));
    }
}

#[test]
fn a_serving_certificate_does_not_outlast_its_ca() {
    let (by, key) = authority(START).expect("a CA");
    let by = Authority { life: Life { ends: START + days(7), ..by.life }, ..by };
    let (certificate, key) = serving(&by, &key, &names(), START).expect("a certificate");
    let found = Material { certificate, key, authorities: by.pem, authority_key: String::new(), ..Material::default() };
    let serving = Judged::of(&found, &names(), START).serving.expect("it is accepted");
    assert_eq!(serving.life.ends, START + days(7));
}

#[test]
fn an_old_ca_is_trusted_until_all_that_it_signed_has_ended() {
    let old = settled(&made(), START + days(2_400));
    let day = |day: u64| START + days(2_434 + day);
    let mut secret = settled(&old, day(0));
    let trusts_old = |secret: &Material| secret.authorities.contains(old.authorities.trim_end());
    assert!(trusts_old(&secret) && secret.authorities != old.authorities);
    for renewal in [60, 120] {
        assert_eq!(plan(&secret, None, day(renewal)), "serving due");
        secret = settled(&secret, day(renewal));
        assert_eq!(trusts_old(&secret), renewal < 90, "{renewal} days after");
    }
}

#[test]
fn another_name_is_added_and_two_that_want_different_names_do_not_write_for_ever() {
    let ours = |service: &str| vec![format!("{service}.watch.svc")];
    let mut secret = Material::default();
    let mut writes = 0;
    for _ in 0..10 {
        for names in [ours("old"), ours("new")] {
            let plan = Plan::of(&secret, None, &names, START);
            if let Some(next) = plan.carry_out(&secret, &names, START).expect("it can be made") {
                (secret, writes) = (next, writes + 1);
            }
        }
    }
    assert_eq!(writes, 2, "one makes it, the other adds its name");
    let renewed = settled(&secret, START + days(60));
    let serving = Judged::of(&renewed, &names(), START + days(60)).serving.expect("it is accepted");
    assert_eq!(serving.names, names(), "only what is needed");
}

/// For fourteen years a Secret is looked at every third day. On each of them agents that have read the CAs accept every certificate
/// that is still valid, whichever replica shows it, and never more than two CAs are trusted.
#[test]
fn through_all_renewals_what_is_valid_is_accepted_by_who_knows_the_present_cas() {
    let mut secret = Material::default();
    let (mut authorities, mut served) = (Vec::new(), Vec::<Material>::new());
    let mut most = 0;
    for day in (0..365 * 14).step_by(3) {
        let now = START + days(day);
        let next = settled(&secret, now);
        if next != secret {
            if !authorities.contains(&next.authority_key) {
                authorities.push(next.authority_key.clone());
            }
            served.push(next.clone());
            secret = next;
        }
        most = most.max(secret.authorities.matches("BEGIN CERTIFICATE").count());
        // Valid ones are few: those of the last 90 days.
        served.retain(|shown| {
            let trusted = Material { authority_key: String::new(), ..secret.clone() };
            let shown_to_agents =
                Material { certificate: shown.certificate.clone(), key: shown.key.clone(), ..trusted };
            let judged = Judged::of(&shown_to_agents, &names(), now);
            assert!(judged.is_out_of_time || judged.serving.is_some(), "on day {day} one is not accepted");
            !judged.is_out_of_time
        });
    }
    assert_eq!((authorities.len(), most), (3, 2));
    assert!(served.len() <= 3, "{} at once", served.len());
}

/// Replicas that read and write one Secret in any order, and somebody who spoils it: once that one rests, a few looks make
/// them agree, and from then on nobody writes.
#[test]
fn replicas_agree_whatever_becomes_of_the_secret_meanwhile() {
    /// What a replica remembers, and what it has read and not yet decided about, at which version.
    type Replica = (Option<Material>, Option<(Material, u32)>);
    for seed in 0..25 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut secret, mut version) = (Material::default(), 0_u32);
        let mut replicas: Vec<Replica> = vec![(None, None); 3];
        for step in 0..60 {
            if step < 30 && random.u8(..) < 60 {
                version += 1;
                match random.u8(..5) {
                    0 => secret = Material::default(),
                    1 => secret.key.clear(),
                    2 => secret.authority_key.clear(),
                    3 => secret.authorities = "?".into(),
                    _ => secret.certificate.truncate(99),
                }
            }
            let (held, read) = &mut replicas[random.usize(..3)];
            // It reads, and some time later it writes.
            let Some((found, at)) = read.take() else {
                *read = Some((secret.clone(), version));
                continue;
            };
            let plan = Plan::of(&found, held.as_ref(), &names(), START);
            let wanted = plan.carry_out(&found, &names(), START).expect("it can be made");
            if wanted.is_some() && at != version {
                continue;
            }
            if let Some(wanted) = &wanted {
                (secret, version) = (wanted.clone(), version + 1);
            }
            let seen = wanted.unwrap_or(found);
            if Judged::of(&seen, &names(), START).is_whole() {
                *held = Some(seen);
            }
        }
        for (held, _) in replicas {
            let plan = Plan::of(&secret, held.as_ref(), &names(), START);
            assert_eq!(plan, Plan::Keep, "seed {seed}");
        }
        assert!(Judged::of(&secret, &names(), START).serving.is_some(), "seed {seed}");
    }
}

#[test]
fn of_many_cas_the_newest_are_trusted() {
    let authorities: Vec<_> = (0..20).map(|at| authority(START + days(at)).expect("a CA").0).collect();
    let (by, beside) = authorities.split_first().expect("there are twenty");
    let bundle = bundle(by, beside);
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), AUTHORITIES_MAX);
    assert!(bundle.starts_with(by.pem.trim_end()), "the one that signs comes first");
    assert!(bundle.contains(authorities[19].pem.trim_end()) && !bundle.contains(authorities[1].pem.trim_end()));
}
