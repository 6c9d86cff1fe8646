// The table of prompts: filter, sort, page, open. Every text is put in place with textContent.
const PAGE = 50;
const number = (x, places = 2) => {
  if (x === null || x === undefined) return "–";
  const size = Math.abs(x);
  if (size >= 1000) return size < 1e9 ? Math.round(x).toLocaleString("en") : x.toExponential(2);
  return size > 0 && size < 0.5 * 10 ** -places ? x.toPrecision(1) : x.toFixed(places);
};
const percent = (x) => x === null || x === undefined ? "–" : x > 0 && x < 0.005 ? "<1%" : x < 1 && x >= 0.995 ? ">99%" : `${Math.round(100 * x)}%`;

const COLUMNS = [
  { key: "verdict", label: "Verdict", first: "ascending" },
  { key: "prompt", label: "Prompt", first: "ascending" },
  { key: "mean", label: "Mean", title: "mean reward of the scored completions", first: "ascending", numeric: true },
  { key: "std", label: "Std", title: "within-prompt reward std, with its 95% interval", first: "ascending", numeric: true, range: ["std_lo", "std_hi"] },
  { key: "gain", label: "Gain", title: "what the best completion of a group of the planned size is expected to earn beyond the mean, with its 95% interval", first: "ascending", numeric: true, range: ["gain_lo", "gain_hi"] },
  { key: "p_mixed", label: "P(mixed)", title: "probability that a group of the planned size holds two different rewards", first: "ascending", numeric: true, show: percent },
  { key: "error_probability", label: "P(wrong)", title: "probability that this verdict is wrong, under the fitted model", first: "descending", numeric: true, show: percent },
  { key: "reach", label: "Gap", title: "gap in standard deviations: how many of its own stds the mean lies below what is achievable, where that is known; it decides nothing", first: "descending", numeric: true, places: 1, lesser: true },
  { key: "n_samples", label: "Completions", title: "completions drawn", first: "descending", numeric: true, places: 0 },
];

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function glyph(name) {
  const made = document.getElementById("glyph-template").content.firstElementChild.cloneNode(true);
  const known = document.getElementById(`g-${name}`);
  made.setAttribute("class", `glyph v-${known ? name : "unscored"}`);
  made.firstElementChild.setAttribute("href", known ? `#g-${name}` : "#g-unscored");
  return made;
}

