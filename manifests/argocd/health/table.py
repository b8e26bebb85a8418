"""The table of situations in docs/src/reference/conditions.md, and which of its rows an object is in."""
import os
import re
from typing import Dict, List, NamedTuple

HERE = os.path.dirname(os.path.realpath(__file__))
TABLE = os.path.join(HERE, "..", "..", "..", "docs", "src", "reference", "conditions.md")
HEAD = "| Situation | `verdict` | `Ready` | other conditions | Argo CD |"
# Rows that an EdgeCluster, which has no verdict, can be in.
OF_CLUSTERS = ("Starting", "Stalled", "InSync", "Unknown", "Paused")
# What the script tells beside Healthy where it is not True.
TOLD_WHEN_HEALTHY = ("Connected", "KeepingUp", "Lossless", "TopicsSynced")


class Row(NamedTuple):
    """One situation."""
    text: str
    verdict: str
    ready: str
    others: str
    argo: str

    @property
    def word(self) -> str:
        """A name for files: the verdict, or what an Unknown one comes from."""
        if self.verdict != "Unknown":
            return self.verdict
        return "Stalled" if "Stalled=True" in self.others else "Starting" if self.ready == "False" else "Unknown"


def rows() -> List[Row]:
    """All rows but the last, which holds beside any other."""
    return [row for row in all_rows() if row.verdict != "as measured"]


def all_rows() -> List[Row]:
    """As the book has them."""
    with open(TABLE, encoding="utf-8") as f:
        lines = [line for line in f if line.startswith("| ")]
    head = next(i for i, line in enumerate(lines) if line.startswith(HEAD))
    found = []
    for line in lines[head + 2:]:
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if len(cells) != 5:
            break
        found.append(Row(*cells))
    return found


def file_of(kind: str, row: Row) -> str:
    """Where the captured object of a row is."""
    return f"{kind}-{row.word}.json"


def wanted() -> List[str]:
    """The files that must be there."""
    kinds = {"EdgeCluster": OF_CLUSTERS, "BridgePipeline": None, "ReplicationLink": None}
    found = [file_of(kind, row) for kind, words in kinds.items() for row in rows() if words is None or row.word in words]
    return sorted({*found, lossy("BridgePipeline"), lossy("ReplicationLink"), STOPPED})


def lossy(kind: str) -> str:
    """Where the captured object is that knows of a loss: the last row, which holds beside any other."""
    return f"{kind}-DataGone.json"


# Where the captured link is of which a partition stopped: the last row again, Degraded. No other kind has partitions that stop.
STOPPED = "ReplicationLink-PartitionStopped.json"


def conditions_of(obj: dict) -> Dict[str, dict]:
    """The conditions that speak of this generation."""
    generation = obj["metadata"].get("generation")
    return {c["type"]: c for c in (obj.get("status") or {}).get("conditions", []) if c.get("observedGeneration") == generation}


def has_stopped(obj: dict) -> bool:
    """Whether a partition stopped while the link as a whole is in a row that else is Ready."""
    status, conditions = obj.get("status") or {}, conditions_of(obj)
    said = {type_: conditions.get(type_, {}).get("status", "-") for type_ in ("Ready", "Stalled")}
    going = {row.verdict for row in rows() if row.ready == "True"}
    return (obj["kind"] == "ReplicationLink" and status.get("observedGeneration") == obj["metadata"].get("generation")
            and status.get("verdict") in going and said == {"Ready": "False", "Stalled": "True"}
            and conditions["Stalled"]["reason"] == "PartitionStopped")


def expected(obj: dict, health: str) -> List[str]:
    """What the script must tell of an object of this health: reason and message of the condition that decides, and, when it is Healthy, of
    what an engineer should read all the same."""
    conditions = conditions_of(obj)
    decides = {"Degraded": "Stalled", "Progressing": "Reconciling" if "Reconciling" in conditions else "Ready"}.get(health, "Ready")
    beside = [t for t in TOLD_WHEN_HEALTHY if health == "Healthy" and told_beside(conditions.get(t))]
    words = [f"{conditions[t]['reason']}: {conditions[t]['message']}" for t in (decides, *beside)]
    return words[:1] + [f"{t}={conditions[t]['status']} {said}" for t, said in zip(beside, words[1:])]


def told_beside(condition: dict) -> bool:
    """Whether a condition of a Healthy object is worth a word: False, or a loss that must be feared."""
    return bool(condition) and (condition["status"] == "False" or (condition["type"], condition["status"]) == ("Lossless", "Unknown"))


def matches(obj: dict, row: Row) -> bool:
    """Whether a status that speaks of this generation is in this row."""
    status = obj.get("status") or {}
    generation = obj["metadata"].get("generation")
    if status.get("observedGeneration") != generation:
        return False
    conditions: Dict[str, str] = {c["type"]: c["status"] for c in status.get("conditions", []) if c.get("observedGeneration") == generation}
    said = {t: conditions.get(t, "True" if t == "Connected" else "-") for t in ("Ready", "Stalled", "Reconciling", "KeepingUp", "Connected")}
    others = dict(re.findall(r"(\w+)=(\w+)", row.others))
    if obj["kind"] == "EdgeCluster":
        paused = bool(obj["spec"].get("paused"))
        if row.word not in OF_CLUSTERS or paused != (row.verdict == "Paused"):
            return False
        others.pop("Connected", None)
        others.pop("KeepingUp", None)
    elif status.get("verdict") != row.verdict:
        return False
    elif obj["kind"] == "BridgePipeline":
        others.pop("KeepingUp", None)
    quiet = {t: "-" for t in ("Stalled", "Reconciling") if t not in others}
    return said["Ready"] == row.ready and all(said.get(t) == v for t, v in {**quiet, **others}.items())
