//! Names for container and pod ids, from the runtime that made them.
//!
//! `refresh` asks the runtimes of the node (`cri`: containerd, CRI-O and
//! cri-dockerd; `docker`: Docker and Podman; `kubelet`: who made a pod) beside
//! the loop, and publishes one `Directory`. `scan` looks ids up in it and never
//! waits: what is not known yet keeps its id, and asks for the next refresh.
//! What a runtime answers is bounded here in number and length.

pub mod cri;
pub mod docker;
pub mod kubelet;
pub mod owner;
pub mod refresh;
mod unix_http;

use std::collections::HashMap;
use std::sync::Arc;

use crate::workload_key::{clean, Workload};
use owner::Owner;

/// Of one kind, on one node; the kubelet allows 110 pods by default.
const MAX_ENTRIES: usize = 8192;
const MAX_LABELS: usize = 32;
const MAX_TEXT_CHARS: usize = 256;

/// A container, as its runtime describes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Container {
    pub id: String,
    pub name: Option<String>,
    pub image: Option<String>,
    pub image_digest: Option<String>,
    pub pod_uid: Option<String>,
    pub labels: Vec<(String, String)>,
}

impl Container {
    /// With what another source knows of the same container.
    fn or(self, other: Container) -> Container {
        Container {
            id: self.id,
            name: self.name.or(other.name),
            image: self.image.or(other.image),
            image_digest: self.image_digest.or(other.image_digest),
            pod_uid: self.pod_uid.or(other.pod_uid),
            labels: if self.labels.is_empty() { other.labels } else { self.labels },
        }
    }
}

/// A pod, as its runtime or the kubelet describes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pod {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    pub owner: Option<Owner>,
    pub labels: Vec<(String, String)>,
}

/// What one source said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    pub containers: Vec<Container>,
    pub pods: Vec<Pod>,
}

/// What is told of a process in a known container or pod.
#[derive(Debug, Default, PartialEq)]
pub struct Placement {
    pub namespace: Option<Arc<str>>,
    pub pod_name: Option<Arc<str>>,
    pub owner: Option<Arc<str>>,
    pub labels: Vec<Arc<str>>,
    pub container_name: Option<Arc<str>>,
    pub image: Option<Arc<str>>,
    pub image_digest: Option<Arc<str>>,
}

/// All that is known at one moment.
#[derive(Debug, Default)]
pub struct Directory {
    containers: HashMap<String, Container>,
    pods: HashMap<String, Pod>,
}

impl Directory {
    /// Joins the answers; what a later one tells of a pod or container beats an
    /// earlier one's, what it does not tell stays.
    pub fn of<'a>(answers: impl Iterator<Item = &'a Answer>) -> Directory {
        let mut joined = Directory::default();
        for answer in answers {
            for container in answer.containers.iter().take(MAX_ENTRIES) {
                let before = joined.containers.remove(&container.id);
                let container = container.clone().or(before.unwrap_or_default());
                joined.containers.insert(container.id.clone(), container);
            }
            for pod in answer.pods.iter().take(MAX_ENTRIES) {
                let before = joined.pods.remove(&pod.uid);
                let mut pod = pod.clone();
                if let Some(before) = before {
                    pod.owner = pod.owner.or(before.owner);
                }
                joined.pods.insert(pod.uid.clone(), pod);
            }
        }
        joined
    }

    /// Whether a process with these ids can be named.
    pub fn knows(&self, container_id: Option<&str>, pod_id: Option<&str>) -> bool {
        container_id.is_none_or(|id| self.containers.contains_key(id))
            && pod_id.is_none_or(|uid| self.pods.contains_key(uid))
    }

    /// What is known of these ids; None where neither is.
    pub fn place(&self, container_id: Option<&str>, pod_id: Option<&str>) -> Option<Placement> {
        let container = container_id.and_then(|id| self.containers.get(id));
        let uid = pod_id.or(container.and_then(|found| found.pod_uid.as_deref()));
        let pod = uid.and_then(|uid| self.pods.get(uid));
        if container.is_none() && pod.is_none() {
            return None;
        }
        let text = |value: &Option<String>| value.as_deref().map(short);
        let labels = match pod {
            Some(pod) => &pod.labels,
            None => container.map(|found| &found.labels)?,
        };
        let mut labels: Vec<Arc<str>> = labels
            .iter()
            .take(MAX_LABELS)
            .map(|(key, value)| short(&format!("{key}={value}")))
            .collect();
        labels.sort_unstable();
        Some(Placement {
            namespace: pod.map(|pod| short(&pod.namespace)),
            pod_name: pod.map(|pod| short(&pod.name)),
            owner: pod.and_then(|pod| pod.owner.as_ref()).map(|owner| short(&owner.to_string())),
            labels,
            container_name: container.and_then(|found| text(&found.name)),
            image: container.and_then(|found| text(&found.image)),
            image_digest: container.and_then(|found| text(&found.image_digest)),
        })
    }

    /// The stable name of a workload that is known by an id so far; None where it has none.
    pub fn workload(
        &self,
        kind: &str,
        container_id: Option<&str>,
        pod_id: Option<&str>,
    ) -> Option<Workload> {
        match kind {
            "pod" | "container" => {}
            _ => return None,
        }
        let container = container_id.and_then(|id| self.containers.get(id));
        let uid = pod_id.or(container.and_then(|found| found.pod_uid.as_deref()));
        if let Some(pod) = uid.and_then(|uid| self.pods.get(uid)) {
            let maker = pod.owner.as_ref();
            let name = maker.map_or(&pod.name, |owner| &owner.name);
            return Some(Workload {
                key: format!("pod/{}", clean(&format!("{}.{name}", pod.namespace))).into(),
                kind: "pod",
                replica: maker.map(|_| clean(&pod.name).into()),
            });
        }
        if kind == "pod" {
            return None;
        }
        let name = owner::service_of(&container?.labels).or(container?.name.clone())?;
        let name = clean(&name);
        (!name.is_empty()).then(|| Workload {
            key: format!("container/{name}").into(),
            kind: "container",
            replica: None,
        })
    }
}

