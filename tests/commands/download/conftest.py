"""Every test here has the family and the Hub of `tests.parcel`."""

from tests.parcel import hub, packages  # noqa: F401
