"""The command line of `cluster`."""
import argparse
import json
import os
import sys

from . import cluster as clusters
from . import images, line, node_ns, sigkill, tools
from .errors import ClusterError
from .network import load_plan
from .paths import Cluster, known_clusters
from .ui import say

DESCRIPTION = """Real Kubernetes clusters on this machine, without an image registry: each is one node in its own namespaces, with its
own control plane. State, logs and kubeconfig are in target/cluster/NAME; `down` leaves nothing behind."""

LINE_ACTIONS = {"up": "lay the line", "cut": "from now on every packet vanishes", "mend": "as new: neither cut nor slow",
                "slow": "limit both directions to a rate", "down": "take the line away", "status": "one line, or all"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cluster", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help: str):
        return commands.add_parser(name, help=help, description=help)

    p = command("tools", "build and fetch the pinned third-party tools (once; several minutes of both cores when cold)")
    p.add_argument("--only", metavar="TOOL,…", help="only these tools, no host packages of a node: " + ", ".join(tools.CATALOGUE))
    p = command("path", "print the path of a tool")
    p.add_argument("tool")
    p = command("up", "bring clusters up, or the rest of half-made ones; several are started side by side")
    p.add_argument("names", nargs="+", metavar="NAME")
    p = command("down", "remove clusters with everything that belongs to them, also half-made ones")
    p.add_argument("names", nargs="*", metavar="NAME")
    p.add_argument("--all", action="store_true", help="all clusters of this checkout")
    p = command("status", "what runs: clusters, their processes, lines")
    p.add_argument("-o", "--output", choices=["text", "json"], default="text")
    p = command("load", "import image archives (all of target/images when none is named) into running clusters")
    p.add_argument("archives", nargs="*", metavar="IMAGE.tar")
    p.add_argument("--cluster", action="append", metavar="NAME", help="only this cluster (may be repeated)")
    p = command("kubeconfig", "print the path of a cluster's kubeconfig; its context has the cluster's name")
    p.add_argument("name", metavar="NAME")
    p = command("exec", "run a command inside a node, with KUBECONFIG set: cluster exec NAME -- ctr -n k8s.io tasks ls")
    p.add_argument("name", metavar="NAME")
    p.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND …")
    p = command("sigkill", "SIGKILL the main process of a container, from the node; prints what was killed as JSON")
    p.add_argument("name", metavar="NAME")
    p.add_argument("namespace", metavar="NAMESPACE")
    p.add_argument("pod", metavar="POD")
    p.add_argument("container", nargs="?", metavar="CONTAINER", help="needed when the pod has several")
    p = command("alias", "make host names resolve to a cluster's node in every cluster: cluster alias NAME kafka.eu.example")
    p.add_argument("name", metavar="NAME")
    p.add_argument("hosts", nargs="*", metavar="HOST", help="replaces the earlier ones; none removes them")
    p = command("line", "the line from a factory to a region: outbound only, behind NAT")
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, help in LINE_ACTIONS.items():
        p = actions.add_parser(action, help=help, description=help)
        count = "?" if action == "status" else None
        p.add_argument("factory", nargs=count, metavar="FACTORY")
        p.add_argument("region", nargs=count, metavar="REGION")
        if action == "slow":
            p.add_argument("--rate", required=True, help="500kbit, 2mbit, …")
    p = commands.add_parser("enforce-policies")         # started by `up`, inside the node's network
    p.add_argument("name")
    p.add_argument("api")
    return parser


def _tools(args) -> None:
    only = [n for n in (args.only or "").split(",") if n]
    tools.ensure(only, node=not only)


def _path(args) -> None:
    tools.need(args.tool)
    print(tools.tool(args.tool).path)


def _up(args) -> None:
    chosen = clusters.chosen(args.names, False)
    clusters.prepare()
    clusters.each(chosen, clusters.up)


def _down(args) -> None:
    if not args.names and not args.all:
        raise ClusterError("down", "no cluster named", "name clusters, or --all; known: " + (" ".join(known_clusters()) or "none"))
    clusters.each(clusters.chosen(args.names, args.all), clusters.down)
    clusters.empty_trash()


def _status(args) -> None:
    described = {"clusters": [clusters.status(Cluster(n)) for n in known_clusters()], "lines": line.all_lines()}
    if args.output == "json":
        print(json.dumps(described, indent=1))
        return
    if not described["clusters"]:
        print("no clusters in this checkout")
    for c in described["clusters"]:
        memory = sum(p["memoryMiB"] or 0 for p in c["processes"].values() if p)
        print(f"{c['name']:24} {c['state']:8} {c['nodeAddress'] or '-':16} {memory:6.0f} MiB  {c['kubeconfig']}"
              + (f"\n{'':24} {c['problem']}" if c["problem"] else ""))
    for each in described["lines"]:
        print(_line_text(each))


def _line_text(shown: dict) -> str:
    return f"line {shown['factory']} -> {shown['region']}: {shown['state']}" + (f" ({shown['rate']})" if shown["rate"] else "")


def _load(args) -> None:
    names = args.cluster or [n for n in known_clusters() if node_ns.find_init(Cluster(n))]
    if not names:
        raise ClusterError("load", "no cluster is running", "run `cluster up NAME`")
    paths = args.archives or images.archives()
    clusters.each([Cluster(n) for n in names], lambda c: images.load(c, paths))


def _exec(args) -> int:
    target = Cluster(args.name)
    init = node_ns.find_init(target)
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not init:
        raise ClusterError("exec", f"cluster {target.name} is not running", f"run `cluster up {target.name}`")
    if not argv:
        raise ClusterError("exec", "no command", f"cluster exec {target.name} -- COMMAND …")
    own = ":".join(os.path.dirname(tools.tool(t).node_path) for t in ("kubectl", "helm"))
    os.environ.update(KUBECONFIG="/node/kubeconfig", PATH=f"{own}:{os.environ['PATH']}:/usr/sbin:/sbin")
    full = node_ns.enter(init, argv)
    sys.stdout.flush()
    os.execvp(full[0], full)


def _alias(args) -> None:
    from . import addons
    addons.set_aliases(Cluster(args.name), args.hosts)


def _line(args) -> None:
    if args.action == "status" and not args.factory:
        shown = line.all_lines()
        print("\n".join(map(_line_text, shown)) if shown else "no lines")
        return
    if not args.region:
        raise ClusterError("line", "two clusters are needed", f"cluster line {args.action} FACTORY REGION")
    wanted = line.Line(Cluster(args.factory), Cluster(args.region))
    if args.action == "slow":
        line.slow(wanted, args.rate)
    elif args.action != "status":
        {"up": line.up, "cut": line.cut, "mend": line.mend, "down": line.down}[args.action](wanted)
    print(_line_text(line.status(wanted)))


def _enforce(args) -> None:
    from . import kube, policy_engine
    policy_engine.serve(kube.Api(Cluster(args.name), args.api))


def _kubeconfig(args) -> None:
    target = Cluster(args.name)
    load_plan(target)
    print(target.kubeconfig)


ACTIONS = {"tools": _tools, "path": _path, "up": _up, "down": _down, "status": _status, "load": _load, "kubeconfig": _kubeconfig,
           "exec": _exec, "sigkill": lambda a: print(json.dumps(sigkill.kill(Cluster(a.name), a.namespace, a.pod, a.container))),
           "alias": _alias, "line": _line, "enforce-policies": _enforce}


def main(argv) -> int:
    """Parse, act, and say what went wrong in a way that helps; exit status 1 on failure."""
    args = _parser().parse_args(argv)
    try:
        return ACTIONS[args.command](args) or 0
    except ClusterError as e:
        say(f"FAILED {e}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; `cluster up` goes on from here, `cluster down` removes everything")
        return 130
