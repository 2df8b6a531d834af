"""What an on-call person can measure, in Prometheus form. Owns prometheus-client, with a registry of its own.

Labels are bounded: never the ID or the name of a recording, a call or a file.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from reconciler.model import Outcome, Phase, Priority

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Class of work -> (keys that are due, seconds that the oldest has been).
QueueDepths = Callable[[], Mapping[Priority, tuple[int, float]]]

#: From a fast local answer to the longest wait for a confirmation.
_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: What an edit goes through, each measured from when it was seen.
_STEPS: Final = ("sent", "accepted", "confirmed")
#: From a commit that a fast disk takes to one that a reader of the page should hear of.
_COMMIT_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class ApiState:
    """How the way to the API is, over all workspaces."""

    #: Requests per second.
    least_rate: float
    open_circuits: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How the daemon and its recordings stand."""

    #: Recordings by phase; those of a workspace that is not answered are `blind` where they were in sync.
    phases: Mapping[Phase, int]
    #: For how long the oldest desired status has not been seen; 0 where all are.
    oldest_unmet_seconds: float
    resting_workspaces: int
    ready: bool
    #: Whether this process holds the state.
    leader: bool
    #: Whether the state can be read and written.
    state_writable: bool


#: Before the daemon begins, and for one that stands by.
_NOT_YET: Final = Standing({}, 0.0, 0, ready=False, leader=False, state_writable=True)


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """Where a Git source stands."""

    #: The commit in force.
    revision: str
    #: Since the last fetch that went well, be it by an earlier process; None before the first.
    fetch_age_seconds: float | None
    #: Whether a newer commit is refused.
    refused: bool


