"""What a server takes, and from whom."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass

from steerscope.errors import BadValueError

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Attributes:
        body: bytes of a request.
        upload: bytes of a vector file.
        tokens: that a text may get.
        rows: texts that a model writes at once.
        waiting: requests that are answered or wait at a time.

    Raises:
        BadValueError: one of them is below 1.
    """

    body: int = MEBIBYTE
    upload: int = 64 * MEBIBYTE
    tokens: int = 1024
    rows: int = 64
    waiting: int = 256

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if getattr(self, name) < 1:
                raise BadValueError(
                    f"the limit of {name} is {getattr(self, name)}; give at least 1."
                )


@dataclass(frozen=True)
class Access:
    """Who may ask: this machine alone, or whoever has the key.

    Attributes:
        host: the address that the server listens at.
        key: a secret that requests name; needed for every address but those of this machine.

    Raises:
        BadValueError: an address that others reach, without a key; or a key that is too short.
    """

    host: str = "127.0.0.1"
    key: str | None = None

    def __post_init__(self) -> None:
        if self.key is not None and (len(self.key) < 8 or not self.key.isascii()):
            raise BadValueError("the api key needs at least 8 ASCII characters.")
        if self.key is None and not is_loopback(self.host):
            raise BadValueError(
                f"{self.host} can be reached by others, so that requests must name a key; give "
                "--api-key, or leave --host out."
            )

    def allows(self, authorization: str) -> bool:
        """Whether the header of a request names the key; without a key everything does."""
        if self.key is None:
            return True
        given = authorization.removeprefix("Bearer ").strip()
        return hmac.compare_digest(given.encode(), self.key.encode())

    def trusts(self, host: str, origin: str) -> bool:
        """Whether a request comes from no page of another site.

        Without a key, the name that the browser asked for must be one of this machine, so that no name
        of elsewhere can be pointed here; a page may ask only the server that it came from.
        """
        if self.key is None and not is_loopback(_name(host)):
            return False
        return not origin or origin.partition("://")[2] == host


def is_loopback(host: str) -> bool:
    """Whether an address is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
