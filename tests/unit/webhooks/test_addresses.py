"""Which addresses webhooks may be sent to."""

from __future__ import annotations

import pytest

from pgdbm_service.features.webhooks.addresses import RefusedAddressError, address_of, is_public


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1"),
        *("::", "::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *("2002:7f00:1::", "2002:a00:1::", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1"),
    ],
)
def test_internal_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::1.1.1.1"])
def test_others_are(address: str) -> None:
    assert is_public(address)


async def test_a_name_is_resolved_once_and_checked() -> None:
    assert await address_of("localhost", 443, allow_private=True) in ("127.0.0.1", "::1")
    for name in ("localhost", "127.0.0.1", "127.1", "0x7f.1", "2130706433"):
        with pytest.raises(RefusedAddressError, match="not a public address"):
            await address_of(name, 443, allow_private=False)
    with pytest.raises(RefusedAddressError, match="cannot be resolved"):
        await address_of("there-is-no-such-name.invalid", 443, allow_private=True)
