"""The families that ship with cosmos, imported as `cosmos_plugins`."""
