"""The line is cut and slowed: the verdict goes Disconnected, CatchingUp, InSync, and lag agrees with an independent client's.

During the cut status.lag is compared with the source's end offsets as Kafka's own tools read them and the positions as they stand on the
target. Slowed to less than what is sent, the link is Connected and behind; mended, it comes back."""
import json
import threading
import time

from harness import base, probe, toolbox
from harness.errors import NotYet, StepFailed
from harness.objects import condition, lag, observed_at, seconds_of, verdict, wait_verdict
from harness.sites import REGION_HOST
from harness.status import shown, status
from harness.ui import say
from harness.wait import until

TOLERANCE = 15.0
# A status is written at least once a minute.
FRESH_SECONDS = 90.0
SLOW = "300kbit"


def run(t):
    """See above."""
    wait_verdict(t.factory, "replicationlink", "to-eu", "InSync")
    for fault in (cut, slow):
        sent = probe.send(t.world, messages=120_000, rate=1500)
        try:
            fault(t)
        finally:
            t.line.mend()
        sent.finish()
        wait_verdict(t.factory, "replicationlink", "to-eu", "InSync", seconds=120)
        report = probe.audit(t.world, sent, seconds=90)
        t.expect(report["lost"] == 0, "nothing is lost", report)


def cut(t):
    """30 s without a line."""
    time.sleep(5)
    verdicts = []

    def note(obj):
        if verdict(obj) and verdicts[-1:] != [verdict(obj)]:
            verdicts.append(verdict(obj))
    t.step("cutting the line")
    t.line.cut()
    cut_at = time.time()
    until("`tributary status` over both clusters tells the cut", lambda: told(t, cut_at), 45, every=0.5)
    say(f"`tributary status` told it {time.time() - cut_at:.1f} s after the cut")
    until("it told the truth of 15 s after the cut", lambda: later(t, cut_at), FRESH_SECONDS, every=0.5)
    link = wait_verdict(t.factory, "replicationlink", "to-eu", "Disconnected", seconds=45, on_poll=note)
    t.expect(condition(link, "Connected")["status"] == "False", "Connected=False", condition(link, "Connected"))
    t.expect(condition(link, "Ready")["status"] == "True", "Ready stays True: sites are often offline", condition(link, "Ready"))
    agree(t, carried(t), 20)
    time.sleep(max(0.0, 30 - (time.time() - cut_at)))
    t.line.mend()
    say("mended")
    wait_verdict(t.factory, "replicationlink", "to-eu", "CatchingUp", "InSync", seconds=60, on_poll=note)
    wait_verdict(t.factory, "replicationlink", "to-eu", "InSync", seconds=90, on_poll=note)
    t.expect(verdicts[-3:] == ["Disconnected", "CatchingUp", "InSync"], "the verdict went Disconnected, CatchingUp, InSync", verdicts)


def no_old_story(link, cut_at):
    """What was observed more than 15 s after the cut knows of it. By the status' own time: how fast this machine asks proves nothing."""
    age = seconds_of(link["observedAt"]) - cut_at
    if age > TOLERANCE and link["verdict"] != "Disconnected":
        raise StepFailed("line: the truth within 15 s", f"observed {age:.1f} s after the cut, it still says {link['verdict']}: {json.dumps(link)}")
    return age


def later(t, cut_at):
    """A status observed more than 15 s after the cut was seen."""
    age = no_old_story(shown(status(t.world.sites), "to-eu"), cut_at)
    if age <= TOLERANCE:
        raise NotYet(f"observed {age:.1f} s after the cut")


def told(t, cut_at):
    """Both clusters are shown, the link as Disconnected with the address and since when, and nobody is needed for it."""
    document = status(t.world.sites)
    link = shown(document, "to-eu")
    no_old_story(link, cut_at)
    if link["verdict"] != "Disconnected":
        raise NotYet(link["verdict"])
    reasons = " ".join(c["message"] for c in link["conditions"])
    if not all(c["reachable"] for c in document["contexts"]) or REGION_HOST not in reasons or not link["since"] or link["needsPerson"]:
        raise NotYet(json.dumps(link))


def carried(t) -> int:
    """The link's positions, summed over partitions, as they stand on the target: read there, by Kafka's own consumer."""
    return sum(p["nextOffset"] for p in positions(t).values())


def positions(t) -> dict:
    """{(topic, partition): position} of the factory's topics."""
    link = t.factory.kube.need("replicationlink", "to-eu", "factory")["status"]["effective"]["linkId"]
    text = toolbox.sh(t.region, f"/opt/kafka/bin/kafka-console-consumer.sh --bootstrap-server {base.REGION_KAFKA} --topic __tributary_positions "
                      "--from-beginning --timeout-ms 15000 --formatter-property print.key=true --formatter-property key.separator=' ' 2>/dev/null || true",
                      timeout=60)
    found = {}
    for row in text.splitlines():
        key, _, value = row.partition(" ")
        if value.startswith("{") and json.loads(key)["link"] == link:
            position = json.loads(value)
            found[(position["sourceTopic"], json.loads(key)["partition"])] = position
    return found


def agree(t, position: int, seconds: float):
    """status.lag lies between the ends that an independent client reads up to 15 s before and after its time, minus the positions."""
    ends = []
    stop = threading.Event()

    def witness():
        while not stop.is_set():
            at = time.time()
            total = sum(sum(toolbox.end_offsets(t.factory, base.FACTORY_KAFKA, topic).values()) for topic in ("telemetry", "telemetry-dead"))
            ends.append((at, time.time(), total))
    reader = threading.Thread(target=witness, daemon=True)
    reader.start()
    samples, started = [], time.time()
    while time.time() - started < seconds:
        obj = t.factory.kube.need("replicationlink", "to-eu", "factory")
        samples.append((observed_at(obj), lag(obj)))
        time.sleep(1)
    time.sleep(TOLERANCE / 3)
    stop.set()
    reader.join(30)
    checked = 0
    for at, claimed in dict(samples).items():
        before = [total for _, done, total in ends if done <= at - TOLERANCE]
        after = [total for began, _, total in ends if began >= at]
        if claimed is None or not after:
            continue
        low, high = (max(before) if before else 0) - position, after[0] - position
        if not low <= claimed <= max(high, max(total for _, _, total in ends) - position):
            raise StepFailed("line: lag agrees with an independent client", f"status says {claimed} at {at:.0f}, Kafka's tools {low} to {high}")
        checked += 1
    fresh = max(at for at, _ in samples)
    t.expect(checked >= 1, "lag was compared at least once", (samples, ends))
    t.expect(time.time() - fresh < TOLERANCE + 10, "the status was not older than 15 s during the cut", time.time() - fresh)
    say(f"lag agreed with an independent client {checked} times, {len(ends)} readings")


def slow(t):
    """1,500 messages a second need more than the line has, compressed too."""
    t.step(f"slowing the line to {SLOW}")
    t.line.slow(SLOW)
    obj = wait_verdict(t.factory, "replicationlink", "to-eu", "FallingBehind", "CatchingUp", seconds=90)
    t.expect(condition(obj, "Connected")["status"] == "True", "slow is not cut: Connected=True", condition(obj, "Connected"))
