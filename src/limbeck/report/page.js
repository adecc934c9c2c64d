"use strict";
(async () => {
  const library = document.getElementById("plotly");
  if (library) {
    const bytes = Uint8Array.from(atob(library.textContent), (letter) => letter.charCodeAt(0));
    const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(unpacked).text();
    document.head.append(script);
  }
  const root = document.documentElement;
  const toggle = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const PAPER = { width: 640, height: 230 }; // pixels: what A4 and letter both have between their margins, and a third
  let printing = null;
  const charts = [...document.querySelectorAll(".chart")].map((chart) => ({
    element: chart,
    plot: chart.querySelector(".plot"),
    figure: JSON.parse(chart.querySelector("script").textContent),
    hidden: new Set(),
    at: -1, // the value that the arrow keys stand on
  }));

  const probe = document.body.appendChild(document.createElement("i"));
  const color = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const faint = (rgb) => rgb.replace("rgb(", "rgba(").replace(")", ", 0.16)");

  // A chart in the colors that the page has now, as the style sheet gives them.
  const painted = ({ figure, hidden, plot }) => {
    const [ink, quiet, rule, raised] = ["ink", "quiet", "rule", "raised"].map(color);
    const axis = { color: quiet, gridcolor: rule, linecolor: rule, zeroline: false, automargin: true };
    const family = getComputedStyle(document.body).fontFamily;
    const label = { size: 12, color: quiet };
    const data = figure.data.map((trace) => {
      if (trace.type === "heatmap") return { ...trace, colorscale: [[0, color("series-2")], [0.5, raised], [1, color("series-1")]] };
      const series = color(`series-${trace.meta.color}`);
      const error = { color: trace.type === "bar" ? ink : series, thickness: 1.5, width: 4 };
      return {
        ...trace,
        visible: !hidden.has(trace.meta.series),
        line: { width: 2.25, ...trace.line, color: series },
        marker: { size: trace.mode === "lines+markers" ? 6 : 9, ...trace.marker, color: series },
        fillcolor: faint(series),
        error_x: { ...trace.error_x, ...error },
        error_y: { ...trace.error_y, ...error },
      };
    });
    const layout = {
      ...figure.layout,
      xaxis: {
        ...axis, showgrid: false, ticks: "outside", showline: true, tickcolor: rule, zerolinecolor: quiet,
        ...figure.layout.xaxis,
        title: { ...figure.layout.xaxis.title, font: label, standoff: 8 },
        unifiedhovertitle: { text: `${figure.layout.xaxis.title.text} %{x}` },
      },
      yaxis: { ...axis, nticks: 6, ...figure.layout.yaxis },
      font: { family, size: 12, color: ink },
      hoverlabel: { bgcolor: raised, bordercolor: rule, font: { family, color: ink, size: 12 }, align: "left", namelength: -1 },
      annotations: figure.layout.annotations?.map((each) => ({ ...each, bgcolor: color("paper") })), // no line crosses it
      paper_bgcolor: "rgba(0, 0, 0, 0)",
      plot_bgcolor: "rgba(0, 0, 0, 0)",
      margin: { l: 8, r: 12, t: 10, b: 8 },
      hoversort: "value descending",
      showlegend: false,
      dragmode: matchMedia("(pointer: fine)").matches ? "zoom" : false, // a finger scrolls the page
      uirevision: "kept",
      ...(!printing ? { autosize: true } : plot.style.length ? { width: PAPER.width } : PAPER),
    };
    return [data, layout];
  };
  const draw = (chart) =>
    Plotly.react(chart.plot, ...painted(chart), { displayModeBar: false, responsive: true });

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const refresh = () => {
    toggle.textContent = isDark() ? "Light theme" : "Dark theme";
    charts.forEach(draw);
  };
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    refresh();
  });
  system.addEventListener("change", refresh);
  refresh();

  // On a phone all sections but the first are folded.
  if (matchMedia("screen and (max-width: 34rem)").matches) {
    document.querySelectorAll("main > section").forEach((section, number) => {
      const heading = section.querySelector("h2");
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      const fold = (folded) => {
        section.classList.toggle("folded", folded);
        button.setAttribute("aria-expanded", String(!folded));
        if (!folded) charts.filter(({ element }) => section.contains(element)).forEach(draw);
      };
      button.addEventListener("click", () => fold(!section.classList.contains("folded")));
      fold(number > 0);
    });
  }

  // Paper is light and narrower than a screen.
  addEventListener("beforeprint", () => {
    printing = { theme: root.dataset.theme };
    root.dataset.theme = "light";
    refresh();
  });
  addEventListener("afterprint", () => {
    if (printing.theme) root.dataset.theme = printing.theme;
    else delete root.dataset.theme;
    printing = null;
    refresh();
  });

  for (const chart of charts) {
    for (const key of chart.element.querySelectorAll(".legend button")) {
      key.addEventListener("click", () => {
        const { series } = key.dataset;
        const shown = chart.hidden.delete(series) || !chart.hidden.add(series);
        key.setAttribute("aria-pressed", String(shown));
        draw(chart);
      });
    }
    chart.plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const points = chart.figure.data.flatMap((trace, curveNumber) => {
        if (trace.hoverinfo === "skip" || chart.hidden.has(trace.meta.series)) return [];
        if (trace.z) return trace.z.flatMap((row, yval) => row.map((_, xval) => ({ xval, yval }))); // row by row
        return trace.x.map((xval, pointNumber) => ({ xval, curveNumber, pointNumber }));
      });
      const unified = chart.figure.layout.hovermode === "x unified";
      const stops = unified
        ? [...new Set(points.map(({ xval }) => xval))].sort((a, b) => a - b).map((xval) => ({ xval }))
        : points.map((point) => ("yval" in point ? point : [point]));
      if (!stops.length) return;
      chart.at = Math.min(Math.max(chart.at + step, 0), stops.length - 1);
      Plotly.Fx.hover(chart.plot, stops[chart.at]);
    });
    chart.plot.addEventListener("blur", () => Plotly.Fx.unhover(chart.plot));
  }
})();
