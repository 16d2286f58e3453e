"""Servers on this machine that answer as the real ones do, their refusals included.

DingTalk, Feishu and WeCom say HTTP 200 to everything and put a code into the body; healthchecks says in words
that it knows no such check. What came in is kept in `requests`.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

__all__ = ["DingTalk", "Feishu", "Hanging", "HealthChecks", "Hook", "Said", "WeCom"]

HOUR_S = 3600


@dataclass
class Said:
    """One request."""

    method: str
    path: str
    query: dict
    headers: dict
    body: bytes
    status: int = 200
    answer: bytes = b""

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Server:
    """Answers on a port of this machine while it is entered."""

    requests: list = field(default_factory=list)

    def answer(self, said):
        """Return status and body."""
        raise NotImplementedError

    def __enter__(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self):
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                said = Said(self.command, parts.path, query, dict(self.headers), body)
                server.requests.append(said)
                said.status, answer = server.answer(said)
                said.answer = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(said.status)
                if said.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(said.answer)))
                self.end_headers()
                self.wfile.write(said.answer)

            do_GET = do_POST = do_HEAD = _serve  # noqa: N815 - the library's names

            def log_message(self, *args):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.base = f"http://127.0.0.1:{self._http.server_port}"
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def texts(self):
        """The texts that were taken."""
        return [said.json["text"]["content"] for said in self.requests if b'"errcode": 0' in said.answer]


def signature(key, message):
    return base64.b64encode(hmac.new(key.encode(), message.encode(), hashlib.sha256).digest()).decode()


def is_json(said):
    return said.headers.get("Content-Type", "").startswith("application/json")


@dataclass
class DingTalk(Server):
    """20 messages a minute; by choice a signature, or a word that every message must hold."""

    token: str = "ding-0123456789abcdef"
    secret: str | None = None
    keyword: str | None = None
    most: int = 20

    @property
    def url(self):
        return f"{self.base}/robot/send?access_token={self.token}"

    def answer(self, said):
        if said.method != "POST" or not is_json(said):
            return 200, {"errcode": 43004, "errmsg": "无效的HTTP HEADER Content-Type"}
        if said.path != "/robot/send" or said.query.get("access_token") != self.token:
            return 200, {"errcode": 300005, "errmsg": "token is not exist"}
        if self.secret is not None and (fault := self._unsigned(said.query)):
            return 200, {"errcode": 310000, "errmsg": fault}
        if self.keyword is not None and self.keyword not in said.json["text"]["content"]:
            return 200, {"errcode": 310000, "errmsg": "keywords not in content, more: [https://ding-doc]"}
        if len(self.requests) > self.most:
            return 200, {"errcode": 130101, "errmsg": "send too fast, exceed 20 times per minute"}
        return 200, {"errcode": 0, "errmsg": "ok"}

    def _unsigned(self, query):
        stamp = query.get("timestamp", "")
        if not stamp.isdigit() or abs(int(stamp) / 1000 - time.time()) > HOUR_S:
            return "timestamp is expired, more: [https://ding-doc]"
        return (
            "" if query.get("sign") == signature(self.secret, f"{stamp}\n{self.secret}") else "sign not match"
        )


@dataclass
class Feishu(Server):
    """By choice signed, in the body and with the parts another way round; `old`: it says StatusCode only."""

    token: str = "feishu-0123456789abcdef"
    secret: str | None = None
    old: bool = False
    slow_down: bool = False

    @property
    def url(self):
        return f"{self.base}/open-apis/bot/v2/hook/{self.token}"

    def answer(self, said):
        if said.path != f"/open-apis/bot/v2/hook/{self.token}":
            return 200, self._no(19001, "param invalid: incoming webhook access token invalid")
        body = said.json
        if body.get("msg_type") != "text" or not isinstance(body.get("content", {}).get("text"), str):
            return 400, self._no(9499, "Bad Request")
        if self.slow_down:
            return 429, self._no(11232, "frequency limited psm[lark.oapi.app_platform_runtime]")
        if self.secret is not None and not self._signed(body):
            return 200, self._no(19021, "sign match fail or timestamp is not within one hour")
        done = {"StatusCode": 0, "StatusMessage": "success"}
        return 200, done if self.old else {**done, "code": 0, "data": {}, "msg": "success"}

    def _no(self, code, words):
        return {"code": code, "data": {}, "msg": words}

    def _signed(self, body):
        stamp = body.get("timestamp", "")
        near = isinstance(stamp, str) and stamp.isdigit() and abs(int(stamp) - time.time()) <= HOUR_S
        return near and body.get("sign") == signature(f"{stamp}\n{self.secret}", "")

    @property
    def texts(self):
        return [said.json["content"]["text"] for said in self.requests if b'"StatusCode": 0' in said.answer]


@dataclass
class WeCom(Server):
    """No signature, texts of 2048 bytes."""

    key: str = "73febdcb-0000-4d1b-a994-790f21fc8d30"

    @property
    def url(self):
        return f"{self.base}/cgi-bin/webhook/send?key={self.key}"

    def answer(self, said):
        if said.path != "/cgi-bin/webhook/send" or said.query.get("key") != self.key:
            hint = f"invalid webhook url, hint: [1764146461], key: {said.query.get('key')}"
            return 200, {"errcode": 93000, "errmsg": hint}
        if len(said.json["text"]["content"].encode()) > 2048:
            return 200, {"errcode": 40058, "errmsg": "text.content exceed max length 2048"}
        return 200, {"errcode": 0, "errmsg": "ok"}


@dataclass
class Hook(Server):
    """Anybody's webhook: takes what it is given; `statuses` are what it says first."""

    statuses: tuple = ()

    @property
    def url(self):
        return f"{self.base}/hook"

    def answer(self, said):
        at = len(self.requests) - 1
        return (self.statuses[at] if at < len(self.statuses) else 200), {}


@dataclass
class HealthChecks(Server):
    """One check; `pings` are what it was told: the signal, and the run's id."""

    uuid: str = "0b1f3c44-9f3a-4b5c-8d3e-2f1a9c7d6e5f"

    @property
    def url(self):
        return f"{self.base}/{self.uuid}"

    def answer(self, said):
        check, _, signal = said.path.removeprefix("/").partition("/")
        known = signal in {"", "start", "fail", "log"} or (signal.isdigit() and int(signal) <= 255)
        if check != self.uuid:
            return 200, b"OK (not found)"
        if not known:
            return 400, b"invalid url format"
        rid = said.query.get("rid", "")
        if [len(part) for part in rid.split("-")] != [8, 4, 4, 4, 12]:
            return 400, b"invalid uuid format"
        return 200, b"OK"

    @property
    def pings(self):
        return [(said.path.rpartition("/")[2], said.query["rid"]) for said in self.requests]


@dataclass
class Hanging(Server):
    """Takes a request and never answers, as long as it is entered."""

    def __post_init__(self):
        self._over = threading.Event()

    @property
    def url(self):
        return f"{self.base}/hook"

    def answer(self, said):
        self._over.wait()
        return 200, b""

    def __exit__(self, *more):
        self._over.set()
        super().__exit__(*more)
