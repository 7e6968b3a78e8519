//! The kubelet's list of pods: the one source on a node that names the owner.
//!
//! `https://127.0.0.1:10250/pods` with a token that may `get` `nodes/proxy`
//! (or the read-only port, http://127.0.0.1:10255, where it is open). The
//! token is read at each request: Kubernetes renews it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use ureq::tls::RootCerts;

use super::owner::by_reference;
use super::unix_http::CallError;
use super::{Answer, Pod};
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
            401 | 403 => "; give kubelet_token_file a token that may get nodes/proxy",
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

/// Pods of a `PodList` (pure).
pub fn pods(body: &[u8]) -> Result<Answer, serde_json::Error> {
    let list: List = serde_json::from_slice(body)?;
    let pods = list.items.unwrap_or_default().into_iter().map(|Item { metadata }| {
        let labels: Vec<_> = metadata.labels.unwrap_or_default().into_iter().collect();
        let references = metadata.owner_references.unwrap_or_default();
        let controller = references.iter().find(|one| one.controller == Some(true));
        let owner = controller.and_then(|one| by_reference(&one.kind, &one.name, &labels));
        Pod { uid: metadata.uid, name: metadata.name, namespace: metadata.namespace, owner, labels }
    });
    Ok(Answer { pods: pods.collect(), ..Default::default() })
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
