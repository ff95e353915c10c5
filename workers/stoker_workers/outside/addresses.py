"""Which hosts a worker may be sent to by a caller: public ones, and those that the operator names.

A caller who names a host chooses where the worker's network connects to. What only that network can
reach (other services, the machine itself, a cloud's metadata with its credentials) is refused, by
the IANA registries of special-purpose addresses: https://www.iana.org/assignments/
iana-ipv4-special-registry and iana-ipv6-special-registry.
"""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Final

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

# Where the public offers files and takes webhooks; elsewhere are mail, databases, shells.
PORTS: Final = frozenset({80, 443, 8080, 8443})

_CLOSED_4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # a provider's own; Alibaba's metadata
            "127.0.0.0/8",  # this machine
            "168.63.129.16/32",  # the host of a machine at Azure
            "169.254.0.0/16",  # link-local; the metadata of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
# All that is public lies in here: loopback, link-local, private (fc00::/7) and multicast do not.
_OPEN_6: Final = IPv6Network("2000::/3")
_CLOSED_6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments; Teredo, which holds an IPv4 address
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which holds an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
# How a network without IPv4 reaches it; the last four bytes are the address that counts.
_NAT64: Final = IPv6Network("64:ff9b::/96")

# They hand out a machine's credentials, so that no wider network opens them by accident.
_METADATA: Final = frozenset(
    map(
        ip_address,
        (
            "100.100.100.200",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "192.0.0.192",
            "fd00:ec2::23",
            "fd00:ec2::254",
            "fd20:ce::254",
        ),
    )
)


class Refused(Exception):
    """A caller named a host, a port or a scheme that a worker is not sent to.

    Its message goes to the caller, and does not tell what a name resolves to.
    """


class Unresolved(Exception):
    """A host's name has no address, or none could be asked for."""


@dataclass(frozen=True)
class Guard:
    """Tells which addresses of a host may be connected to.

    Attributes:
        allowed: Networks (`10.1.0.0/16`), addresses and names of hosts to which callers may send
            workers although they are not public, on any port. A name's addresses are not checked:
            whoever names it trusts its DNS. A metadata address is opened only by its own entry.
        resolve: Lists the addresses of a host.
    """

    allowed: Sequence[str] = ()
    resolve: Resolve = field(default=lambda host, port: system_addresses(host, port))

    def addresses(self, host: str, port: int) -> list[Address]:
        """List the addresses of a host, having checked each: connect to no other.

        Args:
            host: A name or an address, as it stands in a URL.
            port: The port that is meant.

        Raises:
            Refused: One of the addresses is not public, or the port is none for the public.
            Unresolved: The host has no address.
        """
        name = host.lower().rstrip(".")
        found = [_parse(each) for each in self.resolve(name, port)]
        if name in self.allowed:
            return found
        for address in found:
            if self._is_allowed(address):
                continue
            if not _is_public(address):
                raise Refused(
                    f"{host[:200]} is not a public host: a worker is sent to others only where its "
                    "operator names them (STOKER_ALLOWED_NETWORKS)"
                )
            if port not in PORTS:
                raise Refused(
                    f"port {port} of {host[:200]} is not one of "
                    f"{', '.join(map(str, sorted(PORTS)))}: a worker is sent to others only where "
                    "its operator names the host (STOKER_ALLOWED_NETWORKS)"
                )
        return found

    def _is_allowed(self, address: Address) -> bool:
        networks = [network for each in self.allowed if (network := as_network(each))]
        return any(
            address in network
            and (address not in _METADATA or network.num_addresses == 1)
            and address.version == network.version
            for network in networks
        )


def as_network(entry: str) -> IPv4Network | IPv6Network | None:
    """Read an entry of an allow-list as a network; None if it is a host's name."""
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        return None


def system_addresses(host: str, port: int) -> list[str]:
    """Ask the operating system for a host's addresses, as any program does.

    Raises:
        Unresolved: It has none, or none could be asked for.
    """
    try:
        found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A name may also be too long, or nothing that can be a name.
    except (OSError, UnicodeError):
        raise Unresolved(f"the host {host[:200]} is not known: no address was found") from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _parse(text: str) -> Address:
    """Read an address; the IPv4 address where one is only written as IPv6."""
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return _is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _OPEN_6 and not any(address in network for network in _CLOSED_6)
