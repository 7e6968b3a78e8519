//! Docker and Podman: their REST API, whose answers are read here (pure).
//!
//! Engine API v1.24 and later; Podman serves the same paths:
//! `/containers/json` names the running containers, `/images/json` the digests.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use super::owner::{by_labels, value};
use super::unix_http::{self, CallError};
use super::{Answer, Container, Pod};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default, rename = "ImageID")]
    image_id: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    id: String,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

/// Asks the daemon behind a socket.
pub async fn ask(socket: &Path) -> Result<Answer, CallError> {
    let containers = unix_http::get(socket, "/containers/json").await?;
    let images = unix_http::get(socket, "/images/json").await?;
    answer(&containers, &images).map_err(|error| CallError(format!("not Docker's JSON: {error}")))
}

/// Both answers joined. Containers that cri-dockerd made tell their pod by labels.
pub fn answer(containers: &[u8], images: &[u8]) -> Result<Answer, serde_json::Error> {
    let listed: Vec<Listed> = serde_json::from_slice(containers)?;
    let images: Vec<Image> = serde_json::from_slice(images)?;
    let digests: HashMap<&str, &str> = images
        .iter()
        .filter_map(|image| {
            let digest = image.repo_digests.as_ref()?.iter().find_map(|one| digest_of(one))?;
            Some((image.id.as_str(), digest))
        })
        .collect();
    let mut answer = Answer::default();
    for one in listed {
        let labels: Vec<(String, String)> = one.labels.unwrap_or_default().into_iter().collect();
        let pod = pod(&labels);
        let name = one.names.and_then(|names| names.into_iter().next());
        let image_id = one.image_id.filter(|id| !id.is_empty());
        let digest = image_id.as_deref().and_then(|id| digests.get(id)).map(|d| (*d).to_owned());
        answer.containers.push(Container {
            id: one.id,
            name: value(&labels, "io.kubernetes.container.name")
                .map(str::to_owned)
                .or_else(|| name.map(|name| name.trim_start_matches('/').to_owned())),
            image: one.image.filter(|image| !image.is_empty()),
            image_digest: digest.or(image_id),
            pod_uid: pod.as_ref().map(|pod| pod.uid.clone()),
            labels,
        });
        answer.pods.extend(pod);
    }
    Ok(answer)
}

fn pod(labels: &[(String, String)]) -> Option<Pod> {
    let name = value(labels, "io.kubernetes.pod.name")?;
    Some(Pod {
        uid: value(labels, "io.kubernetes.pod.uid")?.to_owned(),
        name: name.to_owned(),
        namespace: value(labels, "io.kubernetes.pod.namespace")?.to_owned(),
        owner: by_labels(name, labels),
        labels: labels.to_vec(),
    })
}

/// `sha256:…` of `name@sha256:…`.
pub(super) fn digest_of(reference: &str) -> Option<&str> {
    reference.rsplit_once('@').map(|(_, digest)| digest).filter(|digest| digest.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONTAINERS: &str = r#"[
        {"Id": "c1", "Names": ["/web"], "Image": "nginx:1.25", "ImageID": "sha256:i1", "State": "running",
         "Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}},
        {"Id": "c2", "Names": null, "Image": "", "ImageID": "sha256:i2", "Labels": null},
        {"Id": "c3", "Names": ["/k8s_app_pod"], "Labels": {"io.kubernetes.pod.uid": "u1",
         "io.kubernetes.pod.name": "db-0", "io.kubernetes.pod.namespace": "shop",
         "io.kubernetes.container.name": "app", "statefulset.kubernetes.io/pod-name": "db-0"}}]"#;
    const IMAGES: &str = r#"[{"Id": "sha256:i1", "RepoDigests": ["nginx@sha256:d1"]},
                            {"Id": "sha256:i2", "RepoDigests": null}]"#;

    #[test]
    fn names_images_and_pods_are_found() {
        let found = answer(CONTAINERS.as_bytes(), IMAGES.as_bytes()).unwrap();
        let [web, bare, app] = &found.containers[..] else { panic!("three containers") };
        assert_eq!((web.name.as_deref(), web.image.as_deref()), (Some("web"), Some("nginx:1.25")));
        assert_eq!(web.image_digest.as_deref(), Some("sha256:d1"));
        assert_eq!((bare.name.as_deref(), bare.image.as_deref()), (None, None));
        assert_eq!(
            bare.image_digest.as_deref(),
            Some("sha256:i2"),
            "its own id where no registry has it"
        );
        assert_eq!((app.name.as_deref(), app.pod_uid.as_deref()), (Some("app"), Some("u1")));
        assert_eq!(found.pods[0].owner.as_ref().unwrap().to_string(), "StatefulSet/db");
    }

    #[test]
    fn an_error_in_json_is_an_error() {
        assert!(answer(br#"{"message": "no"}"#, b"[]").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(&bytes, b"[]");
        }
    }
}
