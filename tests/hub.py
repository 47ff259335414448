"""A hub of our own on loopback that speaks the Hugging Face hub's HTTP API, for huggingface_hub's real client. Not a test file.

    with Hub([Repo("someone/tiny", folder, pipeline_tag="text-classification", card={"license": "mit"})]) as hub:
        hub.use(monkeypatch, tmp_path)                    # this process; or subprocess.run(..., env=hub.environment(tmp_path))
        hub.fault("resolve/.*/model.safetensors", cut=1000)  # the next answers to such a path go wrong
    hub.asked                                              # what came in, in order

It answers what a client of models asks: the list (search, author, filter, pipeline_tag, gated, num_parameters, sort, limit, expand, full, cardData, config; pages by a Link header),
model info at a revision (siblings, blobs, safetensors, gated), the tree (recursive, pages), refs, auth-check and whoami; files by resolve: small ones through the relative redirect to
resolve-cache, large ones (LFS) through an absolute one to another host, which refuses a request that still bears a token; ETag, X-Linked-Etag, X-Linked-Size, X-Repo-Commit; ranges."""

import base64
import hashlib
import json
import os
import re
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit

TOKEN = "hf_aSecretThatMustNeverBeShownAnywhere"  # the one the hub takes; it may read every repository but those `closed_to` it
PAGE = 1000  # the most a page of the list holds, as on the hub


