// The page of `hv versus`. What a reader has done is `state`, kept after each answer.
(() => {
const { $, percent, make, table, say, notice, download, stored, limits, kappa } = hvPage;
const facts = JSON.parse($("facts").textContent);
const { classes, count } = facts;
const key = JSON.parse(new TextDecoder().decode(curtain(Uint8Array.from(atob(facts.key), (c) => c.charCodeAt(0)))));
const KEY = `${facts.format}:${facts.page}`;
const TURN = 250; // milliseconds in which nobody names a cell: such a press was meant for the last one
const initial = (name) => name[0].toUpperCase();
const letters = new Map(classes.filter((name) => classes.filter((other) => initial(other) === initial(name)).length === 1
  && initial(name) !== "P").map((name) => [initial(name), name]));
const inSeconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

/** Draw the curtain back; `versus.py` has the same. */
function curtain(bytes) {
  let state = parseInt(facts.page.slice(0, 8), 16);
  return bytes.map((byte) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return byte ^ (state >>> 24);
  });
}

// ------------------------------------------------------------------ who reads, and what was answered

const code = () => [...crypto.getRandomValues(new Uint8Array(5))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Shuffle by a random number each (Fisher and Yates). */
function shuffled(n) {
  const order = [...Array(n).keys()], drawn = crypto.getRandomValues(new Uint32Array(n));
  for (let i = n - 1; i > 0; i -= 1) {
    const j = drawn[i] % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** A turn: `answers` are [cell, name or null, milliseconds] in the order asked. */
const turn = (reader, attempt) => ({ reader, attempt, order: shuffled(count), answers: [], seconds: facts.seconds, described: false, ended: false });

let state = turn(code(), 1);

function keep() {
  try { localStorage.setItem(KEY, JSON.stringify(state)); } catch {
    notice("This browser keeps nothing (its storage is full or switched off): do not close the page before you have saved your answers.", "storage");
  }
}

function resume() {
  try {
    const found = JSON.parse(stored(KEY));
    if (found && found.order.length === count && found.answers.every(([cell]) => cell in key.truth)) state = found;
  } catch { notice("What this browser had kept of an earlier turn is damaged; you begin anew."); }
}

// ------------------------------------------------------------------ the clock

let since = 0, spent = 0, running = false, timer = 0;
const elapsed = () => spent + (running ? performance.now() - since : 0);

function go() { since = performance.now(); running = true; tick(); }

function halt() { spent = elapsed(); running = false; cancelAnimationFrame(timer); }

function tick() {
  if (!running) return;
  if (state.seconds !== null) {
    const left = Math.max(0, state.seconds - elapsed() / 1000);
    $("bar").firstElementChild.style.width = `${100 * left / state.seconds}%`;
    $("bar").classList.toggle("late", left < state.seconds / 4);
    $("left").textContent = `${Math.ceil(left)} s`;
    if (!left) { answer(null); return; }
  }
  timer = requestAnimationFrame(tick);
}

// ------------------------------------------------------------------ asking

const picture = (cell) => `data:image/jpeg;base64,${$(`cell-${cell}`).textContent}`;

function show(name) {
  for (const id of ["start", "play", "end"]) $(id).hidden = id !== name;
}

async function ask() {
  const at = state.answers.length, cell = state.order[at];
  $("place").textContent = `Cell ${at + 1} of ${count}`;
  const words = state.described ? key.looks[key.truth[cell]] : "";
  $("cell").alt = words || `Cell ${at + 1}: a stained smear with one white cell in question.`;
  $("cell").src = picture(cell);
  say(`Cell ${at + 1} of ${count}. ${words}`);
  spent = 0;
  await $("cell").decode().catch(() => {});
  if (!$("play").hidden && state.answers.length === at && !paused() && !running) go();
}

const paused = () => !$("pause-words").hidden;

function answer(name) {
  if (!running || elapsed() < TURN) return;
  halt();
  state.answers.push([state.order[state.answers.length], name, Math.round(elapsed())]);
  if (state.answers.length === count) end(); else { keep(); ask(); }
}

/** Hide the cell, or show it again. */
function veil(on) {
  $("cell").hidden = on;
  $("pause-words").hidden = !on;
  $("pause").textContent = on ? "Go on (P)" : "Pause (P)";
  for (const button of $("choices").children) button.disabled = on;
}

function pause(on = !paused()) {
  if ($("play").hidden || on === paused()) return;
  veil(on);
  say(on ? "Paused." : `Cell ${state.answers.length + 1} of ${count}.`);
  if (on) halt(); else go();
}

function play() {
  show("play");
  $("bar").hidden = $("left").hidden = state.seconds === null;
  $("play").focus();
  ask();
}

// ------------------------------------------------------------------ the result

function end() {
  state.ended = true;
  keep();
  finish();
}

const middle = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};
const between = ([low, high]) => `${percent(low)} to ${percent(high)}`;

/** Each answer with what is right and what the model said. */
const judged = () => state.answers.map(([cell, name, ms]) => ({ cell, name, ms, truth: key.truth[cell], model: key.verdicts[cell] }));

function result() {
  const all = judged(), named = all.filter(({ name }) => name !== null);
  const right = ({ name, truth }) => name === truth, modelRight = ({ model, truth }) => model === truth;
  const apart = named.filter(({ name, model }) => name !== model);
  return {
    all, named, apart, right, modelRight,
    score: all.filter(right).length,
    model: all.filter(modelRight).length,
    ...kappa(named.map(({ name }) => name), named.map(({ model }) => model)),
    you: apart.filter(right).length,
    it: apart.filter(modelRight).length,
  };
}

function classTable({ all, right, modelRight }) {
  const row = (title, cells) => {
    const [mine, its] = [right, modelRight].map((is) => cells.filter(is).length), n = cells.length;
    const share = (k) => (n ? [k, percent(k / n), between(limits(k, n))] : ["", "", ""]);
    return [title, n, ...share(mine), ...share(its)];
  };
  const rows = classes.map((name) => row(name, all.filter(({ truth }) => truth === name)));
  return table("Right answers, with the exact limits in which the share would lie for ever so many such cells (95 %, Clopper and Pearson).",
    ["class", "cells", "you", "share", "limits", "model", "share", "limits"], [...rows, row("all", all)]);
}

function finish() {
  const found = result(), { all, named, apart } = found, n = all.length;
  show("end");
  if (!n) { $("summary").textContent = "No cell was answered."; $("end-title").focus(); return; }
  const missed = n - named.length;
  $("summary").textContent = `You were right about ${found.score} of ${n} cells, ${percent(found.score / n)}; the model about ${found.model}, ${percent(found.model / n)}.`
    + (missed ? ` ${missed === 1 ? "One was" : `${missed} were`} not named in time.` : "") + (n < count ? ` You stopped after ${n} of ${count}.` : "");
  $("by-class").replaceChildren(classTable(found));
  $("agreement").textContent = !named.length ? "You named no cell." : `You and the model gave the same name to ${found.agreed} of the ${found.n} cells that you named: ${percent(found.agreed / found.n)} (${between(limits(found.agreed, found.n))}). `
    + (found.kappa === null ? "Cohen's kappa is not defined, since only one class was named." : `Cohen's kappa, the agreement beyond what chance would give, is ${found.kappa.toFixed(2).replace("-", "−")}.`);
  $("apart").textContent = `Of the ${apart.length} cells that you named otherwise than the model:`;
  $("who").replaceChildren(table("", ["right is", "cells"],
    [["you", found.you], ["the model", found.it], ["neither", apart.length - found.you - found.it]]));
  const times = (cells) => (cells.length ? inSeconds(middle(cells.map(({ ms }) => ms))) : "–");
  $("time").textContent = `Half of your answers came within ${times(named)}: the right ones within ${times(named.filter(found.right))}, the wrong ones within ${times(named.filter((one) => !found.right(one)))}. These are medians; pauses are left out.`;
  $("differ").replaceChildren(...apart.map(({ cell, name, ms, truth, model }) => {
    const line = (who, what) => make("div", { className: what === truth ? "right" : "" }, `${who}: ${what}${what === truth ? " ✓" : ""}`);
    return make("figure", {}, make("img", { src: picture(cell), alt: `A ${truth}.` }),
      make("figcaption", {}, line(`you (${inSeconds(ms)})`, name), line("model", model), ...(name !== truth && model !== truth ? [make("div", {}, `it is: ${truth}`)] : [])));
  }));
  if (!apart.length) $("differ").textContent = "Nowhere.";
  say("Finished.");
  $("end-title").focus();
}

const saved = () => ({ format: `${facts.format}-answers`, version: facts.version, program: facts.program, note: "Not for diagnosis.", page: facts.page,
  reader: state.reader, attempt: state.attempt, seconds: state.seconds, described: state.described, cells: count, answers: state.answers });

// ------------------------------------------------------------------ hands

addEventListener("keydown", (event) => {
  if ($("play").hidden || event.altKey || event.ctrlKey || event.metaKey) return;
  const pressed = event.key.toUpperCase(), number = /^[1-9]$/.test(pressed) ? classes[pressed - 1] : undefined;
  const name = number ?? letters.get(pressed);
  if (pressed === "P") { event.preventDefault(); if (!event.repeat) pause(); }
  else if (name) { event.preventDefault(); if (!event.repeat) answer(name); }
});
addEventListener("storage", (event) => {
  if (event.key === KEY) notice("This page is open in another tab, too: close one of them, or one takes the place of the other.", "tabs");
});
document.addEventListener("visibilitychange", () => { if (document.hidden) pause(true); });

function renew(reader, attempt) {
  if (state.answers.length && !state.saved && !confirm("These answers have not been saved to a file and will be forgotten. Go on?")) return;
  state = turn(reader, attempt);
  keep();
  opening();
}

function opening() {
  show("start");
  say("");
  const going = state.answers.length > 0;
  $("begin").textContent = going ? `Go on with cell ${state.answers.length + 1}` : "Begin";
  $("afresh").hidden = $("another").hidden = !going;
  for (const id of ["untimed", "described"]) $(id).disabled = going;
  $("untimed").checked = state.seconds === null;
  $("described").checked = state.described;
  $("start-title").focus();
}

function begin() {
  document.title = `You against the model: ${count} cells`;
  $("count").textContent = count;
  $("seconds").textContent = `${facts.seconds} seconds`;
  $("about").textContent = facts.about;
  $("describes").hidden = !facts.described;
  classes.forEach((name, i) => {
    const keys = [...(i < 9 ? [String(i + 1)] : []), ...[...letters].filter(([, one]) => one === name).map(([letter]) => letter)];
    const button = make("button", { type: "button", value: name, "aria-keyshortcuts": keys.join(" ") }, make("kbd", {}, keys.join(" ")), name);
    button.onclick = () => { answer(name); $("play").focus(); };
    $("choices").append(button);
    $("keys").tBodies[0].append(make("tr", {}, make("th", { scope: "row" }, keys.join(" or ")), make("td", {}, name)));
  });
  $("keys").tBodies[0].append(make("tr", {}, make("th", { scope: "row" }, "P"), make("td", {}, "pause, and go on; the picture is hidden meanwhile")));
  $("begin").onclick = () => {
    if (!state.answers.length) { state.seconds = $("untimed").checked ? null : facts.seconds; state.described = $("described").checked; }
    play();
  };
  $("afresh").onclick = $("again").onclick = () => renew(state.reader, state.attempt + 1);
  $("another").onclick = $("next").onclick = () => renew(code(), 1);
  $("pause").onclick = () => { pause(); $("play").focus(); };
  $("stop").onclick = () => { halt(); veil(false); end(); };
  $("save").onclick = () => {
    state.saved = true;
    keep();
    download(`answers-${state.reader}${state.attempt > 1 ? `-${state.attempt}` : ""}.json`, JSON.stringify(saved()), "application/json");
  };
  $("print").onclick = () => print();
  resume();
  if (state.ended) finish(); else opening();
}

begin();
// For tests, and for whoever looks behind the page.
window.versus = { saved, result };
})();
