//! The rule for names of other charts, for every one of them: it means what it stands for, it must not contradict, and the
//! notes say that it was used.

use serde_json::Value;
use tocsin_tests::chart::{self, Helm};

use crate::installation::{notes, refused, rendered, with};

/// Two different values for what stands there, as `--set` takes them.
fn two(path: &str, default: &Value) -> [String; 2] {
    let set = |value: &str| format!("{path}{value}");
    match (path, default) {
        (_, Value::Number(_)) => [set("=7"), set("=8")],
        (_, Value::Array(_)) => [set("[0].key=one"), set("[0].key=two")],
        (path, _) if path.contains("resources") => [set(".limits.memory=1Gi"), set(".limits.memory=2Gi")],
        (_, Value::Object(_)) => {
            [set(".one=1"), set(".one=2")].map(|set| set.replace("=1", "=first").replace("=2", "=second"))
        }
        (path, _) if path.contains("ull") => [set("=Always"), set("=Never")],
        (path, _) if path.contains("url") => [set("=https://one.example"), set("=https://two.example")],
        (path, _) if path.contains("evel") => [set("=debug"), set("=error")],
        _ => [set("=one"), set("=two")],
    }
}

/// What else has to be said for a value to be usable.
fn beside(name: &str) -> &'static str {
    match name {
        "ingest.url" => "token=t",
        "existingSecretKey" => "existingSecret=s",
        _ => "commonLabels.a=b",
    }
}

#[test]
fn every_alias_means_the_values_that_it_stands_for() {
    let (aliases, entries) = (chart::aliases().expect("they are there"), chart::entries().expect("they are there"));
    for (alias, names) in &aliases.names {
        let default = &entries.iter().find(|entry| entry.path == names[0]).expect("it stands for a value").default;
        let own: Vec<_> = names.iter().map(|name| two(name, default)[0].clone()).collect();
        let own: Vec<_> = own.iter().map(String::as_str).chain([beside(&names[0])]).collect();
        let [same, other] = two(alias, default);
        let expected = rendered(&with(&own));
        assert_eq!(rendered(&with(&[&same, beside(&names[0])])), expected, "{alias}");
        assert_eq!(rendered(&with(&[&own[..], &[&same]].concat())), expected, "{alias} beside its own name");
        for name in names {
            refused(
                &with(&[&two(name, default)[0], &other, beside(name)]),
                &[&format!("{alias} is another name for {name}, and they differ: keep one")],
            );
        }
        let notes = notes(&with(&[&same, beside(&names[0])]));
        assert!(notes.contains(&format!("{alias} is read as {}.", names.join(" and "))), "{notes}");
    }
}

#[test]
fn two_aliases_of_one_value_must_agree() {
    refused(
        &with(&["agentToken=one", "apiKey=two"]),
        &["agentToken and apiKey differ, and both mean token: set token only"],
    );
    refused(&with(&["replicaCount=2", "replica_count=3"]), &["differ, and both mean aggregator.replicas"]);
    Helm::Four.template(&with(&["agentToken=one", "apiKey=one", "config.token=one"])).expect("they agree");
}

/// Helm does not say whether a default was given: one of ours counts as not said.
#[test]
fn another_name_goes_before_a_value_that_is_its_default() {
    let expected = rendered(&with(&["aggregator.replicas=3"]));
    assert_eq!(rendered(&with(&["aggregator.replicas=2", "replicaCount=3"])), expected);
}

#[test]
fn the_image_of_another_product_and_its_tag_are_taken_for_not_said() {
    let expected = rendered(&with(&[]));
    for repository in
        ["klusteralert/agent", "ankra/agent", "registry.internal:5000/klusteralert/agent", "a/b/ankra/agent"]
    {
        let repository = format!("image.repository={repository}");
        assert_eq!(rendered(&with(&[&repository, "image.tag=1.2.3"])), expected, "{repository}");
        let notes = notes(&with(&[&repository, "image.tag=1.2.3"]));
        for says in [repository.as_str(), "image.tag=1.2.3"] {
            assert!(notes.contains(&format!("{says}: that is another product's image.")), "{notes}");
        }
        assert!(!notes.contains("is read as"), "{notes}");
    }
    for ours in ["mirror/tocsin/aggregator", "myklusteralert/agent"] {
        let notes = notes(&with(&[&format!("image.repository={ours}"), "image.tag=1.2.3"]));
        assert!(notes.contains("image.repository is read as") && notes.contains("image.tag is read as"), "{notes}");
    }
}

#[test]
fn tokens_are_in_no_message_and_in_no_notes() {
    for helm in Helm::BOTH {
        let error =
            helm.template(&with(&["agentToken=first.secret", "apiKey=second.secret"])).expect_err("they differ");
        assert!(!format!("{error:#}").contains("secret"), "{error:#}");
    }
    let notes = notes(&with(&["token=first.secret", "ingest.url=https://x.example"]));
    assert!(!notes.contains("first.secret"), "{notes}");
}

#[test]
fn without_aliases_the_notes_speak_of_none() {
    let notes = notes(&with(&["ingest.url=https://x.example", "token=t"]));
    for says in ["is read as", "Without effect", "the other product's"] {
        assert!(!notes.contains(says), "{notes}");
    }
}
