"""Series that are scraped from a running service, and the alerts that Prometheus fires over them."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.service.running_service import RunningService

ALERTS = sorted((Path(__file__).parents[2] / "helm" / "pgdbm" / "alerts").glob("*.yaml"))
RELEASE = 'job="pgdbm",namespace="default"'
# The labels that a ServiceMonitor adds to every series.
_TARGET = {"job": "pgdbm", "namespace": "default", "pod": "pgdbm-0", "instance": "10.0.0.1:8000"}
INTERVAL_S = 15

Scrape = dict[str, float]


@dataclass
class Recording:
    """Scrapes of ``service``, as if ``INTERVAL_S`` apart. A scrape that failed is None."""

    service: RunningService
    scrapes: list[Scrape | None] = field(default_factory=list)

    def scrape(self) -> Scrape:
        scrape = scraped(self.service)
        self.scrapes.append(scrape)
        return scrape

    def hold(self, minutes: float) -> None:
        """The state of the last scrape continues."""
        self.scrapes += [self.scrapes[-1]] * int(minutes * 60 / INTERVAL_S)

    def watch(self, until: Callable[[], Any], *, seconds_as: float, deadline_s: float = 60) -> None:
        """Scrape until the condition holds. Each real second counts as ``seconds_as`` seconds."""
        pause = INTERVAL_S / seconds_as
        started = time.monotonic()
        turn = 0
        while True:
            ended = until()
            self.scrape()
            if ended:
                return
            assert time.monotonic() < started + deadline_s, "the state did not come"
            turn += 1
            late = time.monotonic() - started - turn * pause
            while late > pause:
                # A scrape that took longer than the interval counts for the ones that it delayed, too.
                self.scrapes.append(self.scrapes[-1])
                turn += 1
                late -= pause
            if late < 0:
                time.sleep(-late)

    def series(self) -> list[dict[str, str]]:
        """In the format of promtool."""
        names = sorted({name for scrape in self.scrapes if scrape for name in scrape})
        return [{"series": name, "values": _runs(_values(self.scrapes, name))} for name in names]


def scraped(service: RunningService) -> Scrape:
    families = text_string_to_metric_families(service.get("/metrics").text)
    return {
        _series(sample.name, sample.labels): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith(("pgdbm_", "process_"))
    }


def _series(name: str, labels: dict[str, str]) -> str:
    pairs = ", ".join(f'{label}="{value}"' for label, value in sorted((labels | _TARGET).items()))
    return f"{name}{{{pairs}}}"


def _values(scrapes: list[Scrape | None], name: str) -> Iterable[str]:
    # A series that ends is marked as stale: otherwise Prometheus would keep its last value for five minutes.
    there = False
    for scrape in scrapes:
        value = None if scrape is None else scrape.get(name)
        if value is None:
            yield "stale" if there else "_"
        else:
            yield repr(float(value))
        there = value is not None


def _runs(values: Iterable[str]) -> str:
    """Repetitions of a value as promtool writes them."""
    words: list[tuple[str, int]] = []
    for value in values:
        if words and words[-1][0] == value:
            words[-1] = (value, words[-1][1] + 1)
        else:
            words.append((value, 1))
    return " ".join(_repeated(value, times) for value, times in words)


def _repeated(value: str, times: int) -> str:
    if times == 1:
        return value
    if value in ("_", "stale"):
        return f"_x{times}" if value == "_" else " ".join([value] * times)
    return f"{value}x{times - 1}"


def firing(promtool: str, recording: Recording, folder: Path) -> set[str]:
    """The alerts that fired at any time of ``recording``."""
    rules = [yaml.safe_load(path.read_text().replace("RELEASE", RELEASE)) for path in ALERTS]
    series = {rule["alert"]: f'ALERTS{{alertname="{rule["alert"]}",alertstate="firing"}}' for rule in rules}
    return _seen(promtool, recording, folder, rules, series)


def answered(promtool: str, recording: Recording, folder: Path, queries: dict[str, str]) -> set[str]:
    """The names of the ``queries`` that had a result at any time of ``recording``."""
    series = {name: f"result_{number}" for number, name in enumerate(queries)}
    rules = [{"record": series[name], "expr": f"count({query})"} for name, query in queries.items()]
    return _seen(promtool, recording, folder, rules, series)


def _seen(
    promtool: str, recording: Recording, folder: Path, rules: list[dict[str, str]], series: dict[str, str]
) -> set[str]:
    """The names of the ``series`` of ``rules`` that were above 0 at any time."""
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "pgdbm", "rules": rules}]}))
    end = f"{len(recording.scrapes) * INTERVAL_S}s"
    # promtool prints the expressions with an unexpected value: those of series that never were above 0.
    ever = {name: f"max_over_time({one}[{end}])" for name, one in series.items()}
    checks = [
        {
            "expr": f"count({query} > 0) > bool 0 or vector(0)",
            "eval_time": end,
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for query in ever.values()
    ]
    test = {"interval": f"{INTERVAL_S}s", "input_series": recording.series(), "promql_expr_test": checks}
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": f"{INTERVAL_S}s", "tests": [test]}
    (folder / "test.yaml").write_text(yaml.safe_dump(document, width=1_000_000))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yaml"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    output = done.stdout + done.stderr
    silent = {name for name, query in ever.items() if query.replace('"', '\\"') in output}
    assert done.returncode == int(bool(silent)), output
    assert output.count("{} 0E+00") == len(silent), output
    return set(ever) - silent
