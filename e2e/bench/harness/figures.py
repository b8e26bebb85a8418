"""From samples to figures. Pure. A sample says how much had arrived `at` some second of the run, and what it had cost until then."""
from typing import Any, Dict, List, Optional, Sequence

Sample = Dict[str, Any]


def start_of_work(samples: Sequence[Sample]) -> Sample:
    """The last sample before the first record arrived: starting a process is no part of its speed."""
    after = next((i for i, s in enumerate(samples) if s["records"]), len(samples) - 1)
    return samples[max(0, after - 1)]


def per_second(first: Sample, last: Sample) -> Optional[float]:
    """Records per second between two samples."""
    seconds = last["at"] - first["at"]
    return (last["records"] - first["records"]) / seconds if seconds > 0 else None


def per_record(first: Sample, last: Sample, cost: str) -> Optional[float]:
    """What a record cost between two samples."""
    records = last["records"] - first["records"]
    return (last[cost] - first[cost]) / records if records > 0 else None


def per_million(first: Sample, last: Sample, cost: str) -> Optional[float]:
    """The same for a million records."""
    value = per_record(first, last, cost)
    return None if value is None else round(value * 1e6, 2)


def percent_of_core(first: Sample, last: Sample, cpu: str) -> float:
    """CPU time as a share of one core."""
    return round(100 * (last[cpu] - first[cpu]) / (last["at"] - first["at"]), 1)


def memory(resident: List[float], peak: float) -> Dict[str, float]:
    """One value per second: the highest of the second and of the last minute (third, in a run shorter than three minutes). The first
    is left out: a process grows until it is warm."""
    window = max(1, min(60, len(resident) // 3))
    second, last = max(resident[window:2 * window] or resident), max(resident[-window:])
    return {"windowSeconds": window, "secondWindowMiB": second, "lastWindowMiB": last, "lastToSecond": round(last / second, 3),
            "peakMiB": peak}
