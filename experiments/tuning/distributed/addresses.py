"""The addresses on which a chief may listen. Standard library only."""

from __future__ import annotations

import ipaddress

from experiments.harness.spec import UserError


def check_address(address: str) -> str:
    """Return ``HOST:PORT``; ``UserError`` unless it is a loopback or private address."""
    host, colon, port = address.rpartition(":")
    try:
        ip = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
        valid = colon and port.isascii() and port.isdigit() and int(port) < 2**16
    except ValueError:
        valid = False
    if not valid:
        raise UserError(f"{address!r} is not HOST:PORT with an IP address as the host")
    if ip.is_unspecified or not ip.is_private:
        raise UserError(f"{host} is neither loopback nor private; the port has no authentication")
    return address
