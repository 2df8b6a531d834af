"""A Git branch as the daemon's source, from the settings: the parts that `run` and `doctor` put together."""

from __future__ import annotations

import posixpath
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from click.core import ParameterSource

from reconciler.cli.options import bad_value, document_limits, source_of
from reconciler.desired import (
    BranchSettings,
    DocumentLimits,
    FileDocuments,
    GitSource,
    Refused,
    SourceState,
    parse_documents,
)
from reconciler.git import Address, Mirror, Verifier, parse_address
from reconciler.model import Clock, InForce, Problem, Revision, SettingsError, instant
from reconciler.settings import (
    HookSettings,
    Setting,
    Settings,
    SignatureSettings,
    SourceSettings,
    make_state_folder,
    mirrors_folder,
    read_token,
)
from reconciler.state import Store, Writer, open_store
from reconciler.telemetry import Log, SourceFigures
from reconciler.web import Hook, Limiter

#: Below the folder of the mirrors.
_GPG_HOME = "gnupg"
#: What has no meaning without a Git source; and what of that somebody relies on.
_OF_GIT = (
    *(each for each in SourceSettings.settings if each is not SourceSettings.git),
    *SignatureSettings.settings,
    *HookSettings.settings,
)
_SAFETIES = (SignatureSettings.verify, HookSettings.hook_secret_file)
_NOT_LOOKED_AT = "signatures are not looked at; say --verify warn or enforce"
_NO_HOOK = "no hook is taken; name its secret with --hook-secret-file"


def check_git_settings(settings: Settings, paths: tuple[str, ...]) -> None:
    """Refuse what contradicts itself, above all a safety that would not hold.

    Raises:
        click.BadParameter: see `check_git_options`.
        SettingsError: something else does.
    """
    check_git_options(settings)
    if not settings.source.git:
        return
    if paths:
        raise SettingsError("git: documents come from the repository or from PATH..., not from both; see --path")
    if settings.hook.hook_secret_file:
        read_token(settings.hook.hook_secret_file, "hook_secret_file")


def check_git_options(settings: Settings) -> None:
    """Refuse settings of a Git source that would be without effect, unnoticed: there is no source, or no such check.

    Raises:
        click.BadParameter: one is given.
    """
    # Who empties --git for one run means all that a file says of the branch, too; but no safety is dropped so.
    emptied = source_of(SourceSettings.git) is ParameterSource.COMMANDLINE
    for setting, value in settings.given():
        source = source_of(setting)
        if setting not in _OF_GIT or source is ParameterSource.DEFAULT or value in ("", "off"):
            continue
        if settings.source.git:
            needed, why = _needed_by(setting)
            # Said to be off, it is off, whatever a file names for other runs.
            if source_of(needed) is ParameterSource.DEFAULT:
                raise bad_value(setting, why)
        elif source is ParameterSource.COMMANDLINE or not emptied or setting in _SAFETIES:
            raise bad_value(setting, "it speaks of a Git source, and there is none; name one with --git")


def _needed_by(setting: Setting[Any]) -> tuple[Setting[Any], str]:
    """Return the setting without which another has no meaning, and why; the other itself where there is none."""
    if setting in SignatureSettings.settings and setting is not SignatureSettings.verify:
        return SignatureSettings.verify, _NOT_LOOKED_AT
    if setting in HookSettings.settings and setting is not HookSettings.hook_secret_file:
        return HookSettings.hook_secret_file, _NO_HOOK
    return setting, ""


def path_in_repository(path: str) -> str:
    """Return the setting `path` as Git writes it; empty for the whole repository.

    Raises:
        SettingsError: it leads out of the repository.
    """
    normal = posixpath.normpath(path).strip("/") if path else ""
    if normal == ".." or normal.startswith("../"):
        raise SettingsError(f"path: {path} leads out of the repository")
    return "" if normal == "." else normal


def _parts(settings: Settings, folder: Path) -> tuple[Address, Mirror, Verifier]:
    """Return the address, a mirror below a folder, which is neither made nor fetched yet, and the judge of its commits.

    Raises:
        SettingsError: one of the settings cannot be used.
    """
    address = parse_address(settings.source.git)
    if settings.source.git_token_file:
        if address.protocol != "https":
            raise SettingsError("git_token_file: a token is for an https:// address")
        read_token(settings.source.git_token_file, "git_token_file")
    verifier = Verifier(
        settings.signatures.verify,
        settings.signatures.verify_scope,
        allowed_signers=settings.signatures.allowed_signers,
        gpg_keyring=settings.signatures.gpg_keyring,
        home=folder / _GPG_HOME,
    )
    mirror = Mirror(
        folder,
        address,
        settings.source.branch.removeprefix("refs/heads/"),
        max_file_bytes=settings.documents.max_file_bytes,
        token_file=settings.source.git_token_file,
        timeout_seconds=settings.source.git_timeout_seconds,
        depth=settings.source.git_depth,
    )
    return address, mirror, verifier


