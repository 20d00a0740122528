// The runs of a folder: the sentence, the map, and the texts behind every cell.
import { get } from "./api.js";
import { choice, guarded, h, labelled, round } from "./dom.js";
import { remember, shared, state } from "./state.js";

export async function runs(section, show) {
  if (!shared.has_runs) { section.replaceChildren(h("h2", {}, "Runs"), h("p", {}, "This server shows no runs. Start it with --runs FOLDER, the folder in which the directories of your runs lie.")); return; }
  const listed = (await get("/v1/runs")).data;
  if (!listed.length) { section.replaceChildren(h("h2", {}, "Runs"), h("p", {}, "The folder has no run yet.")); return; }
  if (!listed.some((r) => r.id === state.run)) state.run = listed[0].id;
  const pick = choice(listed.map((r) => ({ value: r.id, label: `${r.id}${r.contrasts ? `: ${r.contrasts} on ${r.model}` : ""}` })), state.run, (v) => { state.run = v; remember(); guarded(() => draw(listed, show)); });
  section.replaceChildren(h("h2", {}, "Runs"), labelled("Run", pick), h("div", { id: "run" }), h("div", { id: "behind", "aria-live": "polite" }));
  await draw(listed, show);
}

async function draw(listed, show) {
  const where = document.getElementById("run"), entry = listed.find((r) => r.id === state.run);
  document.getElementById("behind").replaceChildren();
  where.replaceChildren(h("p", { class: "small" }, "reading the run ..."));
  if (entry.error) { where.replaceChildren(h("p", { class: "bad" }, entry.error)); return; }
  const run = await get(`/v1/runs/${encodeURIComponent(state.run)}`);
  where.replaceChildren(h("p", {}, h("strong", {}, run.sentence)),
    entry.has_report && h("p", {}, h("a", { href: `/v1/runs/${encodeURIComponent(state.run)}/report`, target: "_blank", rel: "noopener" }, "The whole report")) || "",
    h("p", { class: "small" }, `${run.effect}; columns are doses in natural units, the framed cell is the choice of the run, struck out is what broke a limit. A cell shows its texts.`), map(run, show));
}

export function cellsOf(run) {
  return { layers: [...new Set(run.rows.map((r) => r.layer))].sort((a, b) => a - b), doses: [...new Set(run.rows.map((r) => Number(r.dose_natural.toFixed(4))))].sort((a, b) => a - b) };
}

export const isBroken = (row) => row.broken;  // over a limit, or not known to be within

function map(run, show) {
  const { layers, doses } = cellsOf(run), most = Math.max(1e-9, ...run.rows.map((r) => Math.abs(r.effect ?? 0)));
  const head = h("tr", {}, h("th", { scope: "col" }, "Layer"), doses.map((d) => h("th", { scope: "col" }, String(d))));
  const rows = layers.map((layer) => h("tr", {}, h("th", { scope: "row" }, String(layer)), doses.map((dose) => {
    const row = run.rows.find((r) => r.layer === layer && Math.abs(r.dose_natural - dose) < 1e-3);
    if (!row) return h("td", {}, "");
    const chosen = layer === run.chosen.layer && Math.abs(dose - run.chosen.dose_natural) < 1e-3;
    const said = `${round(row.effect)}`, broken = isBroken(row);
    const button = h("button", { type: "button", class: `${chosen ? "chosen" : ""} ${broken ? "broken" : ""}`, "aria-label": `layer ${layer}, dose ${dose}: effect ${said}${broken ? ", broken" : ""}${chosen ? ", the choice of the run" : ""}`, onclick: () => guarded(() => behind(layer, row.dose_natural, run, show)) }, said);
    button.style.background = `rgba(var(${row.effect >= 0 ? "--up" : "--down"}), ${(0.3 * Math.abs(row.effect ?? 0) / most).toFixed(2)})`;
    return h("td", { class: "cell" }, button);
  })));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Effect by layer and dose" }, h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
}

async function behind(layer, dose, run, show) {
  const found = (await get(`/v1/runs/${encodeURIComponent(state.run)}/texts?layer=${layer}&dose=${dose}`)).data;
  const send = (given) => { state.prompt = given; state.mode = "text"; const c = state.conditions.find((x) => x.kind === "vector"); if (c) Object.assign(c, { dose: Number(dose.toFixed(4)), unit: "natural", site: siteAt(c.vector, run.stream, layer) }); show("arena"); };
  document.getElementById("behind").replaceChildren(h("h3", {}, `${found.length} texts at layer ${layer}, dose ${round(dose)}`), h("div", { class: "cards" }, found.map((t) => h("article", { class: "card" },
    h("p", { class: "small" }, `${t.split} prompt ${t.prompt}: ${t.given}`), h("p", { class: "text" }, h("span", { class: "given" }, "plain: "), t.plain ?? "unknown"), h("p", { class: "text" }, h("span", { class: "given" }, "steered: "), t.written),
    h("button", { type: "button", onclick: () => send(t.given) }, "Send to the arena")))));
}

function siteAt(vector, stream, layer) {
  const sites = shared.vectors.find((v) => v.id === vector)?.sites ?? [];
  return sites.find((x) => x.layer === layer && x.stream === (stream ?? x.stream))?.site ?? "";
}
