"""Write the contrast sets for chat models from the hand-written templates and lists in `chat_sets/`.

`python data/contrasts/make_chat_sets.py`

A file of `chat_sets/` has one entry a line. `pair` is a question and two answers; `frame` is what is
said around an answer, for either side. Each pair stands once by itself and once in a frame, the frames
in turn. `ask` and `thing` are crossed to the prompts; `prompts` names the file that has
them instead. The others describe the set.
"""

import json
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
SOURCES = HERE / "chat_sets"
BARE = ["{}", "{}"]


def entries(name: str) -> dict[str, list[str]]:
    """The entries of a file by their kind, in order."""
    found: dict[str, list[str]] = {}
    for line in (SOURCES / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line:
            kind, _, text = line.partition(": ")
            found.setdefault(kind, []).append(text.replace("\\n", "\n"))
    return found


def pairs(source: dict[str, list[str]]) -> list[dict[str, str]]:
    """Each pair by itself and in a frame, in an order that mixes them."""
    frames = [frame.split(" | ") for frame in source.get("frame", [])]
    rows = []
    for number, line in enumerate(source["pair"]):
        question, *answers = line.split(" | ")
        for frame in (BARE, *([frames[number % len(frames)]] if frames else [])):
            positive, negative = (f.replace("{}", a) for f, a in zip(frame, answers, strict=True))
            row = {"prompt": question, "positive": positive, "negative": negative}
            rows.append(row | {"concept": source["concept"][0]})
    return Random(source["concept"][0]).sample(rows, len(rows))


def prompts(source: dict[str, list[str]]) -> list[dict[str, str]]:
    """Every way to ask about every thing, in an order that mixes them."""
    if "prompts" in source:
        source = entries(source["prompts"][0])
    rows = [{"prompt": ask.replace("{}", t)} for ask in source["ask"] for t in source["thing"]]
    return Random("prompts").sample(rows, len(rows))


def about(source: dict[str, list[str]]) -> dict[str, object]:
    """The description of the set."""
    found: dict[str, object] = {key: source[key][0] for key in ("positive", "negative", "judge")}
    found["made_by"] = "python data/contrasts/make_chat_sets.py"
    found["licence"] = "MIT"
    inherent = {k.split()[1]: v[0] for k, v in source.items() if k.startswith("inherent ")}
    return found | ({"inherent": inherent} if inherent else {})


def write(name: str, rows: list[dict[str, str]]) -> None:
    """Write rows as JSON lines beside this file."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (HERE / name).write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Write the pairs, the prompts and the description of each set beside this file."""
    for name in sorted(path.stem for path in SOURCES.glob("*.txt")):
        source = entries(name)
        write(f"{name}.prompts.jsonl", prompts(source))
        if "pair" not in source:  # prompts alone, which others name
            continue
        write(f"{name}.jsonl", pairs(source))
        text = json.dumps(about(source), indent=2, ensure_ascii=False) + "\n"
        (HERE / f"{name}.about.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
