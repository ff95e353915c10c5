"""A worker is sent to public hosts, and to those that its operator names, however written."""

import pytest

from stoker_workers.outside.addresses import Guard, Refused, Unresolved, system_addresses

PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808"]
CLOSED = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "100::1",
    "2001:0:7f00:1::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "2606:4700::1%lo",
    "fec0::1",
    "ff02::1",
]


def guard(*found: str, allowed: tuple[str, ...] = ()) -> Guard:
    """Give a guard for which each host has these addresses."""
    return Guard(allowed, lambda host, port: found)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_open(address: str) -> None:
    assert [str(each) for each in guard(address).addresses("files.test", 443)] == [address]


@pytest.mark.parametrize("address", CLOSED)
def test_any_other_address_is_closed(address: str) -> None:
    with pytest.raises(Refused) as caught:
        guard(address).addresses("files.test", 443)

    assert "STOKER_ALLOWED_NETWORKS" in str(caught.value)
    # What a name means inside is not told outside.
    assert address not in str(caught.value)


def test_one_closed_address_closes_a_name() -> None:
    with pytest.raises(Refused):
        guard(PUBLIC[0], "10.0.0.1").addresses("files.test", 443)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "0", "::1"],
)
def test_however_this_machine_is_written_it_is_closed(host: str) -> None:
    with pytest.raises(Refused):
        Guard().addresses(host, 80)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".test", "..", "\0"])
def test_a_host_without_an_address_is_told_apart(host: str) -> None:
    with pytest.raises(Unresolved):
        system_addresses(host, 80)


@pytest.mark.parametrize("port", [22, 25, 6379, 9200, 65535])
def test_a_public_host_has_public_ports(port: int) -> None:
    with pytest.raises(Refused, match=f"port {port} of files.test"):
        guard(PUBLIC[0]).addresses("files.test", port)


@pytest.mark.parametrize(
    ("allowed", "address"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.0.0.0/8", "::ffff:10.1.2.3"),
        ("127.0.0.1", "127.0.0.1"),
        ("fd00::/16", "fd00::7"),
        ("169.254.169.254", "169.254.169.254"),
        ("minio", "10.1.2.3"),
    ],
)
def test_what_the_operator_names_is_open_on_any_port(allowed: str, address: str) -> None:
    assert guard(address, allowed=(allowed,)).addresses("MINIO.", 9000)


@pytest.mark.parametrize(
    ("allowed", "address"),
    [
        ("10.0.0.0/8", "192.168.0.1"),
        ("10.0.0.0/8", "::1"),
        ("169.254.0.0/16", "169.254.169.254"),
        ("0.0.0.0/0", "169.254.169.254"),
        ("::/0", "10.0.0.1"),
        ("minio.test", "10.1.2.3"),
    ],
)
def test_nothing_beyond_it_is(allowed: str, address: str) -> None:
    with pytest.raises(Refused):
        guard(address, allowed=(allowed,)).addresses("minio", 80)
