"""The card of the judge that each chat set names: how well it tells held-out answers apart.

    python benchmarks/cards.py

No model writes anything: the labelled texts are the answers of the held-out pairs. What a model writes may
be harder to read; the report of a run prints the card on the texts that it has.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

HERE = Path(__file__).resolve().parent
SETS = HERE.parent / "data" / "contrasts"
TABLE = HERE / "results" / "cards.md"


def rows() -> list[str]:
    """One row of the table for each set."""
    import steerscope as ss
    from steerscope.studies.judging import find_judge, question_of
    from steerscope.texts.about import about
    from steerscope.texts.contrasts import split_prompts_for

    model, found = ss.load_model("microworld"), []
    for path in sorted((SETS / "chat_sets").glob("*.txt")):
        name = path.stem
        if not (SETS / f"{name}.jsonl").is_file():
            continue
        judge, contrasts = about(name).judge, ss.load_contrasts(name)
        prompts = split_prompts_for(contrasts, None, 0, max_select=8, max_test=8)
        question = question_of({"judge": judge}, contrasts, prompts, n_new=20, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            known = find_judge(question, model, Path(folder) / "run").known
        if known is None:
            continue  # `preference` reads no text, so that it has no card
        card = known.card
        numbers = (
            f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"
            for e in (card.auc, card.sensitivity, card.specificity)
        )
        shown = judge.partition(":")[0]
        found.append(
            f"| `{name}` | {shown} | {card.auc.n} | {' | '.join(numbers)} | "
            f"{'yes' if card.tells else 'no'} |"
        )
    return found


def main() -> None:
    """Write the table."""
    head = "| set | judge | texts | AUC | sensitivity | specificity | tells |"
    lines = [head, "|---|---|---|---|---|---|---|", *rows()]
    TABLE.write_text("\n".join(lines) + "\n")
    print(TABLE.read_text())


if __name__ == "__main__":
    main()
