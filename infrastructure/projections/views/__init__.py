"""Every view of the log, one file each. A new one is declared in a file of its own and listed here."""

from infrastructure.projections.view import View
from infrastructure.projections.views.deadlines import DEADLINES
from infrastructure.projections.views.orders import ORDERS
from infrastructure.projections.views.violations import VIOLATIONS

__all__ = ["BY_NAME", "DEADLINES", "ORDERS", "VIEWS", "VIOLATIONS"]

VIEWS: tuple[View, ...] = (ORDERS, DEADLINES, VIOLATIONS)

BY_NAME = {view.name: view for view in VIEWS}
