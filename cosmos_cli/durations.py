"""Lengths of time in words that people use."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """0.3 s, 40 s, 12 min, 3 h 20 min, 2 d 4 h, 130 d, 6.4 years."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    if hours < 100 * 24:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours / 24:.0f} d" if hours < 730 * 24 else f"{hours / 24 / 365.25:,.1f} years"
