// The vectors: their table, how they lie, what they speak for, and where they come from.
import { fetchBlob, get, post, remove, upload } from "./api.js";
import { choice, guarded, h, labelled, notice, round, save } from "./dom.js";
import { heat, lines, points } from "./draw.js";
import { shared, state } from "./state.js";

let box = null;

export async function vectors(section) {
  box = section;
  shared.vectors = (await get("/v1/vectors")).data;
  section.replaceChildren(h("h2", {}, "Vectors"), list(), h("div", { id: "lens", "aria-live": "polite" }), h("h2", {}, "How they lie"), h("div", { id: "geometry" }),
    h("h2", {}, "Find from pairs"), fromPairs(), h("h2", {}, "Upload"), fromFile());
  await guarded(drawGeometry);
}

const redraw = () => guarded(() => vectors(box));

function list() {
  if (!shared.vectors.length) return h("p", {}, "There is no vector yet: find one from pairs, or upload a file.");
  const names = ["Name", "Sites", "Method", "Natural unit (length)", "Found on", "From", ""];
  const rows = shared.vectors.map((v) => {
    const at = v.sites.find((x) => x.site === v.default[0]) ?? v.sites[0];
    return h("tr", {}, h("th", { scope: "row" }, v.id), h("td", {}, v.sites.length > 1 ? `${v.sites.length} sites, usually ${v.default.join(", ")}` : at.site),
      h("td", {}, at.method), h("td", {}, round(at.natural)), h("td", {}, v.model), h("td", {}, v.n_pairs ? `${v.n_pairs} pairs of ${v.contrasts}, ${v.read}` : v.contrasts),
      h("td", {}, h("span", { class: "row" },
        button(`Lens of ${v.id}`, "Lens", () => guarded(() => drawLens(v.id))),
        ...["safetensors", "gguf"].map((f) => button(`Download ${v.id} as ${f}`, f, () => guarded(async () => save(`${v.id}.${f}`, await fetchBlob(`/v1/vectors/${encodeURIComponent(v.id)}/file?format=${f}`))))),
        button(`Remove ${v.id}`, "Remove", () => guarded(async () => { await remove(`/v1/vectors/${encodeURIComponent(v.id)}`); redraw(); })))));
  });
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Vectors" }, h("table", { class: "left" },
    h("thead", {}, h("tr", {}, names.map((n) => (n ? h("th", { scope: "col" }, n) : h("td", {}))))), h("tbody", {}, rows)));
}

function button(label, text, onclick) { return h("button", { type: "button", "aria-label": label, onclick }, text); }