def _source(
    settings: Settings, folder: Path, in_force: InForce | None, describe: Callable[..., object], clock: Clock, log: Log
) -> GitSource:
    address, mirror, verifier = _parts(settings, folder)
    return GitSource(
        mirror,
        verifier,
        BranchSettings(
            address.shown,
            settings.source.branch,
            path_in_repository(settings.source.path),
            settings.source.git_interval,
            settings.documents.max_file_bytes,
        ),
        in_force=in_force,
        describe=describe,
        now=clock.now,
        log=log,
    )


def open_branch(settings: Settings, state: str, store: Store, writer: Writer, clock: Clock, log: Log) -> GitSource:
    """Return the source, with a revision in force.

    Raises:
        ReconcilerError: there is none that may be, or one of the settings cannot be used.
    """
    folder = mirrors_folder(settings.store.cache_dir, state)
    with suppress(OSError):  # whoever makes the mirror says why it cannot be made
        make_state_folder(folder.parent)
    source = _source(settings, folder, store.in_force(), writer.describe, clock, log)
    source.open()
    return source


def make_hook(settings: Settings, nudge: Callable[[], None], monotonic: Callable[[], float], log: Log) -> Hook:
    """Return what takes the deliveries of a Git host."""

    # However many hints there are, one line a second tells of them.
    lines = Limiter(60, monotonic)
    untold: Counter[str] = Counter()

    def told(kind: str, outcome: str) -> None:
        if outcome != "taken":
            log.warning("hook_refused", host=kind, why=outcome)
        elif lines.wait_seconds() == 0:
            log.info("hook_taken", host=kind, **({"more": untold.pop(kind)} if untold[kind] else {}))
        else:
            untold[kind] += 1

    return Hook(
        secret=lambda: read_token(settings.hook.hook_secret_file, "hook_secret_file"),
        nudge=nudge,
        told=told,
        refused=Limiter(settings.hook.hook_limit, monotonic),
        max_bytes=settings.hook.hook_max_bytes,
        seconds=settings.hook.hook_seconds,
        at_once=settings.hook.hook_at_once,
    )


def figures_of(state: SourceState, now: datetime) -> SourceFigures:
    """Return what is measured of a source."""
    age = None if state.fetched_at is None else max(0.0, (now - state.fetched_at).total_seconds())
    return SourceFigures("" if state.revision is None else state.revision.id, age, bool(state.refused))


def status_of(state: SourceState) -> dict[str, Any]:
    """Return what `/status` shows of a source."""
    return {
        "address": state.address,
        "branch": state.branch or None,
        "path": state.path or None,
        "revision": _revision(state.revision),
        "fetchedAt": None if state.fetched_at is None else instant(state.fetched_at),
        "error": state.error or None,
        "verify": state.verify,
        "refusedRevision": _revision(state.refused_revision),
        "refused": [{**(_revision(each.revision) or {}), "why": each.why} for each in state.refused],
    }


def _revision(revision: Revision | None) -> dict[str, Any] | None:
    if revision is None:
        return None
    return {
        "id": revision.id,
        "author": revision.author,
        "subject": revision.subject,
        "committedAt": instant(revision.committed_at),
    }


@dataclass(frozen=True, slots=True)
class Examined:
    """What a look at the branch showed, for `doctor`."""

    address: str
    #: The newest commit.
    newest: Revision
    #: The commit that the daemon has in force; None before its first run.
    in_force: str | None
    #: The commits that `verify` would keep from coming into force.
    refused: tuple[Refused, ...]
    documents: tuple[FileDocuments, ...]


def examine_branch(settings: Settings, clock: Clock, log: Log) -> Examined:
    """Look at the branch by a mirror made for this look alone, which leaves that of the daemon as it is.

    Raises:
        ReconcilerError: the repository cannot be reached, or one of the settings cannot be used.
    """
    with open_store(settings.store.state) as store:
        in_force = store.in_force()
    with tempfile.TemporaryDirectory(prefix="reconciler-doctor-") as folder:
        source = _source(settings, Path(folder), in_force, lambda *_, **__: None, clock, log)
        newest, refused = source.look()
        documents = tuple(_documents(source, document_limits(settings.documents)))
    revision = None if in_force is None else in_force.revision
    return Examined(source.state.address, newest, revision, refused, documents)


def _documents(source: GitSource, limits: DocumentLimits) -> Iterator[FileDocuments]:
    for file in source.walk().files:
        data = source.read(file)
        if isinstance(data, Problem):
            yield FileDocuments(file, (), (data,))
        else:
            yield parse_documents(data, file, limits)
