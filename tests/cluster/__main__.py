"""`cd tests && python -m cluster`: a cluster for a person, until Ctrl+C."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

from cluster.whole import cluster

IMAGE = "localhost/busy:1"

with (
    tempfile.TemporaryDirectory(prefix="cluster-", ignore_cleanup_errors=True) as folder,
    cluster(Path(folder), [IMAGE]) as running,
):
    print(f"export KUBECONFIG={running.kubeconfig}")
    print(f"image {IMAGE} (busybox), containerd {running.node.runtime.socket}, kubelet {running.node.kubelet_url}")
    print("Ctrl+C ends it", flush=True)
    stops = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    signal.sigwait(stops)
