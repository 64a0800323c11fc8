"""A client of the installation that tests call the API with, and the shops that they use."""

from datetime import timedelta

from domain.access import commands as c
from infrastructure.access.administration import Administration
from infrastructure.access.api_keys import digest, id_of
from infrastructure.access.doorkeeper import opened_installation
from infrastructure.runtime import clock

CLIENT, MERCHANT = "testclient00", "testmerchant"
KEY = "shiplock_testkey000_00000000000000000000000000000000000000000001u8y3t"
LIFE = timedelta(days=700)
ENOUGH = 1_000_000
SHOPS = ("1", "2", "100000001", "100000002", "200000002", "another", "other", "shop-0")


def headers(key: str = KEY) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def prepare_access(url: str, shops: tuple[str, ...] = SHOPS) -> None:
    """Make an operator with a known key and no limits that tests could meet, and enrol shops."""
    with opened_installation(url) as installation:
        administration = Administration(installation, url)
        for command in (
            c.AddMerchant(merchant_id=MERCHANT),
            c.AddPrincipal(principal_id=CLIENT, kind="client"),
            c.Grant(principal_id=CLIENT, role="operator"),
            c.SetLimits(principal_id=CLIENT, per_second=ENOUGH, at_once=ENOUGH),
            c.IssueKey(
                principal_id=CLIENT, key_id=id_of(KEY) or "", digest=digest(KEY), ends_at=clock.now() + LIFE
            ),
            *(c.EnrolShop(shop_id=shop_id, merchant_id=MERCHANT) for shop_id in shops),
            *(c.SetLimitsOfShop(shop_id=shop_id, per_second=ENOUGH, at_once=ENOUGH) for shop_id in shops),
        ):
            administration.do(command)
