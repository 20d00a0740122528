"""What the chosen steering changes beside what it was asked to change.

Run from the project's folder: `python analyses/side_effects.py`. The picture, its numbers and its caption go
to `figures/`; the run that it is drawn from stays in `data/runs/`.
"""

from __future__ import annotations

from _drawing import draw_from_run


def main() -> None:
    """Draw it from the shared run."""
    draw_from_run(("side_effects",), __doc__)


if __name__ == "__main__":
    main()
