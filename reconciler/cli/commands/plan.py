"""`reconciler plan`: show what would be sent, and write nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from reconciler.cli.exits import CHANGES_PRESENT, DONE, ERROR, UNAUTHORIZED
from reconciler.cli.loading import commits_of_hook, explain_problems, index_for, load_or_explain
from reconciler.cli.looking import say_note
from reconciler.cli.options import (
    CACHE,
    COMMON,
    DOCUMENTS,
    LIMITS,
    REACH,
    api_name,
    command_limits,
    document_limits,
    given_settings,
    in_color,
    label_option,
    paths_argument,
    paths_or_default,
    setting_options,
    state_url,
)
from reconciler.cli.recorded import declared_or_gone, records_of, revisions_of
from reconciler.cli.reports import (
    FORMATS,
    Report,
    ReportType,
    nothing_stale,
    say_unread,
    write_file,
    write_outline,
    write_problem_reports,
    write_reports,
)
from reconciler.desired import (
    Loaded,
    Source,
    load_documents,
    matches,
    uncollected,
)
from reconciler.model import (
    CredentialRefused,
    Desired,
    DesiredStateError,
    Live,
    Problem,
    ProviderError,
    Record,
    RecordingKey,
)
from reconciler.plan import Outline, Plan, as_saved, make_change_plan, make_outline, make_plan, select
from reconciler.settings import Settings
from reconciler.state import open_store
from reconciler.telemetry import visible

if TYPE_CHECKING:
    from reconciler.desired import Compared


@click.command("plan")
@paths_argument
@click.option("--no-refresh", is_flag=True, help="Compare with last-applied alone; needs neither key nor network.")
@click.option(
    "--base",
    metavar="REF",
    help="Say what changed since this Git commit; needs neither key, network nor state, unless --refresh is given too.",
)
@click.option(
    "--staged",
    is_flag=True,
    help="Take the documents from Git's index, as a commit hook must; --base is HEAD then, unless given.",
)
@click.option("--refresh", is_flag=True, help="Read live state, with --base too; without --base that is the default.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there are changes.")
@click.option(
    "--report",
    "reports",
    type=ReportType(),
    multiple=True,
    default=("text",),
    show_default=True,
    help=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}, to standard output or to a file; repeatable.",
)
@click.option("--all", "show_all", is_flag=True, help="List what is in sync as well.")
@label_option("Show and count only recordings whose document has this label, or had it when it was taken away.")
@click.option("--out", type=click.Path(dir_okay=False), help="Save the plan for `apply --plan`.")
@click.option("--sandbox", is_flag=True, help="Use an embedded sandbox in place of the API.")
@setting_options(*COMMON, *DOCUMENTS, *CACHE, *REACH, *LIMITS)
@click.pass_context
def command(
    context: click.Context,
    paths: tuple[str, ...],
    no_refresh: bool,
    base: str | None,
    staged: bool,
    refresh: bool,
    detailed_exitcode: bool,
    reports: tuple[Report, ...],
    show_all: bool,
    labels: tuple[tuple[str, str], ...],
    out: str | None,
    sandbox: bool,
) -> None:
    """Show what would be sent for the documents in PATH... (default: desired_state)."""
    with nothing_stale([*(report.file for report in reports if report.file), *([out] if out else [])]):
        if refresh and no_refresh:
            raise click.UsageError("--refresh and --no-refresh contradict each other")
        if labels and out is not None:
            raise click.UsageError("--out saves a whole plan: --label is for looking at a part of one")
        settings = given_settings()
        paths = paths_or_default(paths)
        change = staged or base is not None
        question = _Question(paths, settings, sandbox, refresh or not (change or no_refresh), staged, labels)
        if not question.refresh:
            # Nothing here waits for anybody: it ends before garbage could matter.
            context.with_resource(uncollected())
        # A part can be told from the rest only where every recording is listed.
        listed = show_all or bool(labels) or any(report.lists_all for report in reports)
        text_only = out is None and all(report.format == "text" for report in reports)
        try:
            if change:
                found = question.plan_change(base, outlined=text_only and not listed)
                if found is None:
                    context.exit(DONE)
                plan, failures = found
            elif question.refresh or listed:
                plan, failures = question.plan()
            else:
                offline = question.plan_offline(outlined=text_only)
                if isinstance(offline, Outline):
                    write_outline(offline, reports, color=in_color(settings.log))
                    context.exit(CHANGES_PRESENT if detailed_exitcode and offline.sample.summary.changes else DONE)
                plan, failures = offline, []
        except DesiredStateError as error:
            write_problem_reports(error.problems, reports)
            click.echo("The documents are invalid; nothing was done.", err=True)
            context.exit(ERROR)
        if failures:
            say_unread(failures)
        plan = replace(plan, api=api_name(settings, sandbox=sandbox), paths=paths)
        write_reports(plan, reports, show_all=show_all, color=in_color(settings.log))
        if out is not None:
            write_file(out, json.dumps(as_saved(plan), indent=2) + "\n")
        if failures:
            refused = any(isinstance(error, CredentialRefused) for error in failures)
            context.exit(UNAUTHORIZED if refused else ERROR)
        context.exit(CHANGES_PRESENT if detailed_exitcode and plan.summary.changes else DONE)


@dataclass(frozen=True, slots=True)
class _Question:
    """What a plan is asked about."""

    paths: tuple[str, ...]
    settings: Settings
    sandbox: bool
    refresh: bool
    staged: bool
    labels: tuple[tuple[str, str], ...]

    def plan(self) -> tuple[Plan, list[ProviderError]]:
        """Hold the documents against last-applied, and against live state where that is read."""
        loaded = self._load(self.paths)
        desired = loaded.desired
        applied: Mapping[RecordingKey, Record] = self._applied(loaded)
        applied, live, unread, failures = self._look(desired, applied)
        plan = make_plan(
            desired,
            applied,
            live,
            now=datetime.now(UTC),
            limits=command_limits(self.settings.limits),
            revision=revisions_of(self.paths, loaded, self._reader).whole,
            unread=unread,
            call_seconds=self.settings.pace.call_seconds,
        )
        return self._selected(plan, desired, applied.values()), failures

    def plan_offline(self, *, outlined: bool) -> Plan | Outline:
        """Hold the documents against last-applied; of what is in sync say only how much there is.

        Args:
            outlined: whether an outline will do, where the documents allow one.
        """
        loaded = self._load(self.paths)
        documents = loaded.columns
        with open_store(self._state) as store:
            holding, others = store.apart_from(documents.unsuspended())
            say_note(store)
        now, limits = datetime.now(UTC), command_limits(self.settings.limits)
        revision = revisions_of(self.paths, loaded, self._reader).whole
        if outlined and not others:
            outline = make_outline(documents, holding, now=now, limits=limits, revision=revision)
            if outline is not None:
                return outline
        desired = documents.desired(without=holding)
        return make_plan(
            desired,
            declared_or_gone(others, desired, loaded, self.paths),
            None,
            now=now,
            limits=limits,
            revision=revision,
            in_sync=len(holding),
        )

    def plan_change(self, base: str | None, *, outlined: bool) -> tuple[Plan, list[ProviderError]] | None:
        """Hold the documents against those of a commit; against state and live state only where the latter is read.

        Args:
            base: the commit; None for the one before what is staged.
            outlined: whether nothing at all needs to be said of a staged change that no document is part of.

        Returns:
            None for such a change.
        """
        from reconciler.desired import read_change  # late: most plans are of no change

        change = read_change(self._compared(base), self.paths, max_file_bytes=self.settings.documents.max_file_bytes)
        for warning in change.warnings:
            click.echo(f"Warning: {warning}", err=True)
        if outlined and self.staged and not change.differs:
            return None
        # Of the work tree's files what is known of earlier runs helps.
        index = None if self.staged else index_for(self.paths, self.settings, self._state)
        loaded = load_documents(change.after, document_limits(self.settings.documents), index)
        before = change.before(document_limits(self.settings.documents), loaded)
        explain_problems(loaded, change.after, before.problems)
        desired = loaded.desired
        applied: Mapping[RecordingKey, Record] = self._applied(loaded) if self.refresh else {}
        applied, live, unread, failures = self._look(desired, applied)
        plan = make_change_plan(
            desired,
            before.desired,
            applied,
            live,
            base=before.commit,
            now=datetime.now(UTC),
            limits=command_limits(self.settings.limits),
            revision=revisions_of(self.paths, loaded, change.after.read).whole,
            unread=unread,
            call_seconds=self.settings.pace.call_seconds,
        )
        return self._selected(plan, (*before.desired, *desired), applied.values()), failures

    def _selected(self, plan: Plan, desired: Iterable[Desired], applied: Iterable[Record]) -> Plan:
        """Return the part of a plan that the labels select, and say that it is one."""
        if not self.labels:
            return plan
        documents = {document.key: document.labels for document in desired}
        # What a document says now counts before what its record says.
        known = {**{record.key: record.labels for record in applied}, **documents}
        chosen = select(plan, {key for key, labels in known.items() if matches(labels, self.labels)})
        words = ", ".join(f"{name}={value}" for name, value in self.labels)
        shown, total = len(chosen.actions), len(plan.actions)
        click.echo(f"Only what is labelled {visible(words)} is shown: {shown} of {total} recordings.", err=True)
        return chosen

    def _compared(self, base: str | None) -> Compared:
        """Return what is compared: what was asked for, or what pre-commit says where it is given two commits."""
        from reconciler.desired import Compared

        if not self.staged:
            return Compared("HEAD" if base is None else base)
        before, to = commits_of_hook()
        return Compared((before or "HEAD") if base is None else base, staged=True, to=to, meet=base is None)

    def _applied(self, loaded: Loaded) -> dict[RecordingKey, Record]:
        with open_store(self._state) as store:
            records = records_of(store, loaded, self.paths)
            say_note(store)
        return records

    @property
    def _state(self) -> str:
        return state_url(self.settings, sandbox=self.sandbox)

    def _load(self, paths: Sequence[str]) -> Loaded:
        return load_or_explain(paths, self.settings, index_for(paths, self.settings, self._state))

    def _reader(self, file: str) -> bytes | Problem:
        return Source(self.paths, max_file_bytes=self.settings.documents.max_file_bytes).read(file)

    def _look(
        self, desired: tuple[Desired, ...], applied: Mapping[RecordingKey, Record]
    ) -> tuple[
        Mapping[RecordingKey, Record], Mapping[RecordingKey, Live] | None, frozenset[RecordingKey], list[ProviderError]
    ]:
        """Return our records as of before the look that counts, what it saw, and what it could not see."""
        if not self.refresh:
            return applied, None, frozenset(), []
        # Imported late: an offline plan does without the HTTP client and without an event loop.
        from reconciler.cli.compose import observe
        from reconciler.cli.process import run_async

        observed = run_async(observe(desired, applied, self.settings, sandbox=self.sandbox, state=self._state))
        unread = observed.unread(document.key for document in desired)
        return observed.records(applied), observed.live, unread, list(observed.failures.values())
