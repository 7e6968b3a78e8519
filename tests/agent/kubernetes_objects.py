"""Objects that the tests of pods apply: Deployments, a bare pod, a static one, one that is set up for ever."""

from __future__ import annotations

from typing import Any

from cluster.api import Object

WEB, ETL = "localhost/web:1", "localhost/etl:2"
BUSY = ["/bin/busypod"]
# Children that live shorter than an interval.
FLEETING = ["/bin/sh", "-c", "while :; do /bin/sleep 0.1; done"]
LIVES = 8
# Works, ends, and is started again; sleeps in its last life. The file outlives the container.
MORTAL = f"""#!/bin/sh
n=$(cat /state/lives 2>/dev/null || echo 0); echo $((n+1)) > /state/lives
[ $n -ge {LIVES} ] && {{ touch /state/done; exec sleep infinity; }}
i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; exit 1
"""
# Programs of the images: known by these names among all processes of the machine.
SCRIPTS = {"busypod": "#!/bin/sh\nwhile :; do :; done\n", "mortal": MORTAL}


def namespace(name: str) -> Object:
    """A namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def container(name: str, image: str, command: list[str], **more: Any) -> Object:
    """A container with a small share of a CPU."""
    limits = {"limits": {"cpu": "100m", "memory": "32Mi"}}
    pull = {"imagePullPolicy": "Never"}
    return {"name": name, "image": image, "command": command, "resources": limits, **pull, **more}


def pod_spec(*containers: Object, **more: Any) -> Object:
    """That ends at once when it is told to."""
    return {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "containers": list(containers),
        **more,
    }


def pod(space: str, name: str, spec: Object, labels: dict[str, str] | None = None) -> Object:
    """A pod that nothing owns."""
    metadata = {"name": name, "namespace": space, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def deployment(space: str, name: str, replicas: int, spec: Object, labels: dict[str, str]) -> Object:
    """A Deployment of this pod."""
    marks = {"app": name, **labels}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": space},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": marks}, "spec": spec},
        },
    }


def landscape() -> list[Object]:
    """Two namespaces with one of each kind."""
    setup = container("setup", WEB, ["/bin/true"])
    web = pod_spec(container("server", WEB, BUSY), container("sidecar", ETL, FLEETING), initContainers=[setup])
    etl = pod_spec(container("worker", ETL, BUSY))
    endless = pod_spec(container("late", WEB, BUSY), initContainers=[container("migrate", ETL, BUSY)])
    return [
        namespace("shop"),
        namespace("data"),
        deployment("shop", "web", 2, web, {"tier": "front", "team": "a"}),
        # The same name in another namespace is another workload.
        deployment("data", "web", 1, etl, {"tier": "back"}),
        pod("data", "lonely", pod_spec(container("only", WEB, BUSY)), {"made-by": "hand"}),
        pod("data", "migrating", endless),
    ]


def static_pod() -> Object:
    """For the kubelet's folder."""
    return pod("kube-system", "probe", pod_spec(container("probe", ETL, BUSY)), {"component": "probe"})


def reader_of_pods() -> list[Object]:
    """A service account that may ask the kubelet for its pods, and nothing else."""
    name, api = {"name": "eo-agent-test"}, "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": ["nodes/pods"], "verbs": ["get"]}]
    subject = {"kind": "ServiceAccount", "name": name["name"], "namespace": "default"}
    reference = {"apiGroup": api, "kind": "ClusterRole", "name": name["name"]}
    binding = {"apiVersion": f"{api}/v1", "kind": "ClusterRoleBinding", "metadata": name}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**name, "namespace": "default"}},
        {"apiVersion": f"{api}/v1", "kind": "ClusterRole", "metadata": name, "rules": rules},
        {**binding, "subjects": [subject], "roleRef": reference},
    ]


def mortal() -> Object:
    """A pod whose container ends and is started again a few times."""
    volume = {"volumes": [{"name": "state", "emptyDir": {}}]}
    mount = {"volumeMounts": [{"name": "state", "mountPath": "/state"}]}
    one = container("mortal", WEB, ["/bin/mortal"], **mount)
    one["resources"] = {"limits": {"memory": "32Mi"}}
    return deployment("churn", "mortal", 1, pod_spec(one, **volume), {})
