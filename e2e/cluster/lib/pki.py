"""Certificates and kubeconfigs of one cluster, made once with openssl (elliptic curves: all of them in under a second)."""
import base64
import json
import os
import shutil
from typing import Sequence

from .network import Plan
from .paths import Cluster
from .run import run

API_PORT = 6443
DAYS = "3650"


def make(cluster: Cluster, plan: Plan) -> None:
    """Write pki/ and the kubeconfigs; the folder appears only when complete."""
    done = cluster.path("pki")
    if os.path.isdir(done):
        return
    temp = cluster.path("pki.new")
    shutil.rmtree(temp, ignore_errors=True)
    os.makedirs(temp, mode=0o700)
    local = "DNS:localhost,IP:127.0.0.1"
    service = ",".join("DNS:kubernetes" + tail for tail in ("", ".default", ".default.svc", ".default.svc.cluster.local"))
    node = f"system:node:{cluster.name}"
    for ca in ("ca", "front-ca"):
        _authority(temp, ca)
    _leaf(temp, "apiserver", "/CN=kube-apiserver", "serverAuth", f"{service},{local},IP:{plan.node_ip},IP:{plan.api_service}")
    _leaf(temp, "apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet-client", "clientAuth")
    _leaf(temp, "front-client", "/CN=front-proxy-client", "clientAuth", ca="front-ca")
    _leaf(temp, "admin", "/O=system:masters/CN=admin", "clientAuth")
    _leaf(temp, "controller-manager", "/CN=system:kube-controller-manager", "clientAuth,serverAuth", local)
    _leaf(temp, "scheduler", "/CN=system:kube-scheduler", "clientAuth,serverAuth", local)
    _leaf(temp, "proxy", "/CN=system:kube-proxy", "clientAuth")
    _leaf(temp, "kubelet", f"/O=system:nodes/CN={node}", "clientAuth,serverAuth", f"DNS:{cluster.name},IP:{plan.node_ip},{local}")
    run("make keys", ["openssl", "genrsa", "-out", f"{temp}/sa.key", "2048"])
    run("make keys", ["openssl", "rsa", "-in", f"{temp}/sa.key", "-pubout", "-out", f"{temp}/sa.pub"])
    for user in ("admin", "controller-manager", "scheduler", "proxy", "kubelet"):
        _kubeconfig(temp, user, cluster.name, f"https://{plan.node_ip}:{API_PORT}")
    os.rename(temp, done)
    shutil.copy(os.path.join(done, "admin.kubeconfig"), cluster.kubeconfig + ".new")
    os.replace(cluster.kubeconfig + ".new", cluster.kubeconfig)


def _key(folder: str, name: str) -> str:
    path = f"{folder}/{name}.key"
    run("make keys", ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path])
    return path


def _authority(folder: str, name: str) -> None:
    run("make keys", ["openssl", "req", "-x509", "-new", "-key", _key(folder, name), "-sha256", "-days", DAYS, "-subj", f"/CN={name}",
                      "-out", f"{folder}/{name}.crt", "-addext", "basicConstraints=critical,CA:TRUE",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"])


def _leaf(folder: str, name: str, subject: str, usage: str, names: str = "", ca: str = "ca") -> None:
    request = run("make keys", ["openssl", "req", "-new", "-key", _key(folder, name), "-subj", subject]).stdout
    with open(f"{folder}/{name}.ext", "w") as f:
        f.write(f"basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\n")
        f.write(f"subjectAltName={names}\n" if names else "")
    run("make keys", ["openssl", "x509", "-req", "-CA", f"{folder}/{ca}.crt", "-CAkey", f"{folder}/{ca}.key", "-CAcreateserial",
                      "-days", DAYS, "-sha256", "-extfile", f"{folder}/{name}.ext", "-out", f"{folder}/{name}.crt"], input=request)
    os.remove(f"{folder}/{name}.ext")


def _kubeconfig(folder: str, user: str, name: str, server: str) -> None:
    def data(file: str) -> str:
        with open(f"{folder}/{file}", "rb") as f:
            return base64.b64encode(f.read()).decode()
    # JSON is YAML: kubectl and every client library read it.
    config = {"apiVersion": "v1", "kind": "Config", "current-context": name,
              "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": data("ca.crt")}}],
              "users": [{"name": name, "user": {"client-certificate-data": data(user + ".crt"), "client-key-data": data(user + ".key")}}],
              "contexts": [{"name": name, "context": {"cluster": name, "user": name}}]}
    with open(os.open(f"{folder}/{user}.kubeconfig", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        json.dump(config, f, indent=1)


def files(prefix: str, *names: str) -> Sequence[str]:
    """`--FLAG=/node/pki/FILE` for pairs written as `flag=file`."""
    return [f"--{flag}={prefix}/{file}" for flag, file in (n.split("=", 1) for n in names)]
