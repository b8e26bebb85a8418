"""The line from a factory to a region: a pair of interfaces between the two nodes, behind NAT, outbound only. It can be cut
(packets vanish), slowed, mended. Its whole state is in the kernel, inside the two nodes, and goes with either of them."""
import contextlib
import json
import re
from dataclasses import dataclass
from typing import Optional, Tuple

from .errors import ClusterError
from .network import load_plan, machine_lock
from .node_ns import find_init, in_net
from .paths import Cluster, known_clusters
from .run import run

RATE = re.compile(r"[1-9][0-9]*(\.[0-9]+)?(kbit|mbit|gbit)")


@dataclass(frozen=True)
class Line:
    """A line between two clusters of this checkout; it exists only while both run."""
    factory: Cluster
    region: Cluster

    @property
    def out(self) -> str:
        """The factory's end."""
        return "to-" + self.region.id

    @property
    def into(self) -> str:
        """The region's end."""
        return "from-" + self.factory.id

    @property
    def step(self) -> str:
        return f"line {self.factory.name} -> {self.region.name}"

    def ends(self) -> Tuple[Tuple[int, str], Tuple[int, str]]:
        """(init, interface) of both ends; a ClusterError when a cluster is not running."""
        inits = []
        for cluster in (self.factory, self.region):
            init = find_init(cluster)
            if not init:
                raise ClusterError(self.step, f"cluster {cluster.name} is not running", f"run `cluster up {cluster.name}`")
            inits.append(init)
        return (inits[0], self.out), (inits[1], self.into)


def _exists(init: int, link: str) -> bool:
    return run("line", in_net(init, ["ip", "link", "show", link]), check=False).returncode == 0


def _require(line: Line):
    ends = line.ends()
    if not _exists(*ends[0]):
        raise ClusterError(line.step, "there is no such line", f"run `cluster line up {line.factory.name} {line.region.name}`")
    return ends


def up(line: Line) -> None:
    """Lay the line, or leave it as it is."""
    if line.factory == line.region:
        raise ClusterError(line.step, "a line joins two different clusters", "name a factory and a region")
    (f_init, out), (r_init, into) = line.ends()
    with machine_lock():
        if not _exists(f_init, out):
            run(line.step, ["ip", "link", "add", "name", out, "netns", str(f_init), "type", "veth", "peer", "name", into,
                            "netns", str(r_init)])
        near, far = _addresses(line, f_init, out)
    run(line.step, in_net(r_init, ["ip", "-batch", "-"]), input=f"address replace {far}/30 dev {into}\nlink set {into} up\n")
    run(line.step, in_net(f_init, ["ip", "-batch", "-"]), input=f"address replace {near}/30 dev {out}\nlink set {out} up\n"
        f"route replace {load_plan(line.region).node_ip}/32 via {far} dev {out}\n")


def _addresses(line: Line, init: int, out: str) -> Tuple[str, str]:
    """The /30 that this line has, or the factory's first free one."""
    shown = json.loads(run(line.step, in_net(init, ["ip", "-json", "-4", "address"])).stdout or "[]")
    taken = {a["local"]: link["ifname"] for link in shown for a in link.get("addr_info", [])}
    plan = load_plan(line.factory)
    free: Optional[list] = None
    for index in range(64):
        ends = plan.line_ends(index)
        if taken.get(ends[0]) == out:
            return ends[0], ends[1]
        if free is None and ends[0] not in taken:
            free = ends
    if not free:
        raise ClusterError(line.step, "a factory can have 64 lines", "take one down")
    run(line.step, in_net(init, ["ip", "address", "add", free[0] + "/30", "dev", out]))     # reserved under the machine lock
    return free[0], free[1]


def cut(line: Line) -> None:
    """From now on every packet vanishes, in both directions; connections notice by silence only."""
    for init, link in _require(line):
        run(line.step, in_net(init, ["nft", "add", "element", "ip", "tributary", "cut", "{ %s }" % link]))


def slow(line: Line, rate: str) -> None:
    """Limit both directions to a rate such as 2mbit, with a queue of 400 ms; a cut line stays cut."""
    if not RATE.fullmatch(rate):
        raise ClusterError(line.step, f"{rate!r} is not a rate", "write it as tc does: 500kbit, 2mbit, 1gbit")
    for init, link in _require(line):
        run(line.step, in_net(init, ["tc", "qdisc", "replace", "dev", link, "root", "tbf", "rate", rate, "burst", "32kb",
                                     "latency", "400ms"]), remedy="the kernel needs the module sch_tbf")


def mend(line: Line) -> None:
    """As new: no longer cut, no longer slow."""
    for init, link in _require(line):
        if _is_cut(init, link):
            run(line.step, in_net(init, ["nft", "delete", "element", "ip", "tributary", "cut", "{ %s }" % link]))
        run(line.step, in_net(init, ["tc", "qdisc", "delete", "dev", link, "root"]), check=False)


def down(line: Line) -> None:
    """Take the line away: from then on the region's address is unreachable for the factory, at once and with an answer."""
    (f_init, out), (r_init, into) = line.ends()
    for init, link in ((f_init, out), (r_init, into)):
        if _is_cut(init, link):
            run(line.step, in_net(init, ["nft", "delete", "element", "ip", "tributary", "cut", "{ %s }" % link]))
    run(line.step, in_net(f_init, ["ip", "link", "delete", out]), check=False)


def _is_cut(init: int, link: str) -> bool:
    return run("line", in_net(init, ["nft", "get", "element", "ip", "tributary", "cut", "{ %s }" % link]), check=False).returncode == 0


def status(line: Line) -> dict:
    """State (absent, up, slow, cut), rate and addresses of a line."""
    (f_init, out), (r_init, into) = line.ends()
    described = {"factory": line.factory.name, "region": line.region.name, "state": "absent", "rate": None,
                 "regionAddress": load_plan(line.region).node_ip}
    if not _exists(f_init, out):
        return described
    for qdisc in json.loads(run(line.step, in_net(f_init, ["tc", "-json", "qdisc", "show", "dev", out])).stdout or "[]"):
        if qdisc["kind"] == "tbf":
            described["rate"] = f"{qdisc['options']['rate'] * 8 / 1e6:g}mbit"
    is_cut = _is_cut(f_init, out) or _is_cut(r_init, into)
    described["state"] = "cut" if is_cut else "slow" if described["rate"] else "up"
    return described


def all_lines() -> list:
    """Status of every line between running clusters of this checkout."""
    running = [c for c in map(Cluster, known_clusters()) if find_init(c)]
    shown = []
    for pair in [Line(f, r) for f in running for r in running if f != r]:
        with contextlib.suppress(ClusterError):         # a cluster that goes down at this moment
            shown.append(status(pair))
    return [s for s in shown if s["state"] != "absent"]
