// Saving: charts as SVG and PNG, tables as CSV, a configuration as TOML, JSON and Python. Nothing leaves the page but by the reader's hand.
const INLINED = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "opacity", "font-size", "font-family", "font-weight", "text-anchor", "paint-order"];
const PNG_SCALE = 3;

function save(name, href) {
  el("a", { download: name, href }).click();
}
const saveText = (name, text, type) => save(name, `data:${type};charset=utf-8,${encodeURIComponent(text)}`);
const saveButton = (name, act, about) => {
  const button = el("button", { type: "button", "aria-label": `save ${about} as ${name}` }, name);
  button.addEventListener("click", act);
  return button;
};
const fileName = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 60) || "chart";

// A chart as it looks, with what the style sheet says written into it.
function standalone(svg) {
  const copy_ = svg.cloneNode(true), [, , width, height] = svg.getAttribute("viewBox").split(/\s+/).map(Number);
  const originals = [svg, ...svg.querySelectorAll("*")];
  [copy_, ...copy_.querySelectorAll("*")].forEach((node, k) => {
    const style = getComputedStyle(originals[k]);
    node.setAttribute("style", INLINED.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
  });
  const paper = getComputedStyle(document.body).backgroundColor;
  copy_.prepend(draw("rect", { width, height, fill: paper }));
  fill(copy_, { xmlns: SVG, width, height }, []);
  return { text: new XMLSerializer().serializeToString(copy_), width, height };
}

function savePng(name, svg) {
  const { text, width, height } = standalone(svg), image = new Image();
  image.addEventListener("load", () => {
    const canvas = fill(document.createElement("canvas"), { width: width * PNG_SCALE, height: height * PNG_SCALE }, []);
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    save(`${name}.png`, canvas.toDataURL("image/png"));
  });
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
}

function saveCharts() {
  for (const figure of document.querySelectorAll("figure")) {
    const section = figure.closest("section"), title = section?.querySelector("h2")?.textContent ?? "chart", name = fileName(title);
    const chart = () => figure.querySelector("svg[viewBox].chart, #front-chart svg");
    const buttons = [
      saveButton("SVG", () => chart() && saveText(`${name}.svg`, standalone(chart()).text, "image/svg+xml"), title),
      saveButton("PNG", () => chart() && savePng(name, chart()), title),
    ];
    figure.append(el("div", { class: "save" }, "Save as ", ...buttons));
  }
}

const csvCell = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
const csvOf = (rows) => rows.map((row) => row.map((value) => csvCell(value == null ? "" : String(value))).join(",")).join("\n") + "\n";

function saveTables() {
  for (const table of document.querySelectorAll("table.sortable")) {
    const title = table.closest("section")?.querySelector("h2")?.textContent ?? "table";
    const rows = () => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
    table.parentNode.after(el("div", { class: "save" }, "Save as ", saveButton("CSV", () => saveText(`${fileName(title)}.csv`, csvOf(rows()), "text/csv"), title)));
  }
}

// All trials with all that is known of them.
function saveTrials(run) {
  const place = byId("n-shown");
  if (!place) return;
  const names = [...run.columns.filter((name) => name !== "curve"), ...Object.keys(run.common)];
  const rows = () => [names, ...run.trials.map((one) => names.map((name) => one[name] ?? run.common[name]))];
  place.after(el("span", { class: "save" }, " ", saveButton("CSV", () => saveText("trials.csv", csvOf(rows()), "text/csv"), "all trials")));
}

function configuration(run, one) {
  const settings = Object.fromEntries(run.settings.map((name) => [name, one[name] ?? run.common[name]]).filter(([, value]) => value != null));
  const ranks = one.ranks.split(" | ").map((ranks_) => ranks_.split(",").map(Number));
  return { trial: one.number, method: one.method, construction: one.construction, decomposition: one.decomposition, ranks: ranks.length > 1 ? ranks : ranks[0], n_params: one.n_params, ...settings };
}
const tomlOf = (values) => Object.entries(values).map(([name, value]) => `${/^[A-Za-z0-9_-]+$/.test(name) ? name : JSON.stringify(name)} = ${JSON.stringify(value)}`).join("\n") + "\n";

function saveConfiguration(run, one) {
  const name = `trial-${one.number}`, about = `the configuration of trial ${one.number}`, values = configuration(run, one);
  return el("p", { class: "save" }, "Configuration as ",
    saveButton("TOML", () => saveText(`${name}.toml`, tomlOf(values), "application/toml"), about),
    saveButton("JSON", () => saveText(`${name}.json`, JSON.stringify(values, null, 2) + "\n", "application/json"), about),
    saveButton("Python", () => saveText(`${name}.py`, specification(one) + "\n", "text/x-python"), about));
}
