"""A repository behind TLS that asks for a token: it is given to that server alone, and can be read nowhere else.

The server is git's own http-backend behind a socket of the test, with a certificate made on the spot. Processes, logs,
answers and files are searched for the token.
"""

from __future__ import annotations

import base64
import http.server
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

import pytest

from tests.world.git import run_git
from tests.world.git_scene import GitScene
from tests.world.started import eventually

TOKEN = "ghp_0123456789abcdefTOKEN"
USER = "deploy-user"
BACKEND = Path(subprocess.check_output(["git", "--exec-path"], text=True).strip()) / "git-http-backend"

pytestmark = pytest.mark.skipif(
    not BACKEND.exists() or shutil.which("openssl") is None, reason="needs git-http-backend and openssl"
)


@dataclass
class Host:
    """A Git host on loopback."""

    url: str = ""
    #: What was said in `Authorization`, decoded, by each request; None where nothing was.
    heard: list[str | None] = field(default_factory=list)
    #: Where requests are sent on to, in place of an answer.
    elsewhere: str = ""
    #: Set it to let answers go; clear it to hold them.
    go: threading.Event = field(default_factory=threading.Event)
    token: str = TOKEN


def backend(root: Path, method: str, target: str, headers: Message, body: bytes) -> bytes:
    """Return what git's own server answers, as CGI does."""
    path, _, query = target.partition("?")
    ours = {
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_METHOD": method,
        "CONTENT_TYPE": headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": headers.get("Git-Protocol", ""),
        "REMOTE_USER": "somebody",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run([str(BACKEND)], input=body, capture_output=True, check=False, env={**kept, **ours})
    return done.stdout


@contextmanager
def serving(root: Path, certificate: Path) -> Iterator[Host]:
    host = Host()
    host.go.set()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            said = self.headers.get("Authorization")
            heard = None if said is None else base64.b64decode(said.partition(" ")[2]).decode()
            host.heard.append(heard)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if host.elsewhere:
                self.answer(302, {"Location": host.elsewhere + self.path})
            elif heard is None or heard.partition(":")[2] != host.token:
                self.answer(401, {"WWW-Authenticate": 'Basic realm="git"'})
            else:
                host.go.wait(60)
                head, _, content = backend(root, self.command, self.path, self.headers, body).partition(b"\r\n\r\n")
                lines = (line.partition(": ") for line in head.decode().splitlines())
                self.answer(200, {name: value for name, _, value in lines}, content)

        do_POST = do_GET  # noqa: N815 - the name that the server asks for

        def answer(self, status: int, headers: Mapping[str, str], content: bytes = b"") -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    host.url = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.go.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tls") / "host.pem"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    key = (
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        str(made.with_suffix(".key")),
    )
    subprocess.run(
        ["openssl", "req", "-x509", *key, "-out", str(made), "-days", "2", *names], check=True, capture_output=True
    )
    return made


