//! An address that is a secret itself, in a file.

use super::*;

const OLD: &str = "/hooks/hunter1hunter1";
const NEW: &str = "/hooks/hunter2hunter2?key=hunter3hunter3";

#[test]
fn a_new_one_is_used_at_once_and_neither_is_shown_anywhere() -> Result<()> {
    let rules = json!({"CrashLoopBackOff": {"sustain": "0s", "hold": "1s"}});
    let (mut installation, api) = start_with(&rules)?;
    // As receivers do that do not know a path.
    installation.outside.judge(|request| {
        (request.path != NEW).then(|| Answer::json(403, json!(format!("nobody knows {}", request.path))))
    });
    installation.replace_address(OLD)?;
    installation.hide_address(&rules)?;
    installation.cluster.crash_loop(&api.pods[0], 5);
    let asked = installation.outside.until("it is asked", LIMIT, |received| !received.is_empty());
    ensure!(installation.block_on(asked)?.iter().all(|request| request.path == OLD), "not from the file");
    installation.consult()?.has_failed_for("sink outside", &["403 Forbidden", "nobody knows …"])?;

    installation.replace_address(NEW)?;
    hears(&installation, SOON, &[FIRING])?;
    let open = installation.open_issues()?;
    ensure!(open.contains("CrashLoopBackOff"), "{open}");
    installation.cluster.run(&api.pods[0]);
    hears(&installation, LIMIT, &[FIRING, RESOLVED])?;
    let found = installation.consult()?;
    ensure!(found.with("failed").is_empty() && found.with("ok").contains(&"sink outside"), "{found:#?}");

    let said = installation.log().join("\n");
    ensure!(said.contains("sink_failing") && said.contains("config_reloaded"), "{said}");
    let metrics = installation.metrics()?.0;
    for text in [&said, &open, &metrics, &format!("{found:?}")] {
        ensure!(!text.contains("hunter"), "an address is shown: {text}");
    }
    installation.end()
}