function startTable(rows, openDetails) {
  const count = rows.id.length;
  const columns = COLUMNS.filter((column) => rows[column.key]);
  const table = document.getElementById("table");
  const state = { sort: "verdict", direction: "ascending", verdicts: new Set(), search: "", mark: null, page: 0, found: [], opened: new Set() };
  // one lower-case line per prompt, built once: the search looks through nothing else
  const haystack = Array.from({ length: count }, (_, i) => `${rows.id[i]}\n${rows.prompt[i]}\n${rows.why?.[i] ?? ""}`.toLowerCase());

  function refresh() {
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (let i = 0; i < count; i += 1) {
      if (state.verdicts.size && !state.verdicts.has(rows.names[rows.verdict[i]])) continue;
      if (state.mark && rows.marks[state.mark.chart][state.mark.component][i] !== state.mark.index) continue;
      if (words.every((word) => haystack[i].includes(word))) found.push(i);
    }
    const sign = state.direction === "ascending" ? 1 : -1;
    const values = rows[state.sort];
    // rows come in the order of need; the verdict column sorts by that order, missing numbers go last either way
    if (state.sort === "verdict") { if (sign < 0) found.reverse(); }
    else found.sort((a, b) => {
      const x = values[a], y = values[b];
      if (x === y) return a - b;
      if (x === null) return 1;
      if (y === null) return -1;
      return (x < y ? -1 : 1) * sign;
    });
    state.found = found;
    state.page = 0;
    show();
  }

  function show() {
    const start = state.page * PAGE;
    const body = table.tBodies[0];
    body.replaceChildren(...state.found.slice(start, start + PAGE).flatMap((i) => state.opened.has(i) ? [row(i), detail(i)] : [row(i)]));
    if (!state.found.length) {
      const cell = element("td", "empty", count ? "No prompt matches." : "There are no prompts.");
      cell.colSpan = columns.length;
      const line = element("tr");
      line.append(cell);
      body.append(line);
    }
    for (const head of table.tHead.rows[0].cells) {
      if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.direction); else head.removeAttribute("aria-sort");
    }
    const filtered = state.verdicts.size || state.search || state.mark;
    const total = count.toLocaleString("en");
    document.getElementById("status").textContent = filtered
      ? `${state.found.length.toLocaleString("en")} of ${total} prompts${state.mark ? ", at the selected mark" : ""}`
      : `${total} prompt${count === 1 ? "" : "s"}`;
    document.getElementById("clear").hidden = !filtered;
    const pages = Math.max(1, Math.ceil(state.found.length / PAGE));
    document.getElementById("pages").hidden = pages === 1;
    document.getElementById("page-number").textContent = `Page ${(state.page + 1).toLocaleString("en")} of ${pages.toLocaleString("en")}`;
    document.getElementById("previous").disabled = state.page === 0;
    document.getElementById("next").disabled = state.page >= pages - 1;
  }

  function row(i) {
    const line = element("tr", state.opened.has(i) ? "row opened" : "row");
    line.setAttribute("role", "row");
    line.dataset.index = i;
    for (const column of columns) line.append(cell(column, i));
    return line;
  }

  function cell(column, i) {
    const made = element("td", `${column.numeric ? "num" : ""}${column.lesser ? " lesser" : ""}`);
    made.setAttribute("role", "cell");
    if (column.key === "verdict") {
      const name = rows.names[rows.verdict[i]];
      made.append(glyph(name), name);
    } else if (column.key === "prompt") {
      const button = element("button", "open");
      button.type = "button";
      button.setAttribute("aria-expanded", String(state.opened.has(i)));
      const text = element("span", "", rows.prompt[i] || rows.id[i]);
      text.dir = "auto";
      button.append(text);
      made.append(button);
      if (rows.why) made.append(element("span", "why note", rows.why[i]));
    } else {
      const value = rows[column.key][i];
      made.dataset.label = column.label.toLowerCase();
      made.append(column.show ? column.show(value) : number(value, column.places ?? 2));
      const [lo, hi] = (column.range ?? []).map((key) => rows[key]?.[i] ?? null);
      if (lo !== null && lo !== undefined && hi !== null && hi !== undefined) made.append(element("span", "range", ` ${number(lo)}–${number(hi)}`));
    }
    return made;
  }

  function detail(i) {
    const line = element("tr", "detail");
    line.setAttribute("role", "row");
    const holder = element("td");
    holder.setAttribute("role", "cell");
    holder.colSpan = columns.length;
    line.append(holder);
    openDetails(i, holder);
    return line;
  }

  function toggle(line) {
    const i = Number(line.dataset.index);
    const open = !state.opened.has(i);
    if (open) { state.opened.add(i); line.after(detail(i)); } else { state.opened.delete(i); line.nextElementSibling.remove(); }
    line.classList.toggle("opened", open);
    line.querySelector(".open").setAttribute("aria-expanded", String(open));
  }

  function sortBy(key, direction) {
    state.sort = key;
    state.direction = direction;
    document.getElementById("sort").value = key;
    refresh();
  }

  function heads() {
    const cells = columns.map((column) => {
      const head = element("th", `${column.numeric ? "num" : ""}${column.range ? " interval" : ""}${column.lesser ? " lesser" : ""}`);
      head.scope = "col";
      head.setAttribute("role", "columnheader");
      head.dataset.key = column.key;
      const button = element("button", "", column.label);
      button.type = "button";
      if (column.title) button.title = column.title;
      button.addEventListener("click", () => {
        const other = state.direction === "ascending" ? "descending" : "ascending";
        sortBy(column.key, state.sort === column.key ? other : column.first);
      });
      head.append(button);
      return head;
    });
    table.tHead.rows[0].replaceChildren(...cells);
    const select = document.getElementById("sort");
    for (const column of columns) select.append(new Option(column.label, column.key));
    select.addEventListener("change", () => sortBy(select.value, columns.find((column) => column.key === select.value).first));
  }

  function clear() {
    state.verdicts.clear();
    state.search = "";
    state.mark = null;
    document.getElementById("filters").reset();
    document.getElementById("sort").value = state.sort;
    refresh();
  }

  function listen() {
    const form = document.getElementById("filters");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", (event) => {
      if (event.target.name !== "verdict") return;
      state.verdicts = new Set([...form.querySelectorAll("[name=verdict]:checked")].map((box) => box.value));
      refresh();
    });
    let waiting = 0;
    document.getElementById("search").addEventListener("input", (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => { state.search = event.target.value; refresh(); }, 120);
    });
    document.getElementById("clear").addEventListener("click", clear);
    const turn = (step) => { state.page += step; show(); document.getElementById("status").scrollIntoView({ block: "nearest" }); };
    document.getElementById("previous").addEventListener("click", () => turn(-1));
    document.getElementById("next").addEventListener("click", () => turn(1));
    table.tBodies[0].addEventListener("click", (event) => {
      const line = event.target.closest("tr.row");
      if (line && !(getSelection().toString() && !event.target.closest("button"))) toggle(line);
    });
  }

  heads();
  listen();
  refresh();
  return {
    selectMark(chart, component, index) {
      clear();
      state.mark = { chart, component, index };
      refresh();
      if (state.found.length === 1) { const line = table.tBodies[0].querySelector("tr.row"); if (!state.opened.has(state.found[0])) toggle(line); }
      const section = document.getElementById("prompts");
      section.scrollIntoView();
      section.focus({ preventScroll: true });
    },
  };
}
