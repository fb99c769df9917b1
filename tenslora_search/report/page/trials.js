// The table of all trials: sorted by any column, filtered by words, state and size.
const COLUMNS = [
  ["trial", "number", plain], ["state", "state", plain, true], ["method", "method", plain, true], ["ranks", "ranks", plain, true],
  ["parameters", "n_params", count], ["LoRA rank", "lora_rank", count], ["select", "score", score], ["report", "report_score", score], ["steps", "step", count],
  ["learning rate", "learning_rate", plain], ["seconds", "seconds", (value) => value.toFixed(1)],
];
const MOST_ROWS = 250;
const MOST_PRINTED = 40; // as the style sheet has it
const SHOWN_WHERE_THEY_DIFFER = ["map", "rule", "allocator", "sites"];

function allTrials(run, chooser) {
  const place = byId("trials");
  if (!place) return;
  const words = byId("words"), state = byId("state"), most = byId("most");
  const value = (one, name) => (name in run.common ? run.common[name] : one[name]);
  const text = new Map(run.trials.map((one) => [one.number, [one.number, one.method, one.construction, one.decomposition, one.ranks, one.state, one.reason, value(one, "rule")].join(" ").toLowerCase()]));
  const body = el("tbody"), row = el("tr");
  const own = SHOWN_WHERE_THEY_DIFFER.filter((name) => run.columns.includes(name));
  const columns = [...COLUMNS, ...run.measures.map((name) => [said(name), name, plain]), ...own.map((name) => [said(name), name, plain, true])];
  for (const [title, name, , isText] of columns) {
    const head = el("th", { scope: "col", class: isText ? "text" : null }, title);
    row.append(head);
    sortHead(head, name, (column, descending) => { order = [column, descending]; update(); }, !isText && name !== "number");
  }
  place.replaceChildren(el("table", {}, el("thead", {}, row), body));
  let order = ["number", false], limit = MOST_ROWS;

  function cell(one, [, name, format, isText]) {
    if (name === "number") return el("td", {}, el("button", { type: "button", class: "link", "data-show": one.number }, String(one.number)));
    const shown = format(value(one, name));
    return el("td", { class: isText ? "text" : null }, isText ? el("bdi", { class: "ellipsis", title: shown }, shown) : shown);
  }

  function update() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean), size = parseCount(most.value);
    const found = run.trials.filter((one) =>
      wanted.every((word) => text.get(one.number).includes(word)) && (!state.value || one.state === state.value) && (size == null || one.n_params <= size));
    const [column, descending] = order;
    found.sort((a, b) => {
      const [one, other] = [value(a, column), value(b, column)];
      if (one == null || other == null) return (one == null) - (other == null);
      return compare(one, other) * (descending ? -1 : 1);
    });
    body.replaceChildren(...found.slice(0, limit).map((one) => el("tr", { class: one.number === chooser.chosen ? "chosen" : null }, ...columns.map((column_) => cell(one, column_)))));
    const printed = Math.min(found.length, limit, MOST_PRINTED);
    byId("n-printed").textContent = printed < found.length ? `On paper: the first ${printed} of ${count(found.length)}; trials.csv holds all.` : "";
    const note = byId("n-shown");
    note.replaceChildren(`${found.length.toLocaleString("en-US")} of ${run.trials.length.toLocaleString("en-US")} `);
    if (found.length > limit) {
      const more = el("button", { type: "button" }, `show all, not ${limit}`);
      more.addEventListener("click", () => { limit = Infinity; update(); });
      note.append(more);
    }
  }
  for (const field of [words, state, most]) field.addEventListener("input", update);
  chooser.onChoose(update);
  update();
}
