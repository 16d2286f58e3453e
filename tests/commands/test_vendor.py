"""What a vendor says at a bad moment or with bad intent, heard by the real program."""

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.evidence import read_audit
from tests.support.forgery import FAST, refused, whole
from tests.support.program import PATIENCE_S, USER, numbers, seeded


class Vendor:
    """A vendor of one's own making: `listing` and `deletion` give status, headers and body by number."""

    def __init__(self, listing, deletion):
        self.calls = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, give):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.calls.append((self.command, self.path))
                nth = sum(command == self.command for command, _ in outer.calls)
                status, headers, body = give(nth)
                self.send_response_only(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.answer(listing)

            def do_DELETE(self):
                self.answer(deletion)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def deletions(self):
        return [path for command, path in self.calls if command == "DELETE"]


def confirmed(count=1):
    return (
        200,
        {},
        json.dumps({"code": 200, "status": "success", "message": "", "data": {"count": count}}).encode(),
    )


def listed(total):
    return (
        200,
        {},
        json.dumps({"code": 200, "status": "success", "meta": {"total": total}, "data": []}).encode(),
    )


def test_the_listing_obeys_retry_after_too(aim):
    busy = (429, {"Retry-After": "2"}, b"")
    times = []

    def listing(nth):
        times.append(os.times().elapsed)
        return busy if nth == 1 else listed(3)

    with Vendor(listing, lambda _: confirmed(3)) as vendor:
        program = aim(vendor.url)
        program("run", program.job({USER: whole(5)}), *FAST, "--audit", "a.jsonl").expect(0)
    assert len(times) == 2
    assert times[1] - times[0] >= 1.9  # a floor that no slow machine breaks


BAD_TOTALS = [b'"5"', b"-1", b"5.0", b"true", b"null", b"1e400", b"[5]", b"99999999999999999999"]


def test_a_total_that_is_no_count_is_no_count(aim):
    for total in BAD_TOTALS:
        body = b'{"code":200,"meta":{"total":%b},"data":[]}' % total
        with Vendor(lambda _: (200, {}, body), lambda _: confirmed()) as vendor:  # noqa: B023 - used at once
            program = aim(vendor.url)
            job = program.job({USER: whole(5)})
            program("run", job, *FAST, "--max-attempts", "1").expect(2)
            assert vendor.deletions() == [], total


def test_a_window_is_listed_again_when_it_is_resumed_and_what_grew_is_refused(aim):
    seen = []

    def listing(_):
        return listed(3 if len(seen) < 1 else 10**6)

    def deletion(_):
        seen.append(1)
        return 401, {}, b"{}"

    with Vendor(listing, deletion) as vendor:
        program = aim(vendor.url)
        program("run", program.job({USER: whole(5)}), *FAST, "--audit", "a.jsonl").expect(3)
        assert "max_rows" in program("resume", "a.jsonl", *FAST).expect(2).err
        assert len(vendor.deletions()) == 1


def test_a_page_that_steers_terminals_or_browsers_reaches_neither(aim):
    evil = "\x1b]0;owned\x07\x9b31m<script>alert(1)</script>\u202e\u2028"
    body = json.dumps({"code": 7777, "status": "error", "message": evil, "data": []}).encode()
    with Vendor(lambda _: listed(0), lambda _: (200, {}, body)) as vendor:
        program = aim(vendor.url)
        said = program(
            "run", program.job({USER: numbers(1)}), *FAST, "--verbose", "--audit", "a.jsonl"
        ).expect(1)
        report = program("report", "a.jsonl", "--html", "r.html").expect(0)
    page = (program.folder / "r.html").read_text()
    for text in (said.out, said.err, report.out, page):
        assert not set(text) & set("\x1b\x07\x9b\u202e\u2028")
    assert "<script>alert" not in page


def test_encrypted_values_that_the_vendor_echoes_are_masked(program, sandbox):
    values = [f"AbCdEfGh+{n:02}==Zz" for n in range(4)]
    sandbox.control(refused_phones=values[:2])
    job = program.job({USER: {"phone": values, "encryption": True}})
    ended = program("run", job, *FAST, "--verbose", "--audit", "a.jsonl").expect(1)
    told = program("report", "a.jsonl", "--html", "r.html").expect(0)
    page = (program.folder / "r.html").read_text()
    assert "batch not confirmed" in ended.err
    for text in (ended.out, ended.err, told.out, page):
        assert not any(value in text for value in values)


def test_one_refused_batch_among_empty_ones_does_not_hide_an_empty_account(program, sandbox):
    """The good half of a refused batch deleted nothing either."""
    phones = numbers(2)
    sandbox.control(refused_phones=phones[:1])
    users = {"mixed": phones, **{f"u{n}": numbers(1, 100 + n) for n in range(30)}}
    job = program.job(users, safety={"stop_when_empty": True, "max_failed": "50%"})
    args = (*FAST, "--concurrency", "1", "--json")
    assert "stop_when_empty" in program("run", job, *args).expect(3).record["why"]


def test_a_cap_is_not_hidden_by_a_signal_that_came_first(aim):
    """The request on the wire deletes too much while the run drains: the next session must ask."""
    with seeded({USER: numbers(300)}, rows=30, latency_s=1.0) as sandbox:
        program = aim(sandbox.url)
        started = program.start("run", program.job({USER: numbers(300)}), *FAST, "--audit", "a.jsonl")
        started.until(lambda: sandbox.stats()["in_flight"], "a request")
        started.signal(signal.SIGINT)
        ended = started.wait().expect(3)
        assert "max_rows_per_phone" in read_audit(program.folder / "a.jsonl")[-1]["why"]
        sent = len(sandbox.deletions())
        program("resume", "a.jsonl").expect(2)
        assert len(sandbox.deletions()) == sent == 1
        assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_second_signal_does_not_wait_for_a_listing(aim, number, code):
    over = threading.Event()

    def listing(_):
        over.wait(PATIENCE_S)
        return 200, {"Content-Length": "0"}, b""

    with Vendor(listing, lambda _: confirmed()) as vendor:
        program = aim(vendor.url)
        started = program.start(
            "run", program.job({USER: whole(5)}), *FAST, "--timeout", "3000", "--audit", "a.jsonl"
        )
        started.until(lambda: vendor.calls, "a listing")
        started.signal(number)
        started.until(lambda: "again to leave now" in started.err(), "the first signal")
        started.signal(number)
        ended = started.wait().expect(code)
        over.set()
        assert "nothing was sent" in ended.err
        assert vendor.deletions() == []
        assert list(program.folder.glob("a.jsonl*")) == []


@pytest.mark.parametrize("option", ["--reason", "--operator"])
def test_words_too_long_for_a_record_are_refused(program, sandbox, option):
    """The audit would hold a line that its own readers refuse."""
    refused(program("run", program.job({USER: numbers(3)}), *FAST, option, "\x01" * 100_000), sandbox)
