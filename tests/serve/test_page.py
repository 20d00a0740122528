"""The page in a real Chromium: it writes, stops, slides, votes, restores itself, exports, and says nothing wrong."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pytest

from steerscope.engine.generation import generate
from steerscope.engine.sampling import Sample
from steerscope.steering.interventions import Cell, Steering

sync_api = pytest.importorskip("playwright.sync_api", reason="the group browser is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
AXE = os.environ.get("STEERSCOPE_AXE", "")  # path of axe.min.js, which nothing here fetches
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
PROMPT = "Mia was at the harbour late."
SIZES = {"wide": (1400, 900), "phone": (420, 800)}


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=[("light", "wide"), ("dark", "phone")], ids=lambda p: "-".join(p))
def context(request, browser):
    scheme, size = request.param
    width, height = SIZES[size]
    found = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
    )
    yield found
    found.close()


@pytest.fixture
def page(context, served):
    """The page, whose console must stay silent."""
    found, said = context.new_page(), []
    found.on("console", lambda m: said.append(m.text) if m.type in {"error", "warning"} else None)
    found.on("pageerror", lambda error: said.append(str(error)))
    found.goto(served.url)
    found.wait_for_selector("#write")
    yield found
    assert said == []
    assert found.evaluate("document.documentElement.scrollWidth") <= found.viewport_size["width"]
    served.settle()


def spin(page, name):
    return page.get_by_role("spinbutton", name=name)


def write(page, prompt=PROMPT, tokens=8):
    page.fill("#prompt", prompt)
    spin(page, "Tokens").fill(str(tokens))
    page.click("#write")
    done(page)


def done(page):
    page.wait_for_selector("#stop:disabled", timeout=60_000)
    page.wait_for_selector("#write:not([disabled])")


def test_it_writes_what_generate_writes_and_marks_what_differs(page, served, shelf):
    spin(page, "Dose").fill("2.5")
    write(page, tokens=20)
    direction = shelf.get("joyful").directions[shelf.get("joyful").default[0]]
    cells = [Cell(), Steering(direction, 2.5)]
    expected = generate(served.model, PROMPT, cells, n_new=20, sampler=Sample(0.7, seed=0))
    for place, [continuation] in enumerate(expected):
        assert page.inner_text(f"#text-{place}") == PROMPT + continuation.text
    assert expected[0][0].text != expected[1][0].text
    page.locator("#text-1 mark").first.wait_for()
    assert page.locator("#text-0 mark").count() == 0
    page.locator("#status-1", has_text="KL").wait_for()
    assert "mood" in page.inner_text("#status-1")
    page.get_by_label("Underline tokens by").select_option("kl")
    assert page.locator("#text-1 .token").count() == 20
    assert page.inner_text("#text-1") == PROMPT + expected[1][0].text


def test_a_prompt_of_markup_is_a_text(page):
    write(page, "<img src=x onerror=alert(1)><script>document.title = 'gone'</script>", tokens=3)
    assert "<script>" in page.inner_text("#text-0")
    assert page.title() == "steerscope"


def test_stop_ends_the_texts_and_frees_their_rows(page, served):
    page.fill("#prompt", PROMPT)
    spin(page, "Tokens").fill("190")
    page.click("#write")
    page.locator("#status-0", has_text="tokens").wait_for()
    page.click("#stop")
    done(page)
    served.settle()
    assert "stopped" in page.inner_text("#status-0")


def test_the_address_restores_the_view(page, context, served):
    page.click("#add")
    spin(page, "Dose").last.fill("-1.5")
    spin(page, "Seed").fill("7")
    page.fill("#prompt", "Tom left & <b>smiled</b>.")
    address = page.evaluate("location.href")
    other = context.new_page()
    other.goto(address)
    other.wait_for_selector("#write")
    assert other.input_value("#prompt") == "Tom left & <b>smiled</b>."
    assert spin(other, "Seed").input_value() == "7"
    assert other.locator("fieldset").count() == 3
    assert spin(other, "Dose").last.input_value() == "-1.5"
    for broken in ("#c={", "#tab=nonsense&tokens=NaN&c=[]", "#c=%7B%22kind%22%3A7%7D"):
        other.goto(served.url + "/" + broken)
        other.reload()
        other.wait_for_selector("#write")


def test_votes_are_blind_counted_and_exported(page, tmp_path):
    page.check("#blind")
    for _ in range(2):
        write(page, tokens=12)
        assert page.locator("#outputs h3").all_inner_texts() == ["Text A", "Text B"]
        page.get_by_role("button", name="This is better").first.click()
        assert "Text A" not in page.inner_text("#outputs")
    assert "of 2" in page.inner_text("#tally")
    with page.expect_download() as download:
        page.click("#export")
    path = tmp_path / "ratings.csv"
    download.value.save_as(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert sorted(row["rating"] for row in rows) == ["0", "0", "1", "1"]
    assert {row["condition"] for row in rows} == {"plain", "joyful 1 natural"}


def test_dials_move_the_next_token_and_go_to_the_arena(page):
    page.click("#tab-dials")
    page.locator("#next .bar").first.wait_for()
    before = page.inner_text("#next")
    page.locator("#dose").fill("4")
    page.locator("#units", has_text="natural").wait_for()
    page.wait_for_timeout(1500)
    assert page.inner_text("#next") != before
    assert "4.00" in page.inner_text("#units")
    assert "unknown" in page.inner_text("#zones-said")  # nothing was measured
    page.click("#measure")
    page.locator("#response table").wait_for()
    assert "unknown" not in page.inner_text("#zones-said")
    page.get_by_role("application").press("ArrowLeft")
    assert "3.75" in page.inner_text("#units")
    page.get_by_role("button", name="Send to the arena").click()
    assert spin(page, "Dose").input_value() == "3.75"


def test_vectors_are_found_looked_at_downloaded_and_removed(page, served):
    page.click("#tab-vectors")
    page.fill("#pairs-name", "glad")
    page.fill(
        "#pairs-text", "Mia was glad. | Mia was sad.\nTom smiled. | Tom wept.\nA joy! | A grief!"
    )
    page.get_by_role("button", name="Find", exact=True).click()
    page.locator("#notice", has_text="found from 3 pairs").wait_for()
    page.get_by_role("button", name="Lens of glad").click()
    page.locator("#lens td").first.wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download glad as gguf").click()
    assert Path(download.value.path()).read_bytes()[:4] == b"GGUF"
    page.get_by_role("button", name="Remove glad").click()
    page.get_by_role("button", name="Remove glad").wait_for(state="detached")
    assert served.get("/v1/vectors/glad").status_code == 404


def test_the_copied_python_writes_what_is_on_screen(page, context, served, shelf, tmp_path, capsys):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    write(page, tokens=6)
    page.get_by_role("button", name="Copy Python").click()
    page.locator("#notice", has_text="copied").wait_for()
    code = page.evaluate("navigator.clipboard.readText()")
    (tmp_path / "joyful.safetensors").write_bytes(served.get("/v1/vectors/joyful/file").read())
    words = ["", ""]
    code = code.replace('"joyful.safetensors"', repr(str(tmp_path / "joyful.safetensors")))
    told = []
    code = code.replace("print(token.cell, repr(token.text))", "told.append(token)")
    exec(compile(code, "copied", "exec"), {"told": told})
    for token in told:
        words[token.cell] += token.text
    assert [page.inner_text(f"#text-{i}") for i in range(2)] == [PROMPT + w for w in words]


@pytest.mark.skipif(not AXE, reason="STEERSCOPE_AXE names no axe.min.js")
@pytest.mark.parametrize("view", ["arena", "dials", "vectors", "runs"])
def test_axe_finds_nothing_serious(page, view):
    page.click(f"#tab-{view}")
    page.wait_for_timeout(1200)
    if view == "arena":
        write(page)
    page.evaluate(Path(AXE).read_text())
    found = page.evaluate(
        "axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes[0].html]))"
    )
    assert [v for v in found if v[0] in {"serious", "critical"}] == []
