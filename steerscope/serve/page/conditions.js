// The form of one condition.
import { choice, h, labelled, number } from "./dom.js";
import { label, shared, sitesOf, state, turns } from "./state.js";

const KINDS = [{ value: "plain", label: "plain" }, { value: "words", label: "asked in words" }, { value: "vector", label: "vector" }];
export const UNITS = ["natural", "relative", "absolute", "kl"];
export const OPERATORS = ["add", "project_out", "clamp", "rotate", "rotate_to"];
export const SCOPES = ["all", "generated", "prompt", "everywhere", "last:1"];

export function conditionForm(condition, place, changed, redraw) {
  const set = (name) => (value) => { condition[name] = value; changed(); };
  const again = (name) => (value) => { condition[name] = value; changed(); redraw(); };
  const parts = [labelled("Kind", choice(shared.autoencoder ? [...KINDS, { value: "feature", label: "feature" }] : KINDS, condition.kind, (value) => {
    condition.kind = value;
    if (value === "vector" && !condition.vector) condition.vector = shared.vectors[0]?.id ?? "";
    changed(); redraw();
  }))];
  if (condition.kind === "words") {
    parts.push(h("label", { class: "wide" }, "Instruction", h("textarea", { rows: 2, value: condition.instruction, oninput: (e) => set("instruction")(e.target.value) })));
  }
  if (condition.kind === "feature") parts.push(...featureParts(condition, set, again));
  if (condition.kind === "vector") parts.push(...vectorParts(condition, set, again));
  return h("fieldset", {}, h("legend", {}, `${place + 1}: `, h("span", {}, label(condition))), h("div", { class: "row" }, parts),
    h("button", { type: "button", disabled: state.conditions.length < 2, "aria-label": `Remove condition ${place + 1}`, onclick: () => { state.conditions.splice(place, 1); changed(); redraw(); } }, "Remove"));
}

function told(condition, name, set) {
  return (e) => { if (e.target.value !== "") { set(name)(Number(e.target.value)); e.target.closest("fieldset").querySelector("legend span").textContent = label(condition); } };
}

function featureParts(condition, set, again) {
  return [
    labelled(`Feature of ${shared.autoencoder.site}`, number(condition.feature, { min: 0, max: shared.autoencoder.n_features - 1, step: 1, oninput: told(condition, "feature", set) })),
    labelled("Clamped to", number(condition.value, { min: 0, step: 0.5, oninput: told(condition, "value", set) })),
    labelled("Scope", choice([...new Set([...SCOPES, condition.scope])], condition.scope, again("scope"))),
  ];
}

function vectorParts(condition, set, again) {
  const sites = [{ value: "", label: "its own" }, ...sitesOf(condition.vector).map((s) => ({ value: s.site, label: s.site }))];
  const parts = [
    labelled("Vector", choice(shared.vectors.map((v) => v.id), condition.vector, (v) => { condition.site = ""; again("vector")(v); })),
    labelled("Site", choice(sites, condition.site, again("site"))),
  ];
  if (condition.operator !== "project_out") {
    parts.push(labelled("Dose", number(condition.dose, { step: 0.25, oninput: told(condition, "dose", set) })));
    parts.push(turns(condition.operator) ? h("span", { class: "small" }, "degrees") : labelled("Unit", choice(UNITS, condition.unit, again("unit"))));
  }
  parts.push(labelled("Operator", choice(OPERATORS, condition.operator, again("operator"))));
  parts.push(labelled("Scope", choice([...new Set([...SCOPES, condition.scope])], condition.scope, again("scope"))));
  return parts;
}
