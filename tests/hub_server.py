"""A Hugging Face Hub on loopback, for the real client: the HTTP calls that `huggingface_hub` makes to push and to load.

    with HubServer() as hub:
        ...                                    # HF_ENDPOINT=hub.url, HF_TOKEN=hub.token, HF_HUB_DISABLE_XET=1
        hub.repos["tester/model"].files["README.md"]
    hub.fail("PUT /lfs/", "reset", times=2)    # the next two matching requests break: 500, 403, reset, slow, html, lose

Xet uploads, which the Hub uses by default, are not spoken here: the client falls back to LFS with HF_HUB_DISABLE_XET=1.
"""

import base64
import hashlib
import json
import os
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

OWNER = "tester"
LFS_SUFFIXES = (".safetensors", "tokenizer.json")


@dataclass
class Repo:
    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # commit -> path -> content, oldest first

    @property
    def head(self) -> str:
        return next(reversed(self.commits))

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.head]

    def commit(self, changes: dict[str, bytes]) -> str:
        files = {**(self.files if self.commits else {}), **changes}
        content = [(path, hashlib.sha1(data).hexdigest()) for path, data in sorted(files.items())]
        name = hashlib.sha1(f"{len(self.commits)} {content}".encode()).hexdigest()
        self.commits[name] = files
        return name


@dataclass
class Fault:
    prefix: str
    kind: str
    times: int
    after: int


