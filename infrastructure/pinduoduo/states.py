"""The words of the back office for the state of an order (订单状态) and of its refund (售后状态).

They are matched whole; only the signs between their words don't count.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from domain.order.snapshot import Phase
from infrastructure.files.cells import HALF_WIDTH, NO_BLANKS

_BETWEEN_WORDS = str.maketrans("", "", ",;；/、。.-")
"""Signs that only divide the words of a state."""


@lru_cache(maxsize=1_000)
def plain_word(text: str) -> str:
    """A state without what only divides its words: 已发货待收货 is 已发货，待收货."""
    return text.translate(NO_BLANKS).translate(HALF_WIDTH).translate(_BETWEEN_WORDS)


def _plain_words(*words: str) -> frozenset[str]:
    return frozenset(map(plain_word, words))


class Status(NamedTuple):
    """What a 订单状态 says."""

    phase: Phase
    refunded: bool = False
    is_deposit: bool = False
    """Whether what was paid is only a part of the price."""


STATUSES: Mapping[str, Status] = {
    plain_word(word): status
    for word, status in {
        "待支付": Status("pending_payment"),
        "待付款": Status("pending_payment"),
        "已付定金,待付尾款": Status("pending_payment", is_deposit=True),
        "待成团": Status("pending_group"),
        "拼单中": Status("pending_group"),
        "待发货": Status("awaiting_shipment"),
        "已发货,待签收": Status("shipped"),
        "已发货,待收货": Status("shipped"),
        "已发货": Status("shipped"),
        "待签收": Status("shipped"),
        "待收货": Status("shipped"),
        "已签收": Status("received"),
        "已收货": Status("received"),
        "交易成功": Status("received"),
        "未成交,退款成功": Status("pending_group", refunded=True),
        "未发货,退款成功": Status("awaiting_shipment", refunded=True),
        "已取消,退款成功": Status("awaiting_shipment", refunded=True),
        "已发货,退款成功": Status("shipped", refunded=True),
        "已签收,退款成功": Status("received", refunded=True),
        "已收货,退款成功": Status("received", refunded=True),
        "已取消": Status("cancelled"),
        "已申请缺货": Status("stockout_applied"),
        "已申请缺货-处理中": Status("stockout_applied"),
        "已申请缺货-已处理": Status("stockout_applied"),
    }.items()
}
"""订单状态 -> the phase, and whether the status itself shows a refund. Source: export-statuses."""

UNKNOWN_STATUS = Status("unknown")
"""A 订单状态 that is not in the table."""

_NO_REFUND = _plain_words(
    "",
    "无售后",
    "无售后或售后取消",
    "无售后或售后关闭",
    "售后取消",
    "售后关闭",
    "售后已取消",
    "售后已关闭",
    "退款关闭",
    "退款取消",
    "退款撤销",
    "退款失败",
    "买家撤销",
    "平台拒绝退款,退款关闭",
    "平台拒绝退款,售后关闭",
    "驳回退款,待买家处理",
    "买家逾期,退款失败",
    "买家逾期未处理,退款失败",
    "换货成功",
    "换货失败",
    "补寄成功",
    "补寄失败",
    "维修成功",
    "维修关闭",
)
REFUNDED = _plain_words("退款成功", "全额退款成功")
PART_REFUNDED = _plain_words("部分退款成功")
_REFUND_PENDING = _plain_words(
    "申请退款",
    "买家申请退款",
    "退款中",
    "售后处理中",
    "处理中",
    "平台处理中",
    "待商家处理",
    "待买家处理",
    "待用户发货",
    "退款待处理",
    "退款,待商家处理",
    "申请退款,待商家处理",
    "买家申请退款,待商家处理",
    "仅退款,待商家处理",
    "退货退款,待商家处理",
    "买家申请退货退款,待商家处理",
    "商家同意退款,退款中",
    "平台同意退款,退款中",
    "同意退款,退款中",
    "同意退货,待用户发货",
    "商家同意退货,待用户发货",
    "同意退货退款,待用户发货",
    "待商家收货",
    "用户已发货,待商家收货",
    "同意拒收退款,待用户拒收",
    "同意召回后退款,待召回",
)
"""售后状态, matched whole: a text that only contains one of these may mean anything. Source: after-sales-texts."""

MAY_BE_REFUNDED: tuple[Phase, ...] = ("stockout_applied", "cancelled")
"""States that do not say themselves whether all of the money went back. Any other state outweighs 售后状态."""


def refund_is_pending(after_sales: str) -> bool | None:
    """Whether the after-sales text says that a refund is requested or under way; ``None`` if it is unknown."""
    if after_sales in _NO_REFUND or after_sales in REFUNDED or after_sales in PART_REFUNDED:
        return False
    return True if after_sales in _REFUND_PENDING else None
