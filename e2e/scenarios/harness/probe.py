"""The probe, run in the toolboxes: messages in over MQTT at the factory, an audit of what came out of Kafka."""
import itertools
import json
import time
from typing import Tuple

from . import base, toolbox
from .errors import NotYet, StepFailed
from .sites import Site, World
from .ui import say
from .wait import until

_RUNS = itertools.count(1)
_STARTED = time.strftime("%H%M%S")


class Sent:
    """A run of `probe send` that goes on in the factory's toolbox, whatever happens to our connection."""

    def __init__(self, world: World, name: str, messages: int):
        self.world, self.name, self.messages = world, name, messages
        self.site = world.factory
        self.file = f"{toolbox.WORK}/{name}.jsonl"
        self.stopped = False

    def _read(self, suffix: str) -> str:
        return toolbox.sh(self.site, f"cat {toolbox.WORK}/{self.name}.{suffix} 2>/dev/null || true").strip()

    def ended(self) -> bool:
        """Whether the run is over."""
        return self._read("exit") != ""

    def progress(self) -> str:
        """The last line that it printed."""
        lines = self._read("err").splitlines()
        return lines[-1].strip() if lines else "starting"

    def stop(self) -> None:
        """End it before its time, in order: what was sent is waited for."""
        self.stopped = True
        toolbox.sh(self.site, f"kill -TERM $(cat {toolbox.WORK}/{self.name}.pid) 2>/dev/null || true")
        self.finish()

    def finish(self, seconds: float = 0) -> dict:
        """Wait for its end; what it says of itself. Everything that was sent must have been acknowledged or be written down as unknown."""
        def check():
            code = self._read("exit")
            if not code:
                raise NotYet(self.progress())
            return int(code)
        code = until(f"probe {self.name} is through", check, seconds or 180 + self.messages / 500, every=1)
        if code not in ((0, 1) if self.stopped else (0,)):
            raise StepFailed(f"probe {self.name}", f"`probe send` ended with status {code}: {self._read('err')[-600:]}",
                             "is the MQTT broker there?")
        return json.loads(self._read("out") or "{}")


def send(world: World, messages: int, rate: int, devices: int = 50, topic: str = "", payload: int = 256) -> Sent:
    """Start sending."""
    run = Sent(world, f"run-{_STARTED}-{next(_RUNS)}", messages)
    server = f"mqtt://mosquitto.{world.factory.namespace}.svc:1883"
    options = (f"--mqtt {server} --username devices --password-file /mqtt/devices --devices {devices} --rate {rate} --messages {messages} "
               f"--payload-size {payload} --qos 1 --sent {run.file} --run {run.name} -o json")
    if topic:
        options += f" --topic-template '{topic}'"
    at = f"{toolbox.WORK}/{run.name}"
    # A shell of its own session keeps it alive when our exec ends; it leaves the exit status in a file.
    script = (f"{toolbox.TRIBUTARY} probe send {options} >{at}.out 2>{at}.err & echo $! >{at}.pid; wait $!; echo $? >{at}.exit.new; "
              f"mv {at}.exit.new {at}.exit")
    # Our exec must not end before the run is in its own session: with the exec's end everything of its session is killed.
    toolbox.sh(world.factory, f"cat >{at}.sh; setsid sh {at}.sh </dev/null >/dev/null 2>&1 & while [ ! -s {at}.pid ]; do sleep 0.1; done",
               input=script)
    say(f"probe {run.name}: {messages:,} messages, {rate:,} a second, {devices} devices")
    return run


def audit_once(world: World, site: Site, bootstrap: str, topic: str, sent: Sent, seconds: int = 0, file: bool = True,
               factory: bool = False) -> Tuple[int, dict]:
    """One audit in a site's toolbox: exit status and report. With `seconds`, it waits so long for what is still missing; without
    `file` it knows nothing of what was sent; with `factory` it also reads the factory's topic and tells on which side of it loss lay."""
    options = f"--kafka {bootstrap} --topic {topic} -o json"
    name = f"{toolbox.WORK}/{sent.name}.jsonl"
    if file:
        if site is not sent.site:
            toolbox.copy(sent.site, site, name)
        options += f" --sent {name}" + (f" --until-complete --timeout {seconds}s" if seconds else "")
    else:
        options += f" --run {sent.name}"
    if factory:
        options += f" --factory-kafka {base.FACTORY_KAFKA} --factory-topic {base.TOPIC}"
    done = site.kube.exec(site.namespace, toolbox.NAME, ["sh", "-c", f"{toolbox.TRIBUTARY} probe audit {options}"], timeout=300 + seconds, check=False)
    if done.returncode not in (0, 1, 2):
        raise StepFailed(f"audit of {topic} at {site.name}", f"status {done.returncode}: {(done.stderr or done.stdout)[-800:]}",
                         f"kubectl -n {site.namespace} exec {toolbox.NAME} -- sh")
    return done.returncode, json.loads(done.stdout)


def audit(world: World, sent: Sent, seconds: int, may_lose: bool = False) -> dict:
    """Audit a run at the region; a loss is a failure unless it may be."""
    code, report = audit_once(world, world.region, base.REGION_KAFKA, base.REGION_TOPIC, sent, seconds)
    report["complete"] = code == 0
    say(f"audit {sent.name} at the region: {report['acked']:,} acknowledged, {report['received']:,} received, {report['lost']:,} lost, "
        f"{report['duplicates']:,} duplicates, {report['outOfOrder']:,} out of order")
    if code != 0 and not may_lose:
        brief = {k: v for k, v in report.items() if k != "devices"}
        raise StepFailed(f"audit {sent.name}", f"status {code}: {json.dumps(brief)[:2500]}", "`lostAt` says where they were lost")
    return report