@dataclass
class Repo:
    """A model of the hub: its files now, and what the hub knows of it."""

    id: str  # owner/name
    files: dict[str, bytes] | Path = field(default_factory=dict)  # path → content, or a folder to read them from
    history: tuple[dict[str, bytes], ...] = ()  # older commits, oldest first; each a whole set of files
    refs: dict[str, int] = field(default_factory=dict)  # tag or branch → place in the history (-1 the newest); `main` is always there
    pipeline_tag: str | None = None
    library_name: str | None = "transformers"
    tags: tuple[str, ...] = ()  # beside those that follow from the card, the library and the task
    card: dict = field(default_factory=dict)  # the front matter of README.md
    downloads: int = 0
    likes: int = 0
    trending: float = 0
    updated: str = "2026-01-01T00:00:00.000Z"
    gated: str | bool = False  # False, "auto" or "manual"
    closed_to_token: bool = False  # gated or private, and even TOKEN may not read it
    private: bool = False
    disabled: bool = False
    parameters: dict[str, int] | None = None  # dtype → count; read from the safetensors headers where `None`
    lfs_from: int = 4096  # bytes; a weights file counts as large from here on, and so is kept elsewhere

    def __post_init__(self):
        if isinstance(self.files, Path):
            self.files = {str(f.relative_to(self.files)): f.read_bytes() for f in sorted(self.files.rglob("*")) if f.is_file()}
        if self.parameters is None:
            counts = Counter()
            for name, body in self.files.items():
                if name.endswith(".safetensors"): counts.update(_parameters(body))
            self.parameters = dict(counts) or None

    def commits(self) -> list[tuple[str, dict[str, bytes]]]:
        """(sha, files), oldest first; the sha follows from the content."""
        found = []
        for place, files in enumerate((*self.history, self.files)):
            digest = hashlib.sha1(f"{self.id} {place}".encode())
            for name in sorted(files): digest.update(name.encode() + files[name])
            found.append((digest.hexdigest(), files))
        return found

    @property
    def sha(self) -> str: return self.commits()[-1][0]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit a branch, a tag, `refs/…` or a (short) sha means."""
        commits = self.commits()
        if revision in ("main", "refs/heads/main"): return commits[-1]
        if revision in self.refs: return commits[self.refs[revision]]
        return next((c for c in commits if len(revision) >= 7 and c[0].startswith(revision)), None)

    def is_large(self, name: str, body: bytes) -> bool: return len(body) >= self.lfs_from and name.endswith((".safetensors", ".bin", ".gguf", ".h5", ".onnx", ".pt"))

    def all_tags(self) -> list[str]:
        def many(value): return [] if value is None else [value] if isinstance(value, str) else list(value)
        base = [f"base_model:{b}" for b in many(self.card.get("base_model"))]
        licence = [f"license:{text}" for text in many(self.card.get("license"))]
        formats = ["safetensors"] if any(n.endswith(".safetensors") for n in self.files) else []
        return [t for t in dict.fromkeys([*many(self.library_name), *formats, *many(self._config().get("model_type")), *many(self.pipeline_tag), *self.tags,
                                          *many(self.card.get("tags")), *many(self.card.get("language")), *base, *licence, "region:us"]) if t]

    def _config(self) -> dict:
        try: config = json.loads(self.files["config.json"])
        except (KeyError, ValueError): return {}
        return {k: config[k] for k in ("architectures", "model_type", "auto_map") if k in config} if isinstance(config, dict) else {}

    def safetensors(self) -> dict | None: return {"parameters": self.parameters, "total": sum(self.parameters.values())} if self.parameters else None

    def info(self, sha: str, files: dict[str, bytes], blobs: bool) -> dict:
        """Model info, as `GET /api/models/<id>` gives it."""
        def sibling(name: str) -> dict:
            if not blobs: return {"rfilename": name}
            entry = self.entry(name, files[name])
            lfs = {"lfs": {"sha256": entry["lfs"]["oid"], "size": entry["size"], "pointerSize": entry["lfs"]["pointerSize"]}} if "lfs" in entry else {}
            return {"rfilename": name, "size": entry["size"], "blobId": entry["oid"], **lfs}
        known = {"_id": hashlib.md5(self.id.encode()).hexdigest()[:24], "id": self.id, "modelId": self.id, "author": self.id.split("/")[0], "sha": sha, "lastModified": self.updated,
                 "createdAt": "2022-03-02T23:29:04.000Z", "private": self.private, "gated": self.gated, "disabled": self.disabled, "downloads": self.downloads, "likes": self.likes,
                 "trendingScore": self.trending, "tags": self.all_tags(), "pipeline_tag": self.pipeline_tag, "library_name": self.library_name, "config": self._config(),
                 "cardData": self.card, "siblings": [sibling(name) for name in files], "spaces": [], "safetensors": self.safetensors(),
                 "usedStorage": sum(map(len, files.values())), "model-index": None}
        return {k: v for k, v in known.items() if v is not None}

    def entry(self, name: str, body: bytes) -> dict:
        """A file of the tree."""
        oid = _git_oid(body)
        if not self.is_large(name, body): return {"type": "file", "oid": oid, "size": len(body), "path": name}
        sha = hashlib.sha256(body).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(body)}\n".encode()
        return {"type": "file", "oid": _git_oid(pointer), "size": len(body), "path": name, "lfs": {"oid": sha, "size": len(body), "pointerSize": len(pointer)}}


def _git_oid(body: bytes) -> str: return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def _parameters(body: bytes) -> Counter:
    """Elements per dtype in a safetensors file; none where it is no such file."""
    counts = Counter()
    try:
        length = struct.unpack("<Q", body[:8])[0]
        for name, tensor in json.loads(body[8:8 + length]).items():
            if name == "__metadata__": continue
            size = 1
            for side in tensor["shape"]: size *= side
            counts[tensor["dtype"]] += size
    except (struct.error, ValueError, KeyError, TypeError): pass
    return counts


@dataclass
class Fault:
    """What goes wrong with the answers to matching requests."""

    pattern: str  # searched in the path and query
    status: int | None = None  # answer with this one
    code: str | None = None  # X-Error-Code beside it
    retry_after: int | None = None  # seconds, beside 429 or 503
    cut: int | None = None  # bytes of a body (not of a HEAD) after which the connection breaks
    drop: bool = False  # close the connection without a word
    delay: float = 0  # seconds before the answer
    pace: float | None = None  # bytes a second of the body
    corrupt: bool = False  # the body's first byte is another one
    times: int | None = 1  # how often, `None` always
    method: str | None = None  # GET or HEAD only


@dataclass(frozen=True)
class Asked:
    """A request that came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case
    to: str  # hub or cdn

    @property
    def token(self) -> str | None: return self.headers.get("authorization", "").removeprefix("Bearer ") or None


