// Elements, made of text and never of markup.
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name in element && !name.startsWith("aria-") && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

export function s(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children.flat());
  return element;
}

export function labelled(text, control) { return h("label", {}, text, h("br"), control); }

export function choice(options, value, onchange) {
  const select = h("select", { onchange: (e) => onchange && onchange(e.target.value) },
    options.map((o) => h("option", { value: o.value ?? o }, o.label ?? o)));
  select.value = options.some((o) => (o.value ?? o) === value) ? value : (options[0]?.value ?? options[0] ?? "");
  return select;
}

export function number(value, attributes) { return h("input", { type: "number", value, step: "any", ...attributes }); }

export function notice(text) { document.getElementById("notice").textContent = text || ""; }

// Draw a section anew; who was in a control of it is in the same one afterwards.
export function keepingFocus(section, work) {
  const controls = () => [...section.querySelectorAll("button, select, input, textarea, [tabindex]")];
  const place = controls().indexOf(document.activeElement);
  const found = work();
  if (place >= 0) controls()[place]?.focus();
  return found;
}

export async function guarded(work) {
  try { notice(""); return await work(); } catch (error) {
    if (error.name !== "AbortError") notice(error.message);
    return undefined;
  }
}

export async function copy(text, what) {
  try { await navigator.clipboard.writeText(text); notice(`${what} copied.`); } catch { notice(text); }
}

export function save(name, content, kind) {
  const link = h("a", { download: name, href: URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: kind })) });
  document.body.append(link); link.click(); link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export function debounced(work, wait) {
  let timer;
  return (...given) => { clearTimeout(timer); timer = setTimeout(() => work(...given), wait); };
}

export const round = (x, digits = 2) => (x === null || x === undefined || Number.isNaN(x) ? "unknown" : Number(x).toFixed(digits));
