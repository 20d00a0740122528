"""A small OpenAI-compatible server for tests: it counts what it is asked, and answers as it is told."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, bytes, float]  # state, body, seconds to wait before
Raw = bytes  # what is sent as it is, and the connection closed


class ChatServer:
    """Answers at `url`; `asked` holds the questions, `reply` makes an answer of one."""

    def __init__(self, reply: Callable[[str], Reply | Raw]) -> None:
        self.asked: list[str] = []
        self.headers: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.reply = reply
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                question = json.loads(body)["messages"][-1]["content"]
                outer.asked.append(question)
                outer.bodies.append(json.loads(body))
                outer.headers.append(str(self.headers.get("Authorization")))
                reply = outer.reply(question)
                if isinstance(reply, bytes):
                    self.wfile.write(reply)
                    self.close_connection = True
                    return
                state, said, pause = reply
                time.sleep(pause)
                self.send_response(state)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (BrokenPipeError, ConnectionResetError):  # who asked has gone
                    self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"


@contextmanager
def serving(reply: Callable[[str], Reply | Raw]) -> Iterator[ChatServer]:
    server = ChatServer(reply)
    thread = threading.Thread(target=server.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()
        thread.join()


def completion(said: str, chances: dict[str, float] | None = None) -> Reply:
    """A chat completion of one token, with the probabilities of those that it might have been."""
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": said}}
    if chances is not None:
        top = [{"token": t, "logprob": math.log(p)} for t, p in chances.items()]
        choice["logprobs"] = {"content": [{"token": said, "logprob": 0.0, "top_logprobs": top}]}
    return 200, json.dumps({"choices": [choice]}).encode(), 0.0


def text_asked(question: str) -> str:
    """The text that a question is about."""
    return question.rpartition("Text: ")[2].removesuffix("\nAnswer:")
