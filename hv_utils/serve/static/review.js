// The page of `hv review`. All that a reader does is an event in `log`; labels follow from it.
(() => {
const facts = JSON.parse(document.getElementById("facts").textContent);
const { cells, fields, classes } = facts;
const OTHER = "other";
const SAYS = { [OTHER]: "other / not a cell", ig: "immature granulocyte", not_a_cell: "not a cell" };
const NO_WHITE_CELL = new Set(["erythroblast", "platelet", OTHER]); // in no differential
const choices = [...facts.choices, OTHER];
const numberOf = new Map(cells.map((cell, number) => [cell.id, number]));
const KEY = `${facts.format}:${facts.review}`;
const TAB = Math.random().toString(36).slice(2);
const ZOOMS = [1, 1.5, 2, 3, 4, 6];

const { $, percent, make, table, say, notice, download, stored, limits, kappa } = hvPage;
const says = (name) => SAYS[name] ?? name;
const many = (n) => (n === 1 ? "1 cell" : `${n} cells`);

// ------------------------------------------------------------------ the log, and what follows

let log = [], labels = new Map(), marks = new Map(), done = [], undone = [];

function replay(events) {
  const state = { labels: new Map(), marks: new Map(), done: [], undone: [] };
  events.forEach((event) => apply(state, event));
  return state;
}

function apply(state, event) {
  for (const [id, , to] of event.changes) {
    if (to === null) state.labels.delete(id); else state.labels.set(id, to);
    state.marks.set(id, event);
  }
  if (event.act === "undo") state.undone.push(state.done.pop());
  else if (event.act === "redo") state.done.push(state.undone.pop());
  else { state.done.push(event); state.undone.length = 0; }
}

function take(events) {
  log = events;
  ({ labels, marks, done, undone } = replay(log));
}

function initials() {
  const by = $("initials").value.trim();
  if (!by) {
    $("initials").focus();
    say("Type your initials first: each change is kept with the initials of who made it.");
  }
  return by;
}

/** Add an event, after what another tab may have added; returns whether it was. */
function record(act, makeChanges) {
  const by = initials();
  if (!by) return false;
  adopt();
  const changes = makeChanges();
  if (!changes.length) return false;
  const event = { act, when: new Date().toISOString(), by, blind: $("blind").checked, changes };
  log.push(event);
  apply({ labels, marks, done, undone }, event);
  keep();
  return true;
}

function back(act, stack) {
  adopt();
  const last = stack()[stack().length - 1];
  if (!last) { say(`Nothing to ${act}.`); return; }
  const changes = last.changes.map(([id, from, to]) => (act === "undo" ? [id, to, from] : [id, from, to]));
  if (!record(act, () => changes)) return;
  refresh(changes.map(([id]) => id));
  goTo(changes[0][0]);
  say(`${act === "undo" ? "Undone" : "Done again"}: ${changes.length === 1 ? spoken(changes[0][0]) : many(changes.length)}.`);
}

// ------------------------------------------------------------------ kept in this browser

let raw = null;

function store(name, value) {
  try { localStorage.setItem(name, value); return true; } catch {
    notice("This browser keeps no progress (its storage is full or switched off): save the review to a file before you close the page.", "storage");
    return false;
  }
}

function keep() {
  raw = JSON.stringify(log);
  store(KEY, raw);
}

/** Take over what another tab has written since this one last looked. */
function adopt() {
  const found = stored(KEY);
  if (found === null || found === raw) return;
  let events;
  try { events = checkedLog(JSON.parse(found)); } catch {
    store(`${KEY}:damaged`, found);
    notice("The progress that this browser had kept is damaged. It was put aside; open the review that you saved, or begin anew.", "damaged");
    raw = found;
    return;
  }
  const ours = JSON.stringify(log);
  if (log.length && JSON.stringify(events.slice(0, log.length)) !== ours) aside(ours);
  raw = found;
  take(events);
  refresh(cells.map((cell) => cell.id));
}

/** Put a log aside before another takes its place. */
function aside(text) {
  store(`${KEY}:before`, text);
  $("before").hidden = false;
}

addEventListener("storage", (event) => {
  if (event.key === KEY) adopt();
  if (event.key === `${KEY}:tab` && event.newValue && !event.newValue.startsWith(TAB)) {
    notice("This review is open in another tab, too. Both write into the same progress and show each other's changes.", "tabs");
    if (event.newValue.includes("hello")) store(`${KEY}:tab`, `${TAB} here ${Date.now()}`);
  }
});

// ------------------------------------------------------------------ files

/** Check a log's form: what is no log must not take the place of one. */
function checkedLog(events) {
  const whole = Array.isArray(events) && events.every((event) => event && typeof event.when === "string"
    && typeof event.by === "string" && ["label", "undo", "redo"].includes(event.act)
    && Array.isArray(event.changes) && event.changes.every((change) => Array.isArray(change) && change.length === 3));
  if (!whole) throw new Error("its list of changes is not whole: it was changed by hand or half written");
  return events;
}

/** Read a saved review; what is wrong with it is said in words. */
function parse(text, name) {
  let file;
  try { file = JSON.parse(text); } catch {
    throw new Error(`${name} breaks off or is no saved review: it was half written or damaged. Nothing here was changed.`);
  }
  if (file?.format !== facts.format) throw new Error(`${name} is no saved review: choose a file that “Save review” has written.`);
  if (!(file.version <= facts.version)) {
    throw new Error(`${name} was saved by a newer version (its form is ${file.version}, this page knows ${facts.version}): make the page anew with that version.`);
  }
  try { checkedLog(file.log); } catch (error) { throw new Error(`${name} cannot be used: ${error.message}. Nothing here was changed.`); }
  return file;
}

function opened(text, name) {
  const file = parse(text, name);
  if (file.review !== facts.review) {
    const shared = Object.keys(file.cells ?? {}).filter((id) => numberOf.has(id)).length;
    throw new Error(`${name} is the review of ${shared ? "other verdicts" : "other images"} (${file.table}; ${shared} of its ${Object.keys(file.cells ?? {}).length} cells are here). Nothing here was changed.`);
  }
  adopt();
  const now = JSON.stringify(log);
  if (log.length && now !== JSON.stringify(file.log)) aside(now);
  take(file.log);
  keep();
  refresh(cells.map((cell) => cell.id));
  say(`${name} is open: ${labels.size} of ${cells.length} cells reviewed.`);
}

function saved() {
  const by = [...new Set(log.map((event) => event.by))];
  const told = cells.map((cell) => [cell.id, { ...place(cell), verdict: cell.verdict, confidence: cell.confidence,
    status: cell.status, label: labels.get(cell.id) ?? null, by: marks.get(cell.id)?.by ?? null, when: marks.get(cell.id)?.when ?? null }]);
  return { format: facts.format, version: facts.version, program: facts.program, note: "Not for diagnosis.",
    review: facts.review, table: facts.table, saved: new Date().toISOString(), readers: by, classes,
    differential: { before: counts(before), after: counts(after) }, cells: Object.fromEntries(told), log };
}

function place(cell) {
  return { path: fields[cell.field].path, cell: cell.number, x: cell.middle?.[0] ?? null, y: cell.middle?.[1] ?? null };
}

const stem = facts.table.replace(/\.\w+$/, "");
const quoted = (value) => (/[",\n\r]/.test(value ?? "") ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));
const csv = (rows) => rows.map((row) => row.map(quoted).join(",")).join("\n") + "\n";

function tableCsv() {
  const rows = cells.map((cell) => {
    const at = place(cell), mark = marks.get(cell.id);
    return [at.path, at.cell, at.x, at.y, cell.verdict, cell.confidence, cell.status, labels.get(cell.id), mark?.by, mark?.when];
  });
  return csv([["path", "cell", "x", "y", "predicted", "confidence", "status", "label", "by", "when"], ...rows]);
}

/** What `hv adapt` takes: reviewed cells of the model's own classes. */
function labelsCsv() {
  const mine = cells.filter((cell) => classes.includes(labels.get(cell.id)));
  const rows = mine.map((cell) => [place(cell).path, labels.get(cell.id), place(cell).x, place(cell).y]);
  const placed = mine.some((cell) => cell.middle);
  return csv([["file", "label", "x", "y"], ...rows].map((row) => (placed ? row : row.slice(0, 2))));
}

// ------------------------------------------------------------------ the differential

const before = (cell) => (cell.status === "ok" ? cell.verdict : null);
const after = (cell) => labels.get(cell.id) ?? before(cell);

function counts(nameOf) {
  const found = { cells: {}, white: 0, unnamed: 0 };
  for (const name of choices) found.cells[name] = 0;
  for (const cell of cells) {
    const name = nameOf(cell);
    if (!name) { found.unnamed += 1; continue; }
    found.cells[name] = (found.cells[name] ?? 0) + 1;
    if (!NO_WHITE_CELL.has(name)) found.white += 1;
  }
  return found;
}

function differentialTable() {
  const [was, is] = [counts(before), counts(after)];
  const hidden = $("blind").checked;
  const figures = (found, name) => {
    const n = found.cells[name];
    if (!found.white) return [n, "", ""];
    return [n, percent(n / found.white), limits(n, found.white).map((side) => (100 * side).toFixed(1)).join(" to ")];
  };
  const white = choices.filter((name) => !NO_WHITE_CELL.has(name) && (was.cells[name] || is.cells[name] || classes.includes(name)));
  const rows = white.map((name) => [says(name), ...(hidden ? [] : figures(was, name)), ...figures(is, name)]);
  rows.push(["white cells", ...(hidden ? [] : [was.white, "", ""]), is.white, "", ""]);
  for (const name of NO_WHITE_CELL) {
    if (!was.cells[name] && !is.cells[name]) continue;
    const per = (found) => (name === "erythroblast" && found.white ? `${(100 * found.cells[name] / found.white).toFixed(1)} per 100 white` : "");
    rows.push([says(name), ...(hidden ? [] : [was.cells[name], per(was), ""]), is.cells[name], per(is), ""]);
  }
  rows.push(["without a name", ...(hidden ? [] : [was.unnamed, "", ""]), is.unnamed, "", ""]);
  const head = ["cell", ...(hidden ? [] : ["before", "share", "95 % limits (%)"]), "after", "share", "95 % limits (%)"];
  return table("Before: verdicts with the status ok. After: a reader's label where there is one, else the verdict. Limits after Clopper and Pearson, each class by itself: they tell of chance in counting, of nothing else.", head, rows);
}

/** White cells that a reader has named. */
const namedWhite = () => [...labels.values()].filter((name) => !NO_WHITE_CELL.has(name)).length;

// Codes of LOINC that we have seen in the panel 24318-8 or its guide; other classes go as text.
const LOINC = {
  basophil: ["30180-4", "Basophils/100 leukocytes in Blood"],
  eosinophil: ["26450-7", "Eosinophils/100 leukocytes in Blood"],
  lymphocyte: ["26478-8", "Lymphocytes/100 leukocytes in Blood"],
  monocyte: ["26485-3", "Monocytes/100 leukocytes in Blood"],
  neutrophil: ["26511-6", "Neutrophils/100 leukocytes in Blood"],
  erythroblast: ["19048-8", "Nucleated erythrocytes/100 leukocytes in Blood"],
};

function fhir() {
  const found = counts(after), by = [...new Set(log.map((event) => event.by))];
  const coded = (name, [code, display] = []) => ({
    ...(code ? { coding: [{ system: "http://loinc.org", code, display }] } : {}), text: name });
  const component = choices.filter((name) => found.cells[name] && (!NO_WHITE_CELL.has(name) || name === "erythroblast"))
    .map((name) => ({ code: coded(says(name), LOINC[name]), valueQuantity: {
      value: Number((100 * found.cells[name] / found.white).toFixed(1)), system: "http://unitsofmeasure.org",
      ...(name === "erythroblast" ? { unit: "per 100 white cells", code: "/100{WBCs}" } : { unit: "%", code: "%" }) } }));
  const range = choices.filter((name) => !NO_WHITE_CELL.has(name) && found.cells[name])
    .map((name) => `${says(name)} ${found.cells[name]} (${limits(found.cells[name], found.white).map(percent).join(" to ")})`);
  return {
    resourceType: "Observation", status: "preliminary",
    category: [{ coding: [{ system: "http://terminology.hl7.org/CodeSystem/observation-category", code: "laboratory", display: "Laboratory" }] }],
    code: coded("Differential of white cells, pre-classified by a model and reviewed", ["24318-8", "Manual Differential panel - Blood"]),
    issued: new Date().toISOString(),
    ...(by.length ? { performer: by.map((one) => ({ display: `reader ${one}` })) } : {}),
    device: { display: facts.program },
    note: [{ text: "Not for diagnosis." },
      { text: `${found.white} white cells counted, ${namedWhite()} of them named by a reader; ${found.unnamed} without a name.` },
      { text: `Counts and exact 95 % limits: ${range.join("; ")}.` }],
    component,
  };
}

// ------------------------------------------------------------------ agreement of two readers

function compared(files) {
  const [first, second] = files.map((file) => ({ labels: replay(file.log).labels, name: [...new Set(file.log.map((event) => event.by))].join(", ") || "nobody", file }));
  const both = [...first.labels.keys()].filter((id) => second.labels.has(id));
  if (!both.length) throw new Error(`No cell was reviewed in both (${first.file.table} by ${first.name}, ${second.file.table} by ${second.name}): they are of other images, or one of them has only begun.`);
  const [a, b] = [first, second].map((one) => both.map((id) => one.labels.get(id)));
  const names = [...new Set([...choices, ...a, ...b])].filter((name) => a.includes(name) || b.includes(name));
  const matrix = names.map((row) => names.map((column) => both.filter((_, i) => a[i] === row && b[i] === column).length));
  return { ...kappa(a, b), names, matrix, readers: [first.name, second.name] };
}

function showAgreement(found) {
  const [low, high] = limits(found.agreed, found.n);
  const value = found.kappa === null ? "not defined: both readers used one class only" : found.kappa.toFixed(3);
  const words = `Cohen's kappa ${value}. ${found.readers.join(" and ")} agree on ${found.agreed} of ${found.n} cells that both reviewed: ${percent(found.agreed / found.n)} (${percent(low)} to ${percent(high)}).`;
  $("agreement").replaceChildren(make("p", {}, words),
    table(`Rows: ${found.readers[0]}. Columns: ${found.readers[1]}.`, ["reader", ...found.names.map(says)], found.matrix.map((row, i) => [says(found.names[i]), ...row])));
  say(words);
}

// ------------------------------------------------------------------ what is shown

const tiles = new Map(), selected = new Set();
let shown = [], current = null, anchor = null, zoom = 1;
const source = (id) => {
  const text = $(id)?.textContent;
  return text ? `data:image/jpeg;base64,${text}` : "";
};
const cropOf = (number) => source(`crop-${number}`) || source(`field-${cells[number].field}`);

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    target.firstChild.src = cropOf(Number(target.dataset.number));
  }
}, { root: $("gallery"), rootMargin: "400px" });

function cellName(cell) {
  return `${fields[cell.field].name}${cell.number ? `, cell ${cell.number}` : ""}`;
}

function verdictOf(cell) {
  if ($("blind").checked) return "verdict hidden";
  const sure = cell.confidence === null ? "" : ` ${Math.round(100 * cell.confidence)} %`;
  if (!cell.verdict) return says(cell.status);
  return `${says(cell.verdict)}${sure}${cell.status === "ok" ? "" : `, ${says(cell.status)}`}`;
}

function spoken(id) {
  const cell = cells[numberOf.get(id)], now = labels.get(id);
  return `${cellName(cell)}, ${verdictOf(cell)}, ${now ? `reviewed as ${says(now)}` : "not reviewed"}`;
}

function makeTile(cell, number) {
  const pictured = fields[cell.field].size[0] > 0;
  const tile = make("div", { className: "tile", role: "option", tabIndex: -1, id: `tile-${number}`, "aria-selected": "false" },
    pictured ? make("img", { alt: "", decoding: "async" }) : make("div", { className: "none" }, "no picture"), make("b"), make("span"));
  tile.dataset.number = number;
  if (pictured) seen.observe(tile);
  return tile;
}

function paint(id) {
  const cell = cells[numberOf.get(id)], tile = tiles.get(id), now = labels.get(id), hidden = $("blind").checked;
  const changed = !hidden && now && now !== cell.verdict;
  tile.classList.toggle("reviewed", Boolean(now) && !changed);
  tile.classList.toggle("changed", Boolean(changed));
  tile.setAttribute("aria-selected", selected.has(id));
  tile.setAttribute("aria-label", spoken(id));
  const sure = hidden || cell.confidence === null ? "" : ` ${Math.round(100 * cell.confidence)} %`;
  tile.children[1].textContent = now ? says(now) : hidden ? "?" : says(cell.verdict || cell.status);
  tile.children[2].textContent = now ? (changed ? `✎ was ${says(cell.verdict || cell.status)}` : "✓ reviewed") : `${cell.status === "unsure" && !hidden ? "unsure" : ""}${sure}`;
}

function groupOf(cell) {
  if (cell.status === "unreadable") return cell.status;
  const mode = $("group").value, now = labels.get(cell.id);
  if (mode === "label" && now) return now;
  if ($("blind").checked || mode === "none") return mode === "label" ? "not reviewed" : "cells";
  return cell.status === "ok" ? cell.verdict : cell.status;
}

function wanted(cell) {
  const show = $("show").value, now = labels.get(cell.id);
  if (show === "open" && now) return false;
  if (show === "reviewed" && !now) return false;
  if (show === "changed" && (!now || now === cell.verdict)) return false;
  const kind = $("kind").value;
  if (kind && groupOf(cell) !== kind && (now ?? "") !== kind) return false;
  return fields[cell.field].name.toLowerCase().includes($("search").value.trim().toLowerCase());
}

/** The most doubtful first; blind, in an order that tells nothing. */
function inOrder(a, b) {
  if ($("blind").checked) return a.id < b.id ? -1 : 1;
  return (a.confidence ?? -1) - (b.confidence ?? -1) || numberOf.get(a.id) - numberOf.get(b.id);
}

function render() {
  const order = ["unsure", ...choices, "cells", "not reviewed", "not_a_cell", "unreadable"];
  const groups = new Map();
  for (const cell of cells.filter(wanted).sort(inOrder)) {
    const name = groupOf(cell);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(cell);
  }
  const names = [...groups.keys()].sort((a, b) => order.indexOf(a) - order.indexOf(b));
  shown = names.flatMap((name) => groups.get(name).map((cell) => cell.id));
  for (const id of selected) if (!shown.includes(id)) selected.delete(id);
  $("gallery").replaceChildren(...names.map((name, i) => {
    const mine = groups.get(name);
    return make("div", { role: "group", "aria-labelledby": `group-${i}` },
      make("h3", { id: `group-${i}`, role: "presentation" }, `${says(name)} (${mine.length})`),
      make("div", { className: "tiles", role: "presentation" }, ...mine.map((cell) => tiles.get(cell.id))));
  }));
  $("shown").textContent = shown.length === cells.length ? "" : `${shown.length} of ${cells.length}`;
  if (!shown.includes(current)) current = shown[0] ?? null;
  point(current);
}

/** Make a cell the current one, without moving the focus. */
function point(id) {
  for (const tile of $("gallery").querySelectorAll(".current")) { tile.classList.remove("current"); tile.tabIndex = -1; }
  current = id;
  if (id !== null) { tiles.get(id).classList.add("current"); tiles.get(id).tabIndex = 0; }
  showDetail();
}

function goTo(id) {
  if (id === null || id === undefined) return;
  if (!shown.includes(id)) { $("show").value = "all"; $("kind").value = ""; $("search").value = ""; render(); }
  point(id);
  tiles.get(id).focus();
}

/** After a change: repaint what changed, and sort anew where the view follows the labels. */
function refresh(ids) {
  if (!tiles.size) return;
  ids.forEach(paint);
  if ($("show").value !== "all" || $("group").value === "label" || $("kind").value) render(); else showDetail();
  showResults();
}

function showDetail() {
  const cell = current === null ? null : cells[numberOf.get(current)];
  $("cell-name").textContent = cell ? cellName(cell) : "No cell is shown";
  for (const button of $("choices").children) button.setAttribute("aria-pressed", Boolean(cell) && labels.get(current) === button.value);
  for (const id of ["crop", "picture"]) $(id).removeAttribute("src");
  $("boxes").replaceChildren();
  $("told").replaceChildren();
  $("history").replaceChildren();
  if (!cell) return;
  const number = numberOf.get(current), [height, width] = fields[cell.field].size;
  if (height) {
    $("crop").src = cropOf(number);
    $("crop").alt = `The cell ${cellName(cell)}`;
    $("picture").src = source(`field-${cell.field}`);
    $("picture").alt = `The field ${fields[cell.field].name}`;
    $("boxes").setAttribute("viewBox", `0 0 ${width} ${height}`);
    $("zoomed").style.aspectRatio = `${width} / ${height}`;
    $("zoomed").style.transformOrigin = cell.middle ? `${100 * cell.middle[0] / width}% ${100 * cell.middle[1] / height}%` : "center";
    for (const one of cells.filter((other) => other.field === cell.field && other.box)) {
      const [x0, y0, x1, y1] = one.box;
      const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      for (const [name, value] of Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0 })) box.setAttribute(name, value);
      if (one === cell) box.classList.add("here");
      box.onclick = () => goTo(one.id);
      $("boxes").append(box);
    }
  }
  zoomTo(zoom);
  const lines = [make("p", {}, make("b", {}, "Verdict: "), verdictOf(cell))];
  if (!$("blind").checked) {
    if (cell.set) lines.push(make("p", {}, make("b", {}, "Cannot be excluded: "), cell.set));
    if (cell.why) lines.push(make("p", {}, make("b", {}, "Looks like: "), cell.why));
    const likely = classes.map((name, i) => [name, cell.probs[i]]).filter(([, share]) => share >= 0.01).sort((a, b) => b[1] - a[1]);
    if (likely.length) {
      const bar = (share) => make("i", { className: "bar", style: `width:${Math.max(1, 90 * share)}px` });
      lines.push(table("Probabilities from 1 % on", ["class", "probability"], likely.map(([name, share]) =>
        [says(name), make("span", {}, bar(share), ` ${percent(share)}`)])));
    }
  }
  $("told").append(...lines);
  $("history").append(...log.filter((event) => event.changes.some(([id]) => id === current)).map((event) => make("li", {}, told(event, current))));
}

