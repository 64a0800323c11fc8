"""All views of the log, one file each. A new view is declared in its own file and listed here."""

from infrastructure.projections.view import View
from infrastructure.projections.views.applications import APPLICATIONS
from infrastructure.projections.views.charges import CHARGES
from infrastructure.projections.views.deadlines import DEADLINES
from infrastructure.projections.views.delistings import DELISTINGS
from infrastructure.projections.views.handovers import HANDOVERS
from infrastructure.projections.views.orders import ORDERS
from infrastructure.projections.views.parcels import PARCELS
from infrastructure.projections.views.reservations import RESERVATIONS
from infrastructure.projections.views.skus import SKUS
from infrastructure.projections.views.violations import VIOLATIONS

__all__ = [
    "APPLICATIONS",
    "BY_NAME",
    "CHARGES",
    "DEADLINES",
    "DELISTINGS",
    "HANDOVERS",
    "ORDERS",
    "PARCELS",
    "RESERVATIONS",
    "SKUS",
    "VIEWS",
    "VIOLATIONS",
]

VIEWS: tuple[View, ...] = (
    ORDERS,
    DEADLINES,
    VIOLATIONS,
    RESERVATIONS,
    APPLICATIONS,
    SKUS,
    DELISTINGS,
    HANDOVERS,
    CHARGES,
    PARCELS,
)

BY_NAME = {view.name: view for view in VIEWS}
