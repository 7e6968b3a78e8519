//! The kubelet's list of pods: the one source on a node that names the owner.
//!
//! `https://127.0.0.1:10250/pods` with a token that may `get` `nodes/pods`
//! (before Kubernetes 1.33: `nodes/proxy`), or the read-only port,
//! http://127.0.0.1:10255, where it is open. The token is read at each
//! request: Kubernetes renews it. Containers are those that the pods' status
//! tells, the last ones that ended included; the `pause` container is in none.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use ureq::tls::RootCerts;

use super::docker::digest_of;
use super::owner::by_reference;
use super::unix_http::CallError;
use super::{Answer, Container, Pod};
use crate::https;

/// 110 pods take some 2 MB.
const MAX_BODY_BYTES: u64 = 32 << 20;
const MAX_SECRET_BYTES: usize = 64 << 10;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the kubelet is, and how it is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeletConfig {
    pub url: String,
    pub token_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub insecure: bool,
}

/// Asks the kubelet. Blocks: for a thread of its own.
pub fn ask(config: &KubeletConfig) -> Result<Answer, CallError> {
    let roots = match &config.ca_file {
        Some(file) => certificates(&read(file)?)?,
        None => https::no_roots(),
    };
    let agent = https::client(roots, !config.insecure, TIMEOUT);
    let url = format!("{}/pods", config.url.trim_end_matches('/'));
    let mut request = agent.get(&url);
    if let Some(file) = &config.token_file {
        request = request.header("Authorization", format!("Bearer {}", read(file)?.trim()));
    }
    let failed = |error: ureq::Error| CallError(format!("{url}: {error}"));
    let mut response = request.call().map_err(failed)?;
    let status = response.status().as_u16();
    if status != 200 {
        let next = match status {
            401 | 403 => "; give kubelet_token_file a token that may get nodes/pods (before Kubernetes 1.33: nodes/proxy)",
            _ => "",
        };
        return Err(CallError(format!("{url}: HTTP {status}{next}")));
    }
    let body = response.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_vec();
    pods(&body.map_err(failed)?)
        .map_err(|error| CallError(format!("{url}: not a PodList: {error}")))
}

fn read(file: &std::path::Path) -> Result<String, CallError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| CallError(format!("{}: {error}", file.display())))?;
    if text.len() > MAX_SECRET_BYTES {
        return Err(CallError(format!("{}: larger than a token or certificate", file.display())));
    }
    Ok(text)
}

fn certificates(pem: &str) -> Result<RootCerts, CallError> {
    let found = https::roots_of(pem.as_bytes());
    let found = found.map_err(|error| CallError(format!("kubelet_ca_file: {error}")))?;
    Ok(found.unwrap_or_else(https::no_roots))
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMetadata,
    #[serde(default)]
    spec: Option<Spec>,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    containers: Option<Vec<SpecContainer>>,
    init_containers: Option<Vec<SpecContainer>>,
    ephemeral_containers: Option<Vec<SpecContainer>>,
}

#[derive(Deserialize)]
struct SpecContainer {
    name: String,
    #[serde(default)]
    image: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    #[serde(default)]
    image: Option<String>,
    #[serde(default, rename = "imageID")]
    image_id: Option<String>,
    /// `containerd://<id>`
    #[serde(default, rename = "containerID")]
    container_id: Option<String>,
    #[serde(default)]
    last_state: Option<LastState>,
}

#[derive(Deserialize)]
struct LastState {
    #[serde(default)]
    terminated: Option<Terminated>,
}

