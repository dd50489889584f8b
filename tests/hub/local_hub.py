"""A small Hugging Face hub on loopback: real HTTP, the endpoints a client uses, and every way they go wrong.

Serves model information with file hashes, and file contents with ranges. Large files redirect to another path, as the
hub redirects to its content network. Takes uploads as the hub does: a repository is made, small files travel inside
the commit, large ones before it, each by its hash. Faults are asked for by path: broken transfers, statuses, damaged
bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 4096  # bytes from which a file is served as a large file (SHA-256, redirect)


@dataclass
class Repo:
    """A repository: revision -> path -> content; every state of the files has its commit."""

    revisions: dict[str, dict[str, bytes]]

    def commit(self, revision: str) -> str | None:
        if revision in self.revisions:
            content = json.dumps(sorted((p, digest(b)) for p, b in self.revisions[revision].items()))
            return hashlib.sha1(content.encode()).hexdigest()
        return next((revision for name in self.revisions if self.commit(name) == revision), None)

    def files(self, revision: str) -> dict[str, bytes]:
        return next(files for name, files in self.revisions.items() if revision in (name, self.commit(name)))


def digest(content: bytes) -> str:
    """SHA-256 of a large file, git's blob SHA-1 of a small one."""
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class LocalHub:
    """What the server holds, what it is to do wrong, and what it was asked.

    Attributes:
      cuts: path -> after how many bytes each of the next transfers is cut (one entry per transfer).
      statuses: path or repository -> the HTTP statuses of the next requests.
      damaged: paths whose next transfers have one wrong byte, and how many of them.
      ignore_ranges: answer 200 with the whole file to a range request.
      nonsense: answer questions about repositories with JSON that means something else.
      requests: (method, path, range header) of every request.
      tokens: token -> the users and organisations that it may write for.
      stored: large files that arrived, by SHA-256, committed or not.
      private: repositories that were made private.
      pull_requests: (repository, files) of each one that was opened.
    """

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)
    ignore_ranges: bool = False
    nonsense: bool = False
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    tokens: dict[str, tuple[str, ...]] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    pull_requests: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def transfers(self, path: str) -> list[str | None]:
        """The range header of every request for a file's content, in order."""
        return [
            header
            for method, asked, header in self.requests
            if method == "GET" and asked.startswith("/content/") and asked.endswith(f"/{path}")
        ]


