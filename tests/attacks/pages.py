"""Pages with hostile names in every place that text can come from, opened in a browser with a probe.

`python -m tests.attacks.pages [CHROMIUM]` writes the pages, opens each, and counts those in which
anything of the names ran. A page that holds the payload as it is must be caught first.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.attacks.places import Good, make_good

PROBE = "document.documentElement.id=666"
CAUGHT = 'id="666"'
# Without a slash, so that each can be the name of a file as well.
NAME = f'"><svg onload={PROBE}><img src=x onerror={PROBE}><!-- <script>{PROBE}'
TOKENS = (
    f'"><img/src=x/onerror={PROBE}>',
    f"</script><script>{PROBE}</script>",
    "<!--",
    "a<br>b",
    f"'><svg/onload={PROBE}>",
    "&lt;b&gt;",
    f"<a/href=javascript:{PROBE}>",
    "=1+1",
)


def write_pages(home: Path) -> Iterator[Path]:
    """Pages of every command that writes any, with hostile names, concepts, tokens and words."""
    from tests.attacks.__main__ import call

    good = make_good(home, call, TOKENS)
    model = home / NAME
    shutil.copytree(good.model, model)
    pairs = home / f"{NAME}.jsonl"
    pairs.write_text("".join(f"{json.dumps(_pair(i))}\n" for i in range(10, 34)))
    out, adapter = home / "pages", home / "hostile.safetensors"
    asked = ["--model", model, "--contrasts", pairs]
    short = ["--doses", "1", "--n-new", "3", "--layers", "1", *asked]
    for command in (
        ["report", *short, "--out", out / "report"],
        ["sweep", *short, "--out", out / "sweep"],
        ["figures", out / "report"],
        ["figures", out / "sweep"],
        ["adapter", "train", *asked, "--rank", "2", "--epochs", "1", "--out", adapter],
        ["adapter", "evaluate", adapter, *asked, "--out", out / "evaluate"],
        ["styles", "--model", model, "--style", f"{NAME} | w5", "--style", "w6 | w7"]
        + ["--out", out / "styles"],
        ["sae", "features", good.sae, *asked, "--top", "4", "--text", _texts(good)]
        + ["--out", out / "features.html"],
        ["claims", "check", "--file", _claims(home), "--out", out / "claims"],
        ["run", _experiment(good, home, model, pairs), "--out", out / "experiment"],
    ):
        code, said = call(*command)
        sys.stdout.write(f"{ascii(' '.join(map(str, command[:1])))} {code}\n")
        sys.stdout.flush()
        if code:
            sys.stdout.write(
                f"not written: {ascii(' '.join(map(str, command[:2])))}: {said[-300:]}\n"
            )
    yield from sorted(out.rglob("*.html"))


def _pair(i: int) -> dict[str, str]:
    token = TOKENS[i % len(TOKENS)]
    return {"positive": f"w{i} w5 {token} w7", "negative": f"w{i} w5 w8 w9", "concept": NAME}


def _texts(good: Good) -> Path:
    path = good.home / "hostile.txt"
    path.write_text("".join(f"w{i} {t} w{i + 1} {t}\n" for i in range(5, 25) for t in TOKENS))
    return path


def _claims(home: Path) -> Path:
    from steerscope.claims import load_claims

    claims = [c.model_dump(mode="json", exclude_none=True) for c in load_claims()[:2]]
    for claim in claims:
        claim["words"] = claim["source"] = NAME
    path = home / "hostile-claims.yaml"
    path.write_text(json.dumps({"claims": claims}))
    return path


def _experiment(good: Good, home: Path, model: Path, pairs: Path) -> Path:
    path = home / "hostile.yaml"
    values = json.loads((good.home / "experiment.json").read_text())
    path.write_text(
        json.dumps({**values, "question": NAME, "models": [str(model)], "contrasts": [str(pairs)]})
    )
    return path


def ran(browser: str, page: Path, folder: Path) -> bool:
    """Whether the probe ran in a page that the browser has opened and drawn."""
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={folder}",
        "--virtual-time-budget=3000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "</html>" in shown, page
    return CAUGHT in shown[: shown.index("<head")]


def main() -> int:
    """Open all pages; 1 if the probe ran in one, or does not catch what runs."""
    browser = sys.argv[1] if len(sys.argv) > 1 else str(shutil.which("chromium"))
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        control = Path(folder) / "control.html"
        control.write_text(f"<html><head></head><body>{NAME}</script></body></html>")
        if not ran(browser, control, profile):
            sys.stdout.write("the probe catches nothing; it proves nothing\n")
            return 1
        pages, bad = list(write_pages(Path(folder) / "world")), []
        for page in pages:
            if ran(browser, page, profile):
                bad.append(page)
            sys.stdout.write(
                f"{'ran' if page in bad else 'quiet'}: {page.parent.name}/{page.name}\n"
            )
            sys.stdout.flush()
    sys.stdout.write(f"{len(pages)} pages opened, the probe ran in {len(bad)}\n")
    return int(bool(bad) or not pages)


if __name__ == "__main__":
    sys.exit(main())
