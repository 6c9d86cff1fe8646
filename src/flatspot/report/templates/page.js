// Fills an opened row with its prompt and completions, and starts charts and table.
function cutNote(of) {
  return element("p", "note", `Cut here: ${of.toLocaleString("en")} characters in all. The whole text is in the run folder.`);
}

function plainText(text) {
  const made = element("div", "text", text);
  made.dir = "auto";
  made.tabIndex = text.length > 1500 ? 0 : -1; // long texts scroll, and must be reachable by keyboard to do so
  return made;
}

function asked(message) {
  const made = element("div", "asked"); // a message of the prompt, or a column with its answer
  if (message.role) made.append(element("span", "role", message.role));
  made.append(plainText(message.text));
  if (message.of) made.append(cutNote(message.of));
  return made;
}

function completion(found) {
  const line = element("li");
  const earned = element("div", "earned", found.error && found.reward === null ? "no reward" : number(found.reward, 3));
  if (found.tokens !== undefined) earned.append(element("span", "note", `${found.tokens.toLocaleString("en")} tokens`));
  if (found.truncated) earned.append(element("span", "note", "truncated"));
  const body = element("div");
  body.append(found.text ? plainText(found.text) : element("div", "empty", "(empty completion)"));
  if (found.of) body.append(cutNote(found.of));
  if (found.parts && (found.parts.length > 1 || found.parts.some(([, value]) => value !== found.reward))) {
    const parts = element("div", "parts");
    found.parts.forEach(([name, value], i) => parts.append(i ? " · " : "", `${name} `, element("b", "", number(value, 3))));
    body.append(parts);
  }
  if (found.error) body.append(element("div", "failed", found.error));
  line.append(earned, body);
  return line;
}

function fillDetails(holder, found, id) {
  holder.replaceChildren(element("p", "note", `Prompt ${id}`));
  if (found?.prompt.length) holder.append(...found.prompt.map(asked));
  if (found?.answers.length) holder.append(element("h3", "", "Right answer"), ...found.answers.map(asked));
  if (!found?.completions.length) { holder.append(element("p", "empty", "This page carries no completions for this prompt. They are in the run folder.")); return; }
  holder.append(element("h3", "", `${found.completions.length.toLocaleString("en")} completion${found.completions.length === 1 ? "" : "s"}`));
  const list = element("ol", "completions");
  const some = found.completions.slice(0, 8);
  list.append(...some.map(completion));
  holder.append(list);
  const rest = found.completions.slice(8);
  if (!rest.length) return;
  const more = element("button", "", `Show ${rest.length.toLocaleString("en")} more`);
  more.type = "button";
  more.addEventListener("click", () => { list.append(...rest.map(completion)); more.remove(); });
  holder.append(more);
}

async function copy(button) {
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } catch {
    getSelection().selectAllChildren(code); // no clipboard here: selected, ready for the keyboard
  }
}

async function start() {
  document.documentElement.classList.add("js");
  for (const button of document.querySelectorAll(".copy")) button.addEventListener("click", () => copy(button));
  const page = await unpack("data-page");
  let details; // unpacked when the first row is opened: a page of many megabytes opens at once all the same
  const table = startTable(page.rows, async (i, holder) => {
    holder.append(element("p", "note", "Unpacking…"));
    details ??= unpack("data-details");
    fillDetails(holder, (await details)[i], page.rows.id[i]);
  });
  startCharts(page.components, table.selectMark);
  document.documentElement.dataset.ready = "true";
}

start();
