// What a pointer finds in the charts: what a mark is, and its prompts in the table. The charts themselves are in the page.
const tip = document.getElementById("tip");

// A mark's <title> is what it is in words. Browsers show it late and small; here it goes to the tip instead.
function wordsOf(mark) {
  const title = mark.querySelector(":scope > title");
  if (title) { mark.dataset.tip = title.textContent; title.remove(); }
  return mark.dataset.tip;
}

function showTip(event) {
  const mark = event.target.closest("[data-chart] .plot *");
  const words = mark && wordsOf(mark);
  tip.hidden = !words;
  if (!words) return;
  tip.textContent = words;
  const box = tip.getBoundingClientRect();
  const left = event.clientX + 14 + box.width > innerWidth ? event.clientX - box.width - 14 : event.clientX + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - box.height - 4))}px`;
}

// The whole chart's <title> is for those who hear it; as a label it is no tip over everything.
function labelPlot(plot) {
  const title = plot.querySelector(":scope > title");
  if (!title) return;
  plot.setAttribute("aria-label", title.textContent);
  title.remove();
}

function startCharts(components, onMark) {
  document.querySelectorAll(".plot").forEach(labelPlot);
  for (const figure of document.querySelectorAll("[data-chart]")) {
    for (const kind of ["pointerover", "pointermove"]) figure.addEventListener(kind, showTip);
    figure.addEventListener("pointerleave", () => { tip.hidden = true; });
  }
  const scatter = document.querySelector("[data-chart=scatter]");
  const picker = document.getElementById("component");
  for (const figure of document.querySelectorAll("[data-chart=scatter], [data-chart=gain]")) figure.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-mark]");
    if (!mark) return;
    tip.hidden = true;
    onMark(figure.dataset.chart, figure === scatter && picker ? picker.value : "", Number(mark.dataset.mark));
  });
  const total = scatter?.innerHTML;
  picker?.addEventListener("change", () => {
    scatter.innerHTML = picker.value ? components[picker.value] : total; // drawn and escaped by flatspot, as the page itself
    scatter.querySelectorAll(".plot").forEach(labelPlot);
  });
}