class Hub:
    """The server; `repos` by id may be changed while it runs."""

    def __init__(self, repos=(), *, page: int = PAGE):
        self.repos: dict[str, Repo] = {}
        for repo in repos: self.add(repo)
        self.page, self.faults, self.asked, self._lock = page, [], [], threading.Lock()
        self.stop = threading.Event()  # frees answers that are slow on purpose

    def add(self, repo: Repo) -> Repo:
        self.repos[repo.id] = repo
        return repo

    def __enter__(self) -> "Hub":
        class Server(ThreadingHTTPServer):
            daemon_threads, hub, request_queue_size = True, self, 64
            def handle_error(self, request, address): pass  # a client that went away is no error here
        self._server = Server(("127.0.0.1", 0), _Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.stop.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str: return f"http://127.0.0.1:{self.port}"

    @property
    def cdn(self) -> str: return f"http://localhost:{self.port}"  # another host as far as a client can see

    def fault(self, pattern: str = "", **how) -> Fault:
        """From now on, requests that match `pattern` fare so; see `Fault`."""
        fault = Fault(pattern, **how)
        with self._lock: self.faults.append(fault)
        return fault

    def heal(self) -> None:
        """No faults any more."""
        with self._lock: self.faults.clear()

    def _fault_for(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if (fault.times is None or fault.times > 0) and fault.method in (None, method) and re.search(fault.pattern, path):
                    if fault.times is not None: fault.times -= 1
                    return fault
        return None

    def paths(self, method: str = "GET") -> list[str]: return [a.path for a in self.asked if a.method == method]

    def environment(self, home: Path, token: str | None = None, **more: str) -> dict[str, str]:
        """os.environ for a process whose hub this is; its cache lies in `home`."""
        kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("HF_", "HUGGING", "TRANSFORMERS_OFFLINE")) and "PROXY" not in k.upper()}
        signed = {"HF_TOKEN": token} if token else {}
        return kept | {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1,localhost", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **signed, **more}

    def use(self, monkeypatch, home: Path, token: str | None = None) -> "Hub":
        """This process's huggingface_hub asks here, and keeps its cache and its token store in `home`; pytest's monkeypatch takes it back."""
        point_at(monkeypatch, self.url, home, token)
        return self


def point_at(monkeypatch, url: str, home: Path, token: str | None = None) -> None:
    """Points this process's huggingface_hub at `url`, also one that nobody listens on."""
    from huggingface_hub import constants, hf_api

    changes = {"ENDPOINT": url, "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}", "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True, "HF_HUB_CACHE": str(home / "hub"),
               "HF_HOME": str(home), "HF_TOKEN_PATH": str(home / "token"), "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"), "HF_HUB_DISABLE_TELEMETRY": True}
    for name, value in changes.items(): monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(hf_api.api, "endpoint", url)
    for name in [k for k in os.environ if "PROXY" in k.upper()]: monkeypatch.delenv(name)
    for name in ("NO_PROXY", "no_proxy"): monkeypatch.setenv(name, "127.0.0.1,localhost")
    for name in ("HUGGING_FACE_HUB_TOKEN", "HF_TOKEN"): monkeypatch.delenv(name, raising=False)
    if token: monkeypatch.setenv("HF_TOKEN", token)


def _is(query: dict, name: str) -> bool: return query.get(name, ["false"])[-1].lower() in ("true", "1")


def _count(text: str) -> float:
    """6B → 6e9."""
    units = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
    return float(text[:-1]) * units[text[-1].upper()] if text[-1].upper() in units else float(text)


