"""The OCI image layout in a tar, as `ctr images import`, `skopeo` and `docker load` read it. Everything in it has time 0 and owner
0:0, in sorted order: the same files give the same digest on every machine."""
import hashlib
import io
import json
import os
import platform
import stat
import tarfile
from typing import Dict, List, Optional, Sequence

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
LAYER, CONFIG, MANIFEST = (f"application/vnd.oci.image.{kind}" for kind in ("layer.v1.tar", "config.v1+json", "manifest.v1+json"))


def architecture() -> str:
    """This machine's architecture as images call it."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


class Layer:
    """One layer: paths inside the image with what they are. Folders above a path are added by themselves."""

    def __init__(self):
        self.entries: Dict[str, dict] = {}

    def folder(self, path: str, mode: int = 0o755) -> "Layer":
        """A folder."""
        self._add(path, {"type": "dir", "mode": mode})
        return self

    def link(self, path: str, target: str) -> "Layer":
        """A symbolic link."""
        self._add(path, {"type": "link", "target": target, "mode": 0o777})
        return self

    def text(self, path: str, content: str, mode: int = 0o644) -> "Layer":
        """A file with this content."""
        self._add(path, {"type": "text", "content": content, "mode": mode})
        return self

    def file(self, path: str, source: str, mode: Optional[int] = None) -> "Layer":
        """A copy of a file of this machine (links are followed); its mode, or 0755 or 0644 as its x bit says."""
        executable = os.stat(source).st_mode & stat.S_IXUSR
        self._add(path, {"type": "file", "source": os.path.realpath(source), "mode": mode or (0o755 if executable else 0o644)})
        return self

    def tree(self, path: str, source: str) -> "Layer":
        """Copies of everything below a folder of this machine; links stay links."""
        for at, folders, files in os.walk(source):
            inside = os.path.normpath(os.path.join(path, os.path.relpath(at, source)))
            self.folder(inside)
            for name in files + [f for f in folders if os.path.islink(os.path.join(at, f))]:
                original = os.path.join(at, name)
                if os.path.islink(original):
                    self.link(os.path.join(inside, name), os.readlink(original))
                else:
                    self.file(os.path.join(inside, name), original)
        return self

    def _add(self, path: str, entry: dict) -> None:
        path = path.strip("/")
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self._add(parent, {"type": "dir", "mode": 0o755})
        self.entries[path] = entry

    def inputs(self, seen: Dict[str, str]) -> list:
        """What the layer is made of, by content; `seen` keeps digests of files that several images share."""
        described = []
        for path, entry in sorted(self.entries.items()):
            if entry["type"] == "file":
                source = entry["source"]
                seen[source] = seen.get(source) or digest_of(source)
                described.append([path, entry["mode"], seen[source]])
            else:
                described.append([path, entry])
        return described

    def tar(self) -> bytes:
        """The layer's bytes."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path, entry in sorted(self.entries.items()):
                info = tarfile.TarInfo(path)
                info.mode = entry["mode"]
                content = b""
                if entry["type"] == "dir":
                    info.type = tarfile.DIRTYPE
                elif entry["type"] == "link":
                    info.type, info.linkname = tarfile.SYMTYPE, entry["target"]
                elif entry["type"] == "text":
                    content = entry["content"].encode()
                else:
                    with open(entry["source"], "rb") as f:
                        content = f.read()
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return out.getvalue()


def digest_of(path: str) -> str:
    """SHA-256 of a file's content, in hex."""
    total = hashlib.sha256()
    with open(path, "rb") as f:
        for chunk in iter(lambda: f.read(1 << 20), b""):
            total.update(chunk)
    return total.hexdigest()


def write(archive: str, refs: Sequence[str], config: dict, layers: Sequence[Layer]) -> str:
    """Write an archive of one image under one or more names (atomically); returns the manifest's digest."""
    blobs: Dict[str, bytes] = {}

    def blob(media: str, data: bytes) -> dict:
        name = hashlib.sha256(data).hexdigest()
        blobs[name] = data
        return {"mediaType": media, "digest": "sha256:" + name, "size": len(data)}

    parts: List[dict] = [blob(LAYER, layer.tar()) for layer in layers]
    described = {"architecture": architecture(), "os": "linux", "created": "1970-01-01T00:00:00Z", "config": config,
                 "rootfs": {"type": "layers", "diff_ids": [p["digest"] for p in parts]}}
    manifest = blob(MANIFEST, _json({"schemaVersion": 2, "mediaType": MANIFEST, "config": blob(CONFIG, _json(described)), "layers": parts}))
    named = [{**manifest, "annotations": {"io.containerd.image.name": ref, "org.opencontainers.image.ref.name": ref.rpartition(":")[2]}}
             for ref in refs]
    index = _json({"schemaVersion": 2, "manifests": named})
    with tarfile.open(archive + ".new", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index),
                           *((f"blobs/sha256/{n}", d) for n, d in sorted(blobs.items()))]:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    os.replace(archive + ".new", archive)
    return manifest["digest"]


def _json(value: dict) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
