// Pictures: heat maps, points, lines, bars.
import { h, round, s } from "./dom.js";

export function heat(labels, values, what) {
  const head = h("tr", {}, h("th", { scope: "col" }, what), labels.map((l) => h("th", { scope: "col" }, l)));
  const rows = values.map((row, i) => h("tr", {}, h("th", { scope: "row" }, labels[i]), row.map((v) => {
    const cell = h("td", {}, round(v));
    cell.style.background = `rgba(var(${v >= 0 ? "--up" : "--down"}), ${(Math.abs(v) * 0.35).toFixed(2)})`;
    return cell;
  })));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": what }, h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
}

function fit(values, from, to) {
  const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
  return (v) => from + ((v - low) / span) * (to - from);
}

export function points(places, labels, title) {
  const x = fit(places.map((p) => p[0]), 40, 400), y = fit(places.map((p) => p[1]), 260, 30);
  return s("svg", { viewBox: "0 0 480 290", role: "img", "aria-label": title, width: 480 },
    s("line", { class: "axis", x1: 30, x2: 470, y1: 275, y2: 275 }), s("line", { class: "axis", x1: 30, x2: 30, y1: 15, y2: 275 }),
    places.map((p, i) => [s("circle", { class: "dot", cx: x(p[0]), cy: y(p[1]), r: 4 }), s("text", { x: x(p[0]) + 6, y: y(p[1]) - 5 }, labels[i])]).flat());
}

export function lines(series, title, xTitle, yTitle) {
  const all = series.flatMap((l) => l.points), x = fit(all.map((p) => p[0]), 45, 460), y = fit([0, ...all.map((p) => p[1])], 245, 20);
  const top = Math.max(...all.map((p) => p[1]));
  return s("svg", { viewBox: "0 0 480 290", role: "img", "aria-label": title, width: 480 },
    s("line", { class: "axis", x1: 45, x2: 470, y1: 245, y2: 245 }), s("line", { class: "axis", x1: 45, x2: 45, y1: 15, y2: 245 }),
    s("text", { x: 200, y: 280 }, xTitle), s("text", { x: 4, y: 12 }, yTitle), s("text", { x: 4, y: 30 }, round(top, 1)), s("text", { x: 30, y: 258 }, "0"),
    [...new Set(all.map((p) => p[0]))].map((v) => s("text", { x: x(v) - 4, y: 261 }, String(v))),
    series.map((l, i) => s("polyline", { class: "line", "stroke-dasharray": ["", "6 3", "2 3"][i % 3], points: l.points.map((p) => `${x(p[0])},${y(p[1])}`).join(" ") })));
}

export function bars(rows, most) {
  return h("div", {}, rows.map((row) => h("div", { class: "bar" }, h("span", { class: "word" }, row.word),
    h("span", { title: `plain ${round(100 * row.plain, 1)} %, steered ${round(100 * row.steered, 1)} %` },
      bar("plain", row.plain, most), bar("steered", row.steered, most), h("span", { class: "small" }, `${round(100 * row.plain, 0)} % → ${round(100 * row.steered, 0)} %`)))));
}

function bar(name, value, most) {
  const found = h("i", { class: name });
  found.style.width = `${Math.max(0.5, (100 * value) / most)}%`;
  return found;
}
