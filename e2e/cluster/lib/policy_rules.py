"""NetworkPolicies of one node as one nftables table. Pure: pods, policies and namespaces in, text out.

Shape: two base chains of the forward hook, egress before ingress, so that a packet must pass both; per isolated pod one chain that
jumps to the chains of its policies and then drops; a policy's rule accepts. Pods are told apart by IPv4 address."""
from typing import Dict, Iterable, List, Optional, Tuple

TABLE = "tributary-netpol"
Pod = dict
# direction -> (policyType, key of the peers, the peer's and the pod's own address in a packet)
DIRECTIONS = {"ingress": ("Ingress", "from", "saddr", "daddr"), "egress": ("Egress", "to", "daddr", "saddr")}


def selects(selector: Optional[dict], labels: Optional[dict]) -> bool:
    """Whether a LabelSelector selects these labels; an empty one selects everything."""
    selector, labels = selector or {}, labels or {}
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for e in selector.get("matchExpressions") or []:
        key, operator, values = e["key"], e["operator"], e.get("values") or []
        holds = {"In": labels.get(key) in values, "NotIn": labels.get(key) not in values,
                 "Exists": key in labels, "DoesNotExist": key not in labels}
        if not holds[operator]:
            return False
    return True


def has_network(pod: Pod) -> bool:
    """Whether a pod has an address of its own that it still uses."""
    status = pod.get("status", {})
    return bool(status.get("podIP")) and not pod["spec"].get("hostNetwork") and status.get("phase") not in ("Succeeded", "Failed")


def _ip(pod: Pod) -> str:
    return pod["status"]["podIP"]


def _set(items: Iterable[str]) -> str:
    return "{ " + ", ".join(sorted(set(items))) + " }"


def _named_ports(pod: Pod, name: str, protocol: str) -> List[int]:
    """Numbers that a port name stands for in one pod, sidecars included."""
    containers = pod["spec"].get("containers", []) + pod["spec"].get("initContainers", [])
    return [p["containerPort"] for c in containers for p in c.get("ports") or []
            if p.get("name") == name and p.get("protocol", "TCP") == protocol]


class Peers:
    """The far side of a rule: the match that selects it, and its pods where they are known."""

    def __init__(self, match: str, pods: Optional[List[Pod]]):
        self.match, self.pods = match, pods


def _peers(rule: dict, key: str, far: str, namespace: str, pods: List[Pod], namespaces: Dict[str, dict]) -> List[Peers]:
    if not rule.get(key):
        return [Peers("", None)]
    found = []
    for peer in rule[key]:
        block = peer.get("ipBlock")
        if block:
            if ":" in block["cidr"]:
                continue                    # IPv6: no pod has such an address here
            excepts = block.get("except") or []
            found.append(Peers(f"ip {far} {block['cidr']} " + (f"ip {far} != {_set(excepts)} " if excepts else ""), None))
            continue
        chosen = [p for p in pods if selects(peer.get("podSelector"), p["metadata"].get("labels")) and (
            selects(peer["namespaceSelector"], namespaces.get(p["metadata"]["namespace"])) if peer.get("namespaceSelector") is not None
            else p["metadata"]["namespace"] == namespace)]
        if chosen:
            found.append(Peers(f"ip {far} {_set(map(_ip, chosen))} ", chosen))
    return found


def _ports(rule: dict, direction: str, mine: List[Pod], peers: Peers, pods: List[Pod]) -> List[str]:
    """Matches for a rule's ports; a name is looked up in the pods that receive the packet."""
    if not rule.get("ports"):
        return [""]
    found = []
    for port in rule["ports"]:
        protocol, number = port.get("protocol", "TCP"), port.get("port")
        low = protocol.lower()
        if number is None:
            found.append(f"meta l4proto {low} ")
        elif isinstance(number, int):
            found.append(f"{low} dport {number}{'-%d' % port['endPort'] if port.get('endPort') else ''} ")
        else:
            receivers = mine if direction == "ingress" else (peers.pods if peers.pods is not None else pods)
            found += [f"ip daddr {_ip(p)} {low} dport {n} " for p in receivers for n in _named_ports(p, number, protocol)]
    return found


