"""The Python client, as an application uses it: each command of this program is one thing that it does with a stream.

    client.py create URL CONTENT_TYPE
    client.py append URL FIRST END           appends {"n": FIRST} and so on, each exactly once
    client.py read URL                       prints what is there, as lines of JSON
    client.py follow URL LIVE OFFSET END     prints each message as it comes, until it has {"n": END - 1}

The client leaves it to the application to try again when a connection breaks.
"""

import json
import sys
import time

import httpx
from durable_streams import DurableStream, SeqConflictError, stream

PAUSE_S = 0.05
DEADLINE_S = 20


def create(url: str, content_type: str) -> None:
    DurableStream.create(url, content_type=content_type).close()


def append(url: str, first: str, end: str) -> None:
    with DurableStream.connect(url) as handle:
        for n in range(int(first), int(end)):
            append_once(handle, n)
            print(n, flush=True)


def append_once(handle: DurableStream, n: int) -> None:
    """Appends a message with its number as `seq`, so that a second attempt is refused if the first one was stored."""
    for attempt in attempts():
        try:
            handle.append({"n": n}, seq=f"{n:08}")
            return
        except SeqConflictError:
            if attempt > 0:
                return
            raise
        except httpx.TransportError:
            pass


def read(url: str) -> None:
    # Not `live=False`: so the client reads a single response, which is all only of a stream that is shorter than a chunk.
    with stream(url) as response:
        for message in response.read_json():
            print(json.dumps(message), flush=True)


def follow(url: str, live: str, offset: str, end: str) -> None:
    last = {"n": int(end) - 1}
    for _ in attempts():
        try:
            with stream(url, live=live, offset=offset) as response:
                for event in response.iter_events(mode="json"):
                    offset = event.next_offset
                    for message in event.data:
                        print(json.dumps(message), flush=True)
                    if last in event.data:
                        return
        except httpx.TransportError as error:
            print(f"{live}: {error!r}", file=sys.stderr)


def attempts():
    """Counts attempts, with pauses between them, until the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    attempt = 0
    while time.monotonic() < deadline:
        yield attempt
        attempt += 1
        time.sleep(PAUSE_S)
    raise TimeoutError(f"not after {DEADLINE_S} s")


if __name__ == "__main__":
    commands = {command.__name__: command for command in [create, append, read, follow]}
    commands[sys.argv[1]](*sys.argv[2:])
