"""What the same dose costs at each depth, as KL from the plain model.

Run from the project's folder: `python analyses/kl_by_depth.py`. The picture, its numbers and its caption go
to `figures/`; the run that it is drawn from stays in `data/runs/`.
"""

from __future__ import annotations

from _drawing import draw_from_run


def main() -> None:
    """Draw it from the shared run."""
    draw_from_run(("kl_by_depth",), __doc__)


if __name__ == "__main__":
    main()
