"""Is everything here that this program needs? Each look is a finding, and each finding that is no good has its remedy.

What must never happen in this room: a write, to the API, to the state or to a file; the key in a finding; a right that
is proven by using it where using it could do harm. Updating a call hangs up the caller, so that right is warned about
and never tried.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from reconciler import __version__
from reconciler.desired import PureParser, new_parser
from reconciler.git import GitError, check_version, locate, resolve
from reconciler.model import (
    CredentialRefused,
    ProviderError,
    RecordingKey,
    Rejected,
    Revision,
    SettingsError,
    Unavailable,
)
from reconciler.providers import Proof, Route, Survey, is_loopback
from reconciler.settings import KEY_FILE_VARIABLE, KEY_VARIABLE, KeyRing, KeySource
from reconciler.state import Health, sqlite_version

#: How far the clock may be off before it is worth a word, and before it does harm: suspensions end by it.
SKEW_WARNED: Final = timedelta(seconds=5)
SKEW_REFUSED: Final = timedelta(seconds=60)
#: A state file of a million recordings has less than a quarter of this.
FREE_BYTES: Final = 1024 * 1024 * 1024
#: Below so many days of room for the history it is time to act.
LEAST_DAYS: Final = 30
#: Open files besides one for each request in flight: the state, the watch, the page, the program itself.
OTHER_FILES: Final = 64
#: How many recordings of documents are asked about before a right counts as not proven.
CANDIDATES: Final = 5

_UPDATE_RIGHT: Final = "/workspaces/{ws}/channels/*/calls/*/recordings/*"
_INOTIFY: Final = Path("/proc/sys/fs/inotify")
#: What each read is for: those of the daemon and the plan first, then those of `import` alone.
_NEEDED: Final = (Route.CALL, Route.CALL_RECORDINGS, Route.RECORDING, Route.WORKSPACE_RECORDINGS)
_PACKAGES: Final = ("click", "httpx", "aiohttp", "httpx-aiohttp", "watchfiles", "pyyaml", "jsonschema-rs", "starlette")


class Level(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    #: Worth knowing; nothing fails by it today.
    WARNING = "warning"
    #: Something will not work.
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look showed."""

    #: What was looked at, a constant word.
    check: str
    level: Level
    message: str
    #: What to do about it; empty where nothing has to be done.
    remedy: str = ""


def versions() -> dict[str, str]:
    """Return the versions that a report of a fault should name."""
    found = {"reconciler": __version__, "python": platform.python_version(), "system": platform.platform()}
    found["sqlite"] = sqlite_version()
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def check_installation(found: dict[str, str]) -> Iterator[Finding]:
    """Judge what is installed: the packages, the fast YAML parser, git."""
    missing = sorted(name for name, version in found.items() if version == "missing")
    if missing:
        message = f"not installed: {', '.join(missing)}"
        yield Finding("versions", Level.FAILURE, message, "install the program again, with its dependencies")
    else:
        yield Finding("versions", Level.OK, f"reconciler {found['reconciler']} on Python {found['python']}")
    if new_parser is PureParser:
        message = "PyYAML has no libyaml: documents are read ten times slower"
        yield Finding("yaml", Level.WARNING, message, "install a wheel of pyyaml, or libyaml before building it")
    try:
        yield Finding("git", Level.OK, check_version())
    except GitError as error:
        yield Finding("git", Level.WARNING, f"no plan can name its commit: {error}", "install git 2.38 or newer")


def check_repository(path: str) -> Iterator[Finding]:
    """Judge whether git answers for the repository that documents are in; nothing where they are in none.

    Args:
        path: of the documents.
    """
    try:
        location = locate(path)
        if location is not None:
            commit = resolve(location.repository, "HEAD")
            at = "no commit yet" if commit is None else f"at commit {commit[:12]}"
            yield Finding("repository", Level.OK, f"{location.repository.root}, {at}")
    except GitError as error:
        yield Finding("repository", Level.WARNING, f"no plan can name its commit: {error}", "do what git says")


