"""Options that the tests of the commands share."""

from __future__ import annotations

SMALL = ["--doses", "1,2", "--n-new", "5"]  # a run of few conditions and short texts
