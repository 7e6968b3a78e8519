"""A real Kubernetes on this machine, for tests: control plane, node, containers, no Docker and no registry.

`programs` builds and installs, `control_plane` and `node` start what they name, `images` fills the node's store, `api`
speaks to the API server, `whole` joins them. `python -m cluster` (from `tests/`) keeps one running for a person.
Everything listens on 127.0.0.1 and ends with the block that started it. As root, on Debian.
"""