def check_address(api_url: str, *, allow_http: bool) -> Finding:
    """Judge the API's address: the key must not travel in the clear."""
    address = urlsplit(api_url)
    host = address.hostname or ""
    if address.scheme not in ("http", "https") or not host:
        return Finding("api_url", Level.FAILURE, "the API's address is no http:// or https:// address", "set --api-url")
    if address.scheme == "https" or is_loopback(host):
        # The port belongs to it; what may stand before an @ is nobody's business.
        return Finding("api_url", Level.OK, f"{address.scheme}://{address.netloc.rpartition('@')[2]}")
    if allow_http:
        message = f"the key travels unencrypted to {host}, as --allow-http allows"
        return Finding("api_url", Level.WARNING, message, "use https:// and take allow_http away")
    message = f"http:// would carry the key unencrypted to {host}, and is refused"
    return Finding("api_url", Level.FAILURE, message, "use https://")


def check_key(ring: KeyRing, source: KeySource | None, workspace_id: str) -> Finding:
    """Judge whether there is a key for a workspace, and whether others may read the file it is in."""
    check = "key"
    try:
        ring.key_for(workspace_id)
    except SettingsError as error:
        remedy = f"set {KEY_VARIABLE}, or {KEY_FILE_VARIABLE}, or workspaces.{workspace_id} in the settings file"
        return Finding(check, Level.FAILURE, f"workspace {workspace_id}: {error}", remedy)
    if source is not None:
        where = f"workspaces.{workspace_id} in the settings file"
    else:
        where = KEY_VARIABLE if os.environ.get(KEY_VARIABLE) else KEY_FILE_VARIABLE
    file = source.file if source is not None else None if where == KEY_VARIABLE else os.environ.get(KEY_FILE_VARIABLE)
    if file and Path(file).stat().st_mode & 0o077:
        message = f"workspace {workspace_id}: others may read the key's file"
        return Finding(check, Level.WARNING, message, "take the right away: chmod 600 on the file")
    return Finding(check, Level.OK, f"workspace {workspace_id}: there is one, by {where}")


async def check_rights(survey: Survey, workspace_id: str, known: Iterable[RecordingKey]) -> list[Finding]:
    """Prove each right to read by a read, and say what cannot be proven so.

    Args:
        survey: the API; nothing but reads is asked of it.
        workspace_id: the workspace.
        known: recordings of the workspace that documents name, to ask about.

    Returns:
        One finding for each right, or a single one where the key or the API does not answer.
    """
    prover = _Prover(survey, workspace_id, [tuple(key[1:]) for key in known][:CANDIDATES])
    try:
        return await prover.prove_all()
    except CredentialRefused as error:
        remedy = "make a new access key for this workspace at Bird, and check that it is the one of this workspace"
        return [Finding("rights", Level.FAILURE, f"workspace {workspace_id}: the key is refused: {error}", remedy)]
    except Unavailable as error:
        remedy = "check the address, the network, the proxy and Bird's status page; then try again"
        return [Finding("reach", Level.FAILURE, f"workspace {workspace_id}: {error}", remedy)]


class _Prover:
    """Asks the reads in an order in which each answer gives the IDs for the next."""

    def __init__(self, survey: Survey, workspace_id: str, candidates: list[tuple[str, ...]]) -> None:
        self._survey = survey
        self._workspace_id = workspace_id
        #: Channel, call, recording; what was found alive goes first.
        self._candidates = candidates
        self._findings: list[Finding] = []

    async def prove_all(self) -> list[Finding]:
        _, first = await self._prove(Route.WORKSPACE_CALLS, [()])
        if {"channelId", "id"} <= first.keys():
            self._candidates.insert(0, (first["channelId"], first["id"]))
        channel, first = await self._prove(Route.CHANNEL_CALLS, self._parts(1))
        if "id" in first:
            self._candidates.insert(0, (*channel, first["id"]))
        await self._prove(Route.CALL, self._parts(2))
        call, first = await self._prove(Route.CALL_RECORDINGS, self._parts(2))
        if "id" in first:
            self._candidates.insert(0, (*call, first["id"]))
        await self._prove(Route.RECORDING, self._parts(3))
        await self._prove(Route.WORKSPACE_RECORDINGS, [()])
        return self._findings

    def _parts(self, count: int) -> list[tuple[str, ...]]:
        """Return the first parts of the candidates that have so many, each once."""
        return list(dict.fromkeys(candidate[:count] for candidate in self._candidates if len(candidate) >= count))

    async def _prove(
        self, route: Route, candidates: Sequence[tuple[str, ...]]
    ) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """Ask about one candidate after the other until the right is proven, and note what came of it.

        Returns:
            The candidate that proved it, and what the first entry of its list names; nothing where none did.
        """
        right = re.sub(r"\{[^w]\}", "*", route.value).replace("{w}", "{ws}")
        needed = route in _NEEDED
        remedy = f"allow View on {right} for the key's role at Bird"
        if not needed:
            remedy += "; only `import` needs it"
        for candidate in candidates:
            proof = await self._ask(route, candidate)
            if isinstance(proof, ProviderError):
                level = Level.FAILURE if needed else Level.WARNING
                message = f"workspace {self._workspace_id}: View on {right}: {proof}"
                self._findings.append(Finding("rights", level, message, remedy))
                return (), {}
            if proof.granted:
                message = f"workspace {self._workspace_id}: View on {right} is proven"
                self._findings.append(Finding("rights", Level.OK, message))
                return candidate, proof.first
        why = "404 is all that was answered" if candidates else "there is no call to ask about"
        message = f"workspace {self._workspace_id}: View on {right} is not proven: {why}"
        self._findings.append(
            Finding("rights", Level.WARNING, message, f"look again while a call is recorded; if it stays so, {remedy}")
        )
        return (), {}

    async def _ask(self, route: Route, candidate: tuple[str, ...]) -> Proof | ProviderError:
        """Return the proof, or why there is none.

        Raises:
            CredentialRefused: the key itself is refused.
            Unavailable: the API cannot be asked.
        """
        try:
            return await self._survey.prove(route, self._workspace_id, *candidate)
        except CredentialRefused as error:
            if error.status == 401:
                raise
            return error
        except Rejected as error:
            return error


