// Small tools: elements, numbers, copying, light and dark, sorting. Text enters the page by textContent alone.
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) if (value != null) node.setAttribute(key, value);
  node.append(...children.filter((child) => child != null));
  return node;
}
const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
const draw = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
const bdi = (text) => el("bdi", {}, String(text));

const count = (value) => (value == null ? "-" : Math.round(value).toLocaleString("en-US"));
const score = (value) => (value == null ? "-" : value.toFixed(4));
const plain = (value) => (value == null ? "-" : String(value));

function short(value) {
  for (const [size, sign] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) return Number((value / size).toPrecision(4)) + sign;
  }
  return String(Number(value.toPrecision(4)));
}

// A count as people write it: 8000, 8,000, 8_000, 8k, 1.2M; null if it is none.
function parseCount(text) {
  const match = /^(\d*\.?\d+)([kmb]?)$/i.exec(text.replace(/[,_\s]/g, ""));
  return match ? Number(match[1]) * { "": 1, k: 1e3, m: 1e6, b: 1e9 }[match[2].toLowerCase()] : null;
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.dataset.label ?? button.textContent;
  button.dataset.label = before;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1500);
}

function theme() {
  const root = document.documentElement, button = byId("theme");
  const set = (name) => {
    root.dataset.theme = name;
    button.textContent = name === "dark" ? "Light" : "Dark";
  };
  const wish = matchMedia("(prefers-color-scheme: dark)");
  set(wish.matches ? "dark" : "light");
  wish.addEventListener("change", () => set(wish.matches ? "dark" : "light"));
  button.addEventListener("click", () => set(root.dataset.theme === "dark" ? "light" : "dark"));
  let before = null;
  addEventListener("beforeprint", () => { before = root.dataset.theme; set("light"); });
  addEventListener("afterprint", () => set(before));
}

// A column head that sorts; `sort(column, descending)` does it. Numbers start with the largest.
function sortHead(head, column, sort, firstDescending) {
  const button = el("button", { type: "button" }, ...head.childNodes);
  head.replaceChildren(button);
  button.addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    const descending = now ? now === "ascending" : firstDescending;
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    sort(column, descending);
  });
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sortable(table) {
  const body = table.tBodies[0];
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim(), number = parseFloat(text.replace(/,/g, ""));
    return row.cells[column].className === "text" ? text : Number.isNaN(number) ? -Infinity : number;
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const isText = head.className === "text";
    sortHead(head, column, (at, descending) => {
      const rows = [...body.rows].sort((a, b) => compare(value(a, at), value(b, at)) * (descending ? -1 : 1));
      body.append(...rows);
    }, !isText);
  });
}
