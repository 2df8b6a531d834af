"""What an on-call person can measure, in Prometheus form. Owns prometheus-client, with a registry of its own.

Labels are bounded: never the ID or the name of a recording, a call or a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from reconciler.model import Outcome, Phase, Priority

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Class of work -> (keys that are due, seconds that the oldest has been).
QueueDepths = Callable[[], Mapping[Priority, tuple[int, float]]]

#: From a fast local answer to the longest wait for a confirmation.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The daemon's measures. Set by the daemon and by what it calls, read by the page."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry()
        build = Gauge("reconciler_build_info", "Which program this is.", ["version"], registry=self._registry)
        build.labels(version).set(1)
        self.managed = self._gauge("reconciler_managed_recordings", "Recordings that have a valid document.")
        self.invalid_files = self._gauge(
            "reconciler_invalid_files", "Files whose newest content is invalid and therefore not in force."
        )
        self.ready = self._gauge("reconciler_ready", "1 when the daemon is ready.")
        self.last_resync = self._gauge(
            "reconciler_last_resync_timestamp_seconds", "When a look at every recording was last completed."
        )
        self._phases = Gauge(
            "reconciler_recordings", "Recordings by the phase of their last turn.", ["phase"], registry=self._registry
        )
        for phase in Phase:
            self._phases.labels(phase.value)
        self._patches = Counter(
            "reconciler_patches", "PATCHes by what became of them.", ["outcome"], registry=self._registry
        )
        for outcome in Outcome:
            self._patches.labels(outcome.value)
        self.turn_errors = Counter(
            "reconciler_turn_errors", "Turns that raised what they should not have.", registry=self._registry
        )
        self.limit_refusals = Counter(
            "reconciler_limit_refusals", "PATCHes held back by a safety limit.", ["rule"], registry=self._registry
        )
        self._edit_seconds = Histogram(
            "reconciler_edit_seconds",
            "Seconds from the moment an edit was seen until its PATCH was sent, accepted, confirmed.",
            ["step"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._requests = Histogram(
            "reconciler_api_request_seconds",
            "Requests to the API by route and status.",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._queue = _QueueCollector()
        self._registry.register(self._queue)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry)

    def watch_queue(self, depths: QueueDepths) -> None:
        """Ask this for the queue's depths whenever the page is read."""
        self._queue.depths = depths

    def patched(self, outcome: Outcome) -> None:
        """Count what became of a PATCH."""
        self._patches.labels(outcome.value).inc()

    def edit_step(self, step: str, seconds: float) -> None:
        """Measure one step of an edit: `sent`, `accepted` or `confirmed`, in seconds since it was seen."""
        self._edit_seconds.labels(step).observe(seconds)

    def requested(self, method: str, route: str, status: str, seconds: float) -> None:
        """Measure one request to the API."""
        self._requests.labels(method, route, status).observe(seconds)

    def phases(self, counts: Mapping[Phase, int]) -> None:
        """Set how many recordings stand in each phase."""
        for phase in Phase:
            self._phases.labels(phase.value).set(counts.get(phase, 0))

    def render(self) -> bytes:
        """Return the page."""
        return generate_latest(self._registry)


class _QueueCollector(Collector):
    """Reads the queue when the page is read, rather than keeping gauges up to date with every key."""

    def __init__(self) -> None:
        self.depths: QueueDepths = dict

    def collect(self) -> Iterable[GaugeMetricFamily]:
        depth = GaugeMetricFamily("reconciler_queue_depth", "Keys that are due, by class.", labels=["priority"])
        age = GaugeMetricFamily(
            "reconciler_queue_oldest_seconds", "How long the oldest due key has waited.", labels=["priority"]
        )
        for priority, (ready, oldest_seconds) in self.depths().items():
            depth.add_metric([priority.name.lower()], ready)
            age.add_metric([priority.name.lower()], oldest_seconds)
        return [depth, age]