def _types(spec: dict) -> List[str]:
    return spec.get("policyTypes") or ["Ingress"] + (["Egress"] if spec.get("egress") else [])


def _policy_rules(policy: dict, direction: str, mine: List[Pod], pods: List[Pod], namespaces: Dict[str, dict]) -> List[str]:
    _, key, far, _ = DIRECTIONS[direction]
    namespace, rules = policy["metadata"]["namespace"], []
    for rule in policy["spec"].get(direction) or []:
        for peers in _peers(rule, key, far, namespace, pods, namespaces):
            rules += [f"{peers.match}{ports}accept" for ports in _ports(rule, direction, mine, peers, pods)]
    return rules


def table(pods: List[Pod], policies: List[dict], namespaces: List[dict]) -> str:
    """The whole table, replacing an earlier one in one transaction. The same input gives the same text."""
    pods = sorted((p for p in pods if has_network(p)), key=_ip)
    labels = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in namespaces}
    chains: List[str] = []
    jumps: Dict[Tuple[str, str], List[str]] = {}
    ordered = sorted(policies, key=lambda p: (p["metadata"]["namespace"], p["metadata"]["name"]))
    for number, policy in enumerate(ordered):
        spec, meta = policy["spec"], policy["metadata"]
        mine = [p for p in pods if p["metadata"]["namespace"] == meta["namespace"]
                and selects(spec.get("podSelector"), p["metadata"].get("labels"))]
        for direction, (kind, _, _, _) in DIRECTIONS.items():
            if not mine or kind not in _types(spec):
                continue
            chain = f"{direction}-policy-{number}"
            rules = _policy_rules(policy, direction, mine, pods, labels)
            comment = f"{meta['namespace']}/{meta['name']}"[:120]
            chains.append(_chain(chain, [f'counter comment "{comment}"', *rules]))
            for pod in mine:
                jumps.setdefault((direction, _ip(pod)), []).append(chain)
    verdicts: Dict[str, List[str]] = {d: [] for d in DIRECTIONS}
    for (direction, address), targets in sorted(jumps.items()):
        chain = f"{direction}-{address.replace('.', '-')}"
        chains.append(_chain(chain, [f"jump {t}" for t in targets] + ["counter drop"]))
        verdicts[direction].append(f"{address} : jump {chain}")
    return "\n".join([f"add table ip {TABLE}", f"delete table ip {TABLE}", f"table ip {TABLE} {{", *chains, *_hooks(pods, verdicts), "}", ""])


def _chain(name: str, rules: List[str]) -> str:
    return f"  chain {name} {{\n    " + "\n    ".join(rules) + "\n  }"


def _hooks(pods: List[Pod], verdicts: Dict[str, List[str]]) -> List[str]:
    """The base chains. Answers always pass, but a policy that comes later also stops connections which exist. A pod always reaches
    itself (through its own Service). What the node sends, such as the kubelet's probes, is not forwarded and always arrives."""
    own = _set(f"{_ip(p)} . {_ip(p)}" for p in pods)
    lines = ["  set itself { type ipv4_addr . ipv4_addr; " + (f"elements = {own}; " if pods else "") + "}"]
    for direction in DIRECTIONS:
        elements = ", ".join(verdicts[direction])
        lines.append(f"  map {direction} {{ type ipv4_addr : verdict; " + (f"elements = {{ {elements} }}; " if elements else "") + "}")
    passing = "ct direction reply accept; ct state related accept; ip saddr . ip daddr @itself accept;"
    lines.append(f"  chain egress-forward {{ type filter hook forward priority 10; policy accept; {passing} ip saddr vmap @egress; }}")
    lines.append(f"  chain egress-node {{ type filter hook input priority 10; policy accept; {passing} ip saddr vmap @egress; }}")
    lines.append(f"  chain ingress-forward {{ type filter hook forward priority 11; policy accept; {passing} ip daddr vmap @ingress; }}")
    return lines
