"""A sample order export in the platform's layout of 2023; the orders are made up."""

from datetime import datetime
from pathlib import Path

from domain.calendar import BEIJING

SAMPLE_EXPORT = Path(__file__).with_name("orders_export_2023.csv")
SAMPLE_EXPORTED_AT = datetime(2026, 3, 20, 18, tzinfo=BEIJING)