#[derive(Deserialize)]
struct Terminated {
    #[serde(default, rename = "containerID")]
    container_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemMetadata {
    uid: String,
    name: String,
    namespace: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    owner_references: Option<Vec<Reference>>,
}

#[derive(Deserialize)]
struct Reference {
    kind: String,
    name: String,
    #[serde(default)]
    controller: Option<bool>,
}

/// Pods of a `PodList` and their containers (pure).
pub fn pods(body: &[u8]) -> Result<Answer, serde_json::Error> {
    let list: List = serde_json::from_slice(body)?;
    let mut answer = Answer::default();
    for Item { metadata, spec, status } in list.items.unwrap_or_default() {
        let containers = containers(&spec.unwrap_or_default(), status.unwrap_or_default());
        let uid = Some(metadata.uid.clone());
        answer
            .containers
            .extend(containers.into_iter().map(|one| Container { pod_uid: uid.clone(), ..one }));
        let labels: Vec<_> = metadata.labels.unwrap_or_default().into_iter().collect();
        let references = metadata.owner_references.unwrap_or_default();
        let controller = references.iter().find(|one| one.controller == Some(true));
        let owner = controller.and_then(|one| by_reference(&one.kind, &one.name, &labels));
        let ItemMetadata { uid, name, namespace, .. } = metadata;
        answer.pods.push(Pod { uid, name, namespace, owner, labels });
    }
    Ok(answer)
}

/// What a pod's status tells of its containers; one that was restarted under both its ids.
fn containers(spec: &Spec, status: Status) -> Vec<Container> {
    let specified = [&spec.containers, &spec.init_containers, &spec.ephemeral_containers];
    let specified: Vec<&SpecContainer> = specified.into_iter().flatten().flatten().collect();
    let told = [
        status.container_statuses,
        status.init_container_statuses,
        status.ephemeral_container_statuses,
    ];
    let mut found = Vec::new();
    for one in told.into_iter().flatten().flatten() {
        // As its author wrote it: of two names of one image, the runtime tells any.
        let written = specified.iter().find(|spec| spec.name == one.name);
        let written = written.and_then(|spec| spec.image.clone());
        let image_id = one.image_id.unwrap_or_default();
        let bare = || image_id.starts_with("sha256:").then(|| image_id.clone());
        let container = Container {
            name: Some(one.name),
            image: written.or(one.image).filter(|image| !image.is_empty()),
            image_digest: digest_of(&image_id).map(str::to_owned).or_else(bare),
            ..Default::default()
        };
        let last = one.last_state.and_then(|last| last.terminated?.container_id);
        for id in [one.container_id, last].into_iter().flatten() {
            let id = id.rsplit('/').next().unwrap_or_default().to_owned();
            if !id.is_empty() {
                found.push(Container { id, ..container.clone() });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn owners_are_read_from_references() {
        let body = r#"{"kind": "PodList", "items": [
            {"metadata": {"uid": "u1", "name": "web-6d4b-x", "namespace": "shop", "labels": {"pod-template-hash": "6d4b"},
             "ownerReferences": [{"kind": "ReplicaSet", "name": "web-6d4b", "controller": true}]}, "spec": {}},
            {"metadata": {"uid": "u2", "name": "etcd-n1", "namespace": "kube-system",
             "ownerReferences": [{"kind": "Node", "name": "n1", "controller": true}]}},
            {"metadata": {"uid": "u3", "name": "bare", "namespace": "default"}}]}"#;
        let found = pods(body.as_bytes()).unwrap().pods;
        let owners: Vec<_> =
            found.iter().map(|p| p.owner.as_ref().map(ToString::to_string)).collect();
        assert_eq!(owners, [Some("Deployment/web".to_owned()), None, None]);
        assert_eq!(pods(br#"{"items": null}"#).unwrap(), Answer::default());
    }

    #[test]
    fn containers_are_told_by_the_status_and_images_by_the_author() {
        let body = r#"{"items": [{"metadata": {"uid": "u1", "name": "web-0", "namespace": "shop"},
            "spec": {"containers": [{"name": "app", "image": "shop/web:2"}, {"name": "late", "image": "shop/late:1"}],
                     "initContainers": [{"name": "init"}]},
            "status": {"containerStatuses": [
                {"name": "app", "image": "shop/other:1", "imageID": "shop/other@sha256:aa", "containerID": "containerd://c2",
                 "lastState": {"terminated": {"containerID": "containerd://c1"}}},
                {"name": "late", "image": "", "imageID": "", "lastState": {}}],
              "initContainerStatuses": [{"name": "init", "image": "shop/init:1", "imageID": "sha256:bb", "containerID": "cri-o://c3"}]}}]}"#;
        let found = pods(body.as_bytes()).unwrap().containers;
        let told: Vec<_> = found
            .iter()
            .map(|one| {
                let [name, image, digest, uid] =
                    [&one.name, &one.image, &one.image_digest, &one.pod_uid].map(Option::as_deref);
                (one.id.as_str(), name.unwrap(), image.unwrap(), digest.unwrap(), uid.unwrap())
            })
            .collect();
        assert_eq!(
            told,
            [
                ("c2", "app", "shop/web:2", "sha256:aa", "u1"),
                ("c1", "app", "shop/web:2", "sha256:aa", "u1"),
                ("c3", "init", "shop/init:1", "sha256:bb", "u1"),
            ]
        );
    }

    #[test]
    fn an_unreadable_token_names_its_file() {
        let config = KubeletConfig {
            url: "https://127.0.0.1:1".into(),
            token_file: Some("/nonexistent/token".into()),
            ca_file: None,
            insecure: true,
        };
        assert!(ask(&config).unwrap_err().to_string().contains("/nonexistent/token"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = pods(&bytes);
        }
    }
}
