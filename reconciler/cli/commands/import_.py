"""`reconciler import`: live recordings as documents, ready to commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from reconciler.cli.compose import check_reach, reading_rate, shown_by_what_is_unread, system_clock
from reconciler.cli.exits import DONE, ERROR
from reconciler.cli.options import (
    COMMON,
    DOCUMENTS,
    REACH,
    document_limits,
    given_settings,
    paths_argument,
    setting_options,
)
from reconciler.cli.process import run_async
from reconciler.desired import (
    Export,
    Source,
    append,
    document_text,
    give_names,
    join,
    parse_documents,
    replace_file,
    status_of,
    why_not,
)
from reconciler.model import DesiredStateError, Problem, ReconcilerError, RecordingKey, parse_uuid
from reconciler.providers import Discovered, Scope, discover
from reconciler.settings import PaceSettings, Settings, check_inside, read_regular

_DEFAULT_TREE = "desired_state"


class _Uuid(click.ParamType[str]):
    name = "UUID"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return parse_uuid(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True, slots=True)
class _Tree:
    """What is declared already."""

    keys: frozenset[RecordingKey]
    names: frozenset[str]
    #: What each file held when it was read.
    content: dict[str, bytes]


@click.command("import")
@click.option("--workspace", type=_Uuid(), required=True, help="The workspace whose live recordings are wanted.")
@click.option("--channel", type=_Uuid(), help="Only those of this channel.")
@click.option("--call", type=_Uuid(), help="Only those of this call.")
@click.option("--out", type=click.Path(dir_okay=False), help="Add the documents to this file, or make it.")
@click.option("--out-dir", type=click.Path(file_okay=False), help="Write each document into a file of its own there.")
@paths_argument
@setting_options(*COMMON, *DOCUMENTS, *REACH, without=(PaceSettings.confirm_seconds, PaceSettings.call_seconds))
@click.pass_context
def command(
    context: click.Context,
    workspace: str,
    channel: str | None,
    call: str | None,
    out: str | None,
    out_dir: str | None,
    paths: tuple[str, ...],
) -> None:
    """Write the live recordings of a workspace, a channel or a call as documents, to standard output or into files.

    A recording that PATH... (default: desired_state) or the files written to declare already is left as it is there.
    Nothing is sent but reads.
    """
    if out is not None and out_dir is not None:
        raise click.UsageError("--out and --out-dir exclude each other")
    settings = given_settings()
    target = out if out is not None else out_dir
    tree = _read_tree(paths, target, settings)
    found = run_async(_discover(Scope(workspace, channel, call), settings))
    exports = []
    declared = 0
    for of_call, recording in found.recordings:
        status = status_of(recording.status)
        if recording.key in tree.keys:
            declared += 1
        elif status is None:
            click.echo(f"Skipped: recording {recording.key.recording_id}: {why_not(recording.status)}.", err=True)
        else:
            exports.append(
                Export(recording.key, status, of_call.direction, recording.origin, of_call.began_at, recording.began_at)
            )
    taken = {*tree.names, *(Path(file).stem for file in tree.content)}
    named = [(name, document_text(name, export)) for name, export in give_names(exports, taken)]
    _write(named, out, out_dir, tree, settings)
    _conclude(found, declared, len(named), target)
    context.exit(ERROR if found.missing else DONE)


async def _discover(scope: Scope, settings: Settings) -> Discovered:
    from reconciler.providers import Budgets, Circuits, Connection, Gate, Survey, refuse_writes

    check_reach(settings, [scope.workspace_id])
    clock = system_clock()
    async with Survey(
        api_url=settings.api.api_url,
        key_for=settings.keys.key_for,
        gate=Gate(
            Budgets(
                reading_rate(settings.pace.rate_limit, settings.store.state), concurrency=settings.pace.concurrency
            ),
            Circuits(clock.monotonic, clock.random, on_change=shown_by_what_is_unread),
        ),
        before_write=refuse_writes,
        now=clock.now,
        connection=Connection(settings.api.transport),
    ) as survey:
        return await discover(
            survey,
            scope,
            clock=clock,
            concurrency=settings.pace.concurrency,
            give_up_seconds=settings.pace.give_up_seconds,
        )


def _read_tree(paths: Sequence[str], target: str | None, settings: Settings) -> _Tree:
    """Read what is declared already, in the given paths or the default one, and where the documents are to go.

    Raises:
        DesiredStateError: a document there is invalid, so that nobody can say what is declared.
    """
    roots = list(paths) or [_DEFAULT_TREE]
    if target is not None:
        roots.append(target)
    # What is not there yet declares nothing; but a path that was given by hand has to be there.
    roots = [root for root in roots if root in paths or Path(root).exists()]
    source = Source(roots, max_file_bytes=settings.documents.max_file_bytes)
    tree = source.walk()
    problems = [Problem(root, 1, 1, "no such file or folder", rule="missing") for root in tree.vanished_roots]
    problems.extend(tree.problems)
    keys: set[RecordingKey] = set()
    names: set[str] = set()
    content: dict[str, bytes] = {}
    for file in tree.files:
        data = source.read(file)
        if isinstance(data, Problem):
            problems.append(data)
            continue
        documents = parse_documents(data, file, document_limits(settings.documents))
        problems.extend(documents.problems)
        keys.update(desired.key for desired in documents.desired)
        names.update(desired.name for desired in documents.desired)
        names.update(name for name, _ in documents.sets)
        content[str(Path(file))] = data
    if problems:
        raise DesiredStateError(problems)
    return _Tree(frozenset(keys), frozenset(names), content)


def _write(
    named: Sequence[tuple[str, str]], out: str | None, out_dir: str | None, tree: _Tree, settings: Settings
) -> None:
    texts = [text for _, text in named]
    if not texts:
        return
    if out is not None:
        path = Path(out)
        _make_folder(path.parent)
        # As it was when its recordings were read: what came between is not written over.
        before = tree.content.get(str(path))
        if before is None and path.exists():
            before = _read_target(path, settings)
        replace_file(path, before, append(before or b"", out, texts, document_limits(settings.documents)))
    elif out_dir is not None:
        folder = Path(out_dir)
        _make_folder(folder)
        for name, text in named:
            replace_file(folder / f"{name}.yaml", None, text.encode("ascii"))
    else:
        click.echo(join(texts), nl=False)


def _read_target(path: Path, settings: Settings) -> bytes:
    try:
        return read_regular(path, settings.documents.max_file_bytes)
    except OSError as error:
        raise ReconcilerError(f"{path} cannot be read: {error.strerror}") from error


def _make_folder(folder: Path) -> None:
    try:
        check_inside(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReconcilerError(f"{folder} cannot be made: {error.strerror}") from error


def _conclude(found: Discovered, declared: int, written: int, target: str | None) -> None:
    for missing in found.missing:
        click.echo(f"Missing: {missing}", err=True)
    calls = f"{found.calls} calls, {found.under_way} of them under way"
    if not found.calls:
        click.echo("There are no calls, or no such workspace or channel: both are answered alike.", err=True)
    where = "" if target is None else f" into {target}"
    click.echo(f"{calls}: wrote {written} documents{where}; {declared} recordings were declared already.", err=True)
