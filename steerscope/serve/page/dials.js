// One vector turned by hand: where, how much, and what the next word becomes.
import { get, post } from "./api.js";
import { OPERATORS, SCOPES } from "./conditions.js";
import { choice, debounced, guarded, h, keepingFocus, labelled, round, s } from "./dom.js";
import { bars } from "./draw.js";
import { cellsOf, isBroken } from "./runs.js";
import { defaultSite, empty, remember, shared, sitesOf, state, turns } from "./state.js";

const MOST_DOSE = 4, SIZE = 260;
let box = null, toShow = null, response = null, run = null, latest = 0;

export async function dials(section, show) {
  box = section;
  toShow = show;
  if (!shared.vectors.length) { section.replaceChildren(h("p", {}, "There is no vector yet; the view Vectors finds one.")); return; }
  if (!sitesOf(state.vector).length) state.vector = shared.vectors[0].id;
  if (!sitesOf(state.vector).some((x) => x.site === state.site)) state.site = defaultSite(state.vector);
  run = null;
  section.replaceChildren(controls(show), h("div", { class: "cards" }, sliders(), next(), plane()), h("h2", {}, "What doses do at every layer after this prompt"),
    h("p", {}, h("button", { type: "button", id: "measure", onclick: () => guarded(measure) }, "Measure here")), h("div", { id: "response", "aria-live": "polite" }));
  drawResponse();
  update();
  if (shared.has_runs) await guarded(loadRun);
}

const redraw = () => guarded(() => keepingFocus(box, () => dials(box, toShow)));
const short = (x) => (x === null ? "unknown" : x === 0 ? "0" : Number(x.toPrecision(2)).toString());
const changed = () => { remember(); update(); };

function here() { return sitesOf(state.vector).find((x) => x.site === state.site); }

function controls(show) {
  const again = (name) => (value) => { state[name] = value; response = null; remember(); redraw(); };
  return h("div", {}, h("label", {}, "Prompt", h("textarea", { rows: 2, value: state.prompt, oninput: (e) => { state.prompt = e.target.value; response = null; changed(); } })),
    h("div", { class: "row" },
      labelled("Vector", choice(shared.vectors.map((v) => v.id), state.vector, (v) => { state.site = ""; again("vector")(v); })),
      labelled("Operator", choice(OPERATORS, state.operator, again("operator"))),
      labelled("Scope", choice([...new Set([...SCOPES, state.scope])], state.scope, (v) => { state.scope = v; changed(); })),
      labelled("Only where the projection reaches (length)", h("input", { type: "number", step: "any", value: state.gate, placeholder: "no gate", oninput: (e) => { state.gate = e.target.value; changed(); } })),
      h("button", { type: "button", class: "primary", onclick: () => toArena(show) }, "Send to the arena")));
}

function toArena(show) {
  const mine = { ...empty(), kind: "vector", vector: state.vector, site: state.site, dose: state.dose, operator: state.operator, scope: state.scope, gate: state.gate };
  state.conditions = [empty(), mine];
  show("arena");
}

function sliders() {
  const sites = sitesOf(state.vector), place = sites.findIndex((x) => x.site === state.site), most = turns(state.operator) ? 90 : MOST_DOSE;
  const layer = h("input", { type: "range", id: "layer", min: 0, max: Math.max(0, sites.length - 1), step: 1, value: place, oninput: (e) => { state.site = sites[Number(e.target.value)].site; changed(); } });
  const dose = h("input", { type: "range", id: "dose", min: state.operator === "rotate_to" ? 0 : -most, max: most, step: most / 80, value: state.dose, disabled: state.operator === "project_out", oninput: (e) => { state.dose = Number(e.target.value); changed(); } });
  return h("div", { class: "card" }, h("h3", {}, "Where and how much"),
    h("label", {}, "Layer ", h("output", { id: "layer-now" }), layer), h("label", {}, "Dose ", h("output", { id: "dose-now" }), dose),
    h("div", { class: "track", id: "zones", role: "img", "aria-label": "zones of the dose" }), h("p", { class: "small", id: "zones-said" }),
    h("dl", { class: "small", id: "units" }));
}

function next() {
  return h("div", { class: "card" }, h("h3", {}, "Next token"), h("p", { class: "small" }, "Grey plain, blue steered."), h("div", { id: "next" }));
}

