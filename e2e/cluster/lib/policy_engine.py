"""Enforces NetworkPolicies on a node: watches pods, policies and namespaces, and swaps one nftables table when its text changes.
Runs until killed; an API server that restarts or is away is waited for, with the last rules left in force."""
import http.client
import subprocess
import sys
import threading
import time
from typing import Dict, Tuple

from .kube import Api, ApiError
from .policy_rules import table
from .run import host_env

COLLECTIONS = {"pods": "/api/v1/pods", "policies": "/apis/networking.k8s.io/v1/networkpolicies", "namespaces": "/api/v1/namespaces"}
WATCH_SECONDS = 240
RETRY_SECONDS = (0.2, 0.5, 1, 2)


def _log(text: str) -> None:
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, flush=True)


class Store:
    """What the API server last said, shared between the watching threads and the one that writes rules."""

    def __init__(self):
        self.objects: Dict[str, Dict[Tuple[str, str], dict]] = {}
        self.changed = threading.Condition()

    def replace(self, kind: str, items: list) -> None:
        """Take a fresh list of one collection."""
        with self.changed:
            self.objects[kind] = {_key(o): o for o in items}
            self.changed.notify()

    def event(self, kind: str, event: dict) -> None:
        """Take one watch event."""
        with self.changed:
            if event["type"] == "DELETED":
                self.objects[kind].pop(_key(event["object"]), None)
            else:
                self.objects[kind][_key(event["object"])] = event["object"]
            self.changed.notify()

    def complete(self) -> bool:
        """Whether every collection was listed at least once: before that no rules are written."""
        return len(self.objects) == len(COLLECTIONS)


def _key(item: dict) -> Tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _follow(api: Api, kind: str, store: Store) -> None:
    """List, then watch, for ever; any failure leads back to the list."""
    path, failures = COLLECTIONS[kind], 0
    while True:
        try:
            answer = api.get(path)
            store.replace(kind, answer.get("items") or [])
            if failures:
                _log(f"{kind}: reading again after {failures} failures")
            failures, version = 0, answer["metadata"]["resourceVersion"]
            while True:
                for event in api.watch(path, version, WATCH_SECONDS):
                    if event["type"] == "ERROR":
                        raise ApiError(event["object"].get("code", 0), event["object"].get("message", ""))
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        store.event(kind, event)
        except (OSError, ApiError, ValueError, KeyError, http.client.HTTPException) as e:
            if failures == 0 or failures % 20 == 0:
                _log(f"{kind}: cannot read, the last rules stay: {type(e).__name__}: {e}")
            time.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1


def _swap(text: str) -> str:
    """Hand the table to the kernel; returns what nft complained about, or nothing."""
    done = subprocess.run(["nft", "-f", "-"], input=text, text=True, capture_output=True, env=host_env())
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}")


def serve(api: Api) -> None:
    """The engine's main loop."""
    store = Store()
    for kind in COLLECTIONS:
        threading.Thread(target=_follow, args=(api, kind, store), daemon=True).start()
    applied, failed, failures = "", "", 0
    while True:
        with store.changed:
            store.changed.wait(timeout=1 if failed else None)
            if not store.complete():
                continue
            kinds = {kind: list(items.values()) for kind, items in store.objects.items()}
        text = table(kinds["pods"], kinds["policies"], kinds["namespaces"])
        if text == applied:
            continue
        problem = _swap(text)
        if not problem:
            applied = text
            _log(f"applied: {len(kinds['policies'])} policies, {text.count(' : jump ')} isolated ends, {len(text)} bytes")
        elif problem != failed or failures % 60 == 0:
            _log(f"FAILED, the last rules stay, trying again every second: {problem[:1500]}")
            print(text, file=sys.stderr, flush=True)
        failures = failures + 1 if problem else 0
        failed = problem
