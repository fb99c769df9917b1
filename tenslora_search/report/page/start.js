// From the data in the page to all that moves in it; a page without data (compare) has its tables and colours alone.
function start() {
  theme();
  document.querySelectorAll("table.sortable").forEach(sortable);
  saveTables();
  const source = byId("data");
  if (!source) return saveCharts();
  const run = JSON.parse(source.textContent);
  run.trials = run.rows.map((row) => Object.fromEntries(run.columns.map((name, k) => [name, row[k]])));
  run.byNumber = new Map(run.trials.map((one) => [one.number, one]));
  run.looks = new Map(run.looks.map(([name, path, colour]) => [name, { path, colour }]));
  if (!run.trials.length) return;
  const chooser = makeChooser(run);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.copy) copy(button.dataset.copy, button);
    if (button.dataset.export) copy(exportCommand(run, button.dataset.export), button);
    if (button.dataset.beside) chooser.choose(Number(button.dataset.beside), true);
    if (button.dataset.show) {
      chooser.choose(Number(button.dataset.show));
      byId("chart")?.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    }
  });
  if (byId("front-chart")) frontChart(run, chooser);
  bestUnder(run);
  sideBySide(run, chooser);
  allTrials(run, chooser);
  saveTrials(run);
  saveCharts();
}
start();
