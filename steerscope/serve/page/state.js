// What is on screen, which the address holds, so that opening it again restores it.
export const state = {
  tab: "arena", model: "", mode: "text", prompt: "Mia was at the harbour late.", tokens: 48, temperature: 0.7, seed: 0,
  conditions: [], colour: "none", marks: true, blind: false,
  vector: "", site: "", dose: 1, unit: "natural", operator: "add", scope: "all", gate: "", second: "", second_dose: 0, run: "",
};
export const shared = { facts: {}, vectors: [], has_runs: false, autoencoder: null };
const numbers = new Set(["tokens", "temperature", "seed", "dose", "second_dose"]);
const flags = new Set(["marks", "blind"]);

export function restore() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of given) {
    if (name === "c" || !(name in state)) continue;
    if (numbers.has(name)) { if (Number.isFinite(Number(value))) state[name] = Number(value); }
    else if (flags.has(name)) state[name] = value === "1";
    else state[name] = value;
  }
  const said = given.getAll("c").slice(0, 4).flatMap((text) => { try { return [{ ...empty(), ...known(JSON.parse(text)) }]; } catch { return []; } });
  if (said.length) state.conditions = said;
  return given.size > 0;
}

export function remember() {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (name === "conditions" || value === "") continue;
    given.append(name, flags.has(name) ? (value ? "1" : "0") : String(value));
  }
  for (const condition of state.conditions) given.append("c", JSON.stringify(condition));
  history.replaceState(null, "", `#${given}`);
}

export function empty() {
  return { kind: "plain", vector: "", site: "", dose: 1, unit: "natural", operator: "add", scope: "all", gate: "", instruction: "", feature: 0, value: 3 };
}

function known(value) {
  const usual = empty(), found = {};
  for (const name of Object.keys(usual)) if (typeof value?.[name] === typeof usual[name]) found[name] = value[name];
  return found;
}

// A condition as the API takes it.
export function steering(condition) {
  if (condition.kind === "plain") return null;
  if (condition.kind === "words") return { instruction: condition.instruction };
  if (condition.kind === "feature") return { feature: condition.feature, change: "clamp", value: condition.value, scope: condition.scope };
  const found = { vector: condition.vector, operator: condition.operator, scope: condition.scope };
  if (condition.site) found.sites = [condition.site];
  if (condition.operator !== "project_out") { found.dose = condition.dose; found.unit = turns(condition.operator) ? "degrees" : condition.unit; }
  if (gated(condition)) found.gate = { kind: "projection", threshold: Number(condition.gate) };
  return found;
}

export const turns = (operator) => operator.startsWith("rotate");

export function label(condition) {
  if (condition.kind === "plain") return "plain";
  if (condition.kind === "words") return "asked in words";
  if (condition.kind === "feature") return `feature ${condition.feature} = ${condition.value}`;
  const where = condition.site ? ` at ${condition.site}` : "";
  const much = condition.operator === "project_out" ? "" : ` ${condition.dose} ${turns(condition.operator) ? "degrees" : condition.unit}`;
  return `${condition.vector}${much}${condition.operator === "add" ? "" : ` (${condition.operator})`}${where}`;
}

export function sitesOf(name) { return shared.vectors.find((v) => v.id === name)?.sites ?? []; }
export function defaultSite(name) { return shared.vectors.find((v) => v.id === name)?.default[0] ?? ""; }

// What is on screen as Python, and as commands.
export function asPython() {
  const vectors = [...new Set(state.conditions.filter((c) => c.kind === "vector").map((c) => c.vector))];
  const lines = ["import steerscope as ss", "", `model = ss.load_model(${py(state.model)})`];
  if (state.conditions.some((c) => c.kind === "feature")) {
    lines.splice(1, 0, "from steerscope.sae.steering import FeatureEdit, FeatureSteering");
    lines.push(`sae = ss.load_sae(${py(shared.autoencoder?.id)}, model=model)`);
  }
  for (const name of vectors) lines.push(`${variable(name)} = {str(d.site): d for d in ss.load_directions(${py(`${name}.safetensors`)})}  # downloaded on the page`);
  lines.push(`prompt = ${promptAsPython()}`, "cells = [", ...state.conditions.map((c) => `    ${cell(c)},`), "]");
  const sampler = state.temperature === 0 ? "ss.Greedy()" : `ss.Sample(${state.temperature}, seed=${state.seed})`;
  lines.push(`for token in ss.stream(model, prompt, cells, n_new=${state.tokens}, sampler=${sampler}):`, "    print(token.cell, repr(token.text))");
  return lines.join("\n");
}

function promptAsPython() {
  if (state.mode !== "chat") return py(state.prompt);
  return `ss.wrapped(model, ss.load_prompts([${py(state.prompt)}])).prompts[0].text`;
}

function cell(c) {
  if (c.kind === "plain") return "ss.Cell()";
  if (c.kind === "words") return `ss.Prompting(${py(c.instruction)})`;
  if (c.kind === "feature") return `FeatureSteering(sae, (FeatureEdit(${c.feature}, "clamp", ${c.value}),), ss.Scope.parse(${py(c.scope)}))`;
  const at = sites(c).map((site) => `${variable(c.vector)}[${py(site)}]`);
  const dose = c.operator === "project_out" ? "None" : `ss.Dose(${c.dose}, ${py(turns(c.operator) ? "degrees" : c.unit)})`;
  const gate = gated(c) ? `, ss.ProjectionGate(${Number(c.gate)})` : "";
  if (at.length === 1) return `ss.Steering(${at[0]}, ${dose}, ${py(c.operator)}, ${py(c.scope)}${gate})`;
  return `ss.ControlVector((${at.join(", ")}), ${dose}, ${py(c.operator)}, ss.Scope.parse(${py(c.scope)})${gate})`;
}

const gated = (c) => c.gate !== undefined && c.gate !== "" && Number.isFinite(Number(c.gate));
function sites(c) { return c.site ? [c.site] : shared.vectors.find((v) => v.id === c.vector)?.default ?? []; }

export function asCommands() {
  const chat = state.mode === "chat" ? " --chat" : "";
  const found = state.conditions.filter((c) => c.kind === "vector").map((c) => {
    const dose = c.operator === "project_out" ? "" : ` --dose ${c.dose} --unit ${turns(c.operator) ? "degrees" : c.unit}`;
    return `steerscope steer --model ${sh(state.model)} --vector ${sh(`${c.vector}.safetensors`)} ${sites(c).map((x) => `--site ${sh(x)}`).join(" ")}${dose} --operator ${c.operator} --scope ${sh(c.scope)}${gated(c) ? ` --strength projection:${Number(c.gate)}` : ""} --prompt ${sh(state.prompt)} --n-new ${state.tokens} --temperature ${state.temperature} --seed ${state.seed}${chat}`;
  });
  for (const c of state.conditions.filter((x) => x.kind === "feature")) {
    found.push(`steerscope sae steer ${sh(shared.autoencoder?.id ?? "")} --model ${sh(state.model)} --clamp ${c.feature}=${c.value} --scope ${sh(c.scope)} --prompt ${sh(state.prompt)} --n-new ${state.tokens} --temperature ${state.temperature} --seed ${state.seed}`);
  }
  return found.join("\n") || "steerscope steer needs a vector; add a condition with one.";
}

const py = (text) => JSON.stringify(text);
const sh = (text) => (/^[\w.,:@%+=/-]+$/.test(text) ? text : `'${String(text).replaceAll("'", `'\\''`)}'`);
const variable = (name) => `v_${name.replace(/\W/g, "_")}`;
