"""Results: everything as JSON in target/bench/, and a plain table with ratios (ours : peer)."""
import json
import os
import platform
import statistics
import subprocess
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from .process import results_dir
from .ui import say


OURS = "tributary"
DETAILS = ("who", "fault", "samples", "audit", "send", "ownAccount")      # not for the terminal


class Row(NamedTuple):
    """A line of a table: a figure of a result, by its name in the JSON ("memory.peakMiB")."""
    label: str
    figure: str
    digits: int = 0


def _machine() -> Dict[str, Any]:
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 ** 30
    return {"cpus": len(os.sched_getaffinity(0)), "cpu": model, "memoryGiB": round(memory, 1), "kernel": platform.release()}


class Results:
    """Of one benchmark. Written after each measurement, so that what was measured stays when a later one fails."""

    def __init__(self, name: str, binary: str, options: Dict[str, Any]) -> None:
        os.makedirs(results_dir(), exist_ok=True)
        self.path = os.path.join(results_dir(), f"{name}.json")
        self.text_path = os.path.join(results_dir(), f"{name}.txt")
        if os.path.exists(self.text_path):
            os.remove(self.text_path)           # the last run's: none is better than an old one
        version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout.strip()
        self.head = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": _machine(), "program": version, "options": options}
        self.results: List[Dict[str, Any]] = []
        self.lines: List[str] = []

    def add(self, result: Dict[str, Any]) -> None:
        """Keeps a result and says what it came to, without what it was made of."""
        self.results.append(result)
        with open(self.path, "w", encoding="utf-8") as f:
            json.dump({**self.head, "results": self.results}, f, indent=1)
        brief = {k: v for k, v in result.items() if k not in DETAILS and v not in (None, "")}
        say(f"{result['who']}: {json.dumps(brief)}" + (f" DOES NOT COUNT: {result['fault']}" if result["fault"] else ""))

    def table(self, title: str, rows: Sequence[Row], columns: Dict[str, List[Dict[str, Any]]]) -> None:
        """One table: a column for each subject, the ratio of the first to the second behind them. Several rounds: their median."""
        columns = {name: results for name, results in columns.items() if results}
        if not columns:
            return
        rounds = max(len(results) for results in columns.values())
        table = [["", *columns, *([" : ".join(columns)] if len(columns) == 2 else [])]]
        for row in rows:
            values = [_median(results, row.figure) for results in columns.values()]
            cells = ["-" if v is None else f"{v:,.{row.digits}f}" for v in values]
            if len(columns) == 2:
                cells.append("-" if None in values or not values[1] else f"{values[0] / values[1]:.2f}")
            table.append([row.label, *cells])
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        self.lines += ["", title + (f"; median of {rounds} rounds" if rounds > 1 else "")]
        self.lines += ["  " + "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))]) for line in table]
        for name, results in columns.items():
            self.lines += [f"  {name} does not count: {r['fault']}" for r in results if r["fault"]]

    def finish(self) -> int:
        """Prints the tables; exit status 1 when something of ours does not count."""
        machine = self.head["machine"]
        about = f"{self.head['program']} on {machine['cpus']} CPUs ({machine['cpu']}), {machine['memoryGiB']} GiB, {self.head['at']}"
        text = "\n".join([about, *self.lines, "", f"all figures and samples: {self.path}"]) + "\n"
        with open(self.text_path, "w", encoding="utf-8") as f:
            f.write(text)
        print("\n" + text, end="", flush=True)
        if not self.results:
            return 1
        return 1 if any(r["fault"] for r in self.results if r["who"] == OURS) else 0


def _median(results: List[Dict[str, Any]], figure: str) -> Optional[float]:
    """Nothing, where a single round does not count."""
    values: List[Any] = []
    for result in results:
        value: Any = {} if result["fault"] else result
        for part in figure.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        values.append(value)
    return None if None in values else statistics.median(values)
