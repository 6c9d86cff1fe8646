// The charts of a recipe's report; everything else is there without a script.
document.documentElement.classList.add("js");
startCharts({}, null);
document.documentElement.dataset.ready = "true";
