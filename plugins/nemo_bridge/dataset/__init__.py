"""Folders of prepared samples, as the NeMo recipes read them."""