def _matches(repo: Repo, query: dict[str, list[str]]) -> bool:
    """Whether the list shows this repository for these parameters."""
    search, author = (query.get(n, [""])[-1].lower() for n in ("search", "author"))
    tags = {t.lower() for t in repo.all_tags()}
    wanted = [part.strip().lower() for value in query.get("filter", []) for part in value.split(",")]
    if search not in repo.id.lower() or (author and repo.id.lower().split("/")[0] != author) or not tags.issuperset(wanted): return False
    if "pipeline_tag" in query and repo.pipeline_tag != query["pipeline_tag"][-1]: return False
    if "gated" in query and bool(repo.gated) != _is(query, "gated"): return False
    if "num_parameters" in query:
        total = (repo.safetensors() or {}).get("total")
        bounds = dict(part.split(":") for part in query["num_parameters"][-1].split(","))
        if total is None or not _count(bounds.get("min", "0")) <= total <= _count(bounds.get("max", "1e30")): return False
    return True


_SORTS = {"downloads": lambda r: r.downloads, "likes": lambda r: r.likes, "trendingScore": lambda r: r.trending, "lastModified": lambda r: r.updated, "createdAt": lambda r: r.updated}
_ALWAYS = ("_id", "id", "modelId", "likes", "trendingScore", "private", "downloads", "tags", "pipeline_tag", "library_name", "createdAt")
_FULL = ("author", "gated", "disabled", "lastModified", "sha", "siblings")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub = property(lambda self: self.server.hub)

    def log_message(self, *args): pass

    def do_GET(self):
        split = urlsplit(self.path)
        self.query, path = parse_qs(split.query), unquote(split.path)
        headers = {k.lower(): v for k, v in self.headers.items()}
        to = "cdn" if self.headers.get("Host", "").startswith("localhost") else "hub"
        self.asked = Asked(self.command, path, self.query, headers, to)
        self.hub.asked.append(self.asked)
        self.fault = self.hub._fault_for(self.command, self.path) or Fault("", times=0)
        if self.fault.delay: self.hub.stop.wait(self.fault.delay)
        if self.fault.drop: return self._hang_up()
        if self.fault.status:
            after = {} if self.fault.retry_after is None else {"Retry-After": str(self.fault.retry_after)}
            return self._error(self.fault.status, "a fault on purpose", self.fault.code, **after)
        if to == "cdn": return self._cdn(path)
        if self.asked.token not in (None, TOKEN): return self._error(401, "Invalid credentials in Authorization header")
        self._route(path.strip("/"))

    do_HEAD = do_GET

    def _route(self, path: str):
        if path == "api/models": return self._list()
        if path == "api/whoami-v2": return self._json({"type": "user", "name": "someone"}) if self.asked.token else self._error(401, "Invalid username or password.")
        if found := re.fullmatch(r"api/models/([^/]+/[^/]+|[^/]+)(?:/(revision|tree|refs|auth-check)(?:/(.+))?)?", path): return self._api(*found.groups())
        for pattern in (r"(api/resolve-cache/models)/(.+?)/([0-9a-f]{40})/(.+)", r"()([^/]+/[^/]+|[^/]+)/resolve/(refs/[^/]+/[^/]+|[^/]+)/(.+)"):
            if found := re.fullmatch(pattern, path): return self._resolve(*found.groups())
        return self._error(404, "Sorry, we can't find the page you are looking for.")

    # ---- answers

    def _send(self, status: int, body: bytes = b"", length: int | None = None, **headers: str):
        """The head, and of a GET the body, with what the fault does to it."""
        if self.fault.corrupt and body: body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(status)
        for name, value in headers.items(): self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command == "HEAD": return
        if self.fault.cut is not None and self.fault.cut < len(body):
            self._write(body[:self.fault.cut])
            return self._hang_up()
        self._write(body)

    def _write(self, body: bytes):
        if not self.fault.pace: return self.wfile.write(body)
        step = max(1, int(self.fault.pace / 20))
        for start in range(0, len(body), step):
            self.wfile.write(body[start:start + step])
            self.wfile.flush()
            if self.hub.stop.wait(step / self.fault.pace): return

    def _hang_up(self):
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(2)

    def _json(self, value, **headers: str): self._send(200, json.dumps(value).encode(), Content_Type="application/json; charset=utf-8", **headers)

    def _error(self, status: int, message: str, code: str | None = None, **headers: str):
        known = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}
        self._send(status, json.dumps({"error": message}).encode(), Content_Type="application/json", **known)

    def _paged(self, items: list, limit: int):
        """One page, and in the Link header where the next one is."""
        start = int(base64.urlsafe_b64decode(self.query["cursor"][-1])) if "cursor" in self.query else 0
        more = {}
        if start + limit < len(items):
            kept = [(k, v) for k, v in parse_qsl(urlsplit(self.path).query) if k != "cursor"]
            cursor = base64.urlsafe_b64encode(str(start + limit).encode()).decode()
            more = {"Link": f'<{self.hub.url}{urlsplit(self.path).path}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'}
        self._json(items[start:start + limit], **more)

    # ---- the API

    def _repo(self, name: str) -> Repo | None:
        """The repository, or `None` after the refusal: without a token the hub does not tell a missing one from a private one."""
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and (not self.asked.token or repo.closed_to_token)):
            if self.asked.token: self._error(404, "Repository not found", "RepoNotFound")
            else: self._error(401, "Invalid username or password.", "RepoNotFound")
            return None
        if repo.disabled: self._error(403, "Access to this resource is disabled.")
        return None if repo.disabled else repo

    def _list(self):
        seen = [r for r in list(self.hub.repos.values()) if not r.private or self.asked.token]
        found = [r for r in seen if _matches(r, self.query)]
        found.sort(key=_SORTS.get(self.query.get("sort", ["trendingScore"])[-1], _SORTS["trendingScore"]), reverse=True)
        limit = min(int(self.query.get("limit", [self.hub.page])[-1]), self.hub.page)
        self._paged([self._listed(r) for r in found], limit)

    def _listed(self, repo: Repo) -> dict:
        info = repo.info(*repo.commits()[-1], blobs=False)
        if expand := self.query.get("expand"): keys = {"_id", "id", "modelId", *expand}
        else: keys = {*_ALWAYS, *(_FULL if _is(self.query, "full") else ()), *(["cardData"] if _is(self.query, "cardData") else []), *(["config"] if _is(self.query, "config") else [])}
        return {k: v for k, v in info.items() if k in keys}

    def _api(self, name: str, verb: str | None, rest: str | None):
        repo = self._repo(name)
        if repo is None: return None
        if verb == "auth-check": return self._json({}) if self._may_read(repo) else None
        if verb == "refs":
            branches = {"main": -1, **{k: v for k, v in repo.refs.items() if not k.startswith("v")}}
            def listed(refs, kind): return [{"name": k, "ref": f"refs/{kind}/{k}", "targetCommit": repo.commits()[v][0]} for k, v in refs.items()]
            return self._json({"branches": listed(branches, "heads"), "tags": listed({k: v for k, v in repo.refs.items() if k.startswith("v")}, "tags"), "converts": []})
        revision, _, below = (rest or "main").partition("/") if verb == "tree" else (rest or "main", "", "")
        commit = repo.at(revision)
        if commit is None: return self._error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if verb == "tree": return self._tree(repo, *commit, below)
        info = repo.info(*commit, blobs=_is(self.query, "blobs"))
        if expand := self.query.get("expand"): info = {k: v for k, v in info.items() if k in {"_id", "id", "modelId", *expand}}
        return self._json(info)

    def _tree(self, repo: Repo, sha: str, files: dict[str, bytes], below: str):
        inside = {n: b for n, b in files.items() if not below or n.startswith(below + "/")}
        if _is(self.query, "recursive"):
            folders = {"/".join(n.split("/")[:i]) for n in inside for i in range(1, n.count("/") + 1)}
        else:
            depth = below.count("/") + 1 if below else 0
            folders = {"/".join(n.split("/")[:depth + 1]) for n in inside if n.count("/") > depth}
            inside = {n: b for n, b in inside.items() if n.count("/") == depth}
        listed = [{"type": "directory", "oid": _git_oid(f.encode()), "size": 0, "path": f} for f in sorted(folders)]
        self._paged([*listed, *(repo.entry(n, b) for n, b in inside.items())], self.hub.page)

    # ---- files

    def _may_read(self, repo: Repo) -> bool:
        """Whether the files of a gated repository are open to who asks; answers the refusal."""
        if not repo.gated or (self.asked.token and not repo.closed_to_token): return True
        if not self.asked.token: self._error(401, f"Access to model {repo.id} is restricted. You must have access to it and be authenticated to access it. Please log in.", "GatedRepo")
        else: self._error(403, f"Access to model {repo.id} is restricted and you are not in the authorized list.", "GatedRepo")
        return False

    def _resolve(self, cached: str, name: str, revision: str, path: str):
        repo = self._repo(name)
        if repo is None or not self._may_read(repo): return None
        commit = repo.at(revision)
        if commit is None: return self._error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        sha, files = commit
        if path not in files: return self._error(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": sha})
        entry = repo.entry(path, files[path])
        common = {"X_Repo_Commit": sha, "Accept_Ranges": "bytes"}
        if "lfs" in entry:
            linked = {"X_Linked_Size": str(entry["size"]), "X_Linked_Etag": f'"{entry["lfs"]["oid"]}"', "ETag": f'"{entry["oid"]}"'}
            return self._send(302, b"", Location=f"{self.hub.cdn}/lfs/{entry['lfs']['oid']}?Expires=1&Signature=none&Policy={quote(repo.id, safe='')}", **linked, **common)
        if not cached: return self._send(307, b"", Location=f"/api/resolve-cache/models/{name}/{sha}/{quote(path)}", ETag=f'"{entry["oid"]}"', X_Linked_Size=str(entry["size"]), **common)
        return self._body(files[path], f'"{entry["oid"]}"', **common)

    def _cdn(self, path: str):
        if self.asked.token: return self._error(400, "Only one auth mechanism allowed")
        wanted = path.rsplit("/", 1)[-1]
        for repo in list(self.hub.repos.values()):
            for _, files in repo.commits():
                for name, body in files.items():
                    if repo.is_large(name, body) and hashlib.sha256(body).hexdigest() == wanted: return self._body(body, f'"{wanted}"', Accept_Ranges="bytes")
        return self._error(403, "Access denied")

    def _body(self, body: bytes, etag: str, **headers: str):
        """A whole file or the range that was asked for."""
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not asked or asked.groups() == ("", ""): return self._send(200, body, ETag=etag, Content_Type="application/octet-stream", **headers)
        start, end = (int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)) if asked[1] else (max(0, len(body) - int(asked[2])), len(body) - 1)
        if start >= len(body): return self._send(416, b"", Content_Range=f"bytes */{len(body)}", **headers)
        return self._send(206, body[start:end + 1], ETag=etag, Content_Type="application/octet-stream", Content_Range=f"bytes {start}-{end}/{len(body)}", **headers)


def safetensors_bytes(shapes: dict[str, tuple[int, ...]], dtype: str = "F32", metadata: dict | None = None) -> bytes:
    """A safetensors file of zeros, without a library."""
    size = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "F8_E4M3": 1}[dtype]
    header, at = {"__metadata__": metadata or {"format": "pt"}}, 0
    for name, shape in shapes.items():
        count = size
        for side in shape: count *= side
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + count]}
        at += count
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def wait_until(check, seconds: float = 20) -> None:
    """Returns as soon as `check()` is true; fails the test when it never is."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
