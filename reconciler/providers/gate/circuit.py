"""A circuit for each workspace: where the API fails request after request, it is left alone for a while.

One of a workspace's requests then finds out whether the API is well again, or a question that is asked for that alone,
at any time (`probing`). There are two circuits, because reads and writes may fail apart: while reads fail, nothing
leaves at all, for without a look nothing can be decided; while only writes fail, reads go on, and the request that
finds out is a PATCH. Time and chance are passed in.

What must never happen here: one workspace's failures that stop another, more than one request that finds out, or a
circuit that stays open because that request was cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from reconciler.model import CircuitOpen

#: This many failures in a row open a circuit. Where one request in five fails by chance, ten in a row come once in ten
#: million; where all fail, they come within a second at the default rate.
FAILURES: Final = 10
#: Where requests are few, half as many open it, if they have failed for so long (in seconds) without an answer.
FEW_FAILURES: Final = 5
FAILING_SECONDS: Final = 2.0
#: The first rest, which outlives a restart or a failover, and the longest, in seconds. One request in a quarter of a
#: minute is a burden to nobody, and a pause is not late for much longer than the fault lasts.
FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 15.0

#: What a circuit is for.
Kind = Literal["all", "patch"]


@dataclass(frozen=True, slots=True)
class CircuitChange:
    """A circuit has opened, or has closed again."""

    workspace_id: str
    #: What it keeps back: every request, or only the PATCHes.
    requests: Kind
    opened: bool
    #: The last failure's constant word, such as `timeout` or `http_503`; empty when it closed.
    code: str = ""
    #: When it opened: how long the first rest is. When it closed: how long it was open.
    seconds: float = 0.0


class Circuits:
    """The circuits of all workspaces."""

    def __init__(
        self, now: Callable[[], float], chance: Callable[[], float], on_change: Callable[[CircuitChange], None]
    ) -> None:
        """Begin with every circuit closed.

        Args:
            now: the monotonic clock, in seconds.
            chance: gives a float from 0 up to 1.
            on_change: told when a circuit opens and when it closes, not of what happens between.
        """
        self._now = now
        self._chance = chance
        self._on_change = on_change
        self._circuits: dict[str, tuple[_Circuit, _Circuit]] = {}

    @property
    def open(self) -> int:
        """How many workspaces have a circuit that is not closed."""
        return sum(reads.is_open or writes.is_open for reads, writes in self._circuits.values())

    def postponed(self, workspace_id: str, *, write: bool) -> CircuitOpen | None:
        """Return why a request may not leave now, or None where it may. Nothing is taken by asking."""
        circuits = self._circuits.get(workspace_id)
        if circuits is None:
            return None
        now = self._now()
        reads, writes = circuits
        if reads.is_open and (write or not reads.may_try(now)):
            return self._refusal(reads, now)
        if write and writes.is_open and not writes.may_try(now):
            return self._refusal(writes, now)
        return None

    def is_open(self, workspace_id: str, *, write: bool) -> bool:
        """Whether requests of a kind are kept back, save for the one that finds out."""
        circuits = self._circuits.get(workspace_id)
        return circuits is not None and (circuits[0].is_open or (write and circuits[1].is_open))

    def rest_seconds(self, workspace_id: str, *, write: bool) -> float:
        """Return in how many seconds a request may find out; 0 where it may now."""
        circuits = self._circuits.get(workspace_id)
        if circuits is None:
            return 0.0
        now = self._now()
        return max(0.0, *(each.rest_until - now for each in circuits[: 1 + write] if each.is_open), 0.0)

    def enter(self, workspace_id: str, *, write: bool, probing: bool = False) -> Trial:
        """Let a request leave; the trial is to be told how it ended, whatever happens.

        Args:
            workspace_id: whose circuits it passes.
            write: whether it is a PATCH.
            probing: whether it asks for nothing but an answer. Then it leaves while the circuit rests, several may be
                under way, and only an answer counts.

        Raises:
            CircuitOpen: it may not leave.
        """
        refusal = None if probing else self.postponed(workspace_id, write=write)
        if refusal is not None:
            raise refusal
        circuits = self._circuits.get(workspace_id)
        if circuits is None:
            circuits = self._circuits[workspace_id] = _Circuit(workspace_id, "all"), _Circuit(workspace_id, "patch")
        circuit = circuits[write]
        if probing and circuit.is_open:
            return Trial(self, circuit, None)
        circuit.trying = circuit.is_open
        return Trial(self, circuit, circuit.changes)

    def _refusal(self, circuit: _Circuit, now: float) -> CircuitOpen:
        # While one finds out, the others wait as long as it would be if that failed; whoever is told that the circuit
        # has closed may call them back before. Spread, so that they do not come in the same moment.
        left = circuit.rest_seconds if circuit.trying else circuit.rest_until - now
        return CircuitOpen(
            f"not sent: {'every request' if circuit.kind == 'all' else 'every PATCH'} to workspace"
            f" {circuit.workspace_id} failed of late ({circuit.code})",
            retry_after=left + circuit.rest_seconds * self._chance(),
        )

    def _ended(self, circuit: _Circuit, failure: str | None) -> None:
        was_open = circuit.is_open
        now = self._now()
        if failure is None:
            circuit.failures = 0
            if was_open:
                circuit.close(now)
                open_seconds = now - circuit.opened_at
                self._on_change(CircuitChange(circuit.workspace_id, circuit.kind, opened=False, seconds=open_seconds))
            return
        if not circuit.failures:
            circuit.failing_since = now
        circuit.failures += 1
        circuit.code = failure
        most = FEW_FAILURES if now - circuit.failing_since >= FAILING_SECONDS else FAILURES
        if not was_open and circuit.failures < most:
            return
        circuit.rest(now, self._chance)
        if not was_open:
            circuit.opened_at = now
            rest = circuit.rest_until - now
            self._on_change(CircuitChange(circuit.workspace_id, circuit.kind, opened=True, code=failure, seconds=rest))


class Trial:
    """One request on its way."""

    __slots__ = ("_changes", "_circuit", "_circuits")

    def __init__(self, circuits: Circuits, circuit: _Circuit, changes: int | None) -> None:
        self._circuits = circuits
        self._circuit = circuit
        #: How often the circuit had changed when it left; None for one that asks for nothing but an answer.
        self._changes = changes

    def succeeded(self) -> None:
        """The API answered, were it with a refusal."""
        self._end(None)

    def failed(self, code: str) -> None:
        """It did not answer, or said that it is not well."""
        self._end(code)

    def abandoned(self) -> None:
        """Nothing was learned, because the request was given up. Without effect once it has ended otherwise."""
        if self._circuit.changes == self._changes:
            self._circuit.trying = False

    def _end(self, failure: str | None) -> None:
        if self._changes is None:
            # However long it took: an answer is an answer. Without one nothing is known that was not.
            if failure is None:
                self._circuits._ended(self._circuit, None)  # noqa: SLF001 - the two are one
            return
        # What left before the circuit changed says nothing about how the API is now.
        if self._circuit.changes == self._changes:
            self._circuit.trying = False
            self._circuits._ended(self._circuit, failure)  # noqa: SLF001 - the two are one


class _Circuit:
    """The state of one."""

    __slots__ = (
        "changes",
        "closed_at",
        "code",
        "failing_since",
        "failures",
        "is_open",
        "kind",
        "opened_at",
        "rest_seconds",
        "rest_until",
        "trying",
        "workspace_id",
    )

    def __init__(self, workspace_id: str, kind: Kind) -> None:
        self.workspace_id = workspace_id
        self.kind: Final = kind
        self.is_open = False
        #: Whether the one request that finds out is on its way.
        self.trying = False
        #: How often it has opened, rested again or closed: answers to what left before are not heard.
        self.changes = 0
        self.failures = 0
        self.failing_since = float("-inf")
        self.code = ""
        self.rest_seconds = 0.0
        self.rest_until = float("-inf")
        self.opened_at = float("-inf")
        self.closed_at = float("-inf")

    def may_try(self, now: float) -> bool:
        return not self.trying and now >= self.rest_until

    def rest(self, now: float, chance: Callable[[], float]) -> None:
        # An API that was well for only a moment has not recovered: the rests go on where they were.
        fresh = not self.is_open and now - self.closed_at > LONGEST_SECONDS
        self.rest_seconds = FIRST_SECONDS if fresh else min(LONGEST_SECONDS, max(FIRST_SECONDS, 2 * self.rest_seconds))
        # Of its full length or down to half of it, so that many who were struck together do not come back together.
        self.rest_until = now + self.rest_seconds * (0.5 + 0.5 * chance())
        self.is_open = True
        self.changes += 1

    def close(self, now: float) -> None:
        self.is_open = False
        self.closed_at = now
        self.changes += 1
