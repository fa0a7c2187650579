"""A Hub on loopback: a real HTTP server that answers the real client, well or badly, as a test asks for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers import Server

TOKEN = "hf_right"

_API = re.compile(
    r"/api/(models/|(?P<kind>datasets/))(?P<name>[^/]+/[^/]+)/(?P<question>auth-check|paths-info|tree|xet-read-token)"
    r"(/(?P<revision>[^/]+))?(/(?P<folder>.+))?"
)
_CONTENT = re.compile(
    r"/(?P<place>cdn/)?(?P<repository>(datasets/)?[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"
)
_ENTRIES_A_PAGE = 2


@dataclass
class Hub:
    """What the server has, how it behaves, and what it was asked.

    files: "org/name/path", of a data set "datasets/org/name/path", to content.
    large: those kept by LFS: named by SHA-256 and served from another place.
    gated: repositories that want `TOKEN`. refuses: repository to the status of every answer about it.
    cuts: path to the numbers of bytes after which its next answers break off.
    stalls: path to the numbers of bytes after which its next answers say nothing for `stall_s`.
    lies: path to content to send instead, once each.
    only_in: path to the one revision that has it; all have the others. gone: "repository@revision" that is not there.
    strays: path in a folder of a repository to the name that a list of the folder gives it.
    busy: path to answers of status 429 still to give. ignores_ranges: everything is sent from the first byte on.
    raw: part of an address to the status, headers and body that are sent to whoever asks for it, whatever they are.
    then: as `raw`, for questions about the rest of a file.
    xet: path to what the store of chunks calls the content; the store is at `xet_store`.
    commit: what every revision is called in full.
    is_mirror: it cannot tell who has access to what.
    chunk_bytes, pause_s: how slowly content is sent.
    """

    files: dict[str, bytes]
    large: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    refuses: dict[str, int] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    stalls: dict[str, list[int]] = field(default_factory=dict)
    lies: dict[str, list[bytes]] = field(default_factory=dict)
    only_in: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    strays: dict[str, str] = field(default_factory=dict)
    busy: dict[str, int] = field(default_factory=dict)
    raw: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    then: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    xet: dict[str, str] = field(default_factory=dict)
    xet_store: str = ""
    commit: str = "0123456789" * 4
    ignores_ranges: bool = False
    is_mirror: bool = False
    chunk_bytes: int = 1 << 16
    pause_s: float = 0.0
    stall_s: float = 2.0
    sent: dict[str, int] = field(default_factory=dict)
    """Path to bytes of content that were sent."""
    ranges: list[str] = field(default_factory=list)
    """Ranges that were asked for."""
    told: list[str] = field(default_factory=list)
    """Logins that were shown to the place that content is served from."""
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def has(self, path: str, revision: str) -> bool:
        """Whether there is such a file at a revision."""
        return path in self.files and self.only_in.get(path, revision) == revision

    def count(self, path: str, num_bytes: int) -> None:
        """Remember what was sent."""
        with self._lock:
            self.sent[path] = self.sent.get(path, 0) + num_bytes


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Run the server; `hub.url` is its address."""

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = Server(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        """What the Hub's own client asks before it fetches."""
        found = _CONTENT.fullmatch(self.path)
        if found is None or f"{found['repository']}/{found['path']}" not in self.hub.files:
            self._refuse(404, code="EntryNotFound")
            return
        facts: dict[str, Any] = self._facts(found["repository"], found["path"])
        self.send_response(200)
        self.send_header("ETag", f'"{facts.get("lfs", facts)["oid"]}"')
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("Content-Length", str(facts["size"]))
        self.end_headers()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        special = self.hub.then if "Range" in self.headers else self.hub.raw
        raw = next((answer for part, answer in special.items() if part in self.path), None)
        if raw is not None:
            self._send_raw(*raw)
        elif self.path == "/api/whoami-v2":
            known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            self._send(b'{"name": "tester"}', 200 if known else 401)
        elif found := _API.fullmatch(urlsplit(self.path).path):
            repository = f"{found['kind'] or ''}{found['name']}"
            if not self._allowed(repository):
                return
            if f"{repository}@{found['revision']}" in self.hub.gone:
                self._refuse(404, code="RevisionNotFound")
            elif found["question"] == "tree":
                self._tree(repository, unquote(found["folder"]))
            else:
                self._api(repository, found["question"], found["revision"], body)
        elif found := _CONTENT.fullmatch(self.path):
            if found["place"] and "Authorization" in self.headers:
                self.hub.told.append(self.headers["Authorization"])
            # the other place knows no repositories and no logins: its address is the permission
            if found["place"] or self._allowed(found["repository"]):
                path = f"{found['repository']}/{found['path']}"
                self._content(path, found["revision"], in_place=bool(found["place"]))
        else:
            self._refuse(404)

    def _allowed(self, repository: str) -> bool:
        authorization = self.headers.get("Authorization")
        known = any(path.startswith(f"{repository}/") for path in self.hub.files)
        if repository in self.hub.refuses:
            self._refuse(self.hub.refuses[repository])
        elif authorization not in (None, f"Bearer {TOKEN}"):
            self._refuse(401, message="Invalid credentials in Authorization header")
        elif not known:
            self._refuse(404 if authorization else 401, code="RepoNotFound")
        elif repository in self.hub.gated and not authorization:
            self._refuse(403, code="GatedRepo", message=f"Access to model {repository} is restricted.")
        else:
            return True
        return False

    def _api(self, repository: str, question: str, revision: str, body: str) -> None:
        if question == "xet-read-token":
            token = {"casUrl": self.hub.xet_store, "exp": int(time.time()) + 3600, "accessToken": "chunks"}
            self._send(json.dumps(token).encode())
            return
        if question == "auth-check":
            self._send(b"{}", 404 if self.hub.is_mirror else 200)
            return
        names = [name for name in parse_qs(body)["paths"] if self.hub.has(f"{repository}/{name}", revision)]
        self._send(json.dumps([self._facts(repository, name) for name in names]).encode())

    def _tree(self, repository: str, folder: str) -> None:
        """Everything in a folder and the folders in it, a page at a time."""
        begin = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        paths = [path for path in self.hub.files if path.startswith(f"{repository}/{folder}/")]
        entries: list[dict[str, object]] = [self._facts(repository, path[len(repository) + 1 :]) for path in paths]
        inner = {path.rpartition("/")[0][len(repository) + 1 :] for path in paths} - {folder}
        entries += [{"type": "directory", "path": name, "oid": "0" * 40} for name in sorted(inner)]
        if not entries:
            self._refuse(404, code="EntryNotFound")
            return
        end = begin + _ENTRIES_A_PAGE
        address = f"{self.hub.url}{urlsplit(self.path).path}?recursive=true&cursor={end}"
        more = {"Link": f'<{address}>; rel="next"'} if end < len(entries) else {}
        self._send(json.dumps(entries[begin:end]).encode(), headers=more)

    def _facts(self, repository: str, name: str) -> dict[str, object]:
        path = f"{repository}/{name}"
        content = self.hub.files[path]
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        facts = {"type": "file", "path": self.hub.strays.get(path, name), "size": len(content), "oid": git}
        if path in self.hub.large:
            sha256 = hashlib.sha256(content).hexdigest()
            facts["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
        if path in self.hub.xet:
            facts["xetHash"] = self.hub.xet[path]
        return facts

    def _content(self, path: str, revision: str, *, in_place: bool) -> None:
        hub = self.hub
        if not hub.has(path, revision):
            self._refuse(404, code="EntryNotFound")
        elif hub.busy.get(path):
            hub.busy[path] -= 1
            self._refuse(429, headers={"Retry-After": "0"})
        elif path in hub.large and not in_place:
            # the same server by another name is another place to the client
            self._send(b"", 302, {"Location": f"{hub.url.replace('127.0.0.1', 'localhost')}/cdn{self.path}"})
        else:
            lies = hub.lies.get(path)
            self._stream(path, lies.pop(0) if lies else hub.files[path])

    def _stream(self, path: str, content: bytes) -> None:
        hub = self.hub
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = 0
        if wanted:
            hub.ranges.append(f"{path} {wanted[1]}")
            begin = 0 if hub.ignores_ranges else int(wanted[1])
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        cuts, stalls = hub.cuts.get(path), hub.stalls.get(path)
        stall = begin + stalls.pop(0) if stalls else len(content) + 1
        end = begin + cuts.pop(0) if cuts else len(content)
        with contextlib.suppress(ConnectionError):
            for start in range(begin, min(end, len(content)), hub.chunk_bytes):
                chunk = content[start : min(start + hub.chunk_bytes, end)]
                self.wfile.write(chunk)
                hub.count(path, len(chunk))
                time.sleep(hub.pause_s)
                if start + len(chunk) >= stall:
                    time.sleep(hub.stall_s)
                    break
        if min(end, stall) < len(content):
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def _send_raw(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)
        self.close_connection = True

    def _refuse(self, status: int, *, code: str = "", message: str = "", headers: dict[str, str] | None = None) -> None:
        known = {"X-Error-Code": code, "X-Error-Message": message}
        headers = {**(headers or {}), **{name: text for name, text in known.items() if text}}
        self._send(json.dumps({"error": message or code}).encode(), status, headers)

    def _send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
