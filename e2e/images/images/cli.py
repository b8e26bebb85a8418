"""The command line of `build`."""
import argparse
import fcntl
import hashlib
import json
import os
import time
from typing import Dict

from lib import tools
from lib.errors import ClusterError
from lib.paths import images_dir
from lib.ui import say

from . import oci
from .catalogue import IMAGES


def main(argv) -> int:
    """Build what is named; what has not changed is left alone."""
    parser = argparse.ArgumentParser(prog="build", description="OCI archives in target/images, without a registry; an image whose "
                                     "inputs have not changed is left alone. `cluster load` imports them into running clusters.")
    parser.add_argument("names", nargs="*", metavar="IMAGE", help="default: all, tributary only with --binary; known: " + ", ".join(IMAGES))
    parser.add_argument("--binary", metavar="PATH", help="the statically linked tributary for its image")
    parser.add_argument("--tag", default="dev", help="the tributary image's tag (default dev): an upgrade test needs two")
    args = parser.parse_args(argv)
    names = args.names or [n for n in IMAGES if n != "tributary" or args.binary]
    try:
        _check(names, args)
        os.makedirs(images_dir(), exist_ok=True)
        with open(os.path.join(images_dir(), ".lock"), "w") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            seen: Dict[str, str] = {}
            for name in names:
                _build(name, args, seen)
    except ClusterError as e:
        say(f"FAILED {e}")
        return 1
    return 0


def _check(names, args) -> None:
    for name in names:
        if name not in IMAGES:
            raise ClusterError("images", f"no image named {name!r}", "known: " + ", ".join(IMAGES))
        tools.need(*IMAGES[name].tools)
    if "tributary" in names and not (args.binary and os.path.isfile(args.binary)):
        raise ClusterError("image tributary", f"no program at {args.binary!r}" if args.binary else "its program is not named",
                           "give --binary PATH of a statically linked tributary")


def _build(name: str, args, seen: Dict[str, str]) -> None:
    started = time.monotonic()
    ref, archive = IMAGES[name].ref, os.path.join(images_dir(), name + ".tar")
    if name == "tributary" and args.tag != "dev":
        ref, archive = f"{ref.rpartition(':')[0]}:{args.tag}", os.path.join(images_dir(), f"{name}-{args.tag}.tar")
    config, layers = IMAGES[name].make(args.binary or "")
    inputs = hashlib.sha256(json.dumps([ref, config, [layer.inputs(seen) for layer in layers]], sort_keys=True).encode()).hexdigest()
    listing = _manifest()
    if os.path.exists(archive) and listing.get(os.path.basename(archive), {}).get("unique") == f"{ref}-{inputs[:12]}":
        return
    # A second name that goes with the content: what is deployed by it is replaced when the content changes.
    unique = f"{ref}-{inputs[:12]}"
    digest = oci.write(archive, [ref, unique], config, layers)
    listing[os.path.basename(archive)] = {"ref": ref, "unique": unique, "digest": digest, "inputs": inputs}
    with open(_manifest_path() + ".new", "w") as f:
        json.dump(listing, f, indent=1, sort_keys=True)
    os.replace(_manifest_path() + ".new", _manifest_path())
    say(f"image {ref}: {os.path.getsize(archive) / 1e6:.1f} MB in {time.monotonic() - started:.1f} s")


def _manifest_path() -> str:
    return os.path.join(images_dir(), "manifest.json")


def _manifest() -> dict:
    try:
        with open(_manifest_path()) as f:
            return json.load(f)
    except (OSError, ValueError):
        return {}