function plane() {
  const others = [{ value: "", label: "none" }, ...shared.vectors.filter((v) => v.id !== state.vector && v.sites.some((x) => x.site === state.site)).map((v) => v.id)];
  const dot = s("circle", { class: "dot", r: 8 }), at = (v) => SIZE / 2 + (v / MOST_DOSE) * (SIZE / 2);
  const move = (x, y) => {
    state.dose = Math.max(-MOST_DOSE, Math.min(MOST_DOSE, x)); state.second_dose = state.second ? Math.max(-MOST_DOSE, Math.min(MOST_DOSE, y)) : 0;
    place(); document.getElementById("dose").value = state.dose; changed();
  };
  const place = () => { dot.setAttribute("cx", at(state.dose)); dot.setAttribute("cy", SIZE - at(state.second_dose)); };
  const drag = (event) => { const r = svg.getBoundingClientRect(); move(((event.clientX - r.left) / r.width - 0.5) * 2 * MOST_DOSE, (0.5 - (event.clientY - r.top) / r.height) * 2 * MOST_DOSE); };
  const svg = s("svg", {
    class: "plane", viewBox: `0 0 ${SIZE} ${SIZE}`, width: SIZE, tabindex: 0, role: "application", "aria-label": "Doses of two vectors; arrow keys move the point",
    onpointerdown: (e) => { svg.setPointerCapture(e.pointerId); drag(e); }, onpointermove: (e) => { if (e.buttons) drag(e); },
    onkeydown: (e) => { const step = { ArrowRight: [0.25, 0], ArrowLeft: [-0.25, 0], ArrowUp: [0, 0.25], ArrowDown: [0, -0.25] }[e.key]; if (step) { e.preventDefault(); move(state.dose + step[0], state.second_dose + step[1]); } },
  }, s("line", { class: "axis", x1: 0, x2: SIZE, y1: SIZE / 2, y2: SIZE / 2 }), s("line", { class: "axis", y1: 0, y2: SIZE, x1: SIZE / 2, x2: SIZE / 2 }), s("text", { x: SIZE - 90, y: SIZE / 2 - 6 }, state.vector.slice(0, 14)), s("text", { x: SIZE / 2 + 6, y: 14 }, state.second.slice(0, 14)), dot);
  place();
  return h("div", { class: "card" }, h("h3", {}, "Two vectors together"), labelled("Upward", choice(others, state.second, (v) => { state.second = v; state.second_dose = 0; remember(); redraw(); })), svg, h("p", { class: "small" }, "Drag the point, or move it by the arrow keys."));
}

function change() {
  const first = { vector: state.vector, sites: [state.site], operator: state.operator, scope: state.scope };
  if (state.operator !== "project_out") { first.dose = state.dose; first.unit = turns(state.operator) ? "degrees" : "natural"; }
  if (state.gate !== "" && Number.isFinite(Number(state.gate))) first.gate = { kind: "projection", threshold: Number(state.gate) };
  const found = [first];
  if (state.second && state.second_dose) found.push({ vector: state.second, sites: [state.site], dose: state.second_dose, scope: state.scope });
  return found;
}

function update() {
  drawUnits(); drawZones(); ask();
}

const ask = debounced(() => guarded(async () => {
  const number = (latest += 1), body = { model: state.model, prompt: state.prompt, max_tokens: 1, temperature: 0, logprobs: 12 };
  if (!state.prompt.trim()) return;
  const one = async (steering) => chances(await post("/v1/completions", steering ? { ...body, steering } : body));
  const [plain, steered] = await Promise.all([one(null), one(change())]);
  const kl = await post("/v1/response", { model: state.model, prompt: state.prompt, vector: state.vector, doses: [turns(state.operator) ? 0 : state.dose], scope: state.scope, samples: 0 }).catch(() => null);
  if (number !== latest || !document.getElementById("next")) return;
  const words = [...new Set([...Object.keys(steered), ...Object.keys(plain)])].slice(0, 14);
  const rows = words.map((word) => ({ word, plain: plain[word] ?? 0, steered: steered[word] ?? 0 }));
  document.getElementById("next").replaceChildren(bars(rows, Math.max(...rows.flatMap((r) => [r.plain, r.steered]))));
  drawUnits(kl?.rows.find((r) => r.site === state.site)?.kl);
}), 120);

function chances(answer) {
  const top = answer.choices[0].logprobs.top_logprobs[0] ?? {};
  return Object.fromEntries(Object.entries(top).map(([word, p]) => [word, Math.exp(p)]));
}

function drawUnits(kl) {
  const at = here(), list = document.getElementById("units");
  document.getElementById("layer-now").textContent = state.site;
  document.getElementById("dose-now").textContent = state.operator === "project_out" ? "takes none" : turns(state.operator) ? `${round(state.dose, 0)} degrees` : `${round(state.dose)} natural`;
  if (!list || !at) return;
  const length = state.dose * at.natural, angle = turns(state.operator) || state.operator === "project_out";
  const units = angle ? [] : [["natural", round(state.dose)], ["relative", round(length / at.relative, 3)], ["absolute", round(length)], ["KL over the prompt, of add alone", kl === undefined ? "measuring" : `${round(kl, 3)} nats`]];
  list.replaceChildren(...units.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, h("strong", {}, value))]));
}

