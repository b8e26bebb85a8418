"""What dashboards and rules of the chart ask for, and what docs/src/metrics.md says there is. Read by `.ci/metrics`, which checks one
against the other, and by the scenario `metrics`, which asks a real Prometheus."""
import json
import os
import re
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Set, Tuple

from .process import ROOT

PAGE = os.path.join(ROOT, "docs", "src", "metrics.md")
CHART_FILES = os.path.join(ROOT, "charts", "tributary", "files")
DASHBOARDS = os.path.join(CHART_FILES, "dashboards")
RULES = os.path.join(CHART_FILES, "rules", "tributary.yaml")
# Labels that come with a target, not from the process: see docs/src/dashboards.md.
TARGET_LABELS = {"site", "namespace", "name", "kind", "pod", "container", "instance", "job"}
# A dashboard's variables, as they are when nothing is chosen.
VARIABLES = {"$site": ".*", "$namespace": ".*", "$__rate_interval": "2m", "$__range": "6h", "$__interval": "1m"}

AGGREGATIONS = {"sum", "min", "max", "avg", "group", "count", "count_values", "bottomk", "topk", "quantile", "stddev", "stdvar"}
LABEL_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
OTHER_WORDS = {"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "start", "end"}
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\d[\w.]*|[A-Za-z_:][\w:]*|=~|!~|[=!<>]=|\S')


@dataclass(frozen=True)
class Metric:
    """One line of the book."""
    name: str
    type: str
    unit: str
    labels: Tuple[str, ...]

    def series(self) -> Dict[str, Set[str]]:
        """{name of a series: its labels}."""
        labels = set(self.labels)
        if self.type != "histogram":
            return {self.name: labels}
        return {self.name + "_bucket": labels | {"le"}, self.name + "_sum": labels, self.name + "_count": labels}


def documented() -> List[Metric]:
    """Every metric of the book."""
    found = []
    with open(PAGE, encoding="utf-8") as f:
        for line in f:
            cells = [c.strip() for c in line.strip().strip("|").split("|")]
            if line.startswith(("| `tributary_", "| `process_")) and len(cells) == 5:
                labels = tuple(label.strip() for label in cells[3].split(",") if label.strip())
                found.append(Metric(cells[0].strip("`"), cells[1], cells[2], labels))
    return found


@dataclass(frozen=True)
class Query:
    """One expression, and where it stands."""
    where: str
    text: str
    legend: str = ""

    @property
    def plain(self) -> str:
        """With every variable of a dashboard filled in."""
        text = self.text
        for name in sorted(VARIABLES, key=len, reverse=True):
            text = text.replace(name, VARIABLES[name])
        return text


@dataclass
class Selector:
    """A series as an expression names it."""
    metric: str
    matchers: List[Tuple[str, str, str]] = field(default_factory=list)      # label, operator, value

    def text(self, without: Tuple[str, ...] = ()) -> str:
        """As PromQL, leaving out matchers of some labels."""
        kept = ",".join(f'{label}{operator}"{value}"' for label, operator, value in self.matchers if label not in without)
        return f"{self.metric}{{{kept}}}" if kept else self.metric


@dataclass
class Parts:
    """What an expression names."""
    selectors: List[Selector]
    grouped: Set[str]


def parts(expression: str) -> Parts:
    """Selectors and grouping labels of an expression that promtool has found to be one."""
    tokens = TOKEN.findall(expression)
    selectors, grouped, at = [], set(), 0
    while at < len(tokens):
        token, following = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        if token == "[":
            at = tokens.index("]", at)
        elif token in LABEL_LISTS and following == "(":
            end = tokens.index(")", at)
            grouped.update(t for t in tokens[at + 2:end] if t != ",")
            at = end
        elif token == "{":
            raise ValueError(f"a selector without a metric's name in {expression}")
        elif re.match(r"[A-Za-z_:]", token) and following != "(" and token not in AGGREGATIONS | LABEL_LISTS | OTHER_WORDS:
            selector = Selector(token)
            if following == "{":
                end = tokens.index("}", at)
                selector.matchers = list(_matchers(tokens[at + 2:end]))
                at = end
            selectors.append(selector)
        at += 1
    return Parts(selectors, grouped)


def _matchers(tokens: List[str]) -> Iterator[Tuple[str, str, str]]:
    for i in range(0, len(tokens), 4):
        label, operator, value = tokens[i:i + 3]
        yield label, operator, value[1:-1]


def dashboards() -> Dict[str, dict]:
    """{file name: dashboard}."""
    found = {}
    for name in sorted(os.listdir(DASHBOARDS)):
        with open(os.path.join(DASHBOARDS, name), encoding="utf-8") as f:
            found[name] = json.load(f)
    return found


def panels(dashboard: dict) -> Iterator[dict]:
    """Every panel, also those inside collapsed rows."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def panel_queries() -> List[Query]:
    """Every query of every panel."""
    return [Query(f"{name}: {panel['title']}: {target['refId']}", target["expr"], target.get("legendFormat", ""))
            for name, dashboard in dashboards().items() for panel in panels(dashboard) for target in panel.get("targets", [])]


def variable_queries() -> List[Query]:
    """The series behind the choices of a dashboard's variables: label_values(series, label)."""
    found = []
    for name, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"]).groups()
                found.append(Query(f"{name}: variable {variable['name']}", f"group by ({label}) ({series})"))
    return found


@dataclass
class Alert:
    """One alert of the rules."""
    name: str
    keys: Dict[str, str]        # expr, for, labels, summary, description, runbook_url as they stand

    @property
    def query(self) -> Query:
        """Its expression."""
        return Query(f"alert {self.name}", self.keys["expr"])

    @property
    def severity(self) -> str:
        """critical or warning."""
        return re.fullmatch(r"\{severity: (\w+)\}", self.keys["labels"]).group(1)


def alerts() -> List[Alert]:
    """Every alert. The file keeps each key on one line, so that no YAML library is needed."""
    found: List[Alert] = []
    with open(RULES, encoding="utf-8") as f:
        for line in f:
            begins = re.fullmatch(r"      - alert: (\w+)\n", line)
            key = re.fullmatch(r" {8}(?: {2})?(\w+): (.+)\n", line)
            if begins:
                found.append(Alert(begins.group(1), {}))
            elif key and found:
                found[-1].keys[key.group(1)] = key.group(2)
    return found
