"""The vendor's four calls (README, vendor's API): what a request asks, whether that is allowed, what it does.

Each takes the bytes of a request and gives an `Answer`; none waits and none knows HTTP's connections, so that
the work of a call is one step that nothing can interrupt. A request that is refused changes nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

import orjson

from runner.sandbox.ledger import LedgerEntry
from runner.sandbox.pool import VENDOR_TIME, CustomerRow, Pool, Window, is_time
from runner.sandbox.settings import SandboxSettings

__all__ = ["Answer", "Query", "async_customer", "del_customer", "failure", "get_customer", "token_info"]

MAX_PHONES = 100
MAX_IMPORT = 200
REFUSED = 6007

_DIGITS = re.compile(r"[0-9]{5,20}")
_LONGEST_OPAQUE = 512
_MOST_PER_PAGE = 1000

Query = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: an HTTP status and an envelope."""

    status: int
    envelope: Mapping[str, object]

    @property
    def code(self) -> int:
        """The envelope's code."""
        code = self.envelope["code"]
        assert isinstance(code, int)  # noqa: S101 - every envelope here is built with one
        return code


class _Bad(Exception):
    """The request is refused for this reason (6007)."""


def failure(status: int, message: str, code: int | None = None) -> Answer:
    """Return an error envelope; its `data` is a list, as the vendor has it."""
    return Answer(
        status, {"code": status if code is None else code, "status": "error", "message": message, "data": []}
    )


def _success(message: str, **more: object) -> Answer:
    return Answer(200, {"code": 200, "status": "success", "message": message, **more})


def del_customer(pool: Pool, settings: SandboxSettings, entry: LedgerEntry, body: bytes) -> Answer:
    """Delete phones, phones in a window, or a whole window; note in `entry` what was asked and what went."""
    try:
        asked = _read_object(body)
        entry.encryption = _read_bool(asked, "encryption")
        phones = _read_list(asked, "phone")
        entry.note_phones(phones)
        entry.created_at = window = _read_window(asked.get("created_at"))
        _check_phones(phones, MAX_PHONES, settings, opaque=entry.encryption)
    except _Bad as why:
        return failure(settings.refusal_status, str(why), REFUSED)
    if phones:
        entry.note_swept(pool.delete(entry.user_id, phones, window))
    elif window is not None:
        entry.note_swept(pool.delete_window(entry.user_id, window))
    entry.processed = True
    return _success("删除客户公海数据成功", data={"count": entry.count})


def get_customer(pool: Pool, settings: SandboxSettings, entry: LedgerEntry, query: Query) -> Answer:
    """List the rows that match, one page of them; `meta.total` counts them all."""
    try:
        page = _read_number(query, "page", None, 10**9)
        per_page = _read_number(query, "per_page", 15, _MOST_PER_PAGE)
        phone = next(iter(query.get("phone", ())), None) or None
        entry.created_at = window = _read_window(_query_list(query, "created_at"))
        entry.note_phones([phone] if phone else [])
    except _Bad as why:
        return failure(settings.refusal_status, str(why), REFUSED)
    total = pool.count(entry.user_id, phone, window)
    matching = pool.rows(entry.user_id, phone, window)
    entry.processed = True
    last_page = max(1, -(-total // per_page))
    meta = {
        "has_pages": last_page > 1,
        "total": total,
        "last_page": last_page,
        "current_page": page,
        "per_page": per_page,
    }
    shown = islice(matching, (page - 1) * per_page, page * per_page)
    return _success("获取客户公海数据成功", meta=meta, data=[_customer(row) for row in shown])


def async_customer(pool: Pool, settings: SandboxSettings, entry: LedgerEntry, body: bytes) -> Answer:
    """Import up to 200 rows, all with the present time."""
    try:
        asked = _read_object(body)
        phones = _read_rows(asked)
        entry.note_phones(phones)
        entry.encryption = _read_bool(asked, "encryption")
        _check_phones(phones, MAX_IMPORT, settings, opaque=entry.encryption)
    except _Bad as why:
        return failure(settings.refusal_status, str(why), REFUSED)
    pool.add_phones(entry.user_id, phones)
    entry.processed = True
    entry.count = len(phones)
    return _success("导入客户公海数据已提交", data=[])


def token_info(entry: LedgerEntry) -> Answer:
    """Say that the token is valid, and until when."""
    until = datetime.now(VENDOR_TIME) + timedelta(days=30)
    entry.processed = True
    return _success("success", data={"expires_at": until.strftime("%Y-%m-%d %H:%M:%S")})


def _customer(row: CustomerRow) -> dict[str, object]:
    return {
        "id": row.id,
        "user_id": row.user_id,
        "phone": row.phone,
        "name": None,
        "company": None,
        "email": None,
        "sort": 1,
        "created_at": row.created_at,
        "updated_at": row.created_at,
        "extra": None,
    }


def _read_object(body: bytes) -> dict[str, object]:
    if not body:
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _Bad("the body is no JSON") from None
    if not isinstance(value, dict):
        raise _Bad("the body is no JSON object")
    return value


def _read_bool(asked: Mapping[str, object], name: str) -> bool:
    value = asked.get(name, False)
    if value is not None and not isinstance(value, bool):
        raise _Bad(f"{name}: true or false")
    return bool(value)


def _read_list(asked: Mapping[str, object], name: str) -> list[str]:
    value = asked.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _Bad(f"{name}: an array of strings")
    return value


def _read_rows(asked: Mapping[str, object]) -> list[str]:
    rows = asked.get("data")
    if not isinstance(rows, list) or not rows:
        raise _Bad("data: an array of rows")
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("phone"), str) or "sort" not in row:
            raise _Bad("data: every row needs phone and sort")
    return [row["phone"] for row in rows]


def _read_window(value: object) -> Window | None:
    if value is None or value == []:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(map(is_time, value)):
        raise _Bad("created_at: two times YYYY-MM-DD HH:MM:SS")
    return value[0], value[1]


def _read_number(query: Query, name: str, default: int | None, most: int) -> int:
    text = next(iter(query.get(name, ())), "" if default is None else str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise _Bad(f"{name}: a whole number from 1 to {most}")
    return int(text)


def _query_list(query: Query, name: str) -> list[str]:
    """Return a list parameter, written `name=`, `name[]=` or `name[0]=`, each more than once."""
    for key in (name, f"{name}[]"):
        if key in query:
            return list(query[key])
    return [value for nth in range(2) for value in query.get(f"{name}[{nth}]", ())]


def _check_phones(phones: Sequence[str], most: int, settings: SandboxSettings, *, opaque: bool) -> None:
    if len(phones) > most:
        raise _Bad(f"手机号数量不能超过{most}个")
    for phone in phones:
        if opaque:
            wrong = not phone or len(phone) > _LONGEST_OPAQUE or not phone.isprintable()
        else:
            wrong = _DIGITS.fullmatch(phone) is None
        if wrong or phone in settings.refused_phones:
            raise _Bad(f"手机号格式错误: {phone[:40]}")
