"""A real browser for tests: Chromium without a screen, driven through its own debugging protocol."""

import asyncio
import json
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_S = 60
FLAGS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--no-sandbox",  # as root there is none; only pages of ours are opened
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
)


def find_browser():
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """One page of the browser."""

    def __init__(self, socket):
        self._socket = socket
        self._number = 0
        self.requested = []
        """Every address that was asked for, the page's own included."""
        self.complaints = []
        """What the browser says about the page, a breach of its policy for instance."""
        self._loaded = False

    async def call(self, method, **params):
        """Ask for something and return the answer; events that come meanwhile are noted."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        return await self._hear(lambda message: message.get("id") == self._number)

    async def _hear(self, wanted):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = json.loads((await self._socket.receive()).data)
                if message.get("method") == "Network.requestWillBeSent":
                    self.requested.append(message["params"]["request"]["url"])
                if message.get("method") == "Log.entryAdded":
                    self.complaints.append(message["params"]["entry"]["text"])
                self._loaded |= message.get("method") == "Page.loadEventFired"
                if wanted(message):
                    assert "error" not in message, message
                    return message.get("result", {})

    async def open(self, url):
        """Load a page."""
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)
        if not self._loaded:
            await self._hear(lambda _message: self._loaded)

    async def look(self, *, width, height=900, scheme="light", media="screen"):
        """Show it so wide, in light or dark, on a screen or on paper."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", media=media, features=features)

    async def ask(self, script):
        """The value of an expression, computed in the page."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def picture(self):
        """The whole page as a PNG, in base64."""
        return (await self.call("Page.captureScreenshot", captureBeyondViewport=True))["data"]


@asynccontextmanager
async def browser():
    """Start Chromium; yields a tab of it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            find_browser(),
            *FLAGS,
            f"--user-data-dir={folder}",
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            port = await _port(Path(folder) / "DevToolsActivePort", process)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as reply:
                    target = next(page for page in await reply.json() if page["type"] == "page")
                async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    yield Tab(socket)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _port(file, process):
    """The port that the browser chose."""
    async with asyncio.timeout(PATIENCE_S):
        while not (file.exists() and file.read_text().strip()):
            assert process.returncode is None, "the browser did not start"
            await asyncio.sleep(0.05)
    return int(file.read_text().split()[0])
