//! What made a pod or container: pure rules over names, labels and references.
//!
//! The kubelet tells the owner; the runtime does not, but controllers mark
//! their pods with labels, and build the pod's name from their own:
//!
//! | label | controller | pod's name |
//! |---|---|---|
//! | `pod-template-hash` | Deployment | `<name>-<hash>-<5 characters>` |
//! | `rollouts-pod-template-hash` | Argo Rollout | the same |
//! | `statefulset.kubernetes.io/pod-name` | StatefulSet | `<name>-<number>` |
//! | `job-name` | Job; CronJob where that ends in minutes since 1970 | - |
//! | `controller-revision-hash` and `pod-template-generation` | DaemonSet | `<name>-<5 characters>` |
//!
//! A name that was cut because it was too long does not fit, and stays unknown.

use std::fmt;

/// A controller, e.g. `Deployment/web`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub kind: String,
    pub name: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

type Labels = [(String, String)];

/// Owner by the marks that controllers leave on their pods.
pub fn by_labels(pod_name: &str, labels: &Labels) -> Option<Owner> {
    let of = |kind: &str, name: &str| {
        (!name.is_empty()).then(|| Owner { kind: kind.into(), name: name.into() })
    };
    if let Some(job) = value(labels, "batch.kubernetes.io/job-name").or(value(labels, "job-name")) {
        return job_or_cron(job);
    }
    for (label, kind) in
        [("rollouts-pod-template-hash", "Rollout"), ("pod-template-hash", "Deployment")]
    {
        if let Some(hash) = value(labels, label) {
            return of(kind, without_random(pod_name)?.strip_suffix(hash)?.strip_suffix('-')?);
        }
    }
    if value(labels, "statefulset.kubernetes.io/pod-name") == Some(pod_name) {
        let (name, number) = pod_name.rsplit_once('-')?;
        return number.bytes().all(|b| b.is_ascii_digit()).then(|| of("StatefulSet", name))?;
    }
    value(labels, "controller-revision-hash")?;
    value(labels, "pod-template-generation")?;
    of("DaemonSet", without_random(pod_name)?)
}

/// Owner by the controller that the API server names.
pub fn by_reference(kind: &str, name: &str, labels: &Labels) -> Option<Owner> {
    let without_hash = |label: &str| {
        let hash = value(labels, label)?;
        name.strip_suffix(hash)?.strip_suffix('-')
    };
    let (kind, name) = match kind {
        "ReplicaSet" => {
            let rollout = without_hash("rollouts-pod-template-hash").map(|name| ("Rollout", name));
            let deployment = || without_hash("pod-template-hash").map(|name| ("Deployment", name));
            rollout.or_else(deployment).unwrap_or((kind, name))
        }
        "Job" => return job_or_cron(name),
        // A static pod belongs to its node; what it does stands in its name.
        "Node" => return None,
        _ => (kind, name),
    };
    (!name.is_empty()).then(|| Owner { kind: kind.into(), name: name.into() })
}

/// Service of Compose or Swarm that a container is of.
pub fn service_of(labels: &Labels) -> Option<String> {
    if let Some(service) = value(labels, "com.docker.swarm.service.name") {
        return Some(service.to_owned());
    }
    let of_compose = |prefix: &str| {
        let project = value(labels, &format!("{prefix}.project"))?;
        let service = value(labels, &format!("{prefix}.service"))?;
        Some(format!("{project}.{service}"))
    };
    of_compose("com.docker.compose").or_else(|| of_compose("io.podman.compose"))
}

/// `backup` of `backup-28391040`: a CronJob names its Jobs by the minute.
fn job_or_cron(job: &str) -> Option<Owner> {
    let cron = job.rsplit_once('-').filter(|(name, minute)| {
        !name.is_empty() && minute.len() == 8 && minute.bytes().all(|b| b.is_ascii_digit())
    });
    let (kind, name) = cron.map_or(("Job", job), |(name, _)| ("CronJob", name));
    (!name.is_empty()).then(|| Owner { kind: kind.into(), name: name.into() })
}

/// A name without the five characters that make it unique.
fn without_random(pod_name: &str) -> Option<&str> {
    let (name, random) = pod_name.rsplit_once('-')?;
    (random.len() == 5 && random.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(name)
}

pub(super) fn value<'l>(labels: &'l Labels, key: &str) -> Option<&'l str> {
    let found = labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    found.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn controllers_are_known_by_their_labels() {
        for (pod, marks, owner) in [
            (
                "web-6d4b75cb6d-x2x4z",
                &[("pod-template-hash", "6d4b75cb6d")][..],
                Some("Deployment/web"),
            ),
            ("a-b-6d4b-x2x4z", &[("rollouts-pod-template-hash", "6d4b")], Some("Rollout/a-b")),
            (
                "db-0",
                &[
                    ("statefulset.kubernetes.io/pod-name", "db-0"),
                    ("controller-revision-hash", "db-1"),
                ],
                Some("StatefulSet/db"),
            ),
            (
                "fluentd-abc12",
                &[("controller-revision-hash", "7f"), ("pod-template-generation", "1")],
                Some("DaemonSet/fluentd"),
            ),
            ("backup-28391040-q7k2p", &[("job-name", "backup-28391040")], Some("CronJob/backup")),
            ("load-q7k2p", &[("batch.kubernetes.io/job-name", "load")], Some("Job/load")),
            ("bare", &[("app", "bare")], None),
            ("cut-off-name", &[("pod-template-hash", "6d4b")], None),
            ("-6d4b-x2x4z", &[("pod-template-hash", "6d4b")], None),
        ] {
            let found = by_labels(pod, &labels(marks)).map(|owner| owner.to_string());
            assert_eq!(found.as_deref(), owner, "{pod}");
        }
    }

    #[test]
    fn a_replica_set_stands_for_its_deployment() {
        let hash = labels(&[("pod-template-hash", "6d4b")]);
        let rollout = labels(&[("rollouts-pod-template-hash", "6d4b")]);
        for (kind, name, marks, owner) in [
            ("ReplicaSet", "web-6d4b", &hash, Some("Deployment/web")),
            ("ReplicaSet", "web-6d4b", &rollout, Some("Rollout/web")),
            ("ReplicaSet", "alone", &hash, Some("ReplicaSet/alone")),
            ("Job", "backup-28391040", &hash, Some("CronJob/backup")),
            ("Workflow", "etl", &hash, Some("Workflow/etl")),
            ("Node", "n1", &hash, None),
        ] {
            let found = by_reference(kind, name, marks).map(|owner| owner.to_string());
            assert_eq!(found.as_deref(), owner, "{kind}/{name}");
        }
    }

    proptest! {
        #[test]
        fn no_names_make_it_panic(pod in ".{0,30}", hash in ".{0,6}", kind in "(ReplicaSet|Job|.{0,5})") {
            let marks = vec![("pod-template-hash".to_owned(), hash)];
            let _ = (by_labels(&pod, &marks), by_reference(&kind, &pod, &marks), job_or_cron(&pod));
        }

        /// What a Deployment makes is found again, whatever its name.
        #[test]
        fn a_deployments_pod_leads_back_to_it(name in "[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", hash in "[a-z0-9]{6,10}", end in "[a-z0-9]{5}") {
            let found = by_labels(&format!("{name}-{hash}-{end}"), &[("pod-template-hash".into(), hash)]);
            prop_assert_eq!(found, Some(Owner { kind: "Deployment".into(), name }));
        }
    }
}
