"""What a query raises instead of an answer. HTTP makes problems of it, the command line sentences."""


class QueryError(Exception):
    """A query has no answer; the message says why."""


class NotFound(QueryError):
    """The shop has nothing of that name."""


class UnknownOrder(NotFound):
    """The shop has no such order, or ``by_then`` had none at the moment asked for."""

    def __init__(self, order_sn: str, *, by_then: bool = False) -> None:
        super().__init__(f"The shop has no order {order_sn}{' by then' if by_then else ''}.")


class UnknownSku(NotFound):
    """No order of the shop names the SKU, and no command was for it."""

    def __init__(self, sku_id: str) -> None:
        super().__init__(f"The shop has no SKU {sku_id}.")
        self.sku_id = sku_id


class UnknownCase(NotFound):
    """The shop has no stockout case of this id."""

    def __init__(self, shop_id: str, case_id: str) -> None:
        super().__init__(f"The shop has no stockout case {case_id}.")
        self.shop_id = shop_id
        self.case_id = case_id


class UnknownSupplier(NotFound):
    """No order of the shop was ever handed to the supplier."""

    def __init__(self, supplier_id: str) -> None:
        super().__init__(f"No order of the shop was ever handed to supplier {supplier_id}.")


class WrongParameter(QueryError):
    """A parameter makes no sense, alone or with the others or for what the shop holds."""

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(f"{parameter}: {detail}")
        self.parameter = parameter
        self.detail = detail


class NoSuchVersion(WrongParameter):
    """The order has not so many events yet."""

    def __init__(self, parameter: str, version: int, last: int) -> None:
        super().__init__(parameter, f"the order has no version {version}; its last one is {last}")


class NotReached(QueryError):
    """The views did not reach the position within the time that a caller waits."""

    def __init__(self, current: int, position: int) -> None:
        super().__init__(f"The lists have reached position {current}, not yet {position}.")


class ReplayRunning(QueryError):
    """Other whole shops are being folded, and the turn did not come."""

    def __init__(self) -> None:
        super().__init__("Others are reading whole shops at other moments; only one is read at a time.")


class ShopTooLarge(WrongParameter):
    """The shop is too large to be folded while a caller waits."""

    def __init__(self, shop_id: str, events: int, command: str) -> None:
        detail = f"the shop has {events:,} events; `shiplock {command} {shop_id} --as-of` folds them, however many"
        super().__init__("as_of", detail)
