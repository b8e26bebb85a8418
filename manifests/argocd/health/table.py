"""The table of situations in docs/src/reference/conditions.md, and which of its rows an object is in."""
import os
import re
from typing import Dict, List, NamedTuple

HERE = os.path.dirname(os.path.realpath(__file__))
TABLE = os.path.join(HERE, "..", "..", "..", "docs", "src", "reference", "conditions.md")
HEAD = "| Situation | `verdict` | `Ready` | other conditions | Argo CD |"
# Rows that an EdgeCluster, which has no verdict, can be in.
OF_CLUSTERS = ("Starting", "Stalled", "InSync", "Unknown", "Paused")
# No scenario brings these about yet; the rows are tested with objects made for them.
NOT_SEEN = {"ReplicationLink-NotMoving.json", "ReplicationLink-DataGone.json"}


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
    # A bridge holds back the MQTT broker: what is behind is there, and the bridge does not fall behind.
    found = [file_of(kind, row) for kind, words in kinds.items() for row in rows()
             if (words is None or row.word in words) and (kind, row.word) != ("BridgePipeline", "FallingBehind")]
    return sorted({*found, lossy("BridgePipeline"), lossy("ReplicationLink")} - NOT_SEEN)


def lossy(kind: str) -> str:
    """Where the captured object is that knows of a loss: the last row, which holds beside any other."""
    return f"{kind}-DataGone.json"


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