class HubServer:
    """`requests` keeps `(method, path, body)` of every request; `tokens_in_headers` counts authenticated ones."""

    def __init__(self, token: str = "hf_secretsecretsecret"):
        self.token = token
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, bytes]] = []
        self.authenticated = 0
        self.faults: list[Fault] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home) -> dict[str, str]:
        """That of a process whose client knows this Hub and its token, and no other; its cache is in `home`."""
        own = {"HF_ENDPOINT": self.url, "HF_TOKEN": self.token, "HF_HOME": str(home)}
        return {**os.environ, **own, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}

    def fail(self, prefix: str, kind: str, times: int = 1, after: int = 0) -> None:
        """Breaks `times` requests that start with `prefix` ("PUT /lfs/"), leaving out the first `after` ones."""
        self.faults.append(Fault(prefix, kind, times, after))

    def add_repo(self, repo_id: str, files: dict[str, bytes], private: bool = False) -> Repo:
        repo = self.repos[repo_id] = Repo(private)
        repo.commit(files)
        return repo

    def seen(self, prefix: str) -> int:
        return sum(f"{method} {path}".startswith(prefix) for method, path, _ in self.requests)


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.handle_one("GET")

    def do_HEAD(self):
        self.handle_one("HEAD")

    def do_POST(self):
        self.handle_one("POST")

    def do_PUT(self):
        self.handle_one("PUT")

    def handle_one(self, method):
        path = unquote(urlsplit(self.path).path)
        fault = self.fault_for(f"{method} {path}")
        if fault == "reset":  # in the middle of the body
            self.rfile.read(min(64, int(self.headers.get("Content-Length", 0))))
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.requests.append((method, self.path, self.body))
        self.loses = fault == "lose"
        if fault == "slow":
            time.sleep(5)
        if fault == "html":
            self.answer(502, b"<html>bad gateway</html>", {"Content-Type": "text/html"})
        elif fault in ("500", "403", "429"):
            self.answer(int(fault), {"error": f"made to fail {fault}"})
        else:
            self.route(method, path)

    def fault_for(self, request):
        for fault in self.hub.faults:
            if request.startswith(fault.prefix) and fault.times > 0:
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return fault.kind
        return None

    def answer(self, status, content=None, headers=None):
        data = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def missing(self, code):
        self.answer(404, {"error": code}, {"X-Error-Code": code})

    def allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {self.hub.token}":
            self.hub.authenticated += 1
            return True
        return False

    def route(self, method, path):
        parts = path.strip("/").split("/")
        if path == "/api/whoami-v2":
            return self.answer(200, {"name": OWNER, "type": "user"}) if self.allowed() else self.answer(401)
        if path == "/api/validate-yaml":
            return self.validate_yaml()
        if path.startswith("/lfs/"):
            return self.lfs_object(method, parts)
        if path == "/api/repos/create":
            return self.create()
        if parts[:2] == ["api", "models"]:
            repo_id, rest = "/".join(parts[2:4]), parts[4:]
        elif ".git/info/lfs" in path:
            repo_id, rest = path.split(".git/")[0].strip("/"), ["lfs-batch"]
        else:
            repo_id, rest = "/".join(parts[:2]), parts[2:]
        repo = self.hub.repos.get(repo_id)
        writes = method == "POST" and rest[:1] != ["paths-info"]
        if repo is None or ((repo.private or writes) and not self.allowed()):
            return self.missing("RepoNotFound") if repo is None else self.answer(401, {"error": "Unauthorized"})
        return self.in_repo(repo_id, repo, rest)

    def create(self):
        if not self.allowed():
            return self.answer(401, {"error": "Unauthorized"})
        wanted = json.loads(self.body)
        repo_id = f"{wanted['organization'] or OWNER}/{wanted['name']}"
        known = repo_id in self.hub.repos
        if not known:
            self.hub.add_repo(
                repo_id, {".gitattributes": b"*.safetensors filter=lfs\n"}, wanted["visibility"] == "private"
            )
        return self.answer(409 if known else 200, {"url": f"{self.hub.url}/{repo_id}"})

    def validate_yaml(self):
        content = json.loads(self.body)["content"]
        header = yaml.safe_load(content.split("---")[1]) if content.startswith("---") else None
        errors = [] if isinstance(header, dict) else [{"message": "no metadata"}]
        return self.answer(400 if errors else 200, {"errors": errors, "warnings": []})

    def lfs_object(self, method, parts):
        if parts[1] == "verify":
            known = json.loads(self.body)["oid"] in self.hub.objects
            return self.answer(200 if known else 404)
        if hashlib.sha256(self.body).hexdigest() != parts[1]:
            return self.answer(400, {"error": "content does not have this hash"})
        self.hub.objects[parts[1]] = self.body
        return self.answer(200)

    def in_repo(self, repo_id, repo, rest):
        action = rest[0] if rest else "revision"
        if action == "lfs-batch":
            return self.lfs_batch()
        if action == "commit":
            return self.commit(repo_id, repo)
        revision = rest[1] if len(rest) > 1 else "main"
        commit = repo.head if revision == "main" else revision
        if commit not in repo.commits:
            return self.missing("RevisionNotFound")
        files = repo.commits[commit]
        if action == "preupload":
            return self.preupload(files)
        if action == "revision":
            siblings = [{"rfilename": name} for name in files]
            return self.answer(200, {"id": repo_id, "sha": commit, "private": repo.private, "siblings": siblings})
        if action == "paths-info":
            return self.answer(
                200, [describe(p, files[p]) for p in parse_qs(self.body.decode())["paths"] if p in files]
            )
        if action == "tree":
            return self.answer(200, [describe(name, data) for name, data in files.items()])
        name = "/".join(rest[2:])
        if name not in files:
            return self.missing("EntryNotFound")
        etag = hashlib.sha1(files[name]).hexdigest()
        return self.answer(
            200, files[name], {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Content-Type": "text/plain"}
        )

    def preupload(self, files):
        asked = json.loads(self.body)["files"]
        answer = []
        for file in asked:
            known = files.get(file["path"])
            lfs = file["path"].endswith(LFS_SUFFIXES)
            oid = None if known is None else hashlib.sha256(known).hexdigest() if lfs else blob_id(known)
            answer.append({"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "oid": oid})
        return self.answer(200, {"files": [{**file, "shouldIgnore": False} for file in answer]})

    def lfs_batch(self):
        objects = []
        for entry in json.loads(self.body)["objects"]:
            if entry["oid"] not in self.hub.objects:
                entry["actions"] = {
                    "upload": {"href": f"{self.hub.url}/lfs/{entry['oid']}"},
                    "verify": {"href": f"{self.hub.url}/lfs/verify"},
                }
            objects.append(entry)
        return self.answer(200, {"transfer": "basic", "objects": objects})

    def commit(self, repo_id, repo):
        changes = {}
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    return self.answer(400, {"error": f"{value['path']} was never uploaded"})
                changes[value["path"]] = self.hub.objects[value["oid"]]
        if self.loses:
            changes.pop("adapter_model.safetensors", None)
        name = repo.commit(changes)
        return self.answer(
            200, {"success": True, "commitUrl": f"{self.hub.url}/{repo_id}/commit/{name}", "commitOid": name}
        )


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def describe(path: str, data: bytes) -> dict:
    info = {"type": "file", "path": path, "size": len(data), "oid": blob_id(data)}
    if path.endswith(LFS_SUFFIXES):
        info["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return info
