"""Jobs to start from, mutated: whatever becomes of them, they are read or refused, and nothing else."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.errors import RunnerError
from runner.job.arguments import read_jobs, read_requests

NOW = datetime(2026, 11, 23, 4, tzinfo=UTC)
SEEDS = [(path.suffix, path.read_bytes()) for path in (Path(__file__).parents[2] / "jobs").glob("*.[jty]*")]
PIECES = [
    *(char.encode() for char in "[]{}:,#'\"|>&*!?%=.-~\t\r\n \0"),
    *(b": ", b"- ", b"[[", b"]]", b'"""', b"'''", b"---\n", b"...\n", b"<<: ", b"&a ", b"*a", b"!!int "),
    *(b"%YAML 1.3\n---\n", b"%TAG ! x\n", b"\\ud800", b"\\u0000", b"\\x00", b"\xff", b"\xed\xa0\x80"),
    *(b"\xc2\x85", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xf0\x9f\x98\x80", b"1e400", b"-0", b"0x1F", b"1_000"),
    *(b"9" * 31, b"9" * 4301, b"nan", b".inf", b"null", b"true", b"2024-01-01", b"2024-01-01T00:00:00Z"),
    *(b"07:32:00", b"[" * 200, b"{" * 60, b"{a=" * 60, b"a." * 60, b"x" * 5000, b"users", b"phone"),
    *(b"user_id", b"created_at", b"delete_window: true", b"timezone: ../x", b"encoding: hex"),
    *(b"last: 999999999d", b"protect_file: /dev/zero"),
]
places = st.floats(0, 1, exclude_max=True)
changes = st.one_of(
    st.tuples(places, st.just(0), st.sampled_from(PIECES)),
    st.tuples(places, st.sampled_from((1, 2, 5, 20, 100)), st.sampled_from((b"", *PIECES))),
    st.tuples(places, st.just(1), st.binary(min_size=1, max_size=1)),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(changes, min_size=1, max_size=6),
    suffix=st.sampled_from(("", ".yaml", ".json", ".toml", ".jsonl")),
    user_id=st.sampled_from((None, "u1")),
)
def test_a_mutated_job_is_read_or_refused_in_words_to_show(tmp_path, seed, changes, suffix, user_id):
    raw = seed[1]
    for place, length, piece in changes:
        at = int(place * (len(raw) + 1))
        raw = raw[:at] + piece + raw[at + length :]
    path = tmp_path / f"job{suffix or seed[0]}"
    path.write_bytes(raw)
    with suppress(RunnerError):
        try:
            job = read_jobs([str(path)], user_id=user_id, now=NOW)
            for requests in job.request_files:
                list(read_requests(requests))
        except RunnerError as error:
            f"{error.message}\n{error.hint}".encode()
            raise
