"""A page to rate texts by clicking, which opens offline and hands the ratings back as a file."""

from __future__ import annotations

import json

from steerscope.judges.ratings import UNSURE, Sheet
from steerscope.report.page import as_text


def rating_page(sheet: Sheet) -> str:
    """The page of a sheet: one text at a time, keys 1, 0 and ?, and a button that saves a CSV of all.

    What is rated stays in the browser until it is saved, which waits for the last rating. Texts are written as text and never as
    markup.
    """
    items = [{"id": i.id, "prompt": i.prompt, "text": i.text} for i in sheet.items]
    data = json.dumps(items, ensure_ascii=True).replace("<", "\\u003c").replace("&", "\\u0026")
    return _PAGE.format(question=as_text(sheet.question), data=data, unsure=UNSURE)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ratings</title>
<style>
body {{ font: 16px/1.5 Helvetica, Arial, sans-serif; color: #222; max-width: 720px;
  margin: 2rem auto; padding: 0 1rem; }}
#prompt, #text {{ white-space: pre-wrap; padding: .8rem 1rem; overflow-wrap: anywhere; }}
#prompt {{ color: #555; border-left: 4px solid #ccc; }}
#text {{ background: #f2f6fa; border-left: 4px solid #0072B2; }}
button {{ font: inherit; padding: .4rem 1.2rem; margin-right: .5rem; }}
button[aria-pressed="true"] {{ background: #0072B2; color: #fff; }}
</style></head><body>
<h1>{question}</h1>
<p id="place" aria-live="polite"></p>
<p>Prompt</p><div id="prompt"></div>
<p>Text</p><div id="text"></div>
<p><button data-rating="1">Yes (1)</button><button data-rating="0">No (0)</button>
<button data-rating="{unsure}">Unsure ({unsure} or u)</button></p>
<p><button id="back">Back</button><button id="next">Next</button><button id="left">Next unrated</button>
<button id="save">Save CSV</button></p>
<p id="said" role="status"></p>
<script type="application/json" id="items">{data}</script>
<script>
const items = JSON.parse(document.getElementById("items").textContent);
const name = "steerscope-ratings-" + items.map(i => i.id).join("").slice(0, 200);
let given = {{}}, at = 0;
try {{ given = JSON.parse(localStorage.getItem(name) || "{{}}"); }} catch (error) {{ given = {{}}; }}
const by = id => document.getElementById(id);
const choices = document.querySelectorAll("[data-rating]");
function show() {{
  const item = items[at];
  by("prompt").textContent = item.prompt;
  by("text").textContent = item.text;
  by("place").textContent =
    `${{at + 1}} of ${{items.length}}, ${{items.filter(i => i.id in given).length}} rated`;
  choices.forEach(b => b.setAttribute("aria-pressed", String(given[item.id] === b.dataset.rating)));
}}
const unrated = () => items.findIndex(i => !(i.id in given));
const say = text => {{ by("said").textContent = text; }};
function missing() {{
  const left = unrated();
  if (left >= 0) {{ at = left; show(); }}
  return left >= 0;
}}
function go(step) {{ at = Math.min(items.length - 1, Math.max(0, at + step)); show(); }}
function rate(value) {{
  given[items[at].id] = value;
  try {{ localStorage.setItem(name, JSON.stringify(given)); }} catch (error) {{ /* a private window */ }}
  say(unrated() < 0 ? "All are rated: save them." : "");
  go(1);
}}
function save() {{
  if (missing()) {{
    say("Not saved: this text has no rating yet. Rate every text, with Unsure where you cannot tell.");
    return;
  }}
  const rows = items.map(i => `${{i.id}},${{given[i.id] ?? ""}}`);
  const link = document.createElement("a");
  const file = new Blob([["id,rating", ...rows].join("\\n") + "\\n"], {{type: "text/csv"}});
  link.href = URL.createObjectURL(file);
  link.download = "ratings.csv";
  link.click();
  say("Saved as ratings.csv in the folder for downloads, for: steerscope ratings import RUN ratings.csv");
}}
choices.forEach(b => b.addEventListener("click", () => rate(b.dataset.rating)));
by("back").addEventListener("click", () => go(-1));
by("next").addEventListener("click", () => go(1));
by("left").addEventListener("click", () => {{ if (!missing()) say("All are rated: save them."); }});
by("save").addEventListener("click", save);
document.addEventListener("keydown", event => {{
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["1", "0", "{unsure}"].includes(event.key)) rate(event.key);
  else if (event.key === "u") rate("{unsure}");
  else if (event.key === "ArrowLeft") go(-1);
  else if (event.key === "ArrowRight") go(1);
}});
show();
</script></body></html>
"""
