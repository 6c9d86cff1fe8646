// Draws the charts of a recipe's report; everything else is there without a script.
async function start() {
  document.documentElement.classList.add("js");
  await startCharts(await unpack("data-page"), null);
  document.documentElement.dataset.ready = "true";
}

start();
