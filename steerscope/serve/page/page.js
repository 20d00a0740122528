// The page: its tabs, the model, the theme, and what they all share.
import { get, setKey } from "./api.js";
import { arena } from "./arena.js";
import { dials } from "./dials.js";
import { guarded, h, notice } from "./dom.js";
import { runs } from "./runs.js";
import { empty, remember, restore, shared, state } from "./state.js";
import { vectors } from "./vectors.js";

const tabs = { arena: "Arena", dials: "Dials", vectors: "Vectors", runs: "Runs" };
const views = { arena, dials, vectors, runs };

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  document.getElementById("theme").textContent = name === "dark" ? "Light" : "Dark";
}

function makeTabs() {
  const bar = document.getElementById("tabs");
  bar.replaceChildren(...Object.entries(tabs).map(([name, title]) => h("button", {
    type: "button", role: "tab", id: `tab-${name}`, "aria-controls": name, onclick: () => show(name),
    onkeydown: (event) => {
      const names = Object.keys(tabs), step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = names[(names.indexOf(name) + step + names.length) % names.length];
      show(next);
      document.getElementById(`tab-${next}`).focus();
    },
  }, title)));
}

export function show(name) {
  state.tab = name in tabs ? name : "arena";
  for (const other of Object.keys(tabs)) {
    document.getElementById(other).hidden = other !== state.tab;
    const tab = document.getElementById(`tab-${other}`);
    tab.setAttribute("aria-selected", String(other === state.tab));
    tab.tabIndex = other === state.tab ? 0 : -1;
  }
  remember();
  guarded(() => views[state.tab](document.getElementById(state.tab), show));
}

async function loadModel(name) {
  state.model = name;
  notice(`loading ${name} ...`);
  shared.facts = await get(`/v1/facts/${encodeURIComponent(name)}`);
  if (!shared.facts.has_chat) state.mode = "text";
  notice("");
}

async function begin() {
  const about = await get("/v1/steerscope");
  shared.has_runs = about.has_runs;
  shared.autoencoder = about.autoencoder;
  shared.vectors = (await get("/v1/vectors")).data;
  if (!about.models.includes(state.model)) state.model = about.models[0];
  state.tokens = Math.min(state.tokens, about.max_tokens);
  const select = document.getElementById("model");
  select.replaceChildren(...about.models.map((m) => h("option", { value: m }, m)));
  select.value = state.model;
  select.onchange = () => guarded(async () => { await loadModel(select.value); show(state.tab); });
  await loadModel(state.model);
  if (!shared.vectors.some((v) => v.id === state.vector)) state.vector = shared.vectors[0]?.id ?? "";
  if (!state.conditions.length) {
    state.conditions = [empty(), ...shared.vectors.slice(0, 1).map((v) => ({ ...empty(), kind: "vector", vector: v.id }))];
  }
  show(state.tab);
}

function askForKey() {
  const input = h("input", { type: "password", autocomplete: "off", id: "key" });
  document.getElementById("arena").hidden = false;
  document.getElementById("arena").replaceChildren(h("form", { class: "row", onsubmit: (e) => { e.preventDefault(); setKey(input.value); start(); } },
    h("label", {}, "Key of this server", h("br"), input), h("button", { class: "primary" }, "Open")));
}

async function start() {
  try { await begin(); } catch (error) {
    if (error.status === 401) askForKey();
    notice(error.message);
  }
}

restore();
setTheme(localStorage.getItem("steerscope-theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
document.getElementById("theme").onclick = () => {
  const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("steerscope-theme", name);
  setTheme(name);
};
window.addEventListener("hashchange", () => { state.conditions = []; restore(); start(); });
makeTabs();
start();