def check_updates() -> Finding:
    """Say which right is needed and which is dangerous; to try either would be to change something."""
    return Finding(
        "update",
        Level.WARNING,
        f"neither is tried: Update on {_UPDATE_RIGHT} is needed, and Update on /workspaces/{{ws}}/channels/*/calls/*"
        " must not be granted, since it would let the key hang up callers",
        f"look at the role's policy at Bird: Update on {_UPDATE_RIGHT} alone, never on calls/* or calls/**",
    )


def check_clock(ahead: timedelta | None) -> Finding:
    """Judge our clock against the API's.

    Args:
        ahead: how far ours is ahead at least; None where the API did not tell its time.
    """
    if ahead is None:
        remedy = "make sure that this machine's clock is kept by NTP"
        return Finding("clock", Level.WARNING, "the API did not tell its time", remedy)
    seconds = round(abs(ahead).total_seconds())
    if abs(ahead) <= SKEW_WARNED:
        return Finding("clock", Level.OK, f"within {SKEW_WARNED.total_seconds():.0f} s of the API's")
    level = Level.FAILURE if abs(ahead) > SKEW_REFUSED else Level.WARNING
    where = "ahead of" if ahead > timedelta() else "behind"
    message = f"this machine's clock is {seconds} s {where} the API's; suspensions end by it"
    return Finding("clock", level, message, "set the clock, and keep it by NTP")


def check_state(health: Health) -> Iterator[Finding]:
    """Judge the state file."""
    path = health.path
    if health.free_bytes < FREE_BYTES:
        message = f"{health.free_bytes // 1024**2} MiB are free where the state is"
        yield Finding("state", Level.WARNING, message, "make room: without it nothing can be recorded, so nothing sent")
    if health.size_bytes is None:
        folder = next(parent for parent in path.parents if parent.is_dir())
        if os.access(folder, os.W_OK):
            yield Finding("state", Level.OK, f"{path}: there is none yet, `apply` or `run` makes it")
        else:
            message = f"{path}: there is none yet, and {folder} may not be written"
            yield Finding("state", Level.FAILURE, message, "name another with --state, or give the right to write")
        return
    if health.faults:
        remedy = "stop the daemon, move the file aside with its -wal and -shm, start again: live state is read afresh"
        yield Finding("state", Level.FAILURE, f"{path} is damaged: {'; '.join(health.faults)}", remedy)
    elif not os.access(path, os.W_OK):
        yield Finding("state", Level.FAILURE, f"{path} may not be written", "give this user the right to write it")
    else:
        held = "nobody holds it" if health.holder is None else f"held by {health.holder}"
        message = f"{path} is whole: {health.size_bytes // 1024} KiB, {health.last_applied} recordings applied; {held}"
        yield Finding("state", Level.OK, message)
    if health.days_left is not None and health.days_left < LEAST_DAYS:
        message = f"the disk of the state holds {health.days_left:.0f} more days of history at the present pace"
        yield Finding("state", Level.WARNING, message, "make room, or keep less: --history-days")
    if health.layout < health.newest_layout:
        message = f"{path} has layout {health.layout}, older than this program's {health.newest_layout}"
        yield Finding("state", Level.WARNING, message, "the next `apply` or `run` brings it up to date, after a copy")
    if health.open_to_others:
        message = f"{path} may be read by others"
        yield Finding("state", Level.WARNING, message, f"take the right away: chmod 600 {path}")


