"""One-node Kubernetes clusters in Linux namespaces: what `e2e/cluster/cluster` is made of. See ../README.md."""
