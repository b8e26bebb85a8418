"""A very small client of one cluster's API server, for readiness and for the NetworkPolicy engine: list, watch, get, patch."""
import http.client
import json
import ssl
from typing import Any, Iterator, Optional

from .paths import Cluster
from .pki import API_PORT


class ApiError(Exception):
    """The API server answered with an error status."""

    def __init__(self, status: int, body: str):
        super().__init__(f"HTTP {status}: {body[:300]}")
        self.status = status


class Api:
    """Connections to one API server as the cluster's administrator; a new one per call, so that restarts do not matter."""

    def __init__(self, cluster: Cluster, host: str, timeout: float = 5):
        self.host, self.timeout = host, timeout
        self.tls = ssl.create_default_context(cafile=cluster.path("pki", "ca.crt"))
        self.tls.load_cert_chain(cluster.path("pki", "admin.crt"), cluster.path("pki", "admin.key"))

    def _open(self, method: str, path: str, body: Optional[str], kind: str, timeout: float):
        connection = http.client.HTTPSConnection(self.host, API_PORT, context=self.tls, timeout=timeout)
        connection.request(method, path, body=body, headers={"Content-Type": kind, "Accept": "application/json"})
        answer = connection.getresponse()
        if answer.status >= 300:
            text = answer.read().decode("utf-8", "replace")
            connection.close()
            raise ApiError(answer.status, text)
        return connection, answer

    def text(self, path: str) -> str:
        """GET, as text."""
        connection, answer = self._open("GET", path, None, "application/json", self.timeout)
        with connection_closing(connection):
            return answer.read().decode()

    def get(self, path: str) -> Any:
        """GET, parsed."""
        return json.loads(self.text(path))

    def unready(self) -> str:
        """Why the API server is not ready; nothing when it is."""
        try:
            said = self.text("/readyz")
            return "" if said == "ok" else said
        except (OSError, ApiError, http.client.HTTPException) as e:
            return f"{type(e).__name__}: {e}"

    def ready(self) -> bool:
        """Whether the API server says that it is ready."""
        return not self.unready()

    def watch(self, path: str, version: str, seconds: int) -> Iterator[dict]:
        """Events of one collection from a resource version on; ends after `seconds` or when the server closes."""
        connection, answer = self._open(
            "GET", f"{path}?watch=1&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds={seconds}", None,
            "application/json", seconds + 10)
        with connection_closing(connection):
            for line in answer:
                if line.strip():
                    yield json.loads(line)


class connection_closing:
    """`with` for a connection."""

    def __init__(self, connection):
        self.connection = connection

    def __enter__(self):
        return self.connection

    def __exit__(self, *_):
        self.connection.close()
