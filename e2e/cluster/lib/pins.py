"""Versions of everything that is not ours. What is built from Go is pinned, with all its dependencies, in ../tools/go.mod and go.sum."""
import os
import re


def _go_version(module: str) -> str:
    """The version that go.mod requires."""
    path = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "tools", "go.mod")
    with open(path, encoding="utf-8") as f:
        return re.search(rf"^\t{re.escape(module)} v(\S+)$", f.read(), re.M).group(1)


KUBERNETES = _go_version("k8s.io/kubernetes")
ETCD = _go_version("go.etcd.io/etcd/server/v3")
COREDNS = _go_version("github.com/coredns/coredns")
LOCAL_PATH = "0.0.30"
HELM = _go_version("helm.sh/helm/v4")
# Of the module in ../tools/prometheus, whose release 3.15.0 is v0.315.0.
PROMETHEUS = "3.15.0"
KAFKA = "4.3.1"
LOG4J = "2.24.3"
# Argo CD is pinned with all its dependencies in ../tools/argocd/go.sum; kustomize is the release that it names itself.
ARGOCD = "3.5.7"
KUSTOMIZE = "5.8.1"
REDIS = "7"
# Whom the benchmarks measure beside us.
TELEGRAF = "1.37.2"
TELEGRAF_TAGS = "custom,inputs.mqtt_consumer,outputs.kafka,parsers.value,serializers.template"
GO_MINIMUM = (1, 26)

# What the host must have: a program that proves it, and Debian's and Ubuntu's package for it.
NODE_PACKAGES = [("containerd", "containerd"), ("containerd-shim-runc-v2", "containerd"), ("ctr", "containerd"), ("runc", "runc"),
                 ("/usr/lib/cni/ptp", "containernetworking-plugins"), ("/usr/lib/cni/portmap", "containernetworking-plugins"),
                 ("nft", "nftables"), ("iptables", "iptables"), ("conntrack", "conntrack"), ("ip", "iproute2"), ("tc", "iproute2"),
                 ("busybox", "busybox-static"), ("openssl", "openssl"), ("nsenter", "util-linux"), ("mount", "mount"),
                 ("pivot_root", "util-linux")]
JAVA_PACKAGES = [("jlink", "openjdk-17-jdk-headless"), ("mvn", "maven")]

# Modules of the small Java runtime: what Kafka's broker and tools load (found with jdeps and by running them).
JRE_MODULES = ("java.base,java.management,java.naming,java.security.jgss,java.security.sasl,java.sql,java.logging,java.xml,java.rmi,"
               "java.desktop,java.instrument,jdk.unsupported,jdk.crypto.ec,jdk.management,jdk.management.agent,jdk.naming.dns,"
               "jdk.zipfs,jdk.jcmd")