function told(event, id) {
  const cell = cells[numberOf.get(id)], [, from, to] = event.changes.find((change) => change[0] === id);
  const verdict = cell && !$("blind").checked ? `${says(cell.verdict || cell.status)} (verdict)` : "verdict";
  return `${event.when.slice(0, 19).replace("T", " ")} ${event.by}${event.blind ? " (blind)" : ""}: ${event.act === "label" ? "" : `${event.act}, `}${from ? says(from) : verdict} → ${to ? says(to) : verdict}`;
}

function showResults() {
  const n = namedWhite(), target = Number($("target").value);
  $("progress").textContent = `${labels.size} of ${cells.length} reviewed · ${n} of ${target} white cells${n >= target ? " ✓" : ""}`;
  $("undo").disabled = !done.length;
  $("redo").disabled = !undone.length;
  $("differential").replaceChildren(differentialTable());
  if ($("trail").open) showTrail();
}

function trailRows() {
  return log.flatMap((event) => event.changes.map(([id]) => make("li", {}, `${numberOf.has(id) ? cellName(cells[numberOf.get(id)]) : id}: ${told(event, id)}`)));
}

function showTrail() {
  $("log").replaceChildren(log.length ? make("ol", {}, ...trailRows()) : make("p", {}, "Nothing has been changed yet."));
}

