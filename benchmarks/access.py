"""A client that benchmarks call the API with. No limit of its own slows it down."""

from collections.abc import Iterable

from domain.access import commands as c
from infrastructure.access.administration import Administration
from infrastructure.access.doorkeeper import opened_installation

ENOUGH = 1_000_000
FEW = 20
"""Of so many shops at most the limits are raised; of more each gets little."""


def let_in(url: str, shops: Iterable[str]) -> str:
    """Enrol shops and make a client that may do everything. Returns its key."""
    ids = list(shops)
    with opened_installation(url) as installation:
        administration = Administration(installation, url)
        for shop_id in ids:
            administration.enrol(shop_id)
            if len(ids) <= FEW:
                administration.do(c.SetLimitsOfShop(shop_id=shop_id, per_second=ENOUGH, at_once=ENOUGH))
        client_id = administration.add_client("benchmark", "operator")
        administration.do(c.SetLimits(principal_id=client_id, per_second=ENOUGH, at_once=ENOUGH))
        return administration.issue_key(client_id).key


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
