//! containerd, CRI-O and cri-dockerd: the Container Runtime Interface.
//!
//! Three calls of `runtime.v1` over a Unix socket, plain gRPC over HTTP/2. Of
//! each message only the fields that are used are written down below; protobuf
//! skips the others. Tags are those of k8s.io/cri-api `pkg/apis/runtime/v1`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use prost::Message;

use super::docker::digest_of;
use super::owner::by_labels;
use super::unix_http::{self, CallError};
use super::{Answer, Container, Pod};

const LIST_CONTAINERS: &str = "/runtime.v1.RuntimeService/ListContainers";
const LIST_PODS: &str = "/runtime.v1.RuntimeService/ListPodSandbox";
const LIST_IMAGES: &str = "/runtime.v1.ImageService/ListImages";

#[derive(Clone, PartialEq, Message)]
pub struct ContainersReply {
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<CriContainer>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CriContainer {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Metadata>,
    #[prost(message, optional, tag = "4")]
    pub image: Option<ImageSpec>,
    #[prost(string, tag = "5")]
    pub image_ref: String,
    #[prost(btree_map = "string, string", tag = "8")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ImageSpec {
    #[prost(string, tag = "1")]
    pub image: String,
    /// As the pod's author wrote it; runtimes from 2023 on.
    #[prost(string, tag = "18")]
    pub user_specified_image: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct PodsReply {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<Sandbox>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Sandbox {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<SandboxMetadata>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SandboxMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub uid: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ImagesReply {
    #[prost(message, repeated, tag = "1")]
    pub images: Vec<CriImage>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CriImage {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, repeated, tag = "2")]
    pub repo_tags: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub repo_digests: Vec<String>,
}

/// Asks the runtime behind a socket.
pub async fn ask(socket: &Path) -> Result<Answer, CallError> {
    let containers = call(socket, LIST_CONTAINERS).await?;
    let pods = call(socket, LIST_PODS).await?;
    let images = call(socket, LIST_IMAGES).await?;
    Ok(answer(containers, pods, images))
}

async fn call<R: Message + Default>(socket: &Path, path: &str) -> Result<R, CallError> {
    // No filter: an empty message of zero bytes.
    let body = unix_http::grpc(socket, path, &[]).await?;
    R::decode(message(&body)?).map_err(|error| CallError(format!("{path}: {error}")))
}

/// The one message of a unary answer, behind its five bytes of gRPC.
pub fn message(body: &[u8]) -> Result<&[u8], CallError> {
    let broken = |what: &str| CallError(format!("not a gRPC answer: {what}"));
    let (head, rest) = body.split_at_checked(5).ok_or_else(|| broken("too short"))?;
    if head[0] != 0 {
        return Err(broken("compressed, though it was not asked for"));
    }
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    rest.get(..length).ok_or_else(|| broken("cut off"))
}

/// The three answers joined.
pub fn answer(containers: ContainersReply, pods: PodsReply, images: ImagesReply) -> Answer {
    let sandboxes: HashMap<&str, &SandboxMetadata> = pods
        .items
        .iter()
        .filter_map(|pod| Some((pod.id.as_str(), pod.metadata.as_ref()?)))
        .collect();
    let mut by_reference = HashMap::new();
    for image in &images.images {
        let names = image.repo_tags.iter().chain(&image.repo_digests).chain([&image.id]);
        by_reference.extend(names.map(|name| (name.as_str(), image)));
    }
    let containers = containers.containers.iter().map(|one| {
        let asked_for = one.image.as_ref().map(|spec| spec.image.as_str()).unwrap_or_default();
        let image = by_reference.get(one.image_ref.as_str()).or(by_reference.get(asked_for));
        let digest = image.and_then(|image| image.repo_digests.iter().find_map(|d| digest_of(d)));
        let digest = digest.or_else(|| digest_of(&one.image_ref));
        let tag = image.and_then(|image| image.repo_tags.first().map(String::as_str));
        // containerd writes the id where the kubelet asked by digest.
        let named = Some(asked_for).filter(|name| !name.is_empty() && !name.starts_with("sha256:"));
        // Of two names of one image, the list of images tells any.
        let written = one.image.as_ref().map(|spec| spec.user_specified_image.as_str());
        let written = written.filter(|name| !name.is_empty());
        Container {
            id: one.id.clone(),
            name: one.metadata.as_ref().map(|metadata| metadata.name.clone()),
            image: written.or(named).or(tag).map(str::to_owned),
            image_digest: digest
                .or(Some(one.image_ref.as_str()).filter(|r| r.starts_with("sha256:")))
                .map(str::to_owned),
            pod_uid: sandboxes.get(one.pod_sandbox_id.as_str()).map(|pod| pod.uid.clone()),
            labels: one.labels.clone().into_iter().collect(),
        }
    });
    let containers: Vec<Container> = containers.collect();
    // The sandbox itself (`pause`) has a cgroup of its own, too.
    let pauses = pods.items.iter().filter_map(|pod| {
        let uid = Some(pod.metadata.as_ref()?.uid.clone());
        let name = Some("pause".to_owned());
        Some(Container { id: pod.id.clone(), name, pod_uid: uid, ..Default::default() })
    });
    let containers = pauses.chain(containers).collect();
    let pods = pods.items.iter().filter_map(|sandbox| {
        let metadata = sandbox.metadata.as_ref()?;
        let mut labels: Vec<(String, String)> = sandbox.labels.clone().into_iter().collect();
        let owner = by_labels(&metadata.name, &labels);
        // The kubelet repeats name, namespace and uid here.
        labels.retain(|(key, _)| !key.starts_with("io.kubernetes."));
        Some(Pod {
            uid: metadata.uid.clone(),
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            owner,
            labels,
        })
    });
    Answer { containers, pods: pods.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    fn replies() -> (ContainersReply, PodsReply, ImagesReply) {
        let container = CriContainer {
            id: "c1".into(),
            pod_sandbox_id: "s1".into(),
            metadata: Some(Metadata { name: "nginx".into() }),
            image: Some(ImageSpec { image: "sha256:i1".into(), ..Default::default() }),
            image_ref: "sha256:i1".into(),
            labels: map(&[("io.kubernetes.container.name", "nginx")]),
        };
        let sandbox = Sandbox {
            id: "s1".into(),
            metadata: Some(SandboxMetadata {
                name: "web-6d4b-x2x4z".into(),
                uid: "u1".into(),
                namespace: "shop".into(),
            }),
            labels: map(&[("pod-template-hash", "6d4b"), ("io.kubernetes.pod.uid", "u1")]),
        };
        let image = CriImage {
            id: "sha256:i1".into(),
            repo_tags: vec!["docker.io/library/nginx:1.25".into()],
            repo_digests: vec!["docker.io/library/nginx@sha256:d1".into()],
        };
        (
            ContainersReply { containers: vec![container] },
            PodsReply { items: vec![sandbox] },
            ImagesReply { images: vec![image] },
        )
    }

    #[test]
    fn containers_pods_and_images_are_joined() {
        let (containers, pods, images) = replies();
        let found = answer(containers, pods, images);
        let [pause, nginx] = &found.containers[..] else { panic!("two containers") };
        assert_eq!((pause.id.as_str(), pause.pod_uid.as_deref()), ("s1", Some("u1")));
        assert_eq!(nginx.name.as_deref(), Some("nginx"));
        assert_eq!(nginx.image.as_deref(), Some("docker.io/library/nginx:1.25"));
        assert_eq!(nginx.image_digest.as_deref(), Some("sha256:d1"));
        assert_eq!(nginx.pod_uid.as_deref(), Some("u1"));
        assert_eq!(found.pods[0].owner.as_ref().unwrap().to_string(), "Deployment/web");
        assert_eq!(found.pods[0].labels, [("pod-template-hash".to_owned(), "6d4b".to_owned())]);
    }

    #[test]
    fn the_image_is_named_as_the_pods_author_wrote_it() {
        let (mut containers, pods, images) = replies();
        let spec = containers.containers[0].image.as_mut().unwrap();
        spec.user_specified_image = "shop/web:2".into();
        let found = answer(containers, pods, images);
        assert_eq!(found.containers[1].image.as_deref(), Some("shop/web:2"));
    }

    #[test]
    fn a_container_of_which_nothing_else_is_known_stays() {
        let (containers, _, _) = replies();
        let found = answer(containers, PodsReply::default(), ImagesReply::default());
        assert_eq!(found.containers[0].pod_uid, None);
        assert_eq!(found.containers[0].image, None);
        assert_eq!(found.containers[0].image_digest.as_deref(), Some("sha256:i1"));
    }

    #[test]
    fn a_torn_or_compressed_answer_is_an_error() {
        for body in [&b""[..], &[0, 0, 0, 0], &[0, 0, 0, 0, 2, 1], &[1, 0, 0, 0, 0]] {
            assert!(message(body).is_err(), "{body:?}");
        }
        assert_eq!(message(&[0, 0, 0, 0, 1, 7]).unwrap(), [7]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = message(&bytes);
            let containers = ContainersReply::decode(&bytes[..]).unwrap_or_default();
            let pods = PodsReply::decode(&bytes[..]).unwrap_or_default();
            let images = ImagesReply::decode(&bytes[..]).unwrap_or_default();
            let _ = answer(containers, pods, images);
        }
    }
}
