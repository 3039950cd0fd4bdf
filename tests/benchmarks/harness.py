"""Measures candidates in turns, so that a change of the machine's speed affects all of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

Candidate = Callable[[], Awaitable[float]]
"""Does the work once and returns the measured seconds."""


@dataclass
class Result:
    """Seconds per round, by candidate."""

    title: str
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def ratio(self, name: str, baseline: str) -> float:
        """The median, over the rounds, of one candidate's time by the baseline's in the same round."""
        pairs = zip(self.seconds[name], self.seconds[baseline], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def show(self, *claims: tuple[str, str, float]) -> None:
        """Print medians, then each claim (name, baseline, at most) with the ratio measured."""
        print(f"\n{self.title}")
        for name, seconds in self.seconds.items():
            low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
            print(f"  {name:28} median {middle * 1000:10.2f} ms   (min {low * 1000:.2f}, max {high * 1000:.2f})")
        for name, baseline, bound in claims:
            ratio = self.ratio(name, baseline)
            verdict = "ok" if ratio <= bound else "OVER"
            print(f"  {name} / {baseline}: {ratio:.3f}  (at most {bound})  {verdict}")


async def race(title: str, candidates: Mapping[str, Candidate], rounds: int, *, warm_up: bool = True) -> Result:
    """Run every candidate once per round. The first round warms up and is not counted, unless ``warm_up`` is False."""
    result = Result(title, {name: [] for name in candidates})
    for number in range(0 if warm_up else 1, rounds + 1):
        names = list(candidates)
        # Every other round in reverse order: the first candidate runs with cold caches.
        for name in names if number % 2 else reversed(names):
            gc.collect()
            seconds = await candidates[name]()
            if number:
                result.seconds[name].append(seconds)
    return result


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds that ``work`` takes."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began