async function drawLens(name) {
  const sites = shared.vectors.find((v) => v.id === name).sites.map((x) => x.site);
  const found = await Promise.all(sites.map((site) => get(`/v1/vectors/${encodeURIComponent(name)}/lens?site=${encodeURIComponent(site)}&top=6`).catch((error) => ({ site, error: error.message }))));
  const words = (tokens) => tokens.map((t) => `${JSON.stringify(t.token)} ${round(t.logit, 1)}`).join("  ");
  document.getElementById("lens").replaceChildren(h("h3", {}, `Logit lens of ${name}, one natural unit`), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Logit lens" },
    h("table", { class: "left" }, h("thead", {}, h("tr", {}, ["Site", "Speaks for", "Speaks against"].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", {}, found.map((l) => h("tr", {}, h("th", { scope: "row" }, l.site), l.error ? h("td", { colSpan: 2 }, l.error) : [h("td", {}, words(l.for)), h("td", {}, words(l.against))]))))));
}

async function drawGeometry() {
  const where = document.getElementById("geometry"), streams = [...new Set(shared.vectors.flatMap((v) => v.sites.map((x) => x.stream)))];
  if (!streams.length) { where.replaceChildren(h("p", { class: "small" }, "Nothing to compare.")); return; }
  const found = await post("/v1/geometry", { vectors: shared.vectors.map((v) => v.id), stream: streams[0] });
  const labels = found.labels.map((l) => `${l.vector} ${l.layer}`);
  const series = shared.vectors.map((v) => ({ name: v.id, points: v.sites.filter((x) => x.stream === streams[0]).map((x) => [x.layer, x.natural]) })).filter((l) => l.points.length);
  where.replaceChildren(heat(labels, found.cosines, "Cosine"), h("div", { class: "cards" },
    h("div", { class: "card" }, h("h3", {}, `Two main axes of the units: ${round(100 * found.shares[0], 0)} % and ${round(100 * found.shares[1], 0)} % of the differences`), points(found.places, labels, "The vectors along the two axes in which their units differ most")),
    h("div", { class: "card" }, h("h3", {}, `Length of one natural unit by layer of ${streams[0]}: ${series.map((l, i) => `${l.name} ${["solid", "dashed", "dotted"][i % 3]}`).join(", ")}`), lines(series, "Length of one natural unit by layer", "layer", "length"))));
}

function fromPairs() {
  const name = h("input", { required: true, pattern: "[A-Za-z0-9][A-Za-z0-9_.\\-]*", id: "pairs-name" });
  const pairs = h("textarea", { rows: 6, required: true, id: "pairs-text", placeholder: "Mia was full of joy. | Mia was full of sorrow." });
  const stream = choice(["resid_post", "resid_pre", "resid_mid", "attn_out", "mlp_out"], "resid_post");
  const layer = h("input", { type: "number", min: 0, max: shared.facts.n_layers - 1, value: Math.floor(shared.facts.n_layers / 2) });
  const method = choice(["mean_diff", "pca_centred", "pca_uncentred", "whitened", "logistic_probe", "repe"], "mean_diff");
  const chat = h("input", { type: "checkbox", disabled: !shared.facts.has_chat });
  return h("form", { onsubmit: (e) => { e.preventDefault(); guarded(async () => {
    const lines = pairs.value.split("\n").map((l) => l.trim()).filter(Boolean).map((l) => l.split("|").map((t) => t.trim()));
    const wrong = lines.findIndex((l) => l.length !== 2 || !l[0] || !l[1]);
    if (wrong >= 0) { notice(`line ${wrong + 1} is no pair; write positive | negative.`); return; }
    const sites = Array.from({ length: shared.facts.n_layers }, (_, i) => `${stream.value}.${i}`);
    await post("/v1/vectors/pairs", { name: name.value, model: state.model, method: method.value, chat: chat.checked, sites, default: [`${stream.value}.${layer.value}`], pairs: lines.map(([positive, negative]) => ({ positive, negative })) });
    await vectors(box);
    notice(`${name.value} was found from ${lines.length} pairs.`);
  }); } },
    h("div", { class: "row" }, labelled("Name", name), labelled("Stream", stream), labelled("Usual layer", layer), labelled("Method", method), h("label", { class: "inline" }, chat, "in the chat template")),
    h("label", {}, "One pair a line: positive | negative", pairs), h("p", {}, h("button", { class: "primary" }, "Find")));
}

function fromFile() {
  const file = h("input", { type: "file", required: true, accept: ".safetensors,.gguf,.json,.pt,.pth,.svec" }), name = h("input", { placeholder: "as the file" }), method = h("input", { placeholder: "all in the file" });
  return h("form", { class: "row", onsubmit: (e) => { e.preventDefault(); guarded(async () => {
    const given = file.files[0], dot = given.name.lastIndexOf(".");
    const called = name.value || given.name.slice(0, dot).replace(/[^A-Za-z0-9_.-]/g, "-");
    await upload(`/v1/vectors/file?name=${encodeURIComponent(called)}&suffix=${encodeURIComponent(given.name.slice(dot))}&model=${encodeURIComponent(state.model)}${method.value ? `&method=${encodeURIComponent(method.value)}` : ""}`, given);
    await vectors(box);
    notice(`${called} was read.`);
  }); } }, labelled("Vector file of steerscope or another tool", file), labelled("Name", name), labelled("Method", method), h("button", { class: "primary" }, "Upload"));
}
