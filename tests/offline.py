"""Nothing may leave this machine: `sitecustomize` of the processes that the fixture `no_network` watches, and of pytest itself.

Python imports this file under the name `sitecustomize` where the fixture puts it on PYTHONPATH. Each attempt to look up or reach another
host is refused, and written as a line to $FLATSPOT_TEST_NETWORK with the frames it came from. Addresses of this machine are let through.
Only Python's own sockets are seen.
"""

import os
import socket
import traceback

_HERE = {"", "localhost", "localhost.localdomain", "0.0.0.0", "::", "::1", "ip6-localhost"}
_FRAMES = 12
_HTTP = ("httpx", "httpcore", "urllib", "requests", "http/client.py")


def is_here(host: object) -> bool:
    """Whether a host is this machine."""
    text = host.decode("utf-8", "replace") if isinstance(host, bytes) else host
    return text is None or (isinstance(text, str) and (text.lower() in _HERE or text.startswith("127.") or text == socket.gethostname()))


def patches() -> list[tuple[object, str, object]]:
    """(owner, name, what to put there) of every way out."""
    return [
        (socket.socket, "connect", _of_address(socket.socket.connect, 0)),
        (socket.socket, "connect_ex", _of_address(socket.socket.connect_ex, 0)),
        (socket.socket, "sendto", _of_address(socket.socket.sendto, -1)),
        (socket, "getaddrinfo", _of_host(socket.getaddrinfo)),
        (socket, "gethostbyname", _of_host(socket.gethostbyname)),
        (socket, "gethostbyname_ex", _of_host(socket.gethostbyname_ex)),
    ]


def _of_address(real, place):
    def guarded(self, *args):
        address = args[place]
        if isinstance(address, tuple) and not is_here(address[0]):
            refuse(f"{real.__name__} {address}")
        return real(self, *args)

    return guarded


def _of_host(real):
    def guarded(host, *args, **kwargs):
        if not is_here(host):
            refuse(f"{real.__name__} {host}")
        return real(host, *args, **kwargs)

    return guarded


def refuse(what):
    """Write the attempt down, and fail it as a machine without a network does."""
    # not those of the libraries that speak HTTP: who called them is of interest
    stack = [frame for frame in traceback.extract_stack()[:-2] if not any(name in frame.filename for name in _HTTP)]
    frames = [f"{frame.filename}:{frame.lineno}" for frame in stack][-_FRAMES:]
    with open(os.environ["FLATSPOT_TEST_NETWORK"], "a", encoding="utf-8") as log:  # noqa: PTH123
        log.write(f"{what} from {' > '.join(frames)}\n")
    raise OSError(f"no network in this test: {what}")


if __name__ == "sitecustomize" and "FLATSPOT_TEST_NETWORK" in os.environ:
    for _owner, _name, _guarded in patches():
        setattr(_owner, _name, _guarded)
