// Leafs through the texts of the page. Everything that a model wrote goes in as text, never as markup.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("texts-data").textContent);
  const part = (name) => document.getElementById("texts-" + name);
  const [split, layer, dose, prompt] = ["split", "layer", "dose", "prompt"].map(part);
  const unique = (values) => [...new Set(values)];
  let wanted = data.start; // what was chosen last, also where it is not there at once

  const here = () => data.cells.filter((c) => c.split === wanted.split);
  const doses = () => here().filter((c) => c.layer === wanted.layer).map((c) => c.dose);

  function element(tag, text, parent) {
    const made = document.createElement(tag);
    made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  function offer(select, values, value) {
    select.replaceChildren(...values.map((v) => new Option(v, v, false, v === value)));
  }

  // Among what is there: the one that is wanted, else the first.
  const fitting = (values, value) => (values.includes(value) ? value : values[0]);

  function choose(changes) {
    wanted = { ...wanted, ...changes };
    wanted.split = fitting(unique(data.cells.map((c) => c.split)), wanted.split);
    wanted.layer = fitting(unique(here().map((c) => c.layer)), wanted.layer);
    const at = fitting(doses(), wanted.dose);
    const cell = here().find((c) => c.layer === wanted.layer && c.dose === at);
    const text = cell.texts.find((t) => t.prompt === wanted.prompt) || cell.texts[0];
    offer(split, unique(data.cells.map((c) => c.split)), cell.split);
    offer(layer, unique(here().map((c) => c.layer)), cell.layer);
    dose.max = doses().length - 1;
    dose.value = doses().indexOf(at);
    dose.setAttribute("aria-valuetext", `${at} ${data.unit}`);
    part("said").textContent = `${at} ${data.unit}`;
    offer(prompt, cell.texts.map((t) => t.prompt), text.prompt);
    show(cell, text);
  }

  // A text with its stretches marked; places count letters, of which some take two units in a string.
  function marked(text, stretches, parent) {
    const letters = Array.from(text);
    let at = 0;
    for (const [start, end] of stretches) {
      parent.append(letters.slice(at, start).join(""));
      element("mark", letters.slice(start, end).join(""), parent);
      at = end;
    }
    parent.append(letters.slice(at).join(""));
  }

  function table(titles, kind) {
    const made = document.createElement("table");
    made.className = kind;
    const head = made.insertRow();
    titles.forEach((title) => element("th", title, head));
    return made;
  }

  function show(cell, text) {
    const { given, plain, scores: before } = data.prompts[cell.split][text.prompt];
    const texts = table(["prompt", "plain", "steered"], "texts");
    const row = texts.insertRow();
    element("td", given, row);
    marked(plain, text.marks[0], row.insertCell());
    marked(text.written, text.marks[1], row.insertCell());
    ["prompt", "plain", "steered"].forEach((name, i) => (row.cells[i].dataset.label = name));
    const scores = table(["score of this text", "plain", "steered"], "numbers");
    data.scores.forEach((name, i) => {
      const line = scores.insertRow();
      [name, before[i] || "-", text.scores[i]].forEach((value) => element("td", value, line));
    });
    const line = scores.insertRow();
    ["KL (nats per position)", "0", text.kl].forEach((value) => element("td", value, line));
    const status = text.status === "ok" ? "" : `: ${text.status}`;
    const title = `prompt ${text.prompt} (${cell.split}), layer ${cell.layer}, ${cell.dose} ${data.unit}${status}`;
    const fold = document.createElement("details");
    fold.open = part("shown").querySelector("details")?.open ?? false;
    fold.append(element("summary", "scores of this text"), scores);
    part("shown").replaceChildren(element("h4", title), texts, fold);
  }

  function step(by) {
    const there = Array.from(prompt.options, (o) => Number(o.value));
    const next = (prompt.selectedIndex + by + there.length) % there.length;
    choose({ prompt: there[next] });
  }

  split.addEventListener("change", () => choose({ split: split.value }));
  layer.addEventListener("change", () => choose({ layer: Number(layer.value) }));
  dose.addEventListener("input", () => choose({ dose: doses()[Number(dose.value)] }));
  prompt.addEventListener("change", () => choose({ prompt: Number(prompt.value) }));
  part("before").addEventListener("click", () => step(-1));
  part("next").addEventListener("click", () => step(1));
  const map = document.getElementById(data.map);
  if (map && map.on) {
    map.on("plotly_click", (event) => {
      const { x, y } = event.points[0];
      const cells = data.cells.filter((c) => c.split === "select" && c.layer === x && c.dose === y);
      if (!cells.length) return;
      choose({ split: "select", layer: x, dose: y });
      document.getElementById("texts").scrollIntoView();
    });
  }
  choose({});
})();