def check_folder(folder: Path, why: str) -> Iterator[Finding]:
    """Judge the folder of the state.

    Args:
        folder: where the state is.
        why: what others may do to it; empty for nothing.
    """
    if why:
        message = f"whoever may write {folder} may replace the state: {why}"
        yield Finding("state", Level.WARNING, message, f"make it yours alone: chmod 700 {folder}")


def check_cache(folder: Path, why: str) -> Iterator[Finding]:
    """Judge the folder of what can be made again.

    Args:
        folder: where it is, there or not.
        why: what others may do to it; empty for nothing.
    """
    if why:
        message = f"whoever may write {folder} may replace the index and the mirror: {why}"
        yield Finding("cache", Level.WARNING, message, f"make it yours alone: chmod 700 {folder}")
    if os.path.lexists(folder) and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        message = f"{folder} is no folder that this user may write, so that every start reads every file"
        yield Finding("cache", Level.WARNING, message, "name another with --cache-dir")


def check_source(address: str, newest: Revision, in_force: str | None) -> Finding:
    """Say what the Git branch is at, and what the daemon has in force."""
    message = f"{address} is at {newest.id[:12]} by {newest.author}: {newest.subject}"
    if in_force is not None:
        message += "; in force" if in_force == newest.id else f"; in force is {in_force[:12]}"
    return Finding("git_source", Level.OK, message)


def check_signatures(mode: str, refused: Iterable[tuple[Revision, str]]) -> Iterator[Finding]:
    """Judge the signatures of the commits that are to come into force.

    Args:
        mode: the setting `verify`.
        refused: the commits whose signatures are not good enough, each with the reason.
    """
    if mode == "off":
        remedy = "name the keys that may sign with --allowed-signers, and set --verify enforce"
        message = "signatures are not looked at: whoever may push decides what is recorded"
        yield Finding("signatures", Level.WARNING, message, remedy)
        return
    found = False
    for revision, why in refused:
        found = True
        level = Level.FAILURE if mode == "enforce" else Level.WARNING
        message = f"commit {revision.id[:12]} by {revision.author} ({revision.subject}): {why}"
        remedy = "push the branch again without it, or with it signed by a key that may sign"
        yield Finding("signatures", level, message, remedy)
    if not found:
        yield Finding("signatures", Level.OK, f"verify: {mode}; all commits looked at are signed by a key that may")


def check_watching(paths: Sequence[str]) -> Finding:
    """Judge whether the system lets the daemon watch every folder of the documents."""
    try:
        watches, instances = (
            int((_INOTIFY / name).read_text(encoding="ascii")) for name in ("max_user_watches", "max_user_instances")
        )
    except (OSError, ValueError):
        return Finding("watching", Level.OK, "this system has no inotify limits")
    folders = sum(1 for path in paths for _ in _folders(path))
    remedy = "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances with sysctl"
    if folders >= watches or not instances:
        message = f"{folders} folders to watch, {watches} watches in {instances} instances allowed: files are polled"
        return Finding("watching", Level.FAILURE, message, remedy)
    level = Level.WARNING if folders * 2 > watches or instances < 16 else Level.OK
    message = f"{folders} folders to watch; each user may have {watches} watches in {instances} instances"
    return Finding("watching", level, message, remedy if level is Level.WARNING else "")


def check_open_files(allowed: int, concurrency: int) -> Finding:
    """Judge the limit on open files."""
    needed = concurrency + OTHER_FILES
    if allowed >= needed:
        return Finding("open_files", Level.OK, f"{allowed} open files allowed, {needed} needed at most")
    message = f"{allowed} open files allowed, {needed} needed for {concurrency} requests in flight"
    return Finding("open_files", Level.WARNING, message, "raise it with `ulimit -n`, or lower --concurrency")


def _folders(path: str) -> Iterator[str]:
    for folder, names, _ in os.walk(path):
        names[:] = [name for name in names if not name.startswith(".")]
        yield folder