function showReport() {
  const by = [...new Set(log.map((event) => event.by))].join(", ") || "nobody yet";
  const lines = [`Table ${facts.table}, ${cells.length} cells in ${fields.length} pictures; page made ${facts.made} by ${facts.program}.`,
    `Printed ${new Date().toISOString().slice(0, 19).replace("T", " ")}. Readers: ${by}. Reviewed: ${labels.size} of ${cells.length} cells; ${namedWhite()} white cells named, target ${$("target").value}.`];
  $("report").replaceChildren(make("h1", {}, "Review of a differential. Not for diagnosis."), ...lines.map((line) => make("p", {}, line)),
    make("h2", {}, "Differential"), differentialTable(), ...[...$("agreement").children].map((part) => part.cloneNode(true)),
    make("h2", {}, "Audit trail"), make("ol", {}, ...trailRows()));
}
addEventListener("beforeprint", showReport);

function zoomTo(value) {
  zoom = value;
  $("zoomed").style.transform = `scale(${zoom})`;
  $("zoom").textContent = `${zoom}×`;
}
const zoomBy = (step) => zoomTo(ZOOMS[Math.min(ZOOMS.length - 1, Math.max(0, ZOOMS.indexOf(zoom) + step))]);

// ------------------------------------------------------------------ hands

