"""What the tables and figures say. Run: python3 -m unittest discover -s e2e/bench -p '*_test.py' -t e2e/bench"""
import struct
import subprocess
import tempfile
import unittest
from unittest import mock

from . import figures, results, usage, wire
from .results import OURS, Row


def sample(at: float, records: int, cpu: float = 0.0) -> dict:
    """A sample."""
    return {"at": at, "records": records, "cpu": cpu}


class FiguresTest(unittest.TestCase):
    """From samples to figures."""

    def test_the_time_before_the_first_record_is_no_part_of_the_speed(self):
        samples = [sample(0, 0), sample(5, 0, 2.0), sample(6, 100, 3.0), sample(7, 200, 4.0)]
        first = figures.start_of_work(samples)
        self.assertEqual(first["at"], 5)
        self.assertEqual(figures.per_second(first, samples[-1]), 100)
        self.assertEqual(figures.per_million(first, samples[-1], "cpu"), 10_000)

    def test_without_a_record_there_is_no_figure(self):
        samples = [sample(0, 0), sample(5, 0, 2.0)]
        first = figures.start_of_work(samples)
        self.assertIsNone(figures.per_million(first, samples[-1], "cpu"))

    def test_memory_compares_the_last_minute_with_the_second(self):
        grown = figures.memory([1.0] * 60 + [10.0] * 60 + [11.0] * 420 + [12.0] * 60, 13.0)
        self.assertEqual((grown["windowSeconds"], grown["secondWindowMiB"], grown["lastWindowMiB"]), (60, 10.0, 12.0))
        self.assertEqual((grown["lastToSecond"], grown["peakMiB"]), (1.2, 13.0))

    def test_a_short_run_is_cut_into_thirds(self):
        self.assertEqual(figures.memory([1.0, 1.0, 2.0, 2.0, 4.0, 4.0], 4.0)["lastToSecond"], 2.0)
        self.assertEqual(figures.memory([3.0], 3.0)["lastToSecond"], 1.0)


class ResultsTest(unittest.TestCase):
    """Tables, and what does not count."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        patched = mock.patch.object(results, "results_dir", lambda: folder.name)
        patched.start()
        self.addCleanup(patched.stop)
        quiet = mock.patch.object(results, "say")
        quiet.start()
        self.addCleanup(quiet.stop)
        self.results = results.Results("test", "/bin/true", {})

    def table(self, ours: list, theirs: list) -> str:
        """The table of one figure."""
        made = [[{"who": who, "speed": {"up": v}, "fault": f} for v, f in values] for who, values in ((OURS, ours), ("peer", theirs))]
        for result in made[0] + made[1]:
            self.results.add(result)
        self.results.table("t", [Row("up", "speed.up")], {OURS: made[0], "peer": made[1]})
        return "\n".join(self.results.lines)

    def test_a_row_is_the_median_of_the_rounds_and_their_ratio(self):
        text = self.table([(1, ""), (300, ""), (200, "")], [(100, ""), (90, ""), (400, "")])
        self.assertRegex(text, r"up +200 +100 +2\.00")
        with mock.patch("builtins.print"):
            self.assertEqual(self.results.finish(), 0)

    def test_what_lost_something_has_no_figure_and_fails_the_run_if_it_is_ours(self):
        text = self.table([(200, ""), (300, "3 lost")], [(100, "")])
        self.assertRegex(text, r"up +- +100 +-")
        self.assertIn("does not count: 3 lost", text)
        with mock.patch("builtins.print"):
            self.assertEqual(self.results.finish(), 1)

    def test_a_peers_loss_fails_nothing(self):
        self.table([(200, "")], [(100, "1 lost")])
        with mock.patch("builtins.print"):
            self.assertEqual(self.results.finish(), 0)

    def test_a_run_that_measured_nothing_fails(self):
        with mock.patch("builtins.print"):
            self.assertEqual(self.results.finish(), 1)


class UsageTest(unittest.TestCase):
    """Process trees."""

    def test_cpu_and_memory_of_children_count(self):
        burn = "import sys; x = bytearray(40 << 20); [i * i for i in range(3_000_000)]; print(flush=True); sys.stdin.read()"
        with subprocess.Popen(["/bin/sh", "-c", f"python3 -c '{burn}'; true"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
            shell.stdout.readline()
            tree = usage.Tree(shell.pid)
            self.assertEqual(len(tree.pids()), 2)
            self.assertGreater(tree.resident_mib(), 40)
            self.assertGreater(tree.peak_mib(), 40)
            self.assertGreater(tree.cpu_seconds(), 0)
            shell.stdin.close()

    def test_a_process_that_is_gone_is_told(self):
        with subprocess.Popen(["/bin/true"]) as gone:
            pass
        with self.assertRaises(OSError):
            usage.Tree(gone.pid).cpu_seconds()


class WireTest(unittest.TestCase):
    """Kafka's answers."""

    def answer(self, partitions: list) -> wire.Client:
        """A client that is given these (partition, code, offset)."""
        rows = [struct.pack(">ihqq", p, code, -1, offset) for p, code, offset in partitions]
        client = wire.Client(0)
        data = struct.pack(">i", 1) + struct.pack(">h", 1) + b"t" + struct.pack(">i", len(rows)) + b"".join(rows)
        client._call = lambda *_: wire._Answer(data)
        return client

    def test_end_offsets_are_summed(self):
        self.assertEqual(self.answer([(0, 0, 5), (1, 0, 7)]).records("t", 2), 12)

    def test_a_topic_that_is_not_there_holds_nothing(self):
        self.assertEqual(self.answer([(0, wire.UNKNOWN_TOPIC, -1)]).records("t", 1), 0)

    def test_another_error_is_told(self):
        with self.assertRaises(wire.KafkaError):
            self.answer([(0, 29, -1)]).records("t", 1)
