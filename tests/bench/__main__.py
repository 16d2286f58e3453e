"""Benchmarks: `python -m tests.bench` compares sending, `python -m tests.bench plan --rows 9999` is another.

A first word that names another module of this folder runs that one, with the words after it.
"""

import importlib
import sys
from pathlib import Path

OTHERS = {path.stem for path in Path(__file__).parent.glob("[a-z]*.py")}


def main():
    named = sys.argv[1] if len(sys.argv) > 1 else ""
    if named in OTHERS:
        del sys.argv[1]
    importlib.import_module(f"tests.bench.{named if named in OTHERS else 'sending'}").main()


if __name__ == "__main__":
    main()