/** Label what is selected, or else the current cell, and go to the next. */
function call(nameOf) {
  if (current === null) return;
  const chosen = [...selected], at = shown.indexOf(current), next = shown[at + 1] ?? current;
  const ids = chosen.length ? chosen : [current];
  const named = new Map(ids.map((id) => [id, nameOf(cells[numberOf.get(id)])]).filter(([, name]) => name !== undefined));
  if (!named.size) { say("There is no verdict to confirm here: press the number of a class."); return; }
  const added = record("label", () => [...named].filter(([id, to]) => (labels.get(id) ?? null) !== to)
    .map(([id, to]) => [id, labels.get(id) ?? null, to]));
  if (!$("initials").value.trim()) return;
  selected.clear();
  refresh(added ? [...log[log.length - 1].changes.map(([id]) => id), ...chosen] : chosen);
  if (chosen.length) { say(`${many(named.size)} labelled.`); goTo(shown.includes(current) ? current : shown[0]); return; }
  const name = named.get(ids[0]);
  say(`${name === null ? "Label taken back" : says(name)}. ${next === ids[0] ? "That was the last." : `Next: ${spoken(next)}.`}`);
  goTo(shown.includes(next) ? next : shown[Math.min(at, shown.length - 1)]);
}

const confirmed = (cell) => ($("blind").checked || !cell.verdict ? undefined : cell.verdict);

