"""Where a chief may listen. Standard library only."""

from __future__ import annotations

import ipaddress

from experiments.harness.spec import UserError


def check_address(address: str) -> str:
    """Return ``HOST:PORT``; ``UserError`` where that is no loopback or private address."""
    host, colon, port = address.rpartition(":")
    try:
        number = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
        sound = colon and port.isascii() and port.isdigit() and int(port) < 2**16
    except ValueError:
        sound = ""
    if not sound:
        raise UserError(f"{address!r} is no address: give HOST:PORT, the host as a number")
    if number.is_unspecified or not number.is_private:
        raise UserError(f"{host} is neither loopback nor private; anyone there could give orders")
    return address
