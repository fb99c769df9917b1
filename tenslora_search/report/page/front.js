// The chart of the front: any cost across, select or report score up.
const SHAPES = {
  circle: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0",
  small: "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0",
  diamond: "M0 -6L6 0L0 6L-6 0Z",
};
const LINEAR = ["peak_memory_mb"];
const EDGE = { left: 58, right: 18, top: 24, bottom: 44 };

function ticks(low, high, most) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, k) => (first + k) * step);
}

function logTicks(low, high, most) {
  const powers = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) powers.push(10 ** power);
  const inside = (values) => values.filter((value) => value >= low && value <= high);
  const fine = inside(powers.flatMap((power) => [power, 2 * power, 5 * power]));
  if (fine.length < 3) return inside(ticks(low, high, most / 2)).filter((value) => value > 0);
  return fine.length <= most ? fine : inside(powers);
}

// The trials that no other beats in both, by rising cost.
function nonDominated(trials, x, y) {
  let top = -Infinity;
  return trials
    .filter((one) => one.state === "complete" && one[x] > 0 && one[y] != null)
    .sort((a, b) => a[x] - b[x] || b[y] - a[y])
    .filter((one) => one[y] > top && ((top = one[y]), true));
}

function frontChart(run, chooser) {
  const place = byId("front-chart"), legend = byId("legend"), across = byId("across"), up = byId("up");
  for (const [name, label] of Object.entries(run.axes)) across.append(el("option", { value: name }, label));
  for (const one of run.trials) one.worth = one.estimate ?? one.score;
  if (run.trials.some((one) => one.estimate != null)) up.append(el("option", { value: "worth" }, `select ${run.metric}, estimated where complete`));
  up.append(el("option", { value: "score" }, `select ${run.metric}`));
  if (run.trials.some((one) => one.report_score != null)) up.append(el("option", { value: "report_score" }, `report ${run.metric}`));

  function render() {
    const x = across.value, y = up.value, isSelect = y !== "report_score", isLog = !LINEAR.includes(x);
    const shown = run.trials.filter((one) => one[x] > 0 && one[y] != null);
    const leading = nonDominated(shown, x, y), onFront = new Set(leading.map((one) => one.number));
    const again = shown.filter((one) => one.report_score != null && (y === "report_score" || onFront.has(one.number) || one.method === "LoRA"));
    const limit = { n_params: run.budget, bytes: 4 * run.budget }[x];
    const width = Math.max(300, Math.min(960, place.clientWidth || 760)), height = Math.round(Math.min(520, Math.max(300, width * 0.62)));

    const scale = isLog ? Math.log10 : Number;
    const xs = shown.map((one) => scale(one[x])).concat(limit ? [scale(limit)] : []);
    const complete = shown.filter((one) => one.state === "complete").map((one) => one[y]).sort((a, b) => a - b);
    const bars = again.flatMap((one) => [one.report_score - (one.report_std ?? 0), one.report_score + (one.report_std ?? 0)]);
    const heights = complete.length ? [...complete.slice(Math.floor(complete.length * 0.05)), ...leading.map((one) => one[y]), ...bars] : shown.map((one) => one[y]);
    const [left, right] = span(xs, isLog ? 0.06 : 0), [bottom, top] = span(heights, 0);
    const px = (value) => EDGE.left + ((scale(value) - left) / (right - left)) * (width - EDGE.left - EDGE.right);
    const py = (value) => height - EDGE.bottom - ((Math.max(bottom, value) - bottom) / (top - bottom)) * (height - EDGE.top - EDGE.bottom);
    const at = (one) => `translate(${px(one[x]).toFixed(1)} ${py(one[y]).toFixed(1)})`;

    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${run.metric} against ${run.axes[x]}` });
    const base = height - EDGE.bottom;
    for (const value of isLog ? logTicks(10 ** left, 10 ** right, width / 80) : ticks(left, right, width / 90)) {
      const where = px(value);
      svg.append(draw("line", { class: "grid", x1: where, x2: where, y1: EDGE.top, y2: base }));
      svg.append(draw("text", { x: where, y: base + 17, "text-anchor": "middle" }, short(value)));
    }
    for (const value of ticks(bottom, top, 7)) {
      svg.append(draw("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: py(value), y2: py(value) }));
      svg.append(draw("text", { x: EDGE.left - 7, y: py(value) + 4, "text-anchor": "end" }, short(value)));
    }
    svg.append(draw("text", { class: "label", x: (EDGE.left + width - EDGE.right) / 2, y: height - 8, "text-anchor": "middle" }, run.axes[x]));
    svg.append(draw("text", { class: "label", x: 4, y: 13 }, up.selectedOptions[0].textContent));
    if (limit) {
      svg.append(draw("line", { class: "budget", x1: px(limit), x2: px(limit), y1: EDGE.top, y2: base }));
      svg.append(draw("text", { x: px(limit) + 8, y: EDGE.top - 7, "text-anchor": "end" }, "budget"));
    }
    const zero = run.zero[isSelect ? 0 : 1];
    if (zero != null && zero <= top) {
      svg.append(draw("line", { class: "budget zero", x1: EDGE.left, x2: width - EDGE.right, y1: py(zero), y2: py(zero) }));
      svg.append(draw("text", { x: EDGE.left + 4, y: py(zero) - 4 }, `0 parameters: ${score(zero)}`));
    }
    if (leading.length) {
      const line = leading.map((one, k) => (k ? `H${px(one[x]).toFixed(1)}V${py(one[y]).toFixed(1)}` : `M${px(one[x]).toFixed(1)} ${py(one[y]).toFixed(1)}`));
      if (y === "worth") svg.append(...leading.map((one, k) => {
        const from = px(one[x]), to = k + 1 < leading.length ? px(leading[k + 1][x]) : width - EDGE.right;
        const high = py(one.estimate + 2 * one.estimate_error), low = py(one.estimate - 2 * one.estimate_error);
        return draw("rect", { class: "band", x: from, width: to - from, y: high, height: low - high });
      }));
      svg.append(draw("path", { class: "frontline", d: line.join("") }));
    }
    const order = (one) => (onFront.has(one.number) ? 3 : run.looks.has(one.method) ? 2 : one.state === "complete" ? 1 : 0);
    for (const one of [...shown].sort((a, b) => order(a) - order(b))) svg.append(mark(one, at(one), onFront.has(one.number), one[y] < bottom));
    for (const one of again) {
      const where = px(one[x]).toFixed(1), spread = one.report_std ?? 0, low = py(one.report_score - spread), high = py(one.report_score + spread);
      if (isSelect) svg.append(draw("line", { class: "link", x1: where, x2: where, y1: py(one[y]), y2: py(one.report_score) }));
      if (spread) svg.append(draw("path", { class: "bar", d: `M${where} ${low}V${high}M${where - 4} ${low}h8M${where - 4} ${high}h8` }));
      if (isSelect) svg.append(draw("path", { class: "mark report", d: SHAPES.diamond, transform: `translate(${where} ${py(one.report_score)})` }));
    }
    if (x === "n_params" && isSelect) svg.append(...labels(px, py, width, y));
    place.replaceChildren(svg);
    legend.replaceChildren(...legendOf(shown, onFront, again, limit, y, shown.some((one) => one[y] < bottom)));
    markChosen();
  }

  function span(values, extra) {
    const low = Math.min(...values), high = Math.max(...values), margin = (high - low) * 0.05 || Math.abs(high) * 0.05 || 0.5;
    return [low - margin - (low === high ? extra : 0), high + 1.6 * margin];
  }

  function look(one, leads) {
    const named = run.looks.get(one.method);
    const shape = named ? named.path : one.state === "complete" ? SHAPES.circle : SHAPES.small;
    if (one.state !== "complete") return [shape, "open"];
    if (named) return [shape, `m${named.colour}${leads ? " leading" : ""}`];
    return [shape, leads ? "ours" : "dominated"];
  }

  function mark(one, transform, leads, isBelow) {
    const [d, kind] = isBelow ? [SHAPES.small, "open below"] : look(one, leads);
    const about = `trial ${one.number}, ${one.method}, ${count(one.n_params)} parameters, ${score(one.score)}, ${one.state}`;
    const reachable = leads || (one.state === "complete" && run.looks.has(one.method));
    return draw("path", { d, transform, class: `mark ${kind}`, "data-number": one.number, role: "button", tabindex: reachable ? 0 : -1, "aria-label": about });
  }

  // The names of the picks, above their marks.
  function labels(px, py, width, y) {
    const names = new Map();
    for (const [name, number] of Object.entries(run.picks)) names.set(number, [...(names.get(number) ?? []), name]);
    return [...names].map(([number, words]) => {
      const one = run.byNumber.get(number), where = px(one.n_params), anchor = where > width * 0.8 ? "end" : "middle";
      return draw("text", { class: "pick", x: where, y: py(one[y]) - 10, "text-anchor": anchor }, words.join(", "));
    });
  }

  function legendOf(shown, onFront, again, limit, y, isCut) {
    const complete = shown.filter((one) => one.state === "complete"), entries = [];
    const add = (d, kind, text) => entries.push(el("span", {}, draw("svg", { viewBox: "-11 -8 22 16" }, draw("path", { d, class: kind })), text));
    if (complete.some((one) => onFront.has(one.number) && !run.looks.has(one.method))) add(SHAPES.circle, "mark ours", "on the front");
    for (const [name, { path, colour }] of run.looks) {
      if (complete.some((one) => one.method === name)) add(path, `mark m${colour}`, name);
    }
    if (complete.some((one) => !onFront.has(one.number) && !run.looks.has(one.method))) add(SHAPES.circle, "mark dominated", "dominated");
    if (complete.length < shown.length) add(SHAPES.small, "mark open", "paused or failed, at its last rung");
    if (again.length && y !== "report_score") add(SHAPES.diamond, "mark report", "report: mean and standard deviation over fresh seeds");
    if (again.length && y === "report_score") add("M0 -7V7M-4 -7h8M-4 7h8", "bar", "standard deviation over fresh seeds");
    if (limit) add("M0 -8V8", "budget", "budget");
    if (isCut) entries.push(el("span", { class: "soft" }, "Marks on the lower edge lie below it."));
    return entries;
  }

  function markChosen() {
    for (const node of place.querySelectorAll(".mark.chosen")) node.classList.remove("chosen");
    place.querySelector(`[data-number="${chooser.chosen}"]`)?.classList.add("chosen");
  }

  const numberOf = (event) => event.target.closest?.("[data-number]")?.dataset.number;
  for (const kind of ["pointerover", "focusin"]) place.addEventListener(kind, (event) => numberOf(event) && chooser.preview(Number(numberOf(event))));
  for (const kind of ["pointerout", "focusout"]) place.addEventListener(kind, (event) => numberOf(event) && chooser.preview(null));
  place.addEventListener("click", (event) => numberOf(event) && chooser.choose(Number(numberOf(event)), event.shiftKey));
  place.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && numberOf(event)) {
      event.preventDefault();
      chooser.choose(Number(numberOf(event)), event.shiftKey);
    }
  });
  chooser.onChoose(markChosen);
  across.addEventListener("change", render);
  up.addEventListener("change", render);
  let width = 0;
  new ResizeObserver(() => {
    if (Math.abs(place.clientWidth - width) > 4) { width = place.clientWidth; render(); }
  }).observe(place);
  render();
}