function toggle(id, on = !selected.has(id)) {
  if (on) selected.add(id); else selected.delete(id);
  paint(id);
}

function select(ids) {
  for (const id of [...selected]) if (!ids.includes(id)) toggle(id, false);
  ids.forEach((id) => toggle(id, true));
  say(`${many(selected.size)} selected.`);
}

/** The cell above or below: the nearest of the next row. */
function vertical(step) {
  const here = tiles.get(current).getBoundingClientRect();
  let best = null, row = null;
  for (let i = shown.indexOf(current) + step; i >= 0 && i < shown.length; i += step) {
    const there = tiles.get(shown[i]).getBoundingClientRect();
    if (step * (there.top - here.top) < 1) continue;
    if (row !== null && Math.abs(there.top - row) > 1) break;
    row = there.top;
    const away = Math.abs(there.left - here.left);
    if (best === null || away < best.away) best = { id: shown[i], away };
  }
  return best?.id ?? current;
}

function move(key, extend) {
  const at = shown.indexOf(current);
  const to = { ArrowRight: () => shown[Math.min(at + 1, shown.length - 1)], ArrowLeft: () => shown[Math.max(at - 1, 0)],
    ArrowDown: () => vertical(1), ArrowUp: () => vertical(-1), Home: () => shown[0], End: () => shown[shown.length - 1] }[key]();
  if (extend) {
    anchor ??= current;
    const [low, high] = [shown.indexOf(anchor), shown.indexOf(to)].sort((a, b) => a - b);
    select(shown.slice(low, high + 1));
  } else anchor = null;
  goTo(to);
}

