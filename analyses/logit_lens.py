"""What each layer of the model would say next, after every token of a prompt, and how sure it is.

Run from the project's folder: `python analyses/logit_lens.py --prompt "..."`. The pictures and the
table go to `figures/`.
"""

from __future__ import annotations

from _drawing import draw, options, write

from steerscope import figures, lens_table, load_model
from steerscope.figures.files import Plate
from steerscope.runs.tables import Column, Table

PROMPT = "Mia went to the garden. She was so happy"
WORDS = {
    "probability": "the probability that the layer gives it",
    "kl_nats": "how far the layer is from the last word of the model",
}


def main() -> None:
    """Read every layer, draw, write the table of the last token."""
    parser = options(__doc__)
    parser.add_argument("--prompt", default=PROMPT)
    chosen = parser.parse_args()
    table = lens_table(load_model(chosen.model), chosen.prompt)
    for value, words in WORDS.items():
        caption = (
            f"Logit lens of {chosen.model}: final norm and unembedding applied to the output of every "
            f"block, n = 1 prompt. Written is the most probable token, the colour is {words}; nothing is "
            "sampled, so there is no interval."
        )
        draw(Plate(f"logit_lens-{value}", figures.lens_map(table, value=value), caption), chosen)
    last = table[table.position == table.position.max()]
    columns = (
        Column("layer", "layer"),
        Column("top_token", "most probable token"),
        Column("probability", "probability", 3),
        Column("kl_nats", "KL(final || layer) (nats)", 3),
    )
    caption = f"Logit lens after the last token of the prompt, n = 1 prompt: {chosen.prompt}"
    write(Table("logit_lens", last, columns, caption), chosen)


if __name__ == "__main__":
    main()
