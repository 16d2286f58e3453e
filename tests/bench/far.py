"""Runs a command where every packet over loopback is late: `python -m tests.bench.far -- COMMAND…`.

The command lives in a network namespace of its own. There 127.0.0.0/8 is not routed through `lo` but through
a tunnel whose other end is this process, which hands every packet back after the delay (`--delay-ms`, 50 if
not given): one way, so a reply takes twice that. Nothing outside is touched, and nothing outside can be
reached. `--busy 4` has so many processes beside it that do nothing but take time. Linux only; wants `ip` and
`unshare` (packages iproute2 and util-linux) and `/dev/net/tun`, but no privilege where user namespaces are
allowed, and nothing of the kernel's traffic shaping.
"""

import argparse
import collections
import fcntl
import os
import selectors
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_LARGEST = 65535
# Without an address that is not loopback's, names are not resolved.
_SETUP = """
ip link set lo up
ip link set far mtu 65535 up
ip addr add 192.0.2.1/32 dev far
ip route add 127.0.0.0/8 dev far src 127.0.0.1 table 100
ip rule add pref 10 iif far lookup local
ip rule add pref 20 to 127.0.0.0/8 lookup 100
ip rule add pref 30 lookup local
ip rule del pref 0
"""
_SYSCTLS = {"far/accept_local": "1", "far/route_localnet": "1", "far/rp_filter": "0", "all/rp_filter": "0"}


def _open_tunnel():
    tunnel = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tunnel, _TUNSETIFF, struct.pack("16sH22x", b"far", _IFF_TUN | _IFF_NO_PI))
    for line in _SETUP.strip().splitlines():
        subprocess.run(line.split(), check=True)
    for name, value in _SYSCTLS.items():
        Path("/proc/sys/net/ipv4/conf", name).write_text(value)
    return tunnel


def _carry(tunnel, delay_s, process):
    """Hand every packet back when it is due, until the command has ended."""
    due = collections.deque()
    with selectors.DefaultSelector() as selector:
        selector.register(tunnel, selectors.EVENT_READ)
        while process.poll() is None:
            wait_s = min(0.2, due[0][0] - time.monotonic()) if due else 0.2
            if selector.select(max(0.0, wait_s)):
                due.append((time.monotonic() + delay_s, os.read(tunnel, _LARGEST)))
            while due and due[0][0] <= time.monotonic():
                os.write(tunnel, due.popleft()[1])


@contextmanager
def _busy(count):
    """Have so many processes that only take time, until the block ends or this process is killed."""
    line = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
    processes = [subprocess.Popen([sys.executable, "-c", line]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main():
    """Run from the command line; the exit code is the command's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay-ms", type=float, default=50, help="each way")
    parser.add_argument("--busy", type=int, default=0, help="processes beside it that take time")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    if not given.inside:
        own = ["unshare", "--net", *(["--map-root-user"] if os.geteuid() else [])]
        again = [sys.executable, "-m", "tests.bench.far", "--inside", f"--busy={given.busy}"]
        os.execvp(own[0], [*own, *again, f"--delay-ms={given.delay_ms}", "--", *given.command])
    tunnel = _open_tunnel()
    with _busy(given.busy):
        process = subprocess.Popen(given.command)
        _carry(tunnel, given.delay_ms / 1000, process)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
