//! Doors to what programs beside the agent answer, and to what runs says of itself.
//!
//! A container runtime, the kubelet, a JVM, a cloud's metadata service and the
//! arguments of other users' processes: none of it is written by us.

use std::io::Write;
use std::os::unix::net::UnixStream;

use prost::Message;

use crate::containers::{cri, docker, kubelet, Answer};
use crate::profiler::jit::attach;
use crate::{cloud, guest, language, runtime_settings};

/// What a socket of this machine takes before somebody reads.
const MAX_SENT_BYTES: usize = 64 << 10;
const MAX_NAME_CHARS: usize = 64;

/// A runtime's lists of containers, pods and images, by CRI.
pub fn cri(bytes: &[u8]) {
    let message = cri::message(bytes).unwrap_or(bytes);
    let containers = cri::ContainersReply::decode(message).unwrap_or_default();
    let pods = cri::PodsReply::decode(message).unwrap_or_default();
    let images = cri::ImagesReply::decode(message).unwrap_or_default();
    let told = containers.containers.len() + pods.items.len();
    bounded(&cri::answer(containers, pods, images), told);
}

/// Docker's lists; the images stand behind a zero byte, else the same text is both.
pub fn docker(bytes: &[u8]) {
    let zero = bytes.iter().position(|byte| *byte == 0);
    let (containers, images) = zero.map_or((bytes, bytes), |at| (&bytes[..at], &bytes[at + 1..]));
    if let Ok(answer) = docker::answer(containers, images) {
        bounded(&answer, bytes.len());
    }
}

/// The kubelet's list of pods.
pub fn kubelet(bytes: &[u8]) {
    if let Ok(answer) = kubelet::pods(bytes) {
        bounded(&answer, bytes.len());
    }
}

/// Nothing is there that was not told.
fn bounded(answer: &Answer, told: usize) {
    assert!(answer.containers.len() <= told && answer.pods.len() <= told);
}

/// The arguments of QEMU, and those of a JVM with its environment and argument files.
pub fn arguments(bytes: &[u8]) {
    for program in ["qemu-system-x86_64", "qemu-kvm"] {
        let Some(found) = guest::guest(program, bytes) else { panic!("{program} is a hypervisor") };
        assert!(found.name.is_none_or(|name| !name.is_empty()));
        assert!(found.uuid.is_none_or(|uuid| uuid.len() == 36));
    }
    let (cmdline, environ) = bytes.split_at(bytes.len() / 2);
    let file = |_: &str| Some(String::from_utf8_lossy(bytes).into_owned());
    for setting in runtime_settings::jvm_options(cmdline, environ, file) {
        assert!(!setting.contains('/') && setting.contains('='), "{setting}");
    }
    let _ = runtime_settings::thread_counts(bytes);
}

/// A JVM's `release` file, the address in node's executable, a cloud's instance type.
pub fn versions(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let short = |name: String| name.len() <= MAX_NAME_CHARS && !name.contains(char::is_whitespace);
    assert!(language::java_release(&text).is_none_or(short));
    assert!(cloud::named(&text).is_none_or(short));
    for piece_bytes in [1, 16, 4096] {
        assert!(language::node_release(bytes, piece_bytes).is_none_or(short));
    }
}

/// What a JVM answers when it is asked for its code map.
pub fn attach(bytes: &[u8]) {
    let Ok((mut ours, mut jvm)) = UnixStream::pair() else { return };
    if jvm.write_all(&bytes[..bytes.len().min(MAX_SENT_BYTES)]).is_err() {
        return;
    }
    drop(jvm);
    let answer = attach::read_answer(&mut ours).unwrap_or_default();
    // A byte that is no text becomes three.
    assert!(answer.len() <= 3 * (attach::MAX_ANSWER_BYTES + attach::PIECE_BYTES));
    if let Err(reason) = attach::verdict(&answer) {
        assert!(!reason.is_empty());
    }
}
