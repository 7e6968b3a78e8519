//! Asking the sources, beside the loop.
//!
//! Rules
//! - Once before the first look, then when an id turns up that is not known
//!   (not more often than `MIN_GAP`, slow sources less often), and every
//!   `REPEAT` for changed labels.
//! - After a new id once more: a runtime tells a pod when it is made, and the
//!   kubelet a container seconds after it runs.
//! - A source that fails keeps its last answer, and is told once until it
//!   answers again. One that is not there is no source.
//! - A node without a source costs nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{watch, Notify};

use super::kubelet::{self, KubeletConfig};
use super::unix_http::CallError;
use super::{cri, docker, Answer, Directory};

const MIN_GAP: Duration = Duration::from_secs(1);
const MAX_GAP: Duration = Duration::from_secs(60);
/// Between the question for a new id and the second one.
const FOLLOW_UP: Duration = Duration::from_secs(5);
/// A source that takes long is asked less often: one part of the time in so many.
const SHARE: u32 = 50;
/// What is not told by then is told after the first looks.
const FIRST_WITHIN: Duration = Duration::from_secs(3);
const REPEAT: Duration = Duration::from_secs(300);

/// Sockets of runtimes, where distributions put them.
pub const KNOWN_SOCKETS: [&str; 7] = [
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/podman/podman.sock",
];

/// How a runtime is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Cri,
    Docker,
}

/// Where names come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Socket(Protocol, PathBuf),
    Kubelet(KubeletConfig),
}

impl Source {
    /// `cri:PATH`, `docker:PATH`, or a path that tells by its name.
    pub fn from_setting(text: &str) -> Source {
        if let Some(path) = text.strip_prefix("cri:") {
            return Source::Socket(Protocol::Cri, path.into());
        }
        if let Some(path) = text.strip_prefix("docker:") {
            return Source::Socket(Protocol::Docker, path.into());
        }
        let file = Path::new(text).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = file.starts_with("docker") || file.starts_with("podman");
        Source::Socket(if rest { Protocol::Docker } else { Protocol::Cri }, text.into())
    }

    /// The runtimes that have a socket on this node, each once.
    pub fn known() -> Vec<Source> {
        let mut seen = std::collections::HashSet::new();
        KNOWN_SOCKETS
            .iter()
            .filter_map(|path| Some((path, std::fs::canonicalize(path).ok()?)))
            .filter(|(_, real)| seen.insert(real.clone()))
            .map(|(path, _)| Source::from_setting(path))
            .collect()
    }

    pub fn name(&self) -> String {
        match self {
            Source::Socket(Protocol::Cri, path) => format!("cri:{}", path.display()),
            Source::Socket(Protocol::Docker, path) => format!("docker:{}", path.display()),
            Source::Kubelet(config) => format!("kubelet:{}", config.url),
        }
    }

    pub async fn ask(&self) -> Result<Answer, CallError> {
        match self {
            Source::Socket(Protocol::Cri, path) => cri::ask(path).await,
            Source::Socket(Protocol::Docker, path) => docker::ask(path).await,
            Source::Kubelet(config) => {
                let config = config.clone();
                let asked = tokio::task::spawn_blocking(move || kubelet::ask(&config)).await;
                asked.unwrap_or_else(|_| {
                    Err(CallError("the request ended in an error of ours".into()))
                })
            }
        }
    }
}

/// The loop's side: the newest directory, and a bell for new ids.
#[derive(Clone)]
pub struct Names {
    directory: watch::Receiver<Arc<Directory>>,
    bell: Arc<Notify>,
    /// Names of the sources, and what those that failed at the start said.
    pub at_the_start: Vec<(String, Result<String, String>)>,
}

impl Names {
    /// Asks once, then goes on beside the loop.
    pub async fn start(sources: Vec<Source>) -> Names {
        let bell = Arc::new(Notify::new());
        let mut refresher = Refresher::new(sources);
        // A runtime that hangs must not keep the agent from measuring.
        if tokio::time::timeout(FIRST_WITHIN, refresher.refresh()).await.is_err() {
            bell.notify_one();
        }
        let at_the_start = refresher.answers();
        let (sender, directory) = watch::channel(Arc::new(refresher.directory()));
        if !refresher.sources.is_empty() {
            tokio::spawn(refresher.run(sender, bell.clone()));
        }
        Names { directory, bell, at_the_start }
    }

    /// The directory, if it is another one than at the last call.
    pub fn changed(&mut self) -> Option<Arc<Directory>> {
        let changed = self.directory.has_changed().unwrap_or(false);
        changed.then(|| self.directory.borrow_and_update().clone())
    }

