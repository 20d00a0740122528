"""Eigengaps of all heads with the weakest link of each layer, and whether it predicts.

Run from the project's folder: `python analyses/eigengap_heads.py`. The picture, its numbers and its caption go
to `figures/`; the run that it is drawn from stays in `data/runs/`.
"""

from __future__ import annotations

from _drawing import draw_from_run


def main() -> None:
    """Draw it from the shared run."""
    draw_from_run(("eigengap_heads", "eigengap_predicts"), __doc__)


if __name__ == "__main__":
    main()
