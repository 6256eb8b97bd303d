//! The simulated API server behaves like the real one: one set of assertions, run against both.
//!
//! What Tocsin relies on, no more: which versions a LIST shows, where a WATCH begins and how it ends, who has written last,
//! and whose token it is. Against the real server it needs the feature `cluster` (`make test-cluster`).

#[path = "conformance/forgetting.rs"]
mod forgetting;
#[path = "conformance/identity.rs"]
mod identity;
#[path = "conformance/reading.rs"]
mod reading;
#[path = "conformance/server.rs"]
mod server;
#[path = "conformance/watching.rs"]
mod watching;
#[path = "conformance/writing.rs"]
mod writing;

use std::path::Path;

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use tocsin_tests::apiserver::{ApiServer, Cut, On, Options};

use forgetting::Remembered;
use server::Server;

/// One behaviour. It makes its own objects, so that all of them can be looked at side by side.
type Assertion = fn(&Server) -> BoxFuture<'_, Result<()>>;

const ASSERTIONS: &[(&str, Assertion)] = &[
    ("every answer has a date", |server| reading::every_answer_has_a_date(server).boxed()),
    ("a first list takes any version", |server| reading::a_first_list_takes_any_version(server).boxed()),
    ("a later list has what was seen", |server| reading::a_later_list_has_what_was_seen(server).boxed()),
    ("a list ahead of the server is behind", |server| reading::a_list_ahead_of_the_server_is_behind(server).boxed()),
    ("pages show one version", |server| reading::pages_show_one_version(server).boxed()),
    ("an unknown form is passed over", |server| reading::an_unknown_form_is_passed_over(server).boxed()),
    ("a failure is a status", |server| reading::a_failure_is_a_status(server).boxed()),
    ("a watch tells what follows", |server| watching::a_watch_tells_what_follows(server).boxed()),
    ("leaving labels is a deletion", |server| watching::leaving_labels_is_a_deletion(server).boxed()),
    ("getting a node is a deletion", |server| watching::getting_a_node_is_a_deletion(server).boxed()),
    ("a bookmark comes before the end", |server| watching::a_bookmark_comes_before_the_end(server).boxed()),
    ("a quiet watch ends cleanly", |server| watching::a_quiet_watch_ends_cleanly(server).boxed()),
    ("a watch ahead of the server", |server| watching::a_watch_ahead_of_the_server_is_silent(server).boxed()),
    ("the last writer is named", |server| writing::an_old_version_is_a_conflict(server).boxed()),
    ("nothing changed is nothing written", |server| writing::nothing_changed_is_nothing_written(server).boxed()),
    ("a lease wants its version", |server| writing::a_lease_wants_its_version(server).boxed()),
    ("a patch may name its version", |server| writing::a_patch_may_name_its_version(server).boxed()),
    ("a secret may be empty", |server| writing::a_secret_may_be_empty(server).boxed()),
    ("a lease is made once", |server| writing::a_lease_is_made_once_and_renewed_by_version(server).boxed()),
    ("a token names its node", |server| identity::a_token_names_its_node(server).boxed()),
    ("a strange token is nobody's", |server| identity::a_strange_token_is_nobodys(server).boxed()),
];

#[tokio::test]
async fn the_simulated_server() -> Result<()> {
    let api_server = ApiServer::start(Options::default()).await?;
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    api_server.write_kubeconfig(&kubeconfig, None)?;

    let server = open(&kubeconfig).await?;
    let mut remembered = Remembered::gather(&server).await?;
    api_server.compact();
    api_server.cut(&On::anything(), Cut::Reset);
    remembered.is_gone(&server).await
}

#[cfg(feature = "cluster")]
#[test]
fn the_real_server() -> Result<()> {
    use tocsin_tests::cluster::{self, Cluster};

    let mut cluster = Cluster::start(cluster::Options::default())?;
    cluster.enter_network()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = runtime.block_on(open(&cluster.admin_kubeconfig()))?;
    let mut remembered = runtime.block_on(Remembered::gather(&server))?;
    // The store forgets what was, and a server that has just started has not kept anything either.
    runtime.block_on(forgetting::compact_store(&cluster, &server))?;
    cluster.restart_apiserver()?;
    runtime.block_on(remembered.is_gone(&server))?;
    drop((remembered, server, runtime));
    cluster.stop()
}

/// Connects, and looks at everything that needs no loss of history.
async fn open(kubeconfig: &Path) -> Result<Server> {
    let server = Server::connect(kubeconfig).await?;
    let looked = join_all(ASSERTIONS.iter().map(|(name, assertion)| {
        assertion(&server).map(move |result| result.err().map(|error| format!("{name}: {error:#}")))
    }));
    let failed: Vec<_> = looked.await.into_iter().flatten().collect();
    anyhow::ensure!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), ASSERTIONS.len(), failed.join("\n"));
    Ok(server)
}
