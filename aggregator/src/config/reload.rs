//! Reload without a restart. The file's content is what counts: a ConfigMap is swapped through a symbolic link, which
//! neither changes this path nor keeps the times of the file behind it. A file that is wrong changes nothing: what was in
//! force stays so, the log says what is wrong, and a metric that it is not what the file says.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use process::clock::Clock;
use process::file;
use xxhash_rust::xxh3::xxh3_128;

use super::{Config, FILE_BYTES_MAX};

/// Between two looks at the file. A kubelet takes about a minute to bring a changed ConfigMap to its pods.
const POLL: Duration = Duration::from_secs(5);

/// Follows the configuration file.
#[derive(Debug)]
pub struct Reload {
    path: PathBuf,
    namespace: String,
    /// Of the content judged last, right or wrong.
    seen: Option<u128>,
    health: Arc<Health>,
}

/// Whether the file is what is in force, for metrics.
#[derive(Debug, Default)]
pub struct Health {
    rejected: AtomicBool,
    failures: AtomicU64,
}

/// What became of a look at the file.
#[derive(Debug)]
enum Verdict {
    /// Nothing new.
    Same,
    /// It is right, and from now on in force.
    New(Box<Config>),
    /// It is wrong, and why.
    Rejected(String),
}

impl Health {
    /// How often a changed file was rejected or could not be read.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether what is in force is what the file says.
    pub fn is_in_force(&self) -> bool {
        !self.rejected.load(Ordering::Relaxed)
    }
}

impl Reload {
    /// Reads the file for the first time: there is nothing to fall back to, so what is wrong is an error.
    pub async fn begin(path: &Path, namespace: &str) -> anyhow::Result<(Self, Config)> {
        let mut reload =
            Self { path: path.to_owned(), namespace: namespace.to_owned(), seen: None, health: Arc::default() };
        let content = read(path).await;
        if let Err(problem) = content {
            bail!("configuration {} {problem}: name another with --config", path.display());
        }
        match reload.judge(content) {
            Verdict::New(config) => Ok((reload, *config)),
            Verdict::Rejected(problems) => Err(anyhow::anyhow!("configuration {}\n{problems}", path.display())),
            Verdict::Same => unreachable!("nothing was seen before"),
        }
    }

    /// Whether the file is what is in force.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Hands the configuration to `apply` whenever the file changes to another that is right.
    pub async fn follow(mut self, clock: Clock, mut apply: impl FnMut(Config)) -> anyhow::Result<()> {
        loop {
            clock.sleep(POLL).await;
            match self.judge(read(&self.path).await) {
                Verdict::Same => {}
                Verdict::New(config) => {
                    tracing::info!(target: "config", path = %self.path.display(), "config_reloaded");
                    apply(*config);
                }
                Verdict::Rejected(problems) => {
                    tracing::error!(target: "config", path = %self.path.display(), problems, "config_rejected");
                }
            }
        }
    }

    /// Judges what was read; the same content, or the same trouble in reading it, is judged once.
    fn judge(&mut self, content: Result<String, String>) -> Verdict {
        let seen = match &content {
            Ok(text) => xxh3_128(text.as_bytes()),
            Err(error) => xxh3_128(error.as_bytes()) ^ 1,
        };
        if self.seen.replace(seen) == Some(seen) {
            return Verdict::Same;
        }
        let parsed =
            content.and_then(|text| Config::parse(&text, &self.namespace).map_err(|problems| problems.to_string()));
        self.health.rejected.store(parsed.is_err(), Ordering::Relaxed);
        match parsed {
            Ok(config) => Verdict::New(Box::new(config)),
            Err(problems) => {
                self.health.failures.fetch_add(1, Ordering::Relaxed);
                Verdict::Rejected(problems)
            }
        }
    }
}

/// The file's text, or why there is none.
async fn read(path: &Path) -> Result<String, String> {
    file::text(path, FILE_BYTES_MAX).await.map_err(|error| format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use rules::Time;

    use super::*;

    /// A ConfigMap's folder as the kubelet makes it: `config.yaml → ..data/config.yaml`, `..data → ..<version>`.
    struct Mount(tempfile::TempDir);

    impl Mount {
        fn new(text: &str) -> Self {
            let mount = Self(tempfile::tempdir().expect("a folder"));
            mount.swap("1", text);
            std::os::unix::fs::symlink("..data/config.yaml", mount.file()).expect("a link");
            mount
        }

        fn file(&self) -> PathBuf {
            self.0.path().join("config.yaml")
        }

        fn swap(&self, version: &str, text: &str) {
            let folder = self.0.path().join(format!("..{version}"));
            std::fs::create_dir(&folder).expect("a folder");
            std::fs::write(folder.join("config.yaml"), text).expect("written");
            let (new, data) = (self.0.path().join("..data_tmp"), self.0.path().join("..data"));
            std::os::unix::fs::symlink(format!("..{version}"), &new).expect("a link");
            std::fs::rename(new, data).expect("renamed");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_swapped_file_comes_into_force_and_a_wrong_one_changes_nothing() {
        let mount = Mount::new("clusterName: one");
        let clock = Clock::starting_at(Time::from_millis(0));
        let (reload, config) = Reload::begin(&mount.file(), "tocsin").await.expect("a right file");
        assert_eq!(config.settings.cluster.name, "one");
        let health = reload.health();
        let applied = Mutex::new(Vec::new());
        let following = reload.follow(clock.clone(), |config| {
            applied.lock().expect("unpoisoned").push(config.settings.cluster.name);
        });
        let looking = async {
            // One look at least, and over: time stands still while the file is read.
            let a_look = POLL * 3 / 2;
            mount.swap("2", "clusterNam: two");
            clock.sleep(a_look).await;
            assert!(applied.lock().expect("unpoisoned").is_empty(), "what was in force stays so");
            assert_eq!((health.is_in_force(), health.failures()), (false, 1));
            mount.swap("3", "clusterName: three");
            clock.sleep(a_look).await;
            assert_eq!(*applied.lock().expect("unpoisoned"), ["three"]);
            assert!(health.is_in_force());
            std::fs::remove_file(mount.file()).expect("removed");
            clock.sleep(a_look).await;
            assert_eq!((health.is_in_force(), health.failures()), (false, 2));
        };
        tokio::select! {
            outcome = following => panic!("it ended: {outcome:?}"),
            () = looking => {}
        }
    }

    #[tokio::test]
    async fn the_same_wrong_file_is_judged_once() {
        let mount = Mount::new("clusterName: one");
        let (mut reload, _) = Reload::begin(&mount.file(), "tocsin").await.expect("a right file");
        assert!(matches!(reload.judge(Ok("no: 1".to_owned())), Verdict::Rejected(_)));
        assert!(matches!(reload.judge(Ok("no: 1".to_owned())), Verdict::Same));
        assert_eq!(reload.health.failures(), 1);
    }

    #[tokio::test]
    async fn at_the_start_a_wrong_or_missing_file_is_an_error_that_names_it() {
        let mount = Mount::new("sinks: 3");
        let error = Reload::begin(&mount.file(), "tocsin").await.expect_err("a wrong file").to_string();
        assert!(error.ends_with("config.yaml\nsinks: expected keys with values, found the number 3\nclusterName: must be set: it is in every message, for example prod-eu-1"), "{error}");
        let error = Reload::begin(Path::new("/nowhere/config.yaml"), "tocsin").await.expect_err("no file").to_string();
        let said = "cannot be read: No such file or directory (os error 2): name another with --config";
        assert_eq!(error, format!("configuration /nowhere/config.yaml {said}"));
    }
}
