// What is chosen: its whole configuration, commands to copy, the best under a number of parameters, two side by side.
function lines(run, one) {
  const seeds = one.n_retests ? ` (${one.n_retests} seeds)` : "";
  const spread = one.report_std != null ? ` ± ${score(one.report_std)}` : "";
  const found = [
    ["state", one.state === "complete" ? "complete" : `${one.state} after ${one.step} steps`],
    ["reason", one.reason || null],
    ["method", one.method], ["construction", one.construction], ["decomposition", one.decomposition], ["ranks", one.ranks],
    ["parameters", count(one.n_params)], ["share of the budget", `${(100 * one.n_params / run.budget).toPrecision(3)} %`],
    ["bytes (float32)", count(one.bytes)], ["extra MACs a token", one.extra_macs == null ? null : count(one.extra_macs)],
    ["cut from trial", one.cut_from],
    ["LoRA rank served", one.lora_rank == null ? null : count(one.lora_rank)],
    ["LoRA bytes served", one.lora_bytes == null ? null : count(one.lora_bytes)],
    ["peak memory, MB", one.peak_memory_mb == null ? null : one.peak_memory_mb.toFixed(1)],
    [`select ${run.metric}`, score(one.score)],
    [`report ${run.metric}`, one.report_score == null ? null : score(one.report_score) + spread + seeds],
    ["rungs", one.curve.map(([step, value]) => `${value == null ? "-" : value.toFixed(3)} at ${step}`).join(", ") || null],
    ["seconds", one.seconds.toFixed(1)],
  ];
  for (const name of [...run.measures, ...run.settings]) if (name in one && one[name] != null) found.push([said(name), plain(one[name])]);
  return found.filter(([, value]) => value != null);
}

// What all trials of the run have in common.
const shared = (run) => Object.entries(run.common).filter(([, value]) => value != null).map(([name, value]) => [said(name), plain(value)]);
const said = (name) => name.replaceAll("_", " ");
const definitions = (pairs) => el("dl", {}, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, bdi(value))]));

const exportCommand = (run, number) => `tenslora-search export ${run.shell} --pick ${number} --to adapter-${number} --format peft`;
const pythonLines = (run, number) => `from tenslora_search import load_run\n\nload_run(${JSON.stringify(run.folder)}).export(${number}, "adapter-${number}", format="peft")`;
const specification = (one) => {
  const copies = one.ranks.split(" | ").map((ranks) => `(${ranks}${ranks.includes(",") ? "" : ","})`);
  const ranks = copies.length > 1 ? `(${copies.join(", ")})` : copies[0];
  return `from tenslora_search import AdapterSpec, geometry_of\n\nAdapterSpec.of(${JSON.stringify(one.construction)}, ${JSON.stringify(one.decomposition)}, ${ranks}, geometry_of(model))`;
};

function command(title, text) {
  const button = el("button", { type: "button", "data-copy": text, "aria-label": `copy: ${title}` }, "Copy");
  return el("div", { class: "command" }, el("span", { class: "soft" }, `${title} `), button, el("pre", {}, text));
}

// One trial is chosen, one is set beside it, one may be pointed at; the chart and the tables listen.
function makeChooser(run) {
  const listeners = [], detail = byId("detail");
  const chooser = {
    chosen: run.front[0] ?? run.trials.find((one) => one.score != null)?.number ?? run.trials[0]?.number,
    beside: null,
    choose(number, isBeside = false) {
      if (isBeside) chooser.beside = number;
      else chooser.chosen = number;
      show(number);
      listeners.forEach((listener) => listener());
    },
    preview(number) { show(number ?? chooser.chosen); },
    onChoose(listener) { listeners.push(listener); },
  };
  const lora = run.trials.filter((one) => one.method === "LoRA" && one.state === "complete").sort((a, b) => b.score - a.score)[0];
  chooser.beside = [lora?.number, run.front[1], ...run.trials.map((one) => one.number)].find((number) => number != null && number !== chooser.chosen);

  function show(number) {
    const one = run.byNumber.get(number);
    if (!detail || !one) return;
    const common = el("details", {}, el("summary", {}, "the same in all trials"), definitions(shared(run)));
    common.open = detail.querySelector("details")?.open ?? false;
    const commands = one.state === "complete"
      ? [command("Export", exportCommand(run, number)), command("Python", pythonLines(run, number)), command("Specification", specification(one))]
      : [el("p", { class: "soft" }, "Only complete trials can be exported."), command("Specification", specification(one))];
    const beside = el("button", { type: "button", "data-beside": number }, "Set beside");
    detail.replaceChildren(el("h3", {}, `Trial ${number} `), definitions(lines(run, one)), common, beside, saveConfiguration(run, one), ...commands);
  }
  show(chooser.chosen);
  return chooser;
}

