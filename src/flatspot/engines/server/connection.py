"""The addresses of servers of completions, and the key for them."""

from __future__ import annotations

from flatspot.core.connection import checked_address
from flatspot.core.errors import SettingsError

KEY = "OPENAI_API_KEY"


def checked_url(text: str) -> str:
    """A server's address as requests use it: ends in its path, /v1 where it has none.

    Raises SettingsError for what is no http address, or holds a name, a password or a query: keys come from the environment.

    >>> checked_url("http://localhost:8000"), checked_url("https://host/api/v1/")
    ('http://localhost:8000/v1', 'https://host/api/v1')
    """
    try:
        return checked_address(text, "--base-url", path="/v1", keys=f": a key is taken from the environment variable {KEY}")
    except ValueError as error:
        raise SettingsError(str(error)) from None


def checked_key(value: str | None) -> str | None:
    """A key as requests carry it, without the white space around it, which comes with a file that it was read from; None where it is empty.

    Raises SettingsError, which does not show it, for one that no request can carry.
    """
    key = (value or "").strip()
    if bad := [i for i, c in enumerate(key, 1) if not "!" <= c <= "~"]:
        kind = "white space" if key[bad[0] - 1].isspace() else "a control character" if key[bad[0] - 1] < " " else "not ASCII"
        raise SettingsError(
            f"the environment variable {KEY} is no key: it must be printable ASCII without white space, and of its {len(key)} characters "
            f"number {bad[0]} is {kind}. Set it to the key alone"
        )
    return key or None
