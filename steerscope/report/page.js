// Figures fit their place: in a fold when it is opened, and on paper as wide as the paper.
"use strict";
(() => {
  const plots = () => Array.from(document.querySelectorAll(".js-plotly-plot"));
  document.querySelectorAll("details").forEach((fold) =>
    fold.addEventListener("toggle", () =>
      fold.querySelectorAll(".js-plotly-plot").forEach((plot) => Plotly.Plots.resize(plot))));
  // A title that is wider than its axis goes on in a second line.
  const letters = (plot) => Math.max(20, (plot.offsetWidth - 110) / 7.5);
  function wrapped(text, most) {
    const lines = [""];
    for (const word of text.split(" ")) {
      const last = lines[lines.length - 1];
      if (last && last.length + word.length + 1 > most) lines.push(word);
      else lines[lines.length - 1] = last ? last + " " + word : word;
    }
    return lines.join("<br>");
  }
  function title(plot) {
    const axes = Object.keys(plot.layout).filter((name) => name.startsWith("xaxis"));
    const changes = {};
    for (const name of axes) {
      const said = plot.layout[name].title?.text;
      if (!said) continue;
      const whole = said.replaceAll("<br>", " ");
      const share = plot.layout[name].domain ? plot.layout[name].domain[1] - plot.layout[name].domain[0] : 1;
      const fitting = wrapped(whole, letters(plot) * share);
      if (fitting !== said && (whole.length > letters(plot) * share || said.includes("<br>")))
        changes[`${name}.title.text`] = fitting;
    }
    if (Object.keys(changes).length) Plotly.relayout(plot, changes);
  }
  const visible = () => plots().filter((plot) => plot.offsetParent);
  visible().forEach(title);
  // Plotly places a legend by the width that it had; once the width is settled, place it again.
  let settled = 0;
  addEventListener("resize", () => {
    clearTimeout(settled);
    settled = setTimeout(() => visible().forEach((plot) => { Plotly.redraw(plot); title(plot); }), 250);
  });
  const paper = 640; // pixels between the margins of A4 and of letter paper
  const print = matchMedia("print");
  const fit = (on) => plots().forEach((plot) => {
    if (plot.offsetParent === null && !on) return;
    Plotly.relayout(plot, on ? { width: paper, autosize: false } : { width: null, autosize: true });
  });
  addEventListener("beforeprint", () => fit(true));
  addEventListener("afterprint", () => fit(false));
  print.addEventListener("change", (event) => fit(event.matches));
})();