const KEYS = {
  Enter: () => call(confirmed), Delete: () => call(() => null), Backspace: () => call(() => null),
  " ": () => { toggle(current); anchor = current; say(`${many(selected.size)} selected.`); },
  Escape: () => { select([]); anchor = null; },
  g: () => select([...tiles.get(current).parentNode.children].map((tile) => cells[tile.dataset.number].id)),
  n: () => {
    const at = shown.indexOf(current), rest = [...shown.slice(at + 1), ...shown.slice(0, at)];
    const id = rest.find((one) => !labels.has(one));
    if (id) goTo(id); else say("All cells that are shown have been reviewed.");
  },
  "+": () => zoomBy(1), "=": () => zoomBy(1), "-": () => zoomBy(-1),
  "/": () => $("search").focus(), "?": () => { $("help").open = true; $("help").firstElementChild.focus(); },
};

$("gallery").addEventListener("keydown", (event) => {
  if (current === null || event.altKey) return;
  let act;
  if (event.ctrlKey || event.metaKey) { if (event.key === "a") act = () => select([...shown]); }
  else if (event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End") act = () => move(event.key, event.shiftKey);
  else if (/^[1-9]$/.test(event.key)) { if (event.key <= facts.choices.length) act = () => call(() => facts.choices[event.key - 1]); }
  else if (event.key === "0") act = () => call(() => OTHER);
  else act = KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});
$("gallery").addEventListener("focus", () => goTo(current));
$("gallery").addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile) return;
  const { id } = cells[tile.dataset.number];
  if (event.shiftKey && current !== null) {
    const [low, high] = [shown.indexOf(current), shown.indexOf(id)].sort((a, b) => a - b);
    select(shown.slice(low, high + 1));
  } else if (event.ctrlKey || event.metaKey) toggle(id);
  goTo(id);
});

addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || (event.target.tagName === "INPUT" && event.target.type !== "checkbox")) return;
  const key = event.key.toLowerCase();
  if (key === "z" || key === "y") {
    event.preventDefault();
    if (key === "y" || event.shiftKey) back("redo", () => undone); else back("undo", () => done);
  }
});

async function readFiles(input, use) {
  const files = [...input.files];
  input.value = "";
  try { await use(files, await Promise.all(files.map((file) => file.text()))); }
  catch (error) { notice(error.message); say(error.message); }
}

function wire() {
  $("undo").onclick = () => back("undo", () => done);
  $("redo").onclick = () => back("redo", () => undone);
  $("save").onclick = $("json").onclick = () => download(`${stem}-review-${$("initials").value.trim() || "nobody"}.json`, JSON.stringify(saved(), null, 1), "application/json");
  $("csv").onclick = () => download(`${stem}-reviewed.csv`, tableCsv(), "text/csv");
  $("labels").onclick = () => {
    const other = [...labels.values()].filter((name) => !classes.includes(name)).length;
    download(`${stem}-labels.csv`, labelsCsv(), "text/csv");
    if (other) say(`Saved: ${stem}-labels.csv, without ${many(other)} of kinds that the model does not know.`);
  };
  $("fhir").onclick = () => {
    if (!counts(after).white) { say("There is no white cell to report."); return; }
    download(`${stem}-differential.fhir.json`, JSON.stringify(fhir(), null, 1), "application/fhir+json");
  };
  $("print").onclick = () => print();
  $("open").onchange = () => readFiles($("open"), (files, texts) => opened(texts[0], files[0].name));
  $("compare").onchange = () => readFiles($("compare"), (files, texts) => {
    if (files.length > 2) throw new Error(`Choose one or two saved reviews, not ${files.length}.`);
    const read = texts.map((text, i) => parse(text, files[i].name));
    showAgreement(compared(read.length === 1 ? [saved(), read[0]] : read));
  });
  $("before").onclick = () => {
    const now = JSON.stringify(log), was = stored(`${KEY}:before`);
    if (was === null) return;
    take(checkedLog(JSON.parse(was)));
    keep();
    store(`${KEY}:before`, now);
    refresh(cells.map((cell) => cell.id));
    say("Back to what was here; press again to change back.");
  };
  $("in").onclick = () => zoomBy(1);
  $("out").onclick = () => zoomBy(-1);
  for (const id of ["show", "kind", "group"]) $(id).onchange = render;
  $("search").oninput = render;
  $("blind").onchange = () => {
    $("kind").disabled = $("blind").checked;
    $("kind").value = "";
    cells.forEach((cell) => paint(cell.id));
    render();
    showResults();
    say($("blind").checked ? "Blind: verdicts are hidden." : "Verdicts are shown.");
  };
  $("initials").value = stored("hematovision-initials") ?? "";
  $("initials").onchange = () => store("hematovision-initials", $("initials").value.trim());
  $("target").onchange = showResults;
  $("trail").ontoggle = showTrail;
}

function begin() {
  document.title = `Review of ${facts.table}`;
  $("table-name").textContent = facts.table;
  $("blind").checked = $("kind").disabled = facts.blind;
  choices.forEach((name, i) => {
    const key = name === OTHER ? "0" : i < 9 ? String(i + 1) : "";
    const button = make("button", { type: "button", value: name, "aria-pressed": "false" }, ...(key ? [make("kbd", {}, key)] : []), says(name));
    button.onclick = () => call(() => name);
    $("choices").append(button);
  });
  for (const name of ["unsure", ...choices, "not_a_cell", "unreadable"]) $("kind").append(make("option", { value: name }, says(name)));
  wire();
  adopt();
  $("before").hidden = stored(`${KEY}:before`) === null;
  cells.forEach((cell, number) => { tiles.set(cell.id, makeTile(cell, number)); paint(cell.id); });
  render();
  showResults();
  store(`${KEY}:tab`, `${TAB} hello ${Date.now()}`);
  if (labels.size) say(`Going on: ${labels.size} of ${cells.length} cells were reviewed.`);
}

begin();
// For tests, and for whoever looks behind the page.
window.review = { limits, kappa, saved, fhir, tableCsv, labelsCsv, opened, compared, parse };
})();
