"""Judging generated videos: critics, names that carry scores, reports."""
