// Draws the specifications with vega-embed. Expressions are interpreted (ast: true), so the page needs no eval; nothing is loaded.
const dark = matchMedia("(prefers-color-scheme: dark)");
const tip = document.getElementById("tip");
const live = new Map();

function showTip(handler, event, item, value) {
  if (value === null || value === undefined || value === "") { tip.hidden = true; return; }
  tip.textContent = typeof value === "object" ? Object.entries(value).map(([key, x]) => `${key}  ${x}`).join("\n") : String(value);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = event.clientX + 14 + box.width > innerWidth ? event.clientX - box.width - 14 : event.clientX + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - box.height - 4))}px`;
}

async function draw(figure, key, page, onMark) {
  const spec = page.charts[key];
  if (!spec) return;
  const options = {
    mode: "vega-lite", renderer: spec.layer.some((layer) => layer.data?.values?.length > 1500) ? "canvas" : "svg", ast: true, actions: false, defaultStyle: false, tooltip: showTip,
    config: page.themes[dark.matches ? "dark" : "light"],
  };
  const target = figure.querySelector(".live");
  figure.classList.add("drawn");
  live.get(figure)?.finalize();
  const result = await window.vegaEmbed(target, spec, options);
  live.set(figure, result);
  // the label says it better than hundreds of marks read out one by one; the table holds the numbers
  target.querySelector("svg")?.setAttribute("aria-hidden", "true");
  if (onMark) result.view.addEventListener("click", (event, item) => { if (item?.datum?.mark !== undefined) onMark(item.datum.mark); });
}

async function drawAll(page, onMark) {
  const picker = document.getElementById("component");
  for (const figure of document.querySelectorAll("[data-chart]")) {
    const name = figure.dataset.chart;
    const component = name === "scatter" && picker ? picker.value : "";
    const again = () => draw(figure, component ? `${name}:${component}` : name, page, name === "scatter" ? (mark) => onMark(component, mark) : null);
    try { await again(); } catch (error) { figure.classList.remove("drawn"); console.error(error); }
  }
}

function startCharts(page, onMark) {
  const all = () => drawAll(page, onMark);
  dark.addEventListener("change", all);
  document.getElementById("component")?.addEventListener("change", all);
  return all();
}
