// One prompt under up to four conditions, side by side, as they are written.
import { post, stream } from "./api.js";
import { conditionForm } from "./conditions.js";
import { choice, copy, guarded, h, keepingFocus, labelled, notice, number, round, save } from "./dom.js";
import { asCommands, asPython, defaultSite, empty, label, remember, shared, state, steering } from "./state.js";
import { csv, differing, shuffled, wilson } from "./words.js";

const MOST = 4;
let columns = [], running = null, ratings = [], roundNumber = 0, box = null;

export function arena(section) {
  box = section;
  const outputs = h("div", { class: "cards", id: "outputs" });
  section.replaceChildren(form(), h("h2", {}, "Texts"), tools(), outputs, voting());
  drawOutputs();
}

function changed() { remember(); }
function redraw() { keepingFocus(box, () => arena(box)); }

function form() {
  const prompt = h("textarea", {
    id: "prompt", rows: 3, value: state.prompt, oninput: (e) => { state.prompt = e.target.value; changed(); },
    onkeydown: (e) => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); write(); } },
  });
  const set = (name) => (e) => { if (e.target.value !== "") { state[name] = Number(e.target.value); changed(); } };
  return h("form", { onsubmit: (e) => { e.preventDefault(); write(); } },
    h("label", {}, state.mode === "chat" ? "Your message" : "Prompt", prompt),
    h("div", { class: "row" },
      shared.facts.has_chat && labelled("Mode", choice([{ value: "text", label: "text" }, { value: "chat", label: "chat" }], state.mode, (v) => { state.mode = v; columns = []; changed(); redraw(); })),
      labelled("Tokens", number(state.tokens, { min: 1, step: 1, oninput: set("tokens") })),
      labelled("Temperature", number(state.temperature, { min: 0, step: 0.1, oninput: set("temperature") })),
      labelled("Seed", number(state.seed, { min: 0, step: 1, oninput: set("seed") })),
      h("button", { class: "primary", id: "write" }, "Write"),
      h("button", { type: "button", id: "stop", disabled: true, onclick: () => running?.abort() }, "Stop"),
      state.mode === "chat" && h("button", { type: "button", onclick: () => { columns = []; drawOutputs(); } }, "New conversation"),
      h("span", { class: "small" }, "Ctrl+Enter writes")),
    h("div", { class: "cards" }, state.conditions.map((c, i) => conditionForm(c, i, changed, redraw))),
    h("div", { class: "row" },
      h("button", { type: "button", id: "add", disabled: state.conditions.length >= MOST, onclick: add }, "Add a condition"),
      h("button", { type: "button", onclick: () => copy(asPython(), "The Python") }, "Copy Python"),
      h("button", { type: "button", onclick: () => copy(asCommands(), "The command line") }, "Copy command line"),
      h("button", { type: "button", onclick: () => copy(location.href, "The address") }, "Copy address")));
}

function add() {
  const vector = shared.vectors[0]?.id ?? "";
  state.conditions.push({ ...empty(), kind: vector ? "vector" : "words", vector });
  changed(); redraw();
}

function tools() {
  const colours = [{ value: "none", label: "nothing" }, { value: "kl", label: "KL from plain" }, { value: "projection", label: "projection on the vector" }];
  return h("div", { class: "row" },
    labelled("Underline tokens by", choice(colours, state.colour, (v) => { state.colour = v; changed(); drawOutputs(); })),
    h("label", { class: "inline" }, h("input", { type: "checkbox", checked: state.marks, onchange: (e) => { state.marks = e.target.checked; changed(); drawOutputs(); } }), "mark words that the first text does not have"),
    h("label", { class: "inline" }, h("input", { type: "checkbox", id: "blind", checked: state.blind, onchange: (e) => { state.blind = e.target.checked; changed(); drawOutputs(); } }), "hide which is which until you vote"),
    shared.facts.judge && h("p", { class: shared.facts.judge.tells ? "small" : "bad", id: "judge" }, shared.facts.judge.card));
}

// -- writing ---------------------------------------------------------------------------------------

