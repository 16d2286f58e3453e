"""The dialects of chat robots: what each wants to be sent, and how each says that it did not take it. Pure.

Each of them answers HTTP 200 whatever it thinks of a message; only the code in the body tells. DingTalk and
Feishu sign, each in its own way; WeCom does not.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson

__all__ = ["ROBOTS", "Call", "Robot", "with_query"]


@dataclass(frozen=True, slots=True)
class Call:
    """One POST; the URL is a secret."""

    url: str = field(repr=False)
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Robot:
    """One kind of robot.

    Args:
        dress: Returns the call for a text: URL, secret (None: it does not sign), text, Unix time in seconds.
        complaint: Returns what a reply's body says against it, or None where it took the message.
        limits: How many messages it takes in how many seconds.
        signs: Whether it can be told to take signed messages only.
    """

    dress: Callable[[str, str | None, str, float], Call]
    complaint: Callable[[Mapping[str, Any]], str | None]
    limits: tuple[tuple[int, float], ...]
    signs: bool


def with_query(url: str, **more: str) -> str:
    """Return a URL with more in its query."""
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), *more.items()]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _hmac(key: str, message: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), message.encode(), hashlib.sha256).digest()).decode()


def _dingtalk(url: str, secret: str | None, text: str, now_s: float) -> Call:
    if secret is not None:
        stamp = str(int(now_s * 1000))
        url = with_query(url, timestamp=stamp, sign=_hmac(secret, f"{stamp}\n{secret}"))
    return Call(url, orjson.dumps({"msgtype": "text", "text": {"content": text}}))


def _feishu(url: str, secret: str | None, text: str, now_s: float) -> Call:
    # A text there may hold tags, and one of them calls everybody.
    said: dict[str, Any] = {"msg_type": "text", "content": {"text": text.replace("<", "‹").replace(">", "›")}}
    if secret is not None:
        stamp = str(int(now_s))
        said |= {"timestamp": stamp, "sign": _hmac(f"{stamp}\n{secret}", "")}
    return Call(url, orjson.dumps(said))


def _wecom(url: str, _secret: str | None, text: str, _now_s: float) -> Call:
    return Call(url, orjson.dumps({"msgtype": "text", "text": {"content": text}}))


def _by_errcode(body: Mapping[str, Any]) -> str | None:
    """Return the complaint of DingTalk and WeCom."""
    return _unless_zero(body, "errcode", "errmsg")


def _by_code(body: Mapping[str, Any]) -> str | None:
    """Return Feishu's complaint: `code`, or `StatusCode` where an older robot says only that."""
    if "code" in body:
        return _unless_zero(body, "code", "msg")
    return _unless_zero(body, "StatusCode", "StatusMessage")


def _unless_zero(body: Mapping[str, Any], code: str, words: str) -> str | None:
    found = body.get(code)
    if type(found) is not int:
        return f"its reply has no {code}"
    return f"{found}: {body.get(words)}" if found else None


ROBOTS: Final[Mapping[str, Robot]] = {
    "dingtalk": Robot(_dingtalk, _by_errcode, ((20, 60.0),), signs=True),
    "feishu": Robot(_feishu, _by_code, ((5, 1.0), (100, 60.0)), signs=True),
    "wecom": Robot(_wecom, _by_errcode, ((20, 60.0),), signs=False),
}
