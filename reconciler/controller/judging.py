"""What the daemon does about its safety limits: have changes judged, write down and say what came of it, take approval.

The order is the point. What a change set was told is handed to the writer before its recordings get their turns, so
that it is on disk before anything of it is sent. What is approved is on disk, with who approved it and why, before it
is lifted. What must never happen here: something sent that was refused, or a refusal that is said once for each
recording.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.controller.parts import Run
from reconciler.controller.requests import Answer, Desk, RequestRefused
from reconciler.desired import Catalog
from reconciler.model import NO_RECORDING, Event, Judged, Outcome, Phase, RecordingKey, Request, Rule, Status
from reconciler.plan import ENDED, ChangeSet, Refused, Verdict, Window
from reconciler.report import refusal_data
from reconciler.state import Ledger, OwnRecords, Writing

#: So much of what is refused is named at once, the newest.
_LISTED: Final = 50


class Judge:
    """Holds changes against the limits, for as long as the daemon runs."""

    def __init__(
        self,
        window: Window,
        catalog: Catalog,
        ledger: Ledger,
        records: OwnRecords,
        writer: Writing,
        run: Run,
    ) -> None:
        self._window = window
        self._catalog = catalog
        self._ledger = ledger
        self._records = records
        self._writer = writer
        self._run = run
        self._log = run.log
        self._metrics = run.metrics
        #: Whether the log has said that limits are overridden, and not yet that they hold again.
        self._overriding = False
        for rule in Rule:
            run.metrics.limit_refusals.labels(rule.value)

    def take_over(
        self,
        fresh: Collection[RecordingKey],
        last_applied: Mapping[RecordingKey, Status | None],
        phase_of: Callable[[RecordingKey], Phase | None],
        *,
        override: bool,
    ) -> None:
        """Take over what an earlier process was told, and judge what changed while nobody watched as one change set.

        Args:
            fresh: every recording that has no record, or another last-applied status than its document asks for.
            last_applied: what is recorded of those that have a record.
            phase_of: answers how a recording stands.
            override: whether all that is found is meant, whatever the limits say.
        """
        valid: list[Judged] = []
        stale: set[RecordingKey] = set()
        for judged in self._ledger.judged():
            (valid.append(judged) if self._holds(judged, phase_of) else stale.add(judged.key))
        managed = self._records.count_last_applied()
        known = {refused.name: Refused.known(refused) for refused in self._ledger.refusals()}
        verdict = self._window.resume(valid, known, managed)
        change = self._change({*fresh, *last_applied} - {judged.key for judged in valid}, last_applied)
        verdict = verdict.joined(self._window.announce(change, managed, self._run.clock.now()))
        verdict = replace(verdict, forgotten=frozenset(stale))
        if override:
            verdict = self._window.override(verdict, self._catalog.desired)
            self._overriding = True
            self._log.warning("limits_overridden", recordings=self._window.overridden)
        self._tell(verdict)
        self.look()

    def _holds(self, judged: Judged, phase_of: Callable[[RecordingKey], Phase | None]) -> bool:
        """Whether what was said of a recording still speaks of what its document asks for."""
        document = self._catalog.desired.get(judged.key)
        if document is None:
            # What is refused keeps its name when a part of it is taken away; nothing will be sent for that part.
            return judged.refusal is not None
        if judged.refusal is None and phase_of(judged.key) in ENDED:
            return False
        return document.status is judged.status

    def announce(self, changed: Collection[RecordingKey]) -> None:
        """Judge one change set.

        Args:
            changed: every recording whose document changed.
        """
        records = (self._records.get(key) for key in changed)
        last_applied = {record.key: record.last_applied for record in records if record is not None}
        change = self._change(changed, last_applied)
        verdict = self._window.announce(change, self._records.count_last_applied(), self._run.clock.now())
        # Of those without a record nothing can be on disk that the window does not know.
        self._tell(replace(verdict, forgotten=verdict.forgotten | change.changed & last_applied.keys()))

    def _change(self, changed: Iterable[RecordingKey], last_applied: Mapping[RecordingKey, Status | None]) -> ChangeSet:
        desired = self._catalog.desired
        changed = frozenset(changed)
        return ChangeSet.of(
            changed, ((key, desired[key].status, last_applied.get(key)) for key in changed if key in desired)
        )

    def look(self) -> None:
        """Say what has gathered, and when the override has come to its end. Call it once in a second or so."""
        self._tell(self._window.gather(self._run.clock.now()))
        self._tell(self._window.drop_gone(self._catalog.desired))
        self._metrics.limits_overridden.set(self._window.overridden > 0)
        if self._overriding and not self._window.overridden:
            self._overriding = False
            self._log.info("limits_in_force")

    def turned(self, key: RecordingKey, phase: Phase | None) -> None:
        """Note how a turn left a recording; None for one that is ours no more."""
        self._window.turned(key, phase)

    def begin_resync(self) -> None:
        """Start to count drift afresh."""
        self._window.begin_resync()

    @property
    def overridden(self) -> int:
        """How many recordings no limit holds for at the moment."""
        return self._window.overridden

    def listed(self) -> list[dict[str, Any]]:
        """Return what was refused last as plain data, the oldest first, and only so much of it."""
        return [refusal_data(refused.as_set(self._name)) for refused in self._window.refused[-_LISTED:]]

    def _tell(self, verdict: Verdict) -> None:
        if not verdict:
            return
        events = []
        for refused in verdict.refused:
            refusal = refused.refusal
            self._log.error("limit_refused", **refusal.as_log(), recordings=len(refused.items))
            self._metrics.limit_refusals.labels(refusal.rule.value).inc()
            events.append(
                Event(
                    at=self._run.clock.now(),
                    event="limit_refused",
                    key=NO_RECORDING,
                    name="",
                    cause=refusal.rule.value,
                    outcome=Outcome.SKIPPED.value,
                    run_id=self._run.run_id,
                    detail=str(refusal),
                )
            )
        self._writer.judge(verdict.to_write(self._name), *events)

    def _name(self, key: RecordingKey) -> str | None:
        document = self._catalog.desired.get(key)
        return None if document is None else document.name

    async def approve(
        self, desk: Desk, request: Request, about: Mapping[str, Any]
    ) -> tuple[Answer, list[RecordingKey]]:
        """Lift once what is refused under a name. Return the answer, and whose turn it is now.

        Raises:
            RequestRefused: nothing is refused under that name, or not this content any more.
        """
        name = about.get("name")
        refused = self._window.refused_as(name) if isinstance(name, str) else None
        if refused is None:
            raise RequestRefused(f"nothing is refused under this name now; {self._others()}")
        event = desk.event(request, "approved", outcome="done", cause=refused.name, detail=str(refused.refusal))
        await self._writer.judge(refused.approved(), event)
        verdict = self._window.lift(refused)
        if verdict is None:
            # The documents changed while it was written down, and what was said of them since was written after it.
            raise RequestRefused(f"what was refused has changed at this moment; {self._others()}")
        count = len(refused.items)
        self._log.warning("approved", refusal=refused.name, recordings=count, **desk.asked(request))
        waiting = sorted(key for key in refused.items if key in self._catalog.desired)
        recordings = "1 recording" if count == 1 else f"{count} recordings"
        return Answer(f"approved {refused.name}: {recordings}", {"recordings": count}, told=True), waiting

    def _others(self) -> str:
        names = [refused.name for refused in self._window.refused]
        return f"refused now: {', '.join(names[-_LISTED:])}" if names else "at the moment no limit refuses anything"
