"""The OpenTelemetry eBPF profiler as a peer: built here from its Go module, and a receiver that tallies what it sends.

Its source gets one change: it raises the limit of locked memory and gives up where it may not (a container without
CAP_SYS_RESOURCE), although BPF maps are not charged to that limit since Linux 5.11; the copy that is built leaves the
limit alone. It also needs tracefs, which is mounted for it in a mount namespace of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.profiles.v1development import profiles_service_pb2 as service
from opentelemetry.proto.collector.profiles.v1development import profiles_service_pb2_grpc as transport
from opentelemetry.proto.profiles.v1development.profiles_pb2 import Location, ProfilesDictionary, Stack

from benchmarks.company import ROOT
from benchmarks.known_chains import Frame, Tally, share

MODULE = "go.opentelemetry.io/ebpf-profiler@v0.0.202633"
FOLDER = ROOT / ".cache" / "otel-profiler"
MEMORY_LIMIT = """// Package rlimit leaves the limit alone: locked memory does not include BPF since Linux 5.11.
package rlimit

// MaximizeMemlock does nothing.
func MaximizeMemlock() (func(), error) { return func() {}, nil }
"""
# It prints this when its programs are in the kernel: seconds after its start, a minute on a busy machine.
READY = "Attached sched monitor"
FRAME_TYPE, ERROR_FRAMES = "profile.frame.type", ("abort-marker", "error")


def built() -> Path | None:
    """The program, built the first time (a minute); None with a word on stderr where that cannot be done here."""
    program = FOLDER / "ebpf-profiler"
    if program.exists():
        return program
    if shutil.which("go") is None or os.geteuid() != 0:
        print("OTel eBPF profiler: takes Go and root: left out", file=sys.stderr)
        return None
    FOLDER.mkdir(parents=True, exist_ok=True)
    got = subprocess.run(["go", "mod", "download", "-json", MODULE], capture_output=True, text=True, check=False)
    if got.returncode:
        print(f"OTel eBPF profiler: {got.stdout[-300:]}: left out", file=sys.stderr)
        return None
    source = FOLDER / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(json.loads(got.stdout)["Dir"], source)
    subprocess.run(["chmod", "-R", "u+w", source], check=True)
    (source / "rlimit" / "rlimit.go").write_text(MEMORY_LIMIT)
    subprocess.run(["go", "build", "-trimpath", "-o", program, "."], cwd=source, check=True)
    return program


def command(program: Path, hz: int, port: int) -> list[str]:
    """The profiler, sending to a port of this machine."""
    options = f"-collection-agent 127.0.0.1:{port} -disable-tls -samples-per-second {hz} -send-error-frames"
    return ["unshare", "-m", "sh", "-c", f"mount -t tracefs none /sys/kernel/tracing; exec {program} {options}"]


@dataclass
class Received(transport.ProfilesServiceServicer):  # type: ignore[misc]
    """Hands what arrives to the tally, and counts the samples without a frame that stands for an error: the profiler's
    own verdict."""

    tally: Tally
    samples: int = 0
    without_error: int = 0
    frame_types: set[str] = field(default_factory=set)

    def Export(self, request: service.ExportProfilesServiceRequest, context: Any) -> Any:  # noqa: N802, ARG002 (gRPC's)
        """Take in one message."""
        words = request.dictionary
        for resource in request.resource_profiles:
            pid = next((one.value.int_value for one in resource.resource.attributes if one.key == "process.pid"), 0)
            for scope in resource.scope_profiles:
                for sample in (one for profile in scope.profiles for one in profile.samples):
                    count = max(len(sample.timestamps_unix_nano), sum(sample.values))
                    stack = words.stack_table[sample.stack_index]
                    kinds = self._kinds(words, stack)
                    self.frame_types |= kinds
                    self.samples += count
                    self.without_error += 0 if kinds & set(ERROR_FRAMES) else count
                    places = (words.location_table[index] for index in reversed(stack.location_indices))
                    self.tally.add(pid, [frame(words, place) for place in places], count)
        return service.ExportProfilesServiceResponse()

    @staticmethod
    def _kinds(words: ProfilesDictionary, stack: Stack) -> set[str]:
        attributes = (
            words.attribute_table[index]
            for location in stack.location_indices
            for index in words.location_table[location].attribute_indices
        )
        return {a.value.string_value for a in attributes if words.string_table[a.key_strindex] == FRAME_TYPE}

    def figures(self) -> dict[str, Any]:
        """Its own verdict in percent; nothing where no sample came."""
        if not self.samples:
            return {}
        return {
            "own_whole_pct": share(self.without_error, self.samples),
            "frame_types": sorted(self.frame_types),
        }


def frame(words: ProfilesDictionary, place: Location) -> Frame:
    """A frame with a name (interpreted code, the kernel), or a place in a file."""
    for line in place.lines:
        function = words.function_table[line.function_index]
        names = (words.string_table[index] for index in (function.name_strindex, function.filename_strindex))
        name, file = names
        return Frame(name or None, file.rpartition("/")[2])
    file = words.string_table[words.mapping_table[place.mapping_index].filename_strindex]
    return Frame(None, file.rpartition("/")[2], place.address)


@contextlib.contextmanager
def receiver(tally: Tally) -> Iterator[tuple[int, Received]]:
    """A gRPC server on a free port of loopback, and what it counts into the tally.

    Raises:
        ImportError: without grpcio (`pip install grpcio`).
    """
    import grpc

    server, received = grpc.server(futures.ThreadPoolExecutor(1)), Received(tally)
    transport.add_ProfilesServiceServicer_to_server(received, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port, received
    finally:
        server.stop(None)
