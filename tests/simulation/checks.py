"""What must hold in every history: the contract's promises 1 to 6, judged by the vendor's own ledger.

`Checks` looks on while a session runs (at every departure and every record) and after each session. It
collects what is wrong and stops the process; `raise_first` then raises the first of it.
"""

import math
import re
import tempfile
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

import orjson

from runner.audit.verify import State, verify
from runner.errors import Exit
from runner.model import phones_sha256
from tests.simulation.vendor import EPOCH, Visit

STATUSES = ("deleted", "failed", "unknown", "not_sent")
LONGEST_PAUSE_S = 600.0
SLACK_S = 1e-3


class Violation(AssertionError):
    """A promise does not hold."""


def _confirmed(end: dict) -> bool:
    """Whether some of a batch was."""
    return end["status"] == "deleted" or end["phones_left"] < end["phones"]


class Checks:
    """Looks on at a history."""

    def __init__(self, scenario, disk, vendor, note) -> None:
        self.scenario, self.disk, self.vendor = scenario, disk, vendor
        self.note, self.telling = note or (lambda words: None), note is not None
        self.violations: list[str] = []
        self.seq_of = {}
        for batch in scenario.plan:
            for phone in batch.phones or ("",):
                key = (batch.target.user_id, batch.target.created_at, batch.target.encryption, phone)
                # Windows alike are one batch to the vendor; the one under way is meant.
                self.seq_of.setdefault(key, []).append(batch.seq)
        self.kept_rows = self._rows_to_keep()
        self.known: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
        self.seen: Counter[str] = Counter()
        self.process = None

    # --- at the start

    def _rows_to_keep(self) -> dict[tuple[str, str], Counter]:
        """Rows that no batch of the plan names, nor any window; and of numbers protected all along."""
        kept: dict[tuple[str, str], Counter] = defaultdict(Counter)
        scopes = defaultdict(list)
        windows = defaultdict(list)
        for batch in self.scenario.plan:
            scope = batch.target.created_at or ("", "9999")
            if not batch.phones:
                windows[batch.target.user_id].append(scope)
            for phone in batch.phones:
                if not (phone in self.scenario.protected and self.scenario.protected_from == 1):
                    scopes[batch.target.user_id, phone].append(scope)
        for user, pool in self.scenario.rows.items():
            for phone, dates in pool.items():
                for date in dates:
                    hit = any(first <= date <= last for first, last in scopes[user, phone] + windows[user])
                    if not hit:
                        kept[user, phone][date] += 1
        return kept

    def before_session(self, process) -> None:
        self.process = process
        self.session = self.disk.written.session + 1  # in the audit's count; a lost run record had no visits
        self.departures: list[float] = []
        self.in_flight: list[Visit] = []
        self.peak = 0
        self.started_s = process.loop.time()
        self.most_in_window = 0
        self.pause_to_s = self._pause_that_still_runs()
        self.breaker_to_s: float | None = None
        self.breaker_since_s = 0.0
        words = ("forbidden", "not_found")
        ends = self.disk.written.ended.values()
        self.refused = {end["user_id"]: {0} for end in ends if end["error"] in words}
        self.over_s = float("inf")  # from then on no request may leave: refused token, redirect, cap
        self.numbers_sent = self.numbers_refused = 0
        self.too_many_refused = False
        self.strangers: set[str] = set()
        self.known_users = any(_confirmed(end) for end in ends)
        book, fold = self.disk.written, process.rig.fold
        if not book.session and self.vendor.visits:
            self._wrong("promise 6: requests left, and the audit has no record")
        ended = {seq for seq in range(1, len(self.scenario.plan) + 1) if fold.sessions and fold.is_ended(seq)}
        self._expect(ended == set(book.ended), "the fold and the book disagree on what has ended")
        for seq in range(1, len(self.scenario.plan) + 1):
            prior = fold.prior(seq) if fold.sessions else None
            if prior is not None and seq not in ended:
                self._expect(
                    (prior.attempts, prior.uncertain) == self.known[seq],
                    f"attempts so far of {seq}: fold {prior}, ledger {self.known[seq]}",
                )

    # --- while a session runs

    def _wrong(self, what: str) -> None:
        self.note(f"!!! {what}")
        self.violations.append(what)
        if self.process is not None:
            self.process.life.die()

    def _expect(self, holds: bool, what: str) -> None:
        if not holds:
            self._wrong(what)

    def raise_first(self) -> None:
        found = self.violations + self.disk.written.problems + self.disk.safe.problems
        if found:
            raise Violation(found[0])

    def departing(self, request) -> Visit:
        """Look at a request at the moment its headers leave, and let it go to the vendor."""
        now_s = self.process.loop.time()
        lives = self.process.life.tick("depart")
        seq = self._check_content(request)
        visit = Visit(
            len(self.vendor.visits), self.session, seq, request.target.user_id,
            request.phones, request.target.created_at, now_s,
        )  # fmt: skip
        if not lives:
            return visit
        self._check_intent(seq)
        self._check_refused_user(request.target.user_id, seq)
        self._check_pace(now_s)
        self._check_traffic(now_s)
        self.departures.append(now_s)
        self.in_flight.append(visit)
        self.peak = max(self.peak, len(self.in_flight))
        self.vendor.arrive(visit)
        self.seen[visit.why or "fair"] += 1
        self.note(
            f"{now_s:12.4f}  #{visit.number} leaves: batch {seq}, {len(visit.phones)} phones;"
            f" {visit.why or 'fair'}, {'done' if visit.does else 'not done'}"
        )
        self.process.life.tick("departed")
        return visit

    def _check_content(self, request) -> int:
        """Promises 1 and 2, on the bytes that leave."""
        body = orjson.loads(request.body)
        phones = body.get("phone", [])
        window = tuple(body["created_at"]) if "created_at" in body else None
        self._expect(set(body) <= {"phone", "created_at", "encryption"}, "promise 1: an unknown field")
        self._expect(len(phones) <= 100 and len(set(phones)) == len(phones), "promise 2: too many or twice")
        self._expect(self.process.protected.isdisjoint(phones), "promise 1: a protected number was sent")
        user, encryption = request.target.user_id, body.get("encryption", False)
        self._expect("phone" not in body or bool(phones), "promise 1: an empty phone list")
        found = [self.seq_of.get((user, window, encryption, phone), [0]) for phone in phones or [""]]
        open_ones = [seq for seq in found[0] if seq in self.disk.written.pending] or found[0]
        seq = open_ones[0]
        self._expect(
            seq > 0 and all(seq in seqs for seqs in found), "promise 1: no batch of the plan is this"
        )
        return seq

    def _check_intent(self, seq: int) -> None:
        """Promise 6, at the moment of departure."""
        written, safe = self.disk.written, self.disk.safe
        self._expect(seq not in written.ended, f"promise 6: {seq} is sent after its batch record")
        durable = seq in safe.pending and safe.session == written.session and safe.in_session
        self._expect(durable, f"promise 6: {seq} leaves without a durable intent")

    def _check_refused_user(self, user: str, seq: int) -> None:
        """Of a user that was refused, only what other workers had in hand may follow; nothing in a resume."""
        if user in self.refused and not any(v.session == self.session for v in self.vendor.by_seq[seq]):
            followers = self.refused[user]
            followers.add(seq)
            few = 0 not in followers and len(followers) < self.process.limits.concurrency
            self._expect(few, f"batch {seq} is sent though {user} was refused")

    def _check_pace(self, now_s: float) -> None:
        """Promise 3, and what the server asked for."""
        rate, period_s = self.process.limits.rate.whole, self.process.limits.rate.period_s
        if rate is not None and len(self.departures) >= rate:
            self._expect(
                self.departures[-rate] + period_s < now_s, f"promise 3: over {rate} in {period_s:g} s"
            )
        recent = 1
        for earlier in reversed(self.departures):
            if now_s - earlier > period_s:
                break
            recent += 1
        self.most_in_window = max(self.most_in_window, recent)
        self._expect(
            now_s >= self.pause_to_s - 2e-3, f"promise 3: leaves in a pause to {self.pause_to_s:.3f}"
        )

    def _check_traffic(self, now_s: float) -> None:
        """Concurrency, probation, breaker, stop, deadline."""
        process, flying = self.process, self.in_flight
        self._expect(len(flying) < process.limits.concurrency, "concurrency")
        if not self.disk.written.deleted_in_session:
            self._expect(not flying, "probation: a second batch is in flight")
        if self.breaker_to_s is not None:
            # What is woken in the very turn of the loop that opens it may still leave, as with a stop.
            within = self.breaker_since_s + SLACK_S < now_s < self.breaker_to_s - 2e-3
            self._expect(not within, "breaker: a request leaves while it is open")
            trials = [visit for visit in flying if visit.left_s > self.breaker_since_s]
            self._expect(not trials, "breaker: a second trial is in flight")
        stop = process.rig.stop
        if stop.reason is not None and not stop.at_s <= process.loop.last_block_s:
            self._expect(now_s <= stop.at_s + SLACK_S, f"a request leaves after the stop ({stop.reason.why})")
        deadline_s = self.started_s + (process.limits.deadline_s or float("inf"))
        if not deadline_s <= process.loop.last_block_s:
            self._expect(now_s <= deadline_s + SLACK_S, "a request leaves after the deadline")
        if not self.over_s <= process.loop.last_block_s:
            self._expect(now_s <= self.over_s + SLACK_S, "a request leaves after a 401, redirect or cap")
        self._expect(not process.file.broken, "a request leaves though the audit cannot be written")

    def attempt_over(self, visit: Visit) -> None:
        """An attempt is over, as the runner sees it."""
        if not self.process.life.alive or visit not in self.in_flight:
            return
        self.in_flight.remove(visit)
        now_s = self.process.loop.time()
        self.note(f"{now_s:12.4f}  #{visit.number} is over: batch {visit.seq}, {visit.told}")
        self.seen["told " + visit.told] += 1
        most = self.process.safety.max_rows_per_phone * len(visit.phones)
        capped = visit.told == "confirmed" and visit.phones and visit.count > most
        if visit.told in {"forbidden", "not_found"}:
            self.refused.setdefault(visit.user, set())
        if visit.told in {"auth", "redirect"} or capped:
            self.over_s = min(self.over_s, now_s)
        if visit.told in {"nothing", "timeout"} or visit.pause_read_s is None:
            return
        until_s = max(visit.pause_read_s + visit.pause_s, visit.pause_to_s)
        self.pause_to_s = max(self.pause_to_s, min(until_s, visit.pause_read_s + LONGEST_PAUSE_S))

    def recorded(self, record) -> None:
        """A record was written."""
        kind = record["type"]
        self.seen[kind] += 1
        if kind == "batch":
            self.seen[f"{record['status']} {record['error']}"] += 1
            self._count_refusals(record)
        elif kind == "sending":
            self._check_announced()
        elif kind == "summary":
            self.seen["why " + str(record["why"]).split(":")[0]] += 1
        elif kind == "pace":
            why = record["why"].split("; last:")[0]
            self.seen["pace " + re.sub("[0-9.]+", "N", why)] += 1
        if self.telling:
            shown = {
                key: value for key, value in record.items() if key not in {"type", "chain", "at", "phone"}
            }
            self.note(f"{self.process.loop.time():12.4f}  {record['type']} {shown}")
        if record["type"] == "pace" and record["why"].startswith("breaker:"):
            if record["until"] is None:
                self.breaker_to_s = None
            else:
                until = datetime.fromisoformat(record["until"])
                self.breaker_to_s = (until - EPOCH).total_seconds()
                self.breaker_since_s = self.process.loop.time()

    def _pause_that_still_runs(self) -> float:
        """Of an earlier session, as the audit tells it; a pause is ten minutes at most."""
        until = self.disk.written.server_pause_to
        if until is None:
            return 0.0
        until_s = (datetime.fromisoformat(until) - EPOCH).total_seconds()
        now_s = self.process.loop.time()
        self.seen["resumed in a pause"] += until_s > now_s
        return min(until_s, now_s + LONGEST_PAUSE_S)

    def _check_announced(self) -> None:
        """No more are announced than the gate lets leave in a quarter of a second: a kill says little."""
        limits, written = self.process.limits, self.disk.written
        announced = [seq for seq in written.pending if not self._was_tried(seq)]
        most = 2 * limits.concurrency
        if limits.rate.count is not None:
            most = min(most, max(1, math.ceil(limits.rate.per_second * 0.25)))
        if not written.deleted_in_session:
            most = 1
        self._expect(len(announced) <= most, f"{len(announced)} batches are announced, {most} at most")

    def _was_tried(self, seq: int) -> bool:
        """Whether a request of this batch left in this session, or found no connection."""
        batch = self.scenario.plan[seq - 1]
        unreached = any((batch.target, phone) in self.vendor.unreached for phone in batch.phones or ("",))
        return unreached or any(visit.session == self.session for visit in self.vendor.by_seq[seq])

    def _count_refusals(self, end: dict) -> None:
        """Too many numbers refused for what they are, or three users and nothing confirmed: the end."""
        visits = [v for v in self.vendor.by_seq[end["seq"]] if v.session == self.session]
        last = {phone: visit for visit in visits for phone in visit.phones}
        self.numbers_sent += len(last)
        self.numbers_refused += sum(visit.blamed and len(visit.phones) == 1 for visit in last.values())
        most = self.process.safety.max_refused * self.numbers_sent
        self.too_many_refused |= self.numbers_sent >= 200 and self.numbers_refused > most
        told = {visit.told for visit in visits}
        if told & {"forbidden", "not_found"}:
            self.strangers.add(end["user_id"])
        self.known_users |= _confirmed(end) or any(v.blamed and len(v.phones) == 1 for v in last.values())
        if self.too_many_refused or (len(self.strangers) >= 3 and not self.known_users):
            self.over_s = min(self.over_s, self.process.loop.time())

    # --- after a session

    def after_session(self, process) -> None:
        """Hold what the disk has kept against what the vendor saw."""
        book = self.disk.written
        session = self.session
        self._count_attempts(book)
        self._check_thrift()
        for seq, end in book.ended.items():
            if book.ended_in[seq] == session:
                self._check_end(seq, end, session)
        self._check_kept_rows()
        if process.ended_s is not None:
            self._check_clean_end(process)
        self._verify(process)
        self.raise_first()

    def _check_thrift(self) -> None:
        """No more attempts than allowed; of a batch of n numbers that is split no more than 2n − 1 parts."""
        for seq, visits in self.vendor.by_seq.items():
            mine = Counter(visit.phones for visit in visits if visit.session == self.session)
            if not mine:
                continue
            limits = self.process.limits
            self._expect(max(mine.values()) <= limits.max_attempts, f"batch {seq}: too many attempts")
            if len(mine) > 1:
                self.seen["split"] += 1
                left_open = self.disk.written.kinds.get((self.session, seq)) == "open"
                self._expect(not left_open, f"batch {seq} was being split, and is left open")
                most = 2 * max(map(len, mine)) - 1
                self._expect(len(mine) <= most, f"batch {seq}: {len(mine)} parts, {most} at most")
                self.seen[f"split, naming {self.scenario.weather.naming}"] += 1

    def _count_attempts(self, book) -> None:
        """Promise 5: attempts are what really left; after a kill an open intent is one uncertain attempt."""
        for seq in range(1, len(self.scenario.plan) + 1):
            attempts = uncertain = 0
            for session in range(1, self.session + 1):
                visits = [visit for visit in self.vendor.by_seq[seq] if visit.session == session]
                kind = book.kinds.get((session, seq))
                if kind == "sending":
                    attempts, uncertain = attempts + 1, uncertain + 1
                    continue
                self._expect(kind is not None or not visits, f"promise 6: nobody knows {seq} was sent")
                attempts += len(visits)
                uncertain += sum(visit.told in {"uncertain", "nothing"} for visit in visits)
            self.known[seq] = attempts, uncertain
            told = book.attempts_of(seq)
            self._expect(told == self.known[seq], f"promise 5: {seq} {told}, the ledger {self.known[seq]}")

    def _check_end(self, seq: int, end: dict, session: int) -> None:
        """One batch record against the plan and the ledger."""
        batch = self.scenario.plan[seq - 1]
        visits = [visit for visit in self.vendor.by_seq[seq] if visit.session == session]
        confirmed = [visit for visit in visits if visit.told == "confirmed"]
        left = end["phone"][: end["phones_left"]]
        expected = {
            "user_id": batch.target.user_id,
            "created_at": list(batch.target.created_at) if batch.target.created_at else None,
            "encryption": batch.target.encryption,
            "delete_window": batch.target.delete_window,
            "phones": len(batch.phones),
            "phones_sha256": phones_sha256(batch.phones),
            "count": sum(visit.count for visit in confirmed) if confirmed else None,
        }
        for key, value in expected.items():
            self._expect(end[key] == value, f"batch {seq}: {key} is {end[key]!r}, not {value!r}")
        self._expect(len(left) == end["phones_left"], f"batch {seq} does not name those left")
        whole = set(batch.phones)
        named = end["phone"] if self.scenario.audit_all_phones else left
        sound = len(set(named)) == len(named) and set(named) <= whole
        self._expect(sound, f"batch {seq} names other phones, or one twice")
        if self.scenario.audit_all_phones:
            self._expect(set(named) == whole, f"batch {seq} does not name all phones")
        gone = {phone for visit in confirmed for phone in visit.phones}
        self._expect(gone == whole - set(left), f"promise 5: of {seq}, {len(gone)} phones were confirmed")
        self._check_status(seq, end, set(left), confirmed)

    def _check_status(self, seq: int, end: dict, left: set[str], confirmed: list[Visit]) -> None:
        status, is_window = end["status"], not self.scenario.plan[seq - 1].phones
        if status == "deleted":
            self._expect(bool(confirmed) and not left, f"batch {seq} is deleted without a confirmation")
            return
        self._expect(bool(left) or (is_window and not confirmed), f"batch {seq} is {status} with none left")
        if self.process.rig.stop.reason is None and status != "not_sent":
            self._check_alone(seq, left)
        if status != "unknown":
            doubtful = self._in_doubt(seq)
            sound = not doubtful if is_window else left.isdisjoint(doubtful)
            self._expect(sound, f"batch {seq} is {status}, and an attempt on those left was uncertain")
        if status == "unknown":
            self._expect(end["uncertain_attempts"] > 0, f"batch {seq} is unknown without a doubt")
        elif status == "not_sent":
            ok = {"skipped": "forbidden", "protected": "", "interrupted": ""}
            self._expect(end["error"] in ok, f"batch {seq} is not_sent because of {end['error']}")
            if end["error"] == "protected":
                self._expect(left <= self.process.protected, f"batch {seq} is protected, and is not")
            if end["error"] == "skipped":
                user = end["user_id"]
                told = [v.told for v in self.vendor.visits if v.user == user]
                self._expect(
                    "forbidden" in told or "not_found" in told, f"batch {seq} is skipped without cause"
                )

    def _check_alone(self, seq: int, left: set[str]) -> None:
        """No number is left because another one in its request was bad."""
        visits = [visit for visit in self.vendor.by_seq[seq] if visit.session == self.session]
        if not any(visit.told in {"forbidden", "not_found"} for visit in visits):
            last = {phone: visit for visit in visits for phone in visit.phones}
            target = self.scenario.plan[seq - 1].target
            tried = {
                phone for phone in left.intersection(last) if (target, phone) not in self.vendor.unreached
            }
            together = [phone for phone in tried if last[phone].blamed and len(last[phone].phones) > 1]
            self._expect(not together, f"batch {seq}: {len(together)} numbers were never tried alone")

    def _in_doubt(self, seq: int) -> set[str]:
        """Phones of a batch (a window: "") that some attempt may have deleted unseen."""
        visits = [visit for visit in self.vendor.by_seq[seq] if visit.told in {"uncertain", "nothing"}]
        phones = {phone for visit in visits for phone in visit.phones or ("",)}
        kinds = self.disk.written.kinds
        if any(kinds.get((session, seq)) == "sending" for session in range(1, self.session)):
            phones.update(self.scenario.plan[seq - 1].phones or ("",))
        return phones

    def _check_kept_rows(self) -> None:
        """Promise 1, in the vendor's pool."""
        for (user, phone), dates in self.kept_rows.items():
            there = Counter(self.vendor.rows[user].get(phone, ()))
            self._expect(not dates - there, f"promise 1: rows of {phone} at {user} are gone")

    def _check_clean_end(self, process) -> None:
        """A session that came to its end: summary, exit code, open records, how long it took to stop."""
        summary, book = process.summary, self.disk.written
        in_session = [visit for visit in self.vendor.visits if visit.session == self.session]
        self._expect(not self.in_flight, "the session ended with an attempt under way")
        figures = {
            "requests": len(in_session),
            "max_in_window": self.most_in_window,
            "peak_in_flight": self.peak,
        }
        for key, value in figures.items():
            self._expect(summary[key] == value, f"summary: {key} is {summary[key]}, not {value}")
        stop = process.rig.stop
        self._check_verdict(summary, stop, book)
        if not process.recorded:
            self._expect(process.file.broken and summary["exit_code"] == 3, "a summary is missing")
            return
        self._expect(self.disk.durable == len(self.disk.data), "the summary is not durable")
        self._expect(book.summary is not None, "the last record is no summary")
        in_doubt = {visit.seq for visit in in_session if visit.told == "nothing"} - set(book.ended)
        self._expect(book.pending == in_doubt, f"open records are missing: {book.pending ^ in_doubt}")
        if not process.abandoned:
            self._expect(not book.pending, "a clean stop left an intent without an end")
        if stop.at_s is not None:
            slow_s = 10 * process.faults.slow_sync_s + process.faults.stall_s + process.loop.blocked_s + 1
            took_s = process.ended_s - stop.at_s
            self._expect(took_s <= process.limits.timeout_s + slow_s, f"it took {took_s:.1f} s to stop")

    def _check_verdict(self, summary: dict, stop, book) -> None:
        planned = len(self.scenario.plan)
        ends = Counter(end["status"] for end in book.ended.values())
        open_batches = planned - len(book.ended)
        code, status = summary["exit_code"], summary["status"]
        if code == Exit.OK:
            self._expect(status == "complete" and ends["deleted"] == planned, "exit 0, and not all confirmed")
        elif code == Exit.PARTIAL:
            self._expect(status == "partial" and not open_batches, "exit 1 with open batches")
            self._expect(ends["deleted"] < planned, "exit 1, and all were confirmed")
        else:
            self._expect(status == "stopped" and stop.reason is not None, f"exit {code} without a stop")
            if stop.reason is not None:
                self._expect(summary["why"] == stop.reason.why, "why")
                self._expect(code == stop.reason.exit_code, f"exit {code} for {stop.reason}")
                self._expect(bool(open_batches) or stop.reason.even_if_done, "stopped, and nothing is open")
                refused = summary["why"].startswith("max_refused")
                self._expect(not refused or self.too_many_refused, "max_refused stops, and does not apply")

    def _verify(self, process) -> None:
        """`verify` finds what it should."""
        if not self.disk.lines:
            return
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(self.disk.data)
            found = verify(Path(file.name), phones_of=self.disk.size_of)
        expected = State.OPEN_ENDED if self.disk.written.in_session else State.WHOLE
        self._expect(found.state is expected, f"verify: {found.what} (line {found.line})")

    # --- at the end

    def at_the_end(self) -> None:
        """All batches have ended, and everything under way has been done or lost."""
        self.vendor.work_until(float("inf"))
        self._check_kept_rows()
        for batch in self.scenario.plan:
            end = self.disk.written.ended[batch.seq]
            visits = self.vendor.by_seq[batch.seq]
            truth, count = sum(visit.rows or 0 for visit in visits), end["count"] or 0
            self._expect(
                truth >= count, f"promise 5: batch {batch.seq} deleted {truth} rows and says {count}"
            )
            if not end["uncertain_attempts"]:
                self._expect(
                    truth == count, f"promise 5: batch {batch.seq} deleted {truth} rows, says {count}"
                )
            left = end["phone"][: end["phones_left"]]
            if end["status"] in {"failed", "not_sent"}:
                done = {phone for visit in visits if visit.rows is not None for phone in visit.phones}
                self._expect(
                    done.isdisjoint(left), f"batch {batch.seq} is {end['status']}, and was processed"
                )
                if not batch.phones:
                    self._expect(
                        not any(v.rows is not None for v in visits), f"window {batch.seq} was processed"
                    )
            self._check_gone(batch, set(batch.phones) - set(left))
        self.raise_first()

    def _check_gone(self, batch, gone: set[str]) -> None:
        first, last = batch.target.created_at or ("", "9999")
        pool = self.vendor.rows[batch.target.user_id]
        for phone in gone:
            rest = [date for date in pool.get(phone, ()) if first <= date <= last]
            self._expect(not rest, f"{phone} of batch {batch.seq} is said to be deleted, and is there")
