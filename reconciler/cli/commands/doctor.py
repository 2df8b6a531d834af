"""`reconciler doctor`: is everything here that the other commands need, and how to mend what is not."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import click
from click.core import ParameterSource

from reconciler.cli.branch import check_git_options, examine_branch
from reconciler.cli.checks import (
    Finding,
    Level,
    check_address,
    check_cache,
    check_clock,
    check_folder,
    check_installation,
    check_key,
    check_open_files,
    check_repository,
    check_rights,
    check_signatures,
    check_source,
    check_state,
    check_updates,
    check_watching,
    versions,
)
from reconciler.cli.compose import reading_rate, shown_by_what_is_unread, system_clock
from reconciler.cli.exits import DONE, ERROR
from reconciler.cli.options import (
    document_limits,
    given_settings,
    in_color,
    painter,
    paths_argument,
    paths_or_default,
    setting_options,
    source_of,
)
from reconciler.cli.process import run_async
from reconciler.cli.terminal import drain_standard_error, open_log
from reconciler.desired import Source, cross_check, load_documents
from reconciler.model import Problem, ReconcilerError, RecordingKey, SettingsError, StoreError, parse_uuid
from reconciler.providers import Budgets, Circuits, Connection, DatedTransport, Gate, Survey, Timeouts, refuse_writes
from reconciler.settings import SECTIONS, Setting, Settings, StoreSettings, cache_folder, exposed_folder, state_folder
from reconciler.state import examine
from reconciler.telemetry import hide

#: A person waits for the answer, and an API that takes longer for one read is as good as out of reach.
_TIMEOUTS: Final = Timeouts(total=15.0)
_MARKS: Final = {Level.OK: "ok", Level.WARNING: "warn", Level.FAILURE: "FAIL"}
_ROLES: Final = {Level.OK: "quiet", Level.WARNING: "change", Level.FAILURE: "danger"}


@dataclass(frozen=True, slots=True)
class _Shown:
    """A setting: its name, its value, and where that came from."""

    name: str
    value: str
    source: str


@click.command("doctor")
@click.option("--workspace", "workspaces", multiple=True, help="A workspace to look at besides those of the documents.")
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How it is written.",
)
@paths_argument
@setting_options(*(setting for section in SECTIONS for setting in section.settings))
@click.pass_context
def command(context: click.Context, workspaces: tuple[str, ...], output: str, paths: tuple[str, ...]) -> None:
    """Check settings, key, reach and rights of the API, state and clock, with the documents in PATH... at hand.

    Reads only. Exits with 1 when something will not work, and says how to mend it.
    """
    settings = given_settings()
    check_git_options(settings)
    installed = versions()
    shown = [_shown(setting, value) for setting, value in settings.given()]
    findings = list(_examine(settings, workspaces, paths_or_default(paths), installed))
    healthy = all(finding.level is not Level.FAILURE for finding in findings)
    if output == "json":
        document = {
            "format": "reconciler.doctor/v1",
            "healthy": healthy,
            "findings": [asdict(finding) for finding in findings],
            "settings": [asdict(setting) for setting in shown],
            "versions": installed,
        }
        text = json.dumps(document, indent=2)
    else:
        text = "\n".join(_lines(findings, shown, installed, settings))
    # A key may stand where none belongs, such as in a path, and a password in a URL.
    click.echo(hide(text, settings.keys.secrets()))
    context.exit(DONE if healthy else ERROR)


def _examine(
    settings: Settings, workspaces: Sequence[str], paths: Sequence[str], installed: dict[str, str]
) -> Iterator[Finding]:
    yield from check_installation(installed)
    if settings.source.git:
        keys, found = _read_branch(settings)
        yield from found
    else:
        keys, finding = _read_documents(settings, paths)
        yield finding
        yield check_watching(paths)
        yield from check_repository(paths[0])
    yield from _examine_state(settings)
    yield from _examine_cache(settings.store)
    yield check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0], settings.pace.concurrency)
    address = check_address(settings.api.api_url, allow_http=settings.api.allow_http)
    yield address
    known: dict[str, list[RecordingKey]] = {}
    for named in (*workspaces, *settings.keys.workspaces):
        try:
            known[parse_uuid(named)] = []
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--workspace") from None
    for key in keys:
        known.setdefault(key.workspace_id, []).append(key)
    if not known:
        message = "no workspace is known, so that neither a key nor a right can be looked at"
        yield Finding("key", Level.WARNING, message, "name documents, or a workspace with --workspace")
    usable = []
    for workspace_id in sorted(known):
        finding = check_key(settings.keys, settings.keys.workspaces.get(workspace_id), workspace_id)
        yield finding
        if finding.level is not Level.FAILURE:
            usable.append(workspace_id)
    if usable and address.level is not Level.FAILURE:
        yield from run_async(_ask(settings, {workspace_id: known[workspace_id] for workspace_id in usable}))
    yield check_updates()


def _read_branch(settings: Settings) -> tuple[list[RecordingKey], list[Finding]]:
    """Read the documents of the Git branch, in place of those of files."""
    log = open_log(settings, "doctor", level="error")
    try:
        examined = examine_branch(settings, system_clock(), log)
    except SettingsError as error:
        return [], [Finding("git_source", Level.FAILURE, str(error), "mend the setting that is named, or its file")]
    except ReconcilerError as error:
        remedy = "see that the address, the branch and the credentials are right: `git ls-remote` with the same address"
        return [], [Finding("git_source", Level.FAILURE, str(error), remedy)]
    finally:
        drain_standard_error()
    refused = [(each.revision, each.why) for each in examined.refused]
    findings = [
        check_source(examined.address, examined.newest, examined.in_force),
        *check_signatures(settings.signatures.verify, refused),
    ]
    problems = [problem for documents in examined.documents for problem in documents.problems]
    problems += cross_check(examined.documents)
    keys = [desired.key for documents in examined.documents for desired in documents.desired]
    keys, finding = _judge_documents(problems, keys, len(examined.documents))
    return keys, [*findings, finding]


def _read_documents(settings: Settings, paths: Sequence[str]) -> tuple[list[RecordingKey], Finding]:
    loaded = load_documents(
        Source(paths, max_file_bytes=settings.documents.max_file_bytes), document_limits(settings.documents)
    )
    return _judge_documents(loaded.problems, [desired.key for desired in loaded.desired], loaded.files)


def _judge_documents(
    problems: Sequence[Problem], keys: list[RecordingKey], files: int
) -> tuple[list[RecordingKey], Finding]:
    if problems:
        place = problems[0]
        message = f"{len(problems)} problems in the documents, the first in {place.file}:{place.line}"
        return [], Finding("documents", Level.FAILURE, message, "`reconciler validate` names them all")
    message = f"{files} files, {len(keys)} recordings: all valid"
    if not keys:
        remedy = "`reconciler init` or `reconciler import` writes some"
        return keys, Finding("documents", Level.WARNING, "there are no documents", remedy)
    return keys, Finding("documents", Level.OK, message)


def _examine_state(settings: Settings) -> Iterable[Finding]:
    try:
        folder = state_folder(settings.store.state)
        return [*check_state(examine(settings.store.state)), *check_folder(folder, exposed_folder(folder))]
    except StoreError as error:
        return [Finding("state", Level.FAILURE, str(error), "mend it as it says, or name another with --state")]


def _examine_cache(store: StoreSettings) -> Iterable[Finding]:
    if not store.cache_dir:
        return []  # that of the state has been looked at
    try:
        folder = cache_folder(store.cache_dir, store.state)
        return check_cache(folder, exposed_folder(folder))
    except SettingsError as error:
        return [Finding("cache", Level.FAILURE, str(error), "name another with --cache-dir")]


async def _ask(settings: Settings, known: dict[str, list[RecordingKey]]) -> list[Finding]:
    """Ask the API, for one workspace after the other until it is out of reach."""
    findings: list[Finding] = []
    clock = system_clock()
    try:
        transport = DatedTransport(settings.api.transport, settings.api.api_url, clock.now)
        survey = Survey(
            api_url=settings.api.api_url,
            key_for=settings.keys.key_for,
            gate=Gate(
                Budgets(reading_rate(settings.pace.rate_limit, settings.store.state), concurrency=1),
                Circuits(clock.monotonic, clock.random, on_change=shown_by_what_is_unread),
            ),
            before_write=refuse_writes,
            now=clock.now,
            connection=Connection(transport, _TIMEOUTS),
        )
    except SettingsError as error:
        return [Finding("reach", Level.FAILURE, str(error), "set --api-url, or mend the proxy's variable")]
    async with survey:
        for workspace_id, keys in known.items():
            findings += await check_rights(survey, workspace_id, keys)
            if findings[-1].check == "reach":
                break
        else:
            findings.append(check_clock(transport.ahead))
    return findings


def _shown(setting: Setting[Any], value: object) -> _Shown:
    sources = {
        ParameterSource.COMMANDLINE: setting.option,
        ParameterSource.ENVIRONMENT: setting.variable,
        ParameterSource.DEFAULT_MAP: "settings file",
    }
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if setting.names_secret and text and not text.startswith("/") and not os.path.lexists(text):
        text = "(no such file)"  # it may be the secret itself, in place of the name of its file
    return _Shown(setting.name, text, sources.get(source_of(setting), "default"))


def _lines(
    findings: Sequence[Finding], shown: Sequence[_Shown], installed: dict[str, str], settings: Settings
) -> Iterator[str]:
    paint = painter(in_color(settings.log))
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        mark = paint(f"{_MARKS[finding.level]:<4}", _ROLES[finding.level])
        yield f"{mark}  {finding.check:<{width}}  {finding.message}"
        if finding.remedy:
            yield f"      {'':<{width}}  -> {finding.remedy}"
    yield ""
    yield paint("Settings", "heading")
    names = max(len(setting.name) for setting in shown)
    longest = max(len(setting.value) for setting in shown)
    for setting in shown:
        line = f"  {setting.name:<{names}}  {setting.value:<{longest}}  {setting.source}"
        yield paint(line, "quiet") if setting.source == "default" else line
    yield ""
    yield paint("Versions", "heading")
    yield "  " + ", ".join(f"{name} {version}" for name, version in installed.items())
    yield ""
    counts = [sum(1 for finding in findings if finding.level is level) for level in Level]
    yield f"Doctor: {counts[0]} ok, {counts[1]} warnings, {counts[2]} failures."