/// At most `MAX_TEXT_CHARS`, without control characters.
fn short(text: &str) -> Arc<str> {
    let kept: String = text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect();
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(owner: Option<Owner>) -> Pod {
        Pod {
            uid: "u1".into(),
            name: "web-6d4b-x2x4z".into(),
            namespace: "shop".into(),
            owner,
            labels: vec![("app".into(), "web".into())],
        }
    }

    fn container() -> Container {
        Container {
            id: "c1".into(),
            name: Some("nginx".into()),
            image: Some("nginx:1.25".into()),
            image_digest: Some("sha256:aa".into()),
            pod_uid: Some("u1".into()),
            labels: vec![("maintainer".into(), "x".into())],
        }
    }

    fn owner() -> Owner {
        Owner { kind: "Deployment".into(), name: "web".into() }
    }

    #[test]
    fn a_pod_is_named_by_what_made_it_and_is_a_replica_of_that() {
        let answer = Answer { containers: vec![container()], pods: vec![pod(Some(owner()))] };
        let directory = Directory::of([&answer].into_iter());
        let found = directory.workload("pod", Some("c1"), Some("u1")).unwrap();
        assert_eq!(
            (&*found.key, found.replica.as_deref()),
            ("pod/shop.web", Some("web-6d4b-x2x4z"))
        );
        let placed = directory.place(Some("c1"), Some("u1")).unwrap();
        assert_eq!(placed.owner.as_deref(), Some("Deployment/web"));
        assert_eq!(placed.labels, ["app=web".into()]);
        assert_eq!(placed.image.as_deref(), Some("nginx:1.25"));
        // The cgroup did not tell the pod: the runtime does.
        assert_eq!(
            &*directory.workload("container", Some("c1"), None).unwrap().key,
            "pod/shop.web"
        );
    }

    #[test]
    fn what_is_declared_or_unknown_keeps_its_name() {
        let answer = Answer { containers: vec![container()], pods: vec![pod(None)] };
        let directory = Directory::of([&answer].into_iter());
        assert_eq!(directory.workload("declared", Some("c1"), Some("u1")), None);
        assert_eq!(directory.workload("pod", Some("c2"), Some("u2")), None);
        assert_eq!(directory.place(Some("c2"), None), None);
        assert!(directory.knows(None, None) && !directory.knows(Some("c2"), Some("u1")));
        let bare = directory.workload("pod", None, Some("u1")).unwrap();
        assert_eq!((&*bare.key, bare.replica), ("pod/shop.web-6d4b-x2x4z", None));
    }

    #[test]
    fn the_owner_of_one_source_is_not_lost_to_another() {
        let of_kubelet = Answer { pods: vec![pod(Some(owner()))], ..Default::default() };
        let of_runtime = Answer { pods: vec![pod(None)], ..Default::default() };
        for answers in [[&of_kubelet, &of_runtime], [&of_runtime, &of_kubelet]] {
            let directory = Directory::of(answers.into_iter());
            assert_eq!(&*directory.workload("pod", None, Some("u1")).unwrap().key, "pod/shop.web");
        }
    }

    #[test]
    fn what_one_source_does_not_tell_of_a_container_is_not_lost_to_another() {
        let named = Container { image: Some("shop/web:2".into()), ..container() };
        let bare = Container { id: "c1".into(), ..Default::default() };
        let answer = |container| Answer { containers: vec![container], pods: vec![] };
        let [first, second, third] = [answer(container()), answer(named), answer(bare)];
        let directory = Directory::of([&first, &second, &third].into_iter());
        let placed = directory.place(Some("c1"), None).unwrap();
        assert_eq!(placed.image.as_deref(), Some("shop/web:2"));
        assert_eq!(placed.image_digest.as_deref(), Some("sha256:aa"));
        assert_eq!(placed.labels, ["maintainer=x".into()]);
    }

    #[test]
    fn a_container_without_pod_has_its_name_or_its_compose_service() {
        let mut alone = Container { pod_uid: None, ..container() };
        let key = |container: &Container| {
            let answer = Answer { containers: vec![container.clone()], pods: vec![] };
            Directory::of([&answer].into_iter())
                .workload("container", Some("c1"), None)
                .unwrap()
                .key
        };
        assert_eq!(&*key(&alone), "container/nginx");
        alone.labels = vec![
            ("com.docker.compose.project".into(), "shop".into()),
            ("com.docker.compose.service".into(), "web".into()),
        ];
        assert_eq!(&*key(&alone), "container/shop.web");
    }

    #[test]
    fn texts_and_labels_are_bounded() {
        let labels = (0..100).map(|n| (format!("k{n}"), "\nx".repeat(1000))).collect();
        let container = Container { labels, ..container() };
        let answer = Answer { containers: vec![container], pods: vec![] };
        let placed = Directory::of([&answer].into_iter()).place(Some("c1"), None).unwrap();
        assert_eq!(placed.labels.len(), MAX_LABELS);
        assert!(placed.labels.iter().all(|one| one.chars().count() <= MAX_TEXT_CHARS));
        assert!(placed.labels.iter().all(|one| !one.contains('\n')));
    }
}
