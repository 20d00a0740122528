"""The server under load: tokens a second, latencies and memory at 1, 8 and 64 clients of the bundled model.

Every client asks for texts under a dose of its own, one after the other, for as long as a round takes.
Each answer is counted; one that is lost, cut or refused ends the measurement. `--url` loads another
server with the same API and model instead, which does not steer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import psutil

PROMPTS = ("Mia was late.", "Tom left for the garden early. He smiled.", "It was a day at the sea.")
N_NEW = 32
STEERED = "microworld+joyful@{dose}"


@dataclass
class Measured:
    """What the clients of one round saw, in seconds."""

    n_tokens: int = 0
    n_answers: int = 0
    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)


async def ask(client: httpx.AsyncClient, number: int, measured: Measured, model: str) -> None:
    """One text under a dose of its own, streamed to its end; a piece without ids is one token."""
    body = {
        "model": model.format(dose=(number % 13 - 6) / 4),
        "prompt": PROMPTS[number % len(PROMPTS)],
        "max_tokens": N_NEW,
        "seed": number,
        "temperature": 0.8,
        "stream": True,
    }
    begun = last = time.perf_counter()
    n, over = 0, ""
    async with client.stream("POST", "/v1/completions", json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            if not line.startswith("data: {"):
                continue
            [choice] = json.loads(line[6:])["choices"]
            over = choice["finish_reason"] or over
            for _ in choice.get("token_ids", [0] if choice.get("text") else ()):
                now = time.perf_counter()
                (measured.between if n else measured.first).append(now - last)
                last, n = now, n + 1
    whole = n == N_NEW or "{" not in model  # elsewhere a piece may hold more than a token
    assert over == "stop" or (over == "length" and whole), (number, over, n)
    assert last >= begun
    measured.n_tokens += n
    measured.n_answers += 1


class Memory:
    """What the server holds at some seconds of a round, in MiB."""

    def __init__(self, pid: int, marks: Sequence[float]) -> None:
        self._process, self._marks = psutil.Process(pid), marks
        self.at: dict[float, float] = {}

    async def watch(self, seconds: float) -> None:
        """Look at the marks that lie within the round, and at its end."""
        begun = time.perf_counter()
        for mark in [*(m for m in self._marks if m < seconds), seconds]:
            await asyncio.sleep(max(0.0, begun + mark - time.perf_counter()))
            self.at[mark] = self._process.memory_info().rss / 2**20


async def round_of(
    url: str,
    n_clients: int,
    seconds: float,
    memory: Memory | None = None,
    model: str = STEERED,
) -> tuple[Measured, float]:
    """So many clients for so long, and how long it took until all were answered."""
    measured, begun = Measured(), time.perf_counter()
    limits = httpx.Limits(max_connections=n_clients)

    async def one(client: httpx.AsyncClient, number: int) -> None:
        while time.perf_counter() - begun < seconds:
            await ask(client, number, measured, model)

    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        watching = asyncio.create_task(memory.watch(seconds)) if memory else None
        await asyncio.gather(*(one(client, i) for i in range(n_clients)))
        if watching:
            await watching
    return measured, time.perf_counter() - begun


def quantile(values: list[float], share: float) -> float:
    """A quantile in milliseconds."""
    return 1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))]


@contextmanager
def server(elsewhere: str | None, pid: int) -> Iterator[tuple[str, int]]:
    """A server of the bundled model, or the one that is there: its address and process."""
    if elsewhere:
        yield elsewhere, pid
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    running = subprocess.Popen([sys.executable, "-m", "steerscope", "serve", "--port", str(port)])
    try:
        while True:
            try:
                httpx.get(f"{url}/health")
                break
            except httpx.ConnectError:
                time.sleep(0.5)
        yield url, running.pid
        assert httpx.get(f"{url}/health").json()["texts"] == 0
    finally:
        running.terminate()
        running.wait(timeout=30)


def main() -> None:
    """Start a server, load it, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--long", type=float, default=120, help="seconds of the largest round")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--marks", type=float, nargs="+", default=[10, 60], help="of the memory, s")
    parser.add_argument("--url", help="of a server that runs already")
    parser.add_argument("--pid", type=int, default=0, help="of that server")
    parser.add_argument("--model", default=STEERED, help="how that server calls the model")
    given = parser.parse_args()
    with server(given.url, given.pid) as (url, pid):
        asyncio.run(round_of(url, min(given.clients), 3, model=given.model))  # warm
        print("| clients | seconds | answers | tokens/s | first token, ms (p95) | next token, ms (p95) "
              "| resident MiB |")  # fmt: skip
        print("|---|---|---|---|---|---|---|")
        for n in given.clients:
            seconds = given.long if n == max(given.clients) else given.seconds
            memory = Memory(pid, given.marks)
            seen, took = asyncio.run(round_of(url, n, seconds, memory, given.model))
            held = ", ".join(f"{mib:.0f} at {mark:g} s" for mark, mib in memory.at.items())
            print(
                f"| {n} | {took:.0f} | {seen.n_answers} | {seen.n_tokens / took:.0f} "
                f"| {quantile(seen.first, 0.5):.0f} ({quantile(seen.first, 0.95):.0f}) "
                f"| {quantile(seen.between, 0.5):.1f} ({quantile(seen.between, 0.95):.1f}) | {held} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
