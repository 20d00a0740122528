"""The server under load: tokens a second, latencies and memory at 1, 8 and 64 clients of the bundled model.

Every client asks for texts under a dose of its own, one after the other, for as long as a round takes.
Each answer is counted; one that is lost, cut or refused ends the measurement.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

import httpx
import psutil

PROMPTS = ("Mia was late.", "Tom left for the garden early. He smiled.", "It was a day at the sea.")
N_NEW = 32


@dataclass
class Measured:
    """What the clients of one round saw, in seconds."""

    n_tokens: int = 0
    n_answers: int = 0
    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)


async def ask(client: httpx.AsyncClient, number: int, measured: Measured) -> None:
    """One text under a dose of its own, streamed to its end."""
    body = {
        "model": f"microworld+joyful@{(number % 13 - 6) / 4}",
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
            for _ in choice.get("token_ids", ()):
                now = time.perf_counter()
                (measured.between if n else measured.first).append(now - last)
                last, n = now, n + 1
    assert over == "stop" or (over == "length" and n == N_NEW), (number, over, n)
    assert last >= begun
    measured.n_tokens += n
    measured.n_answers += 1


async def round_of(url: str, n_clients: int, seconds: float) -> tuple[Measured, float]:
    """So many clients for so long, and how long it took until all were answered."""
    measured, begun = Measured(), time.perf_counter()
    limits = httpx.Limits(max_connections=n_clients)

    async def one(client: httpx.AsyncClient, number: int) -> None:
        while time.perf_counter() - begun < seconds:
            await ask(client, number, measured)

    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
        await asyncio.gather(*(one(client, i) for i in range(n_clients)))
    return measured, time.perf_counter() - begun


def quantile(values: list[float], share: float) -> float:
    """A quantile in milliseconds."""
    return 1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:  # noqa: PLR0915 - one measurement after the other
    """Start a server, load it, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--long", type=float, default=120, help="seconds of the largest round")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    given = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "steerscope", "serve", "--port", str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                httpx.get(f"{url}/health")
                break
            except httpx.ConnectError:
                time.sleep(0.5)
        asyncio.run(round_of(url, 4, 3))  # warm
        print(
            "clients  answers  tokens/s  first ms p50/p95  token ms p50/p95  MiB before/middle/after"
        )
        for n in given.clients:
            seconds = given.long if n == max(given.clients) else given.seconds
            memory = [psutil.Process(server.pid).memory_info().rss / 2**20]
            first, took_first = asyncio.run(round_of(url, n, seconds / 2))
            memory.append(psutil.Process(server.pid).memory_info().rss / 2**20)
            second, took_second = asyncio.run(round_of(url, n, seconds / 2))
            memory.append(psutil.Process(server.pid).memory_info().rss / 2**20)
            starts, steps = first.first + second.first, first.between + second.between
            rate = (first.n_tokens + second.n_tokens) / (took_first + took_second)
            print(
                f"{n:7d}  {first.n_answers + second.n_answers:7d}  {rate:8.0f}"
                f"  {quantile(starts, 0.5):7.0f}/{quantile(starts, 0.95):7.0f}"
                f"  {quantile(steps, 0.5):7.1f}/{quantile(steps, 0.95):7.1f}"
                f"  {'/'.join(f'{m:.0f}' for m in memory)}"
            )
        assert httpx.get(f"{url}/health").json()["texts"] == 0
    finally:
        server.terminate()
        server.wait(timeout=30)


if __name__ == "__main__":
    main()
