"""Addresses and links of a node. No subnet is fixed: a free block is picked by looking at the host's own routes, and the routes
that the host gets for it are the reservation, visible to every other checkout."""
import contextlib
import fcntl
import ipaddress
import json
import os
from dataclasses import dataclass
from typing import List

from .errors import ClusterError
from .node_ns import exec_in, in_net
from .paths import Cluster
from .run import run

POOL = "10.128.0.0/9"           # where blocks are looked for; TRIBUTARY_CLUSTER_POOL changes it
BLOCK = 18                      # prefix length of a cluster's block
MACHINE_LOCK = "/run/lock/tributary-cluster.lock"


@dataclass(frozen=True)
class Plan:
    """A cluster's addresses, all inside its block."""
    block: str

    def _at(self, offset: int) -> str:
        return str(ipaddress.ip_network(self.block).network_address + offset)

    @property
    def host_ip(self) -> str:
        return self._at(1)

    @property
    def node_ip(self) -> str:
        return self._at(2)

    def line_ends(self, index: int) -> List[str]:
        """Both ends of the factory's line number `index`: a /30 each, 64 of them."""
        return [self._at(0x400 + 4 * index + 1), self._at(0x400 + 4 * index + 2)]

    @property
    def services(self) -> str:
        return self._at(0x1000) + "/20"

    @property
    def api_service(self) -> str:
        return self._at(0x1001)

    @property
    def dns(self) -> str:
        return self._at(0x100a)

    @property
    def pods(self) -> str:
        return self._at(0x2000) + "/20"


def load_plan(cluster: Cluster) -> Plan:
    """The plan that `up` stored; a ClusterError when the cluster was never up."""
    try:
        with open(cluster.path("network.json")) as f:
            return Plan(json.load(f)["block"])
    except (OSError, ValueError, KeyError):
        raise ClusterError(f"cluster {cluster.name}", "it does not exist", f"run `cluster up {cluster.name}`")


@contextlib.contextmanager
def machine_lock():
    """Held while a block is picked and its routes are set, by all checkouts of this machine."""
    os.makedirs(os.path.dirname(MACHINE_LOCK), exist_ok=True)
    with open(MACHINE_LOCK, "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def _used_networks(own_link: str) -> list:
    """Every network that the host has a route or an address in, and its name servers; the cluster's own link excepted."""
    used = []
    for route in json.loads(run("read routes", ["ip", "-json", "-4", "route", "show", "table", "all"]).stdout or "[]"):
        if route.get("dst") and route["dst"] != "default" and route.get("dev") != own_link:
            used.append(ipaddress.ip_network(route["dst"], strict=False))
    with contextlib.suppress(OSError), open("/etc/resolv.conf") as f:
        for line in f:
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                with contextlib.suppress(ValueError):
                    used.append(ipaddress.ip_network(words[1]))
    return [n for n in used if n.version == 4]


def _pick(cluster: Cluster) -> Plan:
    """The stored block while it is free, else the first free one, starting at a place that depends on the cluster's id."""
    used = _used_networks(cluster.host_link)
    free = lambda net: not any(net.overlaps(u) for u in used)       # noqa: E731
    with contextlib.suppress(ClusterError):
        stored = load_plan(cluster)
        if free(ipaddress.ip_network(stored.block)):
            return stored
        raise ClusterError(f"network of {cluster.name}", f"its addresses {stored.block} are used by something else now",
                           f"run `cluster down {cluster.name}`, then up again: it gets a new block")
    pool = ipaddress.ip_network(os.environ.get("TRIBUTARY_CLUSTER_POOL", POOL))
    blocks = list(pool.subnets(new_prefix=BLOCK))
    first = int(cluster.id, 16) % len(blocks)
    for net in blocks[first:] + blocks[:first]:
        if free(net):
            return Plan(str(net))
    raise ClusterError(f"network of {cluster.name}", f"no free /{BLOCK} in {pool}",
                       "set TRIBUTARY_CLUSTER_POOL to a private range that this machine does not route")


def connect(cluster: Cluster, init: int) -> Plan:
    """Join the node with the host: a pair of interfaces, routes for pods and services, and nothing else leaves the node."""
    step, link = f"network of {cluster.name}", cluster.host_link
    with machine_lock():
        plan = _pick(cluster)
        if not os.path.exists(f"/sys/class/net/{link}"):
            run(step, ["ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(init)])
        run(step, ["ip", "address", "replace", plan.host_ip + "/30", "dev", link])
        run(step, ["ip", "link", "set", link, "up"])
        for net in (plan.services, plan.pods):
            run(step, ["ip", "route", "replace", net, "via", plan.node_ip, "dev", link])
        with open(cluster.path("network.json.new"), "w") as f:
            json.dump({"block": plan.block}, f)
        os.replace(cluster.path("network.json.new"), cluster.path("network.json"))
    run(step, in_net(init, ["ip", "-batch", "-"]), input=f"""address replace {plan.node_ip}/30 dev eth0
link set eth0 up
route replace default via {plan.host_ip}
""")
    exec_in(init, step, ["/bin/sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
    run(step, in_net(init, ["nft", "-f", "-"]), input=_firewall(plan))
    return plan


def _firewall(plan: Plan) -> str:
    """The node's edge. A cluster reaches its host and, over lines, other clusters: no internet, no registry, no neighbour by way
    of the host's routing. On the factory's end of a line (`to-…`) only answers come in, as behind NAT; a line in the set `cut`
    loses every packet at the receiving end, as a broken one does: the sender notices nothing but silence."""
    return f"""
add table ip tributary
delete table ip tributary
table ip tributary {{
  set cut {{ type ifname; }}
  chain line_in {{
    type filter hook prerouting priority -350; policy accept;
    iifname @cut drop
  }}
  chain line_answers_only {{
    type filter hook prerouting priority -150; policy accept;
    iifname "to-*" ct state != {{ established, related }} drop
  }}
  chain line_nat {{
    type nat hook postrouting priority 110; policy accept;
    oifname "to-*" masquerade
  }}
  chain edge_forward {{
    type filter hook forward priority -5; policy accept;
    oifname "eth0" ct state != {{ established, related }} ip daddr != {plan.host_ip} reject with icmp type admin-prohibited
  }}
  chain edge_output {{
    type filter hook output priority -5; policy accept;
    oifname "eth0" ct state != {{ established, related }} ip daddr != {plan.host_ip} reject with icmp type admin-prohibited
  }}
}}
"""


def disconnect(cluster: Cluster) -> None:
    """Remove the host's end if it still exists (it goes with the node's namespace, this is for half-made ones)."""
    run(f"network of {cluster.name}", ["ip", "link", "delete", cluster.host_link], check=False)