// What the open run chose and what it broke at this layer, if it is of this very vector's pairs; else what was measured here.
function drawZones() {
  const track = document.getElementById("zones"), said = document.getElementById("zones-said"), at = here();
  if (!track || !at) return;
  const share = (d) => `${(100 * (d + MOST_DOSE)) / (2 * MOST_DOSE)}%`, width = `${100 / (2 * MOST_DOSE) / 4}%`;
  const piece = (dose, name) => { const i = h("i", { class: name }); i.style.left = `calc(${share(dose)} - ${width} / 2)`; i.style.width = width; return i; };
  const found = shared.vectors.find((v) => v.id === state.vector);
  const fitting = run && run.model === state.model && (run.stream ?? "resid_post") === at.stream && run.contrasts === found?.contrasts && run.method === at.method;
  const measured = (response?.vector === state.vector ? response.rows : []).filter((r) => r.site === state.site && spoils(r)).map((r) => r.natural);
  const broken = fitting ? run.rows.filter((r) => r.layer === at.layer && isBroken(r)).map((r) => r.dose_natural) : measured;
  const sweet = fitting && run.chosen.layer === at.layer ? [run.chosen.dose_natural] : [];
  const inside = (doses) => doses.filter((d) => Math.abs(d) <= MOST_DOSE);
  track.replaceChildren(...inside(broken).map((d) => piece(d, "broken")), ...inside(sweet).map((d) => piece(d, "sweet")));
  const words = [sweet.length && `the run ${state.run} chose ${round(sweet[0])}, and says: ${run.sentence.split(":")[0]}`, broken.length && `${fitting ? "broke a limit of the run" : "falls into repetition or overflows after this prompt"} at ${broken.map((d) => round(d)).join(", ")}`].filter(Boolean).join("; ");
  said.textContent = words || (fitting ? "the run broke no limit at this layer and chose another." : response ? "no dose that was measured here is known to fall into repetition at this layer." : "no run of this vector's pairs is open and nothing is measured yet: what is sweet or broken is unknown.");
  track.setAttribute("aria-label", said.textContent);
}

// More than half of the sampled texts repeat themselves, and the plain ones do not; null where texts are too short to tell.
const repeats = (row) => row.repeating > 0.5 && response.plain_repeating !== null && response.plain_repeating <= 0.5;
const overflows = (row) => row.overflowed > response.samples / 2;
const spoils = (row) => repeats(row) || overflows(row);

async function loadRun() {
  if (!state.run) return;
  run = await get(`/v1/runs/${encodeURIComponent(state.run)}`);
  cellsOf(run);
  drawZones();
}

async function measure() {
  response = await post("/v1/response", { model: state.model, prompt: state.prompt, vector: state.vector, doses: [-4, -3, -2, -1, -0.5, 0.5, 1, 2, 3, 4], scope: state.scope });
  drawResponse(); drawZones();
}

function drawResponse() {
  const where = document.getElementById("response");
  if (!response || response.vector !== state.vector) { where.replaceChildren(h("p", { class: "small" }, "Measures KL(steered || plain) over the prompt, and which doses make texts repeat themselves (struck out).")); return; }
  const sites = [...new Set(response.rows.map((r) => r.site))], doses = [...new Set(response.rows.map((r) => r.dose))];
  const most = Math.max(1e-9, ...response.rows.map((r) => r.kl ?? 0));
  const cell = (row) => {
    const button = h("button", { type: "button", class: spoils(row) ? "broken" : "", title: row.text, "aria-label": `${row.site}, dose ${row.dose}: KL ${round(row.kl)} nats${overflows(row) ? ", overflows" : repeats(row) ? ", repeats itself" : ""}`, onclick: () => { state.site = row.site; state.dose = row.dose; remember(); redraw(); } }, short(row.kl));
    button.style.background = `rgba(var(--kl), ${(0.3 * (row.kl ?? 0) / most).toFixed(2)})`;
    return h("td", { class: "cell" }, button);
  };
  const plain = response.plain_repeating, percent = Math.round(100 * plain);
  const told = plain === null ? "The plain texts are too short to tell repetition in them, so that repetition under a dose tells nothing here" : `Of the plain texts that are long enough to tell, ${percent} % repeat themselves${plain > 0.5 ? ", so that repetition under a dose tells nothing here" : ""}`;
  const own = `${told}. KL(steered || plain) over the prompt, in nats; struck out is a dose under which more than half of the texts (of ${response.samples}, those long enough to tell) repeat themselves, or the logits overflow.`;
  where.replaceChildren(h("p", { class: "small" }, own), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "KL by layer and dose" }, h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Site"), doses.map((d) => h("th", { scope: "col" }, String(d))))),
    h("tbody", {}, sites.map((site) => h("tr", {}, h("th", { scope: "row" }, site), response.rows.filter((r) => r.site === site).map(cell)))))));
}