    pub fn newest(&mut self) -> Arc<Directory> {
        self.directory.borrow_and_update().clone()
    }

    /// There is an id that the directory does not have.
    pub fn ask(&self) {
        self.bell.notify_one();
    }
}

/// What each source answers now, in words for a person.
pub async fn findings(sources: &[Source]) -> Vec<(String, Result<String, String>)> {
    let mut findings = Vec::new();
    for source in sources {
        let found = source.ask().await.map_err(|error| error.to_string()).map(|answer| {
            format!("{} containers, {} pods", answer.containers.len(), answer.pods.len())
        });
        findings.push((source.name(), found));
    }
    findings
}

struct Refresher {
    sources: Vec<(Source, Answer, Option<String>)>,
}

impl Refresher {
    fn new(sources: Vec<Source>) -> Refresher {
        let sources = sources.into_iter().map(|one| (one, Answer::default(), None)).collect();
        Refresher { sources }
    }

    /// What each source said the last time; one that has not answered yet is taken to be there.
    fn answers(&self) -> Vec<(String, Result<String, String>)> {
        let said = |(source, _, failure): &(Source, Answer, Option<String>)| {
            (source.name(), failure.clone().map_or(Ok(String::new()), Err))
        };
        self.sources.iter().map(said).collect()
    }

    fn directory(&self) -> Directory {
        Directory::of(self.sources.iter().map(|(_, answer, _)| answer))
    }

    /// Asks every source; whether any answer is another than before.
    async fn refresh(&mut self) -> bool {
        let mut changed = false;
        for (source, last, failure) in &mut self.sources {
            match source.ask().await {
                Ok(answer) => {
                    changed |= answer != *last;
                    *last = answer;
                    *failure = None;
                }
                Err(error) => {
                    if failure.replace(error.to_string()).is_none() {
                        tracing::warn!(source = source.name(), %error, "containers and pods keep their ids until this source answers");
                    }
                }
            }
        }
        changed
    }

    async fn run(mut self, sender: watch::Sender<Arc<Directory>>, bell: Arc<Notify>) {
        let mut rung = false;
        let mut gap = MIN_GAP;
        loop {
            tokio::time::sleep(gap).await;
            let quiet_for = if rung { FOLLOW_UP } else { REPEAT };
            rung = tokio::select! {
                () = bell.notified() => true,
                () = tokio::time::sleep(quiet_for) => false,
                () = sender.closed() => return,
            };
            let began = tokio::time::Instant::now();
            let changed = self.refresh().await;
            gap = (began.elapsed() * SHARE).clamp(MIN_GAP, MAX_GAP);
            if changed && sender.send(Arc::new(self.directory())).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_tells_its_protocol_by_prefix_or_name() {
        for (setting, protocol, path) in [
            ("/run/containerd/containerd.sock", Protocol::Cri, "/run/containerd/containerd.sock"),
            ("/run/docker.sock", Protocol::Docker, "/run/docker.sock"),
            (
                "/run/user/1000/podman/podman.sock",
                Protocol::Docker,
                "/run/user/1000/podman/podman.sock",
            ),
            ("/run/cri-dockerd.sock", Protocol::Cri, "/run/cri-dockerd.sock"),
            ("docker:/x", Protocol::Docker, "/x"),
            ("cri:/docker.sock", Protocol::Cri, "/docker.sock"),
        ] {
            assert_eq!(Source::from_setting(setting), Source::Socket(protocol, path.into()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_runtime_that_hangs_does_not_hold_up_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let _silent = tokio::net::UnixListener::bind(&path).unwrap();
        let sources = vec![
            Source::Socket(Protocol::Cri, path.clone()),
            Source::Socket(Protocol::Docker, path),
        ];
        let before = tokio::time::Instant::now();
        Names::start(sources).await;
        assert!(before.elapsed() <= FIRST_WITHIN + Duration::from_millis(10));
    }

    #[tokio::test]
    async fn a_runtime_that_is_away_is_told_and_costs_nothing_else() {
        let source = Source::from_setting("cri:/nonexistent.sock");
        assert!(source.ask().await.unwrap_err().to_string().contains("No such file"));
        let mut names = Names::start(vec![source]).await;
        assert!(names.at_the_start[0].1.as_ref().is_err_and(|why| why.contains("No such file")));
        assert!(names.newest().place(Some("c1"), Some("u1")).is_none());
        assert!(names.changed().is_none());
    }
}