async function write() {
  if (running) return;
  const chat = state.mode === "chat", said = state.prompt;
  const before = chat && columns.length === state.conditions.length ? columns.map((c) => [...c.turns, { role: "assistant", content: c.text }]) : state.conditions.map(() => []);
  columns = state.conditions.map((condition, place) => ({
    place, condition: { ...condition }, prompt: said, turns: chat ? [...before[place], { role: "user", content: said }] : [],
    text: "", ids: [], tokens: null, scores: null, error: "", status: "waiting", started: performance.now(), first: null,
  }));
  if (state.blind) columns = shuffled(columns);
  roundNumber += 1;
  running = new AbortController();
  busy(true);
  drawOutputs();
  await Promise.all(columns.map((column) => writeOne(column, running.signal)));
  running = null;
  busy(false);
  await guarded(readAll);
  drawOutputs();
}

function busy(is) {
  for (const [id, off] of [["write", is], ["stop", !is]]) { const b = document.getElementById(id); if (b) b.disabled = off; }
}

function asked(column) {
  const body = { model: state.model, temperature: state.temperature, seed: state.seed, max_tokens: state.tokens };
  const change = steering(column.condition);
  if (change) body.steering = change;
  return column.turns.length ? ["/v1/chat/completions", { ...body, messages: column.turns }] : ["/v1/completions", { ...body, prompt: column.prompt }];
}

async function writeOne(column, signal) {
  try {
    for await (const chunk of stream(...asked(column), signal)) {
      for (const part of chunk.choices) {
        column.text += part.text ?? part.delta?.content ?? "";
        column.ids.push(...(part.token_ids ?? []));
        if (column.ids.length && column.first === null) column.first = performance.now() - column.started;
        column.status = part.finish_reason ? (part.finish_reason === "stop" ? "ended by the model" : "cut at the limit of tokens") : "writing";
      }
      if (chunk.steerscope?.notes?.length) notice(chunk.steerscope.notes.join(" "));
      drawText(column);
    }
  } catch (error) {
    column.status = "stopped";
    if (error.name !== "AbortError") column.error = error.message;
    drawText(column);
  }
}

// What is known once the texts are there: KL and projection of each token, and what the judges see.
async function readAll() {
  const vector = columns.map((c) => c.condition).find((c) => c.kind === "vector");
  for (const column of columns.filter((c) => c.ids.length)) {
    const body = { model: state.model, token_ids: column.ids };
    if (column.turns.length) body.messages = column.turns; else body.prompt = column.prompt;
    if (steering(column.condition)) body.steering = steering(column.condition);
    if (vector) { body.vector = vector.vector; body.site = vector.site || defaultSite(vector.vector); }
    column.tokens = (await post("/v1/readings", body)).tokens;
  }
  const there = columns.filter((c) => c.text.trim());
  if ((shared.facts.judges?.length || shared.facts.judge) && there.length) {
    const found = await post("/v1/judge", { model: state.model, prompt: there[0].prompt, texts: there.map((c) => c.text) });
    there.forEach((column, i) => { column.scores = found.data[i]; });
  }
}

// -- showing ---------------------------------------------------------------------------------------

function hidden() { return state.blind && !columns.voted; }

function drawOutputs() {
  const outputs = document.getElementById("outputs");
  if (!outputs) return;
  outputs.replaceChildren(...columns.map((column, i) => h("article", { class: "card", "aria-label": `Text ${i + 1}` },
    h("h3", {}, hidden() ? `Text ${String.fromCharCode(65 + i)}` : label(column.condition)),
    h("div", { class: "text", id: `text-${i}` }), h("p", { class: "small", id: `status-${i}` }),
    h("div", { class: "row" }, h("button", { type: "button", disabled: running !== null || columns.voted || columns.length < 2 || column.status === "waiting", onclick: () => vote(i) }, "This is better")))));
  if (!columns.length) outputs.replaceChildren(h("p", { class: "small" }, "Nothing is written yet."));
  columns.forEach(drawText);
  drawTally();
}

