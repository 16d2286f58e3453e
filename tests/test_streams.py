"""Standard output and standard error: what fails under them, and who hears of it."""

import contextlib
import io
import json
import os
import sys
from pathlib import Path

import pytest

from runner import streams
from runner.streams import Shielded, Unwritten, open_streams


class Failing(io.StringIO):
    """A stream that fails, from the start or when it is flushed."""

    def __init__(self, error, *, at="write"):
        super().__init__()
        self.error, self.at, self.calls = error, at, 0

    def write(self, text):
        self.calls += 1
        if self.at == "write":
            raise self.error
        return super().write(text)

    def flush(self):
        self.calls += 1
        raise self.error

    def isatty(self):
        raise self.error


@pytest.mark.parametrize(
    "error", [OSError(5, "I/O"), OSError(28, "full"), ValueError("closed"), BrokenPipeError()]
)
@pytest.mark.parametrize("at", ["write", "flush"])
def test_what_people_cannot_be_shown_is_dropped(error, at):
    stream = Shielded(Failing(error, at=at))
    assert not stream.isatty()
    assert stream.write("words") == 5
    stream.flush()


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Set up standard streams over files of one's own; return where standard output goes."""
    with contextlib.ExitStack() as stack:

        def open_over(path=tmp_path / "out", encoding="utf-8"):
            for name, place in (("stdout", path), ("stderr", tmp_path / "err")):
                monkeypatch.setattr(sys, name, stack.enter_context(Path(place).open("w", encoding=encoding)))
            open_streams()
            return path

        yield open_over


def test_a_full_disk_under_the_result_is_said_once_with_its_reason(opened):
    opened("/dev/full")
    sys.stdout.write("result\n")
    with pytest.raises(Unwritten, match="No space left on device") as caught:
        sys.stdout.flush()
    assert "make room" in caught.value.hint
    sys.stdout.write("more\n")
    sys.stdout.flush()


def test_a_reader_that_left_is_no_fault(opened, tmp_path):
    reads, writes = os.pipe()
    os.close(reads)
    opened(f"/dev/fd/{writes}")
    sys.stdout.write("result\n")
    sys.stdout.flush()
    os.close(writes)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "gb18030", "utf-8"])
def test_what_an_encoding_lacks_is_escaped_so_that_json_stays_json(opened, encoding):
    out = opened(encoding=encoding)
    told = {"message": "删除 – 😀 é \ud800"}
    sys.stdout.write(json.dumps(told, ensure_ascii=False))
    sys.stdout.flush()
    assert json.loads(out.read_bytes().decode(encoding)) == told


def test_only_what_is_lacking_is_escaped(opened):
    out = opened(encoding="latin-1")
    sys.stdout.write("é 删")
    sys.stdout.flush()
    assert out.read_bytes() == b"\xe9 \\u5220"


def test_decoding_errors_are_not_ours():
    with pytest.raises(UnicodeDecodeError):
        streams._escape(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"))
