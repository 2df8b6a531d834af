"""What a request carries: the address it goes to, the access key of its workspace, the headers and the body.

What must never happen here: a key of one workspace in a request to another, or one in an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import httpx

from reconciler import __version__
from reconciler.model import CredentialRefused, SettingsError

_KEY: Final = re.compile(r"[\x21-\x7e]+")


class Requests:
    """Builds requests to one API address."""

    def __init__(self, url: httpx.URL, key_for: Callable[[str], str], timeout: dict[str, float]) -> None:
        """Prepare to build.

        Args:
            url: the API's address; a path in it becomes a prefix.
            key_for: gives the access key of a workspace; asked for each request, so that a changed key is picked up.
            timeout: how long the transport waits, by the names that httpx has for it, in seconds.
        """
        self._base = url.copy_with(raw_path=url.raw_path.rstrip(b"/"))
        #: Host and port, as they stand in messages.
        self.place: Final = url.netloc.decode("ascii")
        self._key_for = key_for
        self._extensions = {"timeout": timeout}
        #: By workspace: the key, and by body the headers that carry it.
        self._headers: dict[str, tuple[str, dict[bytes, httpx.Headers]]] = {}

    def build(self, method: str, target: str, workspace_id: str, content: bytes) -> tuple[httpx.Request, str]:
        """Return a request, and the key that it carries.

        Args:
            method: of HTTP.
            target: path and query, without the prefix of the API address.
            workspace_id: whose key it carries.
            content: the body; empty for none.

        Raises:
            CredentialRefused: the workspace has no key that could be sent.
        """
        key, headers = self._authorized(workspace_id, content)
        return self._request(method, target, headers, content), key

    def _authorized(self, workspace_id: str, content: bytes) -> tuple[str, httpx.Headers]:
        """Return the workspace's key and the headers that carry it with such a body; they are built once for each."""
        try:
            key = self._key_for(workspace_id)
            _check_key(key, workspace_id)
        except SettingsError as error:
            # To whoever sends, a key that is missing is as good as one that is refused: leave the workspace alone.
            raise CredentialRefused(str(error), status=401, workspace_id=workspace_id) from error
        known = self._headers.get(workspace_id)
        if known is None or known[0] != key:
            known = self._headers[workspace_id] = (key, {})
        headers = known[1].get(content)
        if headers is None:
            headers = known[1][content] = self._build_headers(key, content)
        return key, headers

    def _build_headers(self, key: str, content: bytes) -> httpx.Headers:
        headers = {
            "Host": self.place,
            "Authorization": f"AccessKey {key}",
            "Accept": "application/json",
            # An encoded body could unfold to a thousand times its size; lists are small enough as they are.
            "Accept-Encoding": "identity",
            "User-Agent": f"reconciler/{__version__}",
        }
        if content:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        return httpx.Headers(headers, encoding="ascii")

    def _request(self, method: str, target: str, headers: httpx.Headers, content: bytes) -> httpx.Request:
        # A stream that is read at once, for `content` would have every header parsed and built anew: the fifteenth part
        # of what a PATCH costs.
        request = httpx.Request(
            method,
            _address(self._base, target),
            headers=headers,
            stream=httpx.ByteStream(content),
            extensions=self._extensions,
        )
        request.read()
        request.headers.encoding = headers.encoding
        return request


def _address(base: httpx.URL, target: str) -> httpx.URL:
    """Return the URL of a target without parsing it, which is a tenth of what a PATCH costs.

    What goes on the wire is looked at by the guard: should this ever build something else, nothing leaves.
    """
    path, mark, query = target.partition("?")
    url = httpx.URL(base)
    parts = base._uri_reference  # noqa: SLF001 - there is no public way to set a path that is known to be clean
    url._uri_reference = parts._replace(path=parts.path.rstrip("/") + path, query=query if mark else None)  # noqa: SLF001
    return url


def _check_key(key: str, workspace_id: str) -> None:
    if key.startswith("bk_"):
        raise SettingsError(
            f"the access key for workspace {workspace_id} begins with bk_: such keys belong to Bird's newer platform, "
            "which has another host and cannot change recordings; create an access key for api.bird.com"
        )
    if not _KEY.fullmatch(key):
        raise SettingsError(
            f"the access key for workspace {workspace_id} is empty, or holds a space, a line break or a character "
            "that no header can carry"
        )