function drawText(column) {
  const i = columns.indexOf(column), text = document.getElementById(`text-${i}`), status = document.getElementById(`status-${i}`);
  if (!text) return;
  const before = column.turns.length
    ? column.turns.map((t) => h("div", { class: `turn ${t.role}` }, t.content))
    : [h("span", { class: "given" }, column.prompt)];
  text.replaceChildren(...before, ...body(column));
  status.className = column.error ? "bad" : "small";
  status.textContent = column.error || [column.status, `${column.ids.length} tokens`, column.first !== null && `first after ${Math.round(column.first)} ms`, meanKl(column), scores(column)].filter(Boolean).join(" · ");
}

function body(column) {
  const first = columns.find((c) => c.place === 0);
  if (state.colour !== "none" && column.tokens) return coloured(column);
  if (!state.marks || running || column === first || !first) return [column.text];
  return differing(column.text, first.text).map(([word, is]) => (is ? h("mark", {}, word) : word));
}

function coloured(column) {
  const values = column.tokens.map((t) => t[state.colour]);
  const everywhere = columns.flatMap((c) => (c.tokens ?? []).map((t) => t[state.colour])).filter((v) => v !== null);
  const middle = state.colour === "kl" ? 0 : everywhere.reduce((a, b) => a + b, 0) / (everywhere.length || 1);
  const most = Math.max(1e-9, ...everywhere.map((v) => Math.abs(v - middle)));
  return column.tokens.map((token, i) => {
    const share = values[i] === null ? 0 : (values[i] - middle) / most;
    const colour = state.colour === "kl" ? "--kl" : share > 0 ? "--up" : "--down";
    const span = h("span", { class: "token", title: `KL ${round(token.kl, 3)} nats, projection ${round(token.projection)} natural, ${round(token.nll)} nats under plain` }, token.token);
    span.style.borderBottomColor = `rgba(var(${colour}), ${Math.abs(share).toFixed(3)})`;
    return span;
  });
}

function meanKl(column) {
  const found = (column.tokens ?? []).map((t) => t.kl).filter((v) => v !== null);
  return found.length && !hidden() ? `KL ${round(found.reduce((a, b) => a + b, 0) / found.length, 4)} nats a token` : "";
}

function scores(column) {
  if (!column.scores) return "";
  return Object.entries(column.scores).map(([name, value]) => `${name} ${typeof value === "number" ? round(value) : value ?? "not told"}`).join(", ");
}

// -- voting ----------------------------------------------------------------------------------------

function voting() {
  return h("section", { "aria-labelledby": "votes" }, h("h2", { id: "votes" }, "Votes"), h("div", { id: "tally" }));
}

function vote(better) {
  columns.forEach((column, i) => ratings.push({
    round: roundNumber, id: `${roundNumber}-${i}`, prompt: column.prompt, text: column.text, condition: label(column.condition), rating: i === better ? 1 : 0, blind: state.blind,
  }));
  columns.voted = true;
  drawOutputs();
}

function drawTally() {
  const tally = document.getElementById("tally");
  if (!tally) return;
  if (!ratings.length) { tally.replaceChildren(h("p", { class: "small" }, "No vote yet. Chance is one half of two texts, a third of three.")); return; }
  const names = [...new Set(ratings.map((r) => r.condition))];
  const rows = names.map((name) => {
    const mine = ratings.filter((r) => r.condition === name), hits = mine.filter((r) => r.rating).length, [low, high] = wilson(hits, mine.length);
    return h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, `${hits} of ${mine.length}`), h("td", {}, `${round(100 * hits / mine.length, 0)} %`), h("td", {}, `${round(100 * low, 0)} to ${round(100 * high, 0)} %`));
  });
  const head = h("tr", {}, ["Condition", "Better", "Share", "95 % interval"].map((t) => h("th", { scope: "col" }, t)));
  tally.replaceChildren(h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Tally" }, h("table", {}, h("thead", {}, head), h("tbody", {}, rows))),
    h("p", {}, h("button", { type: "button", id: "export", onclick: exported }, "Export ratings")));
}

function exported() {
  const columnsOf = ["id", "prompt", "text", "rating", "condition", "round", "blind"];
  save("ratings.csv", csv([columnsOf, ...ratings.map((r) => columnsOf.map((c) => r[c]))]), "text/csv");
}
