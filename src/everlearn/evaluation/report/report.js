(() => {
  "use strict";
  const NARROW = 520;
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");

  // report.html?theme=dark (or light) overrides the system's scheme.
  const asked = new URLSearchParams(location.search).get("theme");
  if (asked === "dark" || asked === "light") root.dataset.theme = asked;

  const COLOUR_KEYS = new Set(["color", "colorscale"]);

  const palette = () => {
    const style = getComputedStyle(root);
    return (name) => style.getPropertyValue(`--${name}`).trim();
  };

  // Names such as "@blue" become colours only where a colour is expected: labels stay as they are.
  const coloured = (value, colour, key) => {
    if (COLOUR_KEYS.has(key) && value === "@heat") {
      return [0, 1, 2, 3, 4].map((i) => [i / 4, colour(`heat-${i}`)]);
    }
    if (COLOUR_KEYS.has(key) && typeof value === "string" && value[0] === "@") return colour(value.slice(1));
    if (Array.isArray(value)) {
      return value.length && typeof value[0] === "object" && value[0] !== null && !Array.isArray(value[0])
        ? value.map((item) => coloured(item, colour, key))
        : value;
    }
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, colour, k)]));
  };

  const merged = (base, extra) => {
    if (extra === undefined) return base;
    if (base === null || extra === null || typeof base !== "object" || typeof extra !== "object") return extra;
    if (Array.isArray(base) || Array.isArray(extra)) return extra;
    const result = { ...base };
    for (const [key, value] of Object.entries(extra)) result[key] = merged(base[key], value);
    return result;
  };

  const frame = (colour, narrow) => {
    const axis = {
      automargin: true,
      gridcolor: colour("grid"),
      linecolor: colour("line"),
      zeroline: false,
      title: { standoff: 10, font: { color: colour("ink-soft"), size: narrow ? 11 : 13 } },
    };
    return {
      autosize: true,
      dragmode: narrow ? false : "zoom",
      showlegend: false,
      margin: { l: 10, r: 12, t: 8, b: 10 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: narrow ? 11 : 13, color: colour("ink-soft") },
      hoverlabel: {
        bgcolor: colour("surface"),
        bordercolor: colour("line"),
        font: { color: colour("ink"), size: 13 },
        align: "left",
        namelength: -1,
      },
      xaxis: axis,
      yaxis: axis,
    };
  };

  const drawnNarrow = new Map();

  const draw = (id) => {
    const element = document.getElementById(id);
    const figure = figures[id];
    const narrow = element.parentElement.clientWidth < NARROW;
    const colour = palette();
    const change = narrow && figure.narrow ? figure.narrow : {};
    const data = figure.data.map((trace, i) => coloured(merged(trace, (change.data || [])[i]), colour));
    const layout = merged(frame(colour, narrow), coloured(merged(figure.layout, change.layout), colour));
    drawnNarrow.set(id, narrow);
    Plotly.react(element, data, layout, { responsive: true, displayModeBar: false, scrollZoom: false });
  };

  const drawAll = () => Object.keys(figures).forEach(draw);

  const drawCrossed = () =>
    Object.keys(figures).forEach((id) => {
      const narrow = document.getElementById(id).parentElement.clientWidth < NARROW;
      if (narrow !== drawnNarrow.get(id)) draw(id);
    });

  drawAll();
  dark.addEventListener("change", drawAll);
  addEventListener("resize", drawCrossed);
  new MutationObserver(drawAll).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
})();