function bestUnder(run) {
  const field = byId("under"), answer = byId("under-answer");
  if (!field) return;
  const front = run.front.map((number) => run.byNumber.get(number));
  function update() {
    const most = parseCount(field.value), one = front.find((member) => member.n_params <= most);
    if (most == null) answer.replaceChildren(el("p", { class: "soft" }, "Write a number, such as 8000, 8k or 1.2M."));
    else if (!one) {
      const smallest = Math.min(...front.map((member) => member.n_params));
      answer.replaceChildren(el("p", { class: "soft" }, `No complete trial is that small; the smallest has ${count(smallest)}.`));
    } else {
      const seeds = `${one.n_retests} fresh seed${one.n_retests > 1 ? "s" : ""}`;
      const spread = one.report_std != null ? ` ± ${score(one.report_std)}` : "";
      const again = one.n_retests ? `report ${score(one.report_score)}${spread}, ${seeds}` : "not retested";
      answer.replaceChildren(
        el("p", { class: "score" }, score(one.score), el("small", {}, " select")),
        el("p", { class: "soft" }, again),
        el("p", {}, el("b", {}, count(one.n_params)), " parameters"), el("p", {}, bdi(`${one.method}, ranks ${one.ranks}`)),
        el("p", {}, el("button", { type: "button", class: "link", "data-show": one.number }, `Trial ${one.number}`), " ",
          el("button", { type: "button", "data-export": one.number }, "Copy export command")),
      );
    }
  }
  field.addEventListener("input", update);
  update();
}

function sideBySide(run, chooser) {
  const pickers = [byId("side-a"), byId("side-b")], place = byId("sides"), alike = byId("side-alike");
  if (!place) return;
  const front = new Set(run.front);
  const groups = [
    ["front", run.front.map((number) => run.byNumber.get(number))],
    ["complete", run.trials.filter((one) => one.state === "complete" && !front.has(one.number))],
    ["others", run.trials.filter((one) => one.state !== "complete")],
  ];
  for (const picker of pickers) {
    for (const [label, members] of groups) {
      if (!members.length) continue;
      const options = members.map((one) => el("option", { value: one.number }, `${one.number}: ${one.method.slice(0, 60)} ${one.ranks.slice(0, 30)}, ${score(one.score)}`));
      picker.append(el("optgroup", { label }, ...options));
    }
  }
  pickers[0].addEventListener("change", () => chooser.choose(Number(pickers[0].value)));
  pickers[1].addEventListener("change", () => chooser.choose(Number(pickers[1].value), true));

  function update() {
    const both = [chooser.chosen, chooser.beside];
    pickers.forEach((picker, k) => (picker.value = both[k]));
    const [a, b] = both.map((number) => new Map(lines(run, run.byNumber.get(number))));
    const names = [...new Set([...a.keys(), ...b.keys()])];
    const rows = names.filter((name) => alike.checked || a.get(name) !== b.get(name)).map((name) => {
      const cells = [a, b].map((one) => el("td", { class: "text" }, bdi(one.get(name) ?? "-")));
      return el("tr", { class: a.get(name) === b.get(name) ? null : "differs" }, el("td", { class: "text" }, name), ...cells);
    });
    const heads = ["", `A: trial ${both[0]}`, `B: trial ${both[1]}`].map((text) => el("th", { class: "text", scope: "col" }, text));
    place.replaceChildren(el("table", { class: "plain" }, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows)));
  }
  alike.addEventListener("change", update);
  chooser.onChoose(update);
  update();
}