class Metrics:
    """The daemon's measures. Set by the daemon and by what it calls, read by the page."""

    def __init__(self, version: str) -> None:
        # Else each counter and histogram brings a second series with the moment of its making, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives this one no types
        self._registry = CollectorRegistry()
        build = Gauge(
            "reconciler_build_info",
            "Which program this is, and on which Python it runs.",
            ["version", "python"],
            registry=self._registry,
        )
        build.labels(version, platform.python_version()).set(1)
        self.managed = self._gauge("reconciler_managed_recordings", "Recordings that have a valid document.")
        self.invalid_files = self._gauge(
            "reconciler_invalid_files", "Files whose newest content is invalid and therefore not in force."
        )
        self.vanished_paths = self._gauge(
            "reconciler_vanished_paths", "Given paths that are missing now; what they held stays in force."
        )
        self._state_bytes = self._gauge("reconciler_state_bytes", "How large the state is, its log included.")
        self._state_days_left = self._gauge(
            "reconciler_state_days_left",
            "For how many days the disk of the state holds what comes in, at the present pace; infinite where unknown.",
        )
        self._state_days_left.set(math.inf)
        self.unauthorized_workspaces = self._gauge(
            "reconciler_unauthorized_workspaces", "Workspaces that refused the key and have not taken it since."
        )
        self.last_resync = self._gauge(
            "reconciler_last_resync_timestamp_seconds",
            "When every recording had last been looked at and answered.",
        )
        self._patches = Counter(
            "reconciler_patches",
            "PATCHes by what became of them. Without an answer one is failed, and applied as well once that is seen.",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in Outcome:
            self._patches.labels(outcome.value)
        self.turn_errors = Counter(
            "reconciler_turn_errors", "Turns that raised what they should not have.", registry=self._registry
        )
        self.limit_refusals = Counter(
            "reconciler_limit_refusals", "PATCHes held back by a safety limit.", ["rule"], registry=self._registry
        )
        self.limits_overridden = self._gauge(
            "reconciler_limits_overridden",
            "1 while no limit holds for what the daemon found at its start, since --override-limits said so.",
        )
        self._edit_seconds = Histogram(
            "reconciler_edit_seconds",
            "Seconds from the moment an edit was seen until its PATCH was sent, accepted, confirmed.",
            ["step"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        for step in _STEPS:
            self._edit_seconds.labels(step)
        self._requests = Histogram(
            "reconciler_api_request_seconds",
            "Requests to the API by route and status.",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        # The library looks a series up under a lock, with all its labels made text anew: as dear as the observation.
        self._request = cache(self._requests.labels)
        self._throttles = Counter(
            "reconciler_api_throttles", "Requests that the API answered with 429.", registry=self._registry
        )
        self._commits = Histogram(
            "reconciler_state_commit_seconds",
            "Commits of the state, from their beginning until they are on disk.",
            buckets=_COMMIT_SECONDS,
            registry=self._registry,
        )
        self._asked = _WhenAsked()
        self._registry.register(self._asked)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry)

    def watch_queue(self, depths: QueueDepths) -> None:
        """Ask this for the queue's depths whenever the page is read."""
        self._asked.depths = depths

    def watch_resync(self, age_seconds: Callable[[], float]) -> None:
        """Ask this for the seconds since everything had last been looked at whenever the page is read."""
        self._asked.resync_age_seconds = age_seconds

    def watch_standing(self, standing: Callable[[], Standing]) -> None:
        """Ask this for how the daemon and its recordings stand whenever the page is read."""
        self._asked.standing = standing

    def watch_api(self, state: Callable[[], ApiState]) -> None:
        """Ask this for the state of the way to the API whenever the page is read."""
        self._asked.api = state

    def watch_source(self, figures: Callable[[], SourceFigures]) -> None:
        """Ask this for where the Git source stands whenever the page is read."""
        self._asked.source = figures

    def patched(self, outcome: Outcome) -> None:
        """Count what became of a PATCH."""
        self._patches.labels(outcome.value).inc()

    def edit_step(self, step: str, seconds: float) -> None:
        """Measure one step of an edit: `sent`, `accepted` or `confirmed`, in seconds since it was seen."""
        self._edit_seconds.labels(step).observe(seconds)

    def requested(self, method: str, route: str, status: str, seconds: float) -> None:
        """Measure one request to the API.

        Args:
            method: of HTTP.
            route: the template of the path.
            status: of HTTP, or a constant word where there is none.
            seconds: how long it took.
        """
        # The answer's number is the API's to choose: the labels are not.
        known = not status.isdecimal() or 100 <= int(status) <= 599
        self._request(method, route, status if known else "other").observe(seconds)
        if status == "429":
            self._throttles.inc()

    def committed(self, seconds: float) -> None:
        """Measure one commit of the state. Any thread may call it."""
        self._commits.observe(seconds)

    def state_measured(self, size: int, days_left: float | None) -> None:
        """Note how many bytes the state has, and for how many days there is room; None where that is not known."""
        self._state_bytes.set(size)
        self._state_days_left.set(math.inf if days_left is None else days_left)

    def render(self) -> bytes:
        """Return the page."""
        return generate_latest(self._registry)


class _WhenAsked(Collector):
    """Measures when the page is read, rather than keeping gauges up to date with every key and every second."""

    def __init__(self) -> None:
        self.depths: QueueDepths = dict
        self.standing: Callable[[], Standing] = lambda: _NOT_YET
        self.resync_age_seconds: Callable[[], float] | None = None
        self.api: Callable[[], ApiState] | None = None
        self.source: Callable[[], SourceFigures] | None = None

    def collect(self) -> Iterable[GaugeMetricFamily]:
        depth = GaugeMetricFamily(
            "reconciler_queue_depth", "Recordings that are due, by class of work.", labels=["priority"]
        )
        age = GaugeMetricFamily(
            "reconciler_queue_oldest_seconds",
            "How long the oldest of them has waited, by class of work.",
            labels=["priority"],
        )
        for priority, (ready, oldest_seconds) in self.depths().items():
            depth.add_metric([priority.name.lower()], ready)
            age.add_metric([priority.name.lower()], oldest_seconds)
        yield from (depth, age)
        yield from _standing_families(self.standing())
        if self.resync_age_seconds is not None:
            yield GaugeMetricFamily(
                "reconciler_resync_age_seconds",
                "Seconds since everything had last been looked at and answered; since the start before the first time.",
                value=self.resync_age_seconds(),
            )
        if self.api is not None:
            api = self.api()
            yield GaugeMetricFamily(
                "reconciler_api_least_rate_requests_per_second",
                "The lowest present rate of all workspaces: below the configured one after a 429; 0 for no limit.",
                value=api.least_rate,
            )
            yield GaugeMetricFamily(
                "reconciler_api_open_circuits",
                "Workspaces left alone because they do not answer.",
                value=api.open_circuits,
            )
            yield GaugeMetricFamily("reconciler_api_requests_in_flight", "Requests under way.", value=api.in_flight)
        if self.source is not None:
            yield from _source_families(self.source())


def _standing_families(standing: Standing) -> Iterable[GaugeMetricFamily]:
    phases = GaugeMetricFamily(
        "reconciler_recordings",
        "Recordings by phase; those of a workspace that is not answered are blind where they were in sync.",
        labels=["phase"],
    )
    for phase in Phase:
        phases.add_metric([phase.value], standing.phases.get(phase, 0))
    yield phases
    for name, text, value in (
        (
            "reconciler_oldest_unmet_seconds",
            "For how long the oldest desired status has not been seen; 0 where all are.",
            standing.oldest_unmet_seconds,
        ),
        (
            "reconciler_resting_workspaces",
            "Workspaces that are left alone: their key is refused, or they are not answered.",
            standing.resting_workspaces,
        ),
        ("reconciler_ready", "1 when the daemon is ready.", standing.ready),
        ("reconciler_leader", "1 when this process holds the state; 0 on one that stands by.", standing.leader),
        ("reconciler_state_writable", "0 while the state cannot be read or written.", standing.state_writable),
    ):
        yield GaugeMetricFamily(name, text, value=value)


def _source_families(source: SourceFigures) -> Iterable[GaugeMetricFamily]:
    revision = GaugeMetricFamily(
        "reconciler_source_revision_info", "Which commit of the Git source is in force.", labels=["revision"]
    )
    revision.add_metric([source.revision], 1)
    yield revision
    if source.fetch_age_seconds is not None:
        yield GaugeMetricFamily(
            "reconciler_source_fetch_age_seconds",
            "Seconds since the Git source was last fetched.",
            value=source.fetch_age_seconds,
        )
    yield GaugeMetricFamily(
        "reconciler_source_refused",
        "1 while a newer commit of the Git source is refused for its signature.",
        value=source.refused,
    )