@pytest.fixture
def world(world: GitScene, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> GitScene:
    monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
    (world.team.folder / "token").write_text(TOKEN + "\n")
    return world


@pytest.fixture
def host(world: GitScene, certificate: Path) -> Iterator[Host]:
    with serving(world.team.folder, certificate) as host:
        yield host


def command_lines() -> bytes:
    """Return what any user of the machine can read of all processes."""
    found = b""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found += (process / "cmdline").read_bytes() + b"\n"
        except OSError:
            continue
    return found


def search_files(folder: Path) -> list[Path]:
    """Return the files that hold the token, beside its own."""
    return [
        file
        for file in folder.rglob("*")
        if file.is_file() and file.name != "token" and TOKEN.encode() in file.read_bytes()
    ]


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads command lines under /proc")
def test_a_token_from_a_file_reaches_the_host_and_can_be_read_nowhere_else(world: GitScene, host: Host) -> None:
    one, other = world.recordings(2)
    world.team.publish({"docs/one.yaml": one.document("paused")})
    url = host.url.replace("https://", f"https://{USER}@") + "/remote.git"
    source = ("--git", url, "--git-token-file", str(world.team.folder / "token"))
    with world.daemon(*source) as daemon:
        daemon.wait_for("applied", name=one.name)
        assert set(host.heard) == {None, f"{USER}:{TOKEN}"}
        # While a fetch waits, with all its processes.
        host.go.clear()
        before = len(host.heard)
        eventually(lambda: len(host.heard) > before and host.heard[-1] is not None)
        lines = command_lines()
        assert b"\0fetch\0" in lines
        assert TOKEN.encode() not in lines
        assert USER.encode() not in lines.replace(url.encode(), b"")
        host.go.set()
        # A token that is refused, and then one that is replaced without a start.
        host.token = "another-token-altogether"
        daemon.wait_for("source_unreachable")
        (world.team.folder / "token").write_text(host.token)
        daemon.wait_for("source_reachable_again")
        world.team.publish({"docs/other.yaml": other.document("paused")})
        daemon.wait_for("applied", name=other.name)
        assert TOKEN not in daemon.log.read_text()
        assert USER not in daemon.log.read_text()
    assert search_files(world.team.folder) == []
    assert world.history(other)


def test_a_redirect_to_another_host_does_not_get_the_token(world: GitScene, host: Host, certificate: Path) -> None:
    world.team.publish({"docs/one.yaml": ""})
    with serving(world.team.folder, certificate) as other:
        host.elsewhere = other.url
        done = world.run("--git", f"{host.url}/remote.git", "--git-token-file", str(world.team.folder / "token"))
        assert done.returncode == 1
        assert other.heard
        assert set(other.heard) == {None}
        assert TOKEN not in done.stderr


def test_the_users_own_helper_is_asked_where_no_token_file_is_named(world: GitScene, host: Host) -> None:
    (one,) = world.recordings(1)
    world.team.publish({"docs/one.yaml": one.document("paused")})
    store = world.team.folder / "home" / "credentials"
    store.write_text(host.url.replace("https://", f"https://{USER}:{TOKEN}@") + "\n")
    run_git(world.team.folder, "config", "--global", "credential.helper", f"store --file {store}")
    assert world.run("--git", f"{host.url}/remote.git", "--once").returncode == 0
    assert world.patches(one) == [["paused"]]
    assert f"{USER}:{TOKEN}" in host.heard
    # A named file goes before it, and a wrong one is not made good by what else the user has.
    (world.team.folder / "token").write_text("wrong-token-of-the-file")
    host.heard.clear()
    fresh = ("--state", f"sqlite:///{world.team.folder}/fresh/state.db")
    done = world.run(*("--git", f"{host.url}/remote.git", "--git-token-file", str(world.team.folder / "token"), *fresh))
    assert done.returncode == 1
    assert set(host.heard) == {None, "x-access-token:wrong-token-of-the-file"}
    assert "wrong-token" not in done.stderr
    assert store.read_text().count(TOKEN) == 1


def test_a_host_that_asks_where_nobody_answers_is_said_without_the_user(world: GitScene, host: Host) -> None:
    world.team.publish({"docs/one.yaml": ""})
    done = world.run("--git", host.url.replace("https://", f"https://{TOKEN}@") + "/remote.git")
    assert done.returncode == 1
    assert "terminal prompts disabled" in done.stderr
    assert TOKEN not in done.stderr


def test_a_password_in_the_address_is_refused_and_not_repeated(world: GitScene) -> None:
    done = world.run("--git", f"https://{USER}:{TOKEN}@git.example/team/repo.git")
    assert done.returncode == 1
    assert "--git-token-file" in done.stderr
    assert TOKEN not in done.stderr
    assert USER not in done.stderr
    assert search_files(world.team.folder) == []


@pytest.mark.parametrize("content", [None, "", "short"])
def test_a_token_file_without_a_token_is_an_error_of_the_settings(world: GitScene, content: str | None) -> None:
    file = world.team.folder / "token"
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    done = world.run("--git", "https://git.example/team/repo.git", "--git-token-file", str(file))
    assert done.returncode == 1
    assert "git_token_file: " in done.stderr


def test_a_token_is_for_https_alone(world: GitScene) -> None:
    done = world.run("--git-token-file", str(world.team.folder / "token"))
    assert done.returncode == 1
    assert "git_token_file: a token is for an https:// address" in done.stderr
