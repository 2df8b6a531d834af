"""The same work done by others, in the same run: planning by octoDNS and Terraform, sending by Ansible and curl.

What is planned are as many new records, each declared on its own, against a target that needs no network. What is sent
are as many PATCHes to the same local server. The others send and are done; `apply` has read each recording beforehand,
writes its intent and its outcome to disk, and reads until it has seen the effect. Peers of Python get an environment of
their own below `build/`, once; one that is not there or cannot be installed is named as such.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from .cold_plan import cold
from .fast_bird import FastBird, fast_bird
from .figures import CHECKOUT, Figure, arguments, publish
from .measure import COMMAND, KEY, Run, in_turns, run
from .scene import CHANNEL, DOCUMENTS, PER_CALL, STATE, WORKSPACE, call_id, recording_id, scene

ENVIRONMENTS: Final = CHECKOUT / "build" / "peers"
CONCURRENCY: Final = 32
BODY: Final = '{"status":"paused"}'


class Missing(Exception):
    """A peer is not there and cannot be had; the message says why."""


def main() -> None:
    parser = arguments(__doc__ or "", recordings=10_000, repeats=3)
    parser.add_argument("--patches", type=int, default=2_000, help="sent by curl and by us; default: %(default)s")
    parser.add_argument("--tasks", type=int, default=100, help="sent by Ansible and by us; default: %(default)s")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="default: all")
    options = parser.parse_args()
    found, missing = [], {}
    for name in options.peers:
        measure, size = PEERS[name]
        try:
            found.append(measure(getattr(options, size), options.repeats))
        except Missing as reason:
            missing[name] = str(reason)
            print(f"{name}: not measured, {reason}")
    publish("peers", found, options.out, recordings=options.recordings, missing=missing)


def _octodns(records: int, repeats: int) -> Figure:
    sync = _installed("octodns", "octodns-sync")
    with scene("stream", records) as folder:
        (folder / "zones").mkdir()
        (folder / "target").mkdir()
        hosts = [f"r-{n:07}: {{type: A, value: {ip_address(10 << 24 | n)}}}\n" for n in range(records)]
        (folder / "zones" / "example.com.yaml").write_text("".join(hosts))
        (folder / "target" / "example.com.yaml").write_text("---\n{}\n")
        provider = {"class": "octodns.provider.yaml.YamlProvider", "default_ttl": 300, "enforce_order": False}
        config = {
            "providers": {name: {**provider, "directory": f"./{name}"} for name in ("zones", "target")},
            "zones": {"example.com.": {"sources": ["zones"], "targets": ["target"]}},
        }
        (folder / "config.yaml").write_text(json.dumps(config))  # which is YAML
        command = (sync, "--config-file", "config.yaml", "--quiet")
        taken = in_turns(repeats, {"ours": partial(cold, folder), "theirs": partial(run, command, folder)})
    return _compared(f"plan of {records:,} new records", "octoDNS, YAML to YAML", taken)


def _terraform(records: int, repeats: int) -> Figure:
    terraform = _found("terraform")
    with scene("stream", records) as folder:
        inputs = {f"r-{n:07}": {"input": {"id": recording_id(n), "status": "paused"}} for n in range(records)}
        (folder / "main.tf.json").write_text(json.dumps({"resource": {"terraform_data": inputs}}))
        quiet = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
        run((terraform, "init", "-input=false"), folder, variables=quiet)
        command = (terraform, "plan", "-input=false", "-no-color")
        taken = in_turns(
            repeats, {"ours": partial(cold, folder), "theirs": partial(run, command, folder, variables=quiet)}
        )
    return _compared(f"plan of {records:,} new records", "Terraform, terraform_data", taken)


def _ansible(patches: int, repeats: int) -> Figure:
    playbook = _installed("ansible-core", "ansible-playbook")
    with _sending(patches) as (folder, api):
        task = {
            "ansible.builtin.uri": {
                "url": f"{api.url}{_path('{{ item.call }}', '{{ item.recording }}')}",
                "method": "PATCH",
                "body": BODY,
                "headers": {"Authorization": f"AccessKey {KEY}", "Content-Type": "application/json"},
                "status_code": 202,
            },
            "loop": [{"call": call_id(n // PER_CALL), "recording": recording_id(n)} for n in range(patches)],
        }
        play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]
        (folder / "play.yaml").write_text(json.dumps(play))  # which is YAML
        command = (playbook, "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}", "play.yaml")
        home = {"LC_ALL": "C.UTF-8", "ANSIBLE_LOCAL_TEMP": str(folder / "a"), "ANSIBLE_REMOTE_TEMP": str(folder / "b")}
        theirs = _sender(api, patches, lambda: run(command, folder, variables=home))
        taken = in_turns(repeats, {"ours": partial(_apply, folder, api, patches), "theirs": theirs})
    return _compared(f"{patches:,} PATCHes, confirmed", "Ansible, a loop of uri, not confirmed", taken)


def _curl(patches: int, repeats: int) -> Figure:
    curl = _found("curl")
    with _sending(patches) as (folder, api):
        each = [
            f'url = "{api.url}{_path(call_id(n // PER_CALL), recording_id(n))}"\nrequest = PATCH\n'
            f'header = "Authorization: AccessKey {KEY}"\nheader = "Content-Type: application/json"\n'
            f"data = {json.dumps(BODY)}\nfail\noutput = /dev/null\n"
            for n in range(patches)
        ]
        (folder / "requests").write_text("next\n".join(each))
        command = (curl, "--silent", "--parallel", "--parallel-max", str(CONCURRENCY), "--config", "requests")
        theirs = _sender(api, patches, lambda: run(command, folder))
        taken = in_turns(repeats, {"ours": partial(_apply, folder, api, patches), "theirs": theirs})
    return _compared(f"{patches:,} PATCHes, confirmed", "curl --parallel, not confirmed", taken)


#: Peer -> how it is measured, and the option that says at which size.
PEERS: Final[dict[str, tuple[Callable[[int, int], Figure], str]]] = {
    "octodns": (_octodns, "recordings"),
    "terraform": (_terraform, "recordings"),
    "ansible": (_ansible, "tasks"),
    "curl": (_curl, "patches"),
}


@contextmanager
def _sending(patches: int) -> Iterator[tuple[Path, FastBird]]:
    """Give documents that want every recording paused, and a server on which all of them go on."""
    with (
        scene("stream", patches) as folder,
        fast_bird(calls=-(-patches // PER_CALL), recordings=PER_CALL, status="ongoing") as api,
    ):
        yield folder, api


def _apply(folder: Path, api: FastBird, patches: int) -> Run:
    shutil.rmtree(folder / STATE, ignore_errors=True)
    reach = ("--api-url", api.url, "--rate-limit", "0", "--concurrency", str(CONCURRENCY))
    return _sender(api, patches, lambda: run((COMMAND, "apply", DOCUMENTS, "--yes", *reach), folder))()


def _sender(api: FastBird, patches: int, send: Callable[[], Run]) -> Callable[[], Run]:
    """Return how one sender is run, from the same beginning; that all PATCHes came is looked up."""

    def sent() -> Run:
        api.reset("ongoing")
        taken = send()
        came = len({identifier for _, identifier in api.patches()})
        if came != patches:
            raise RuntimeError(f"{came} of {patches} PATCHes came")
        return taken

    return sent


def _path(call: str, recording: str) -> str:
    return f"/workspaces/{WORKSPACE}/channels/{CHANNEL}/calls/{call}/recordings/{recording}"


def _compared(work: str, peer: str, taken: dict[str, Run]) -> Figure:
    ours, theirs = taken["ours"], taken["theirs"]
    return Figure(
        f"{work}: wall",
        ours.wall_seconds,
        "s",
        peer,
        theirs.wall_seconds,
        note=f"CPU {ours.cpu_seconds:.2f} s against {theirs.cpu_seconds:.2f} s, peak memory"
        f" {ours.peak_bytes / 1e6:.0f} MB against {theirs.peak_bytes / 1e6:.0f} MB",
        peer=True,
    )


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise Missing(f"{program} is not on this machine")
    return path


def _installed(package: str, program: str) -> str:
    """Return a program of a Python package, which is installed into an environment of its own where it is not yet."""
    home = ENVIRONMENTS / package
    path = home / "bin" / program
    if not path.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True, capture_output=True)
            pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
            subprocess.run([*pip, "install", package], check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            shutil.rmtree(home, ignore_errors=True)
            raise Missing(f"{package} cannot be installed: {str(error.stderr or error).strip()[-300:]}") from error
    return str(path)


if __name__ == "__main__":
    main()