@contextmanager
def serve(hub: LocalHub) -> Iterator[LocalHub]:
    """Runs the hub on a free port of loopback."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        parts = self._begin()
        content = self._content_sent()
        if parts == ["api", "validate-yaml"]:
            self._json({"errors": [], "warnings": []})
        elif parts == ["api", "repos", "create"]:
            fields = json.loads(content)
            self._create(f"{fields['organization']}/{fields['name']}", fields)
        elif parts[:2] == ["api", "models"] and self._may_write("/".join(parts[2:4])):
            name, what = "/".join(parts[2:4]), parts[4]
            self._preupload(json.loads(content)) if what == "preupload" else self._commit(name, content)
        elif parts[2:] == ["info", "lfs", "objects", "batch"]:
            self._batch(json.loads(content))
        elif parts[0] != "api":
            self._fail(404)

    def do_PUT(self) -> None:
        parts = self._begin()
        content = self._content_sent()
        status = self._planned_status("upload")
        if status is not None:
            self._fail(status)
        elif hashlib.sha256(content).hexdigest() != parts[1]:
            self._fail(400)
        else:
            self.hub.stored[parts[1]] = content
            self._send(200, b"", {})

    def _begin(self) -> list[str]:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, None))
        return path.strip("/").split("/")

    def _content_sent(self) -> bytes:
        """The request's body, in one piece or in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _may_write(self, name: str) -> bool:
        """Whether the token has the right; otherwise the refusal has been sent."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in self.hub.tokens:
            self._fail(401)
        elif name.partition("/")[0] not in self.hub.tokens[token] and "create_pr" not in urlsplit(self.path).query:
            self._fail(403)
        elif "/create" not in self.path and name not in self.hub.repos:
            self._fail(404, "RepoNotFound")
        else:
            return True
        return False

    def _create(self, name: str, fields: dict[str, object]) -> None:
        if not self._may_write(name):
            return
        if name in self.hub.repos:
            self._fail(409)
            return
        self.hub.repos[name] = Repo({"main": {}})
        if fields.get("visibility") == "private" or fields.get("private"):
            self.hub.private.add(name)
        self._json({"url": f"{self.hub.url}/{name}", "name": name})

    def _preupload(self, fields: dict[str, list[dict[str, object]]]) -> None:
        files = []
        for file in fields["files"]:
            mode = "lfs" if int(str(file["size"])) >= LARGE else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None})
        self._json({"files": files})

    def _batch(self, fields: dict[str, list[dict[str, object]]]) -> None:
        objects = []
        for file in fields["objects"]:
            actions = {"upload": {"href": f"{self.hub.url}/stored/{file['oid']}"}}
            objects.append({**file} if file["oid"] in self.hub.stored else {**file, "actions": actions})
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, content: bytes) -> None:
        status = self._planned_status("commit")
        if status is not None:
            self._fail(status)
            return
        files: dict[str, bytes] = {}
        for line in content.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                files[entry["value"]["path"]] = self.hub.stored[entry["value"]["oid"]]
        answer = {"commitUrl": f"{self.hub.url}/{name}/commit/{'0' * 40}", "commitOid": "0" * 40}
        if "create_pr" in parse_qs(urlsplit(self.path).query):
            self.hub.pull_requests.append((name, files))
            answer["pullRequestUrl"] = f"{self.hub.url}/{name}/discussions/{len(self.hub.pull_requests)}"
        else:
            self.hub.repos[name].revisions["main"] |= files
        self._json(answer)

    def _json(self, answer: dict[str, object]) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repo, revision = "/".join(parts[2:4]), "/".join(parts[5:]) or "main"
            self._info(repo, revision)
        elif parts[0] == "content":
            self._content("/".join(parts[1:3]), parts[3], "/".join(parts[4:]), body=body)
        elif parts[2:3] == ["resolve"]:
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]), body=body)
        else:
            self._fail(404)

    def _planned_status(self, key: str) -> int | None:
        planned = self.hub.statuses.get(key)
        return planned.pop(0) if planned else None

    def _info(self, name: str, revision: str) -> None:
        status = self._planned_status(name)
        repo = self.hub.repos.get(name)
        if status is not None:
            self._fail(status)
        elif self.hub.nonsense:
            self._send(200, b'{"hello": "world"}', {"Content-Type": "application/json"})
        elif repo is None:
            self._fail(401, "RepoNotFound")  # the real hub does not tell missing from private
        elif repo.commit(revision) is None:
            self._fail(404, "RevisionNotFound")
        else:
            siblings = [_sibling(path, content) for path, content in sorted(repo.files(revision).items())]
            fields = {"_id": "1", "id": name, "modelId": name, "sha": repo.commit(revision), "siblings": siblings}
            self._send(200, json.dumps(fields).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, path: str, *, body: bool) -> None:
        repo = self.hub.repos.get(name)
        if repo is None or repo.commit(revision) is None or path not in repo.files(revision):
            self._fail(404, "EntryNotFound")
            return
        content = repo.files(revision)[path]
        if len(content) >= LARGE:
            self._send(302, b"", {"Location": f"/content/{name}/{revision}/{path}"})
        else:
            self._content(name, revision, path, body=body)

    def _content(self, name: str, revision: str, path: str, *, body: bool) -> None:
        status = self._planned_status(path)
        if status is not None:
            self._fail(status)
            return
        content = self._damage(path, self.hub.repos[name].files(revision)[path])
        start = self._range_start(len(content))
        headers = {"ETag": f'"{digest(content)}"', "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cuts = self.hub.cuts.get(path)
        self._send(206 if start else 200, content[start:], headers, cut=cuts.pop(0) if cuts else None, body=body)

    def _range_start(self, size: int) -> int:
        header = self.headers.get("Range")
        if header is None or self.hub.ignore_ranges:
            return 0
        return min(int(header.removeprefix("bytes=").partition("-")[0]), size)

    def _damage(self, path: str, content: bytes) -> bytes:
        if not self.hub.damaged.get(path):
            return content
        self.hub.damaged[path] -= 1
        return bytes([content[0] ^ 1]) + content[1:]

    def _fail(self, status: int, code: str | None = None) -> None:
        self._send(status, b"{}", {"X-Error-Code": code} if code else {})

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], *, cut: int | None = None, body: bool = True
    ) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content if cut is None else content[:cut])
        if cut is not None:
            self.close_connection = True  # the client waits for the rest, and sees the connection end


def _sibling(path: str, content: bytes) -> dict[str, object]:
    fields: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
    if len(content) >= LARGE:
        fields["lfs"] = {"sha256": digest(content), "size": len(content), "pointerSize": 134}
    else:
        fields["blobId"] = digest(content)
    return fields
