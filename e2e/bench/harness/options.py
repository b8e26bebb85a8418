"""Options that every benchmark has."""
import argparse
import os

from .errors import BenchFailed
from .process import ROOT


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the common options."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--binary", help="the program to measure (default: the release build)")
    made.add_argument("--rounds", type=int, metavar="N", help="how often each measurement is repeated; tables show medians (default: 3)")
    made.add_argument("--no-peer", action="store_true", help="only our program")
    made.add_argument("--quick", action="store_true", help="small sizes, one round: shows that the benchmark works, measures nothing")
    made.add_argument("--dir", default="", metavar="FOLDER", help="where data goes for the time of the run (default: target/bench)")
    return made


def complete(args: argparse.Namespace, usual: dict, quick: dict) -> None:
    """Fills in what was not given."""
    for name, value in {**usual, "rounds": 3, **({**quick, "rounds": 1} if args.quick else {})}.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
    triple = f"{os.uname().machine}-unknown-linux-gnu"
    candidates = [os.path.join(target, triple, "release", "tributary"), os.path.join(target, "release", "tributary")]
    args.binary = args.binary or next((c for c in candidates if os.path.exists(c)), candidates[0])
    if not os.path.exists(args.binary):
        raise BenchFailed("program", f"{args.binary} does not exist", "make build")
    args.binary = os.path.abspath(args.binary)
