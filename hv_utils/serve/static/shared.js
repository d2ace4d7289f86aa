"use strict";
// What the pages share that hold everything: elements, words said aloud, files, exact limits, kappa.
const hvPage = (() => {
const $ = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Make an element: properties first, then what is in it. Text is text, never markup. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function table(caption, head, rows) {
  const cell = (value) => make("td", { className: typeof value === "object" ? "" : "number" }, value);
  return make("table", {}, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...head.map((name, i) => make("th", { scope: "col", className: i ? "number" : "" }, name)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, make("th", { scope: "row" }, row[0]),
      ...row.slice(1).map(cell)))));
}

function say(words) { $("said").textContent = words; }

function notice(words, id = words) {
  if (document.querySelector(`[data-notice="${CSS.escape(id)}"]`)) return;
  const close = make("button", { type: "button" }, "Close");
  const box = make("div", { className: "notice", role: "alert", "data-notice": id }, words, close);
  close.onclick = () => box.remove();
  $("notices").append(box);
}

/** Have the browser save a file. */
function download(name, text, type) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  say(`Saved: ${name}`);
}

const stored = (name) => { try { return localStorage.getItem(name); } catch { return null; } };

// ------------------------------------------------------------------ exact limits and agreement

const GAMMA = [76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155,
  0.1208650973866179e-2, -0.5395239384953e-5];

function logGamma(x) {
  const base = x + 5.5;
  const series = GAMMA.reduce((sum, part, i) => sum + part / (x + 1 + i), 1.000000000190015);
  return (x + 0.5) * Math.log(base) - base + Math.log(2.5066282746310005 * series / x);
}

/** The regularised incomplete beta function, by its continued fraction (Lentz). */
function beta(x, a, b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - beta(1 - x, b, a);
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
  let c = 1, d = 1 / Math.max(1e-300, 1 - (a + b) * x / (a + 1)), value = d;
  for (let m = 1; m < 500; m += 1) {
    for (const step of [m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
      -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))]) {
      d = 1 / (1 + step * d);
      c = 1 + step / c;
      value *= d * c;
    }
    if (Math.abs(d * c - 1) < 1e-14) break;
  }
  return front * value;
}

function betaQuantile(share, a, b) {
  let low = 0, high = 1;
  for (let i = 0; i < 60; i += 1) {
    const middle = (low + high) / 2;
    if (beta(middle, a, b) < share) low = middle; else high = middle;
  }
  return (low + high) / 2;
}

const limitsKnown = new Map();
/** The exact 95 % limits of k among n (Clopper and Pearson). */
function limits(k, n) {
  const name = `${k}/${n}`;
  if (!limitsKnown.has(name)) {
    limitsKnown.set(name, [k ? betaQuantile(0.025, k, n - k + 1) : 0, k < n ? betaQuantile(0.975, k + 1, n - k) : 1]);
  }
  return limitsKnown.get(name);
}

/** Cohen's kappa of two lists of labels; null where chance alone would agree always. */
function kappa(first, second) {
  const n = first.length, names = new Set([...first, ...second]);
  const share = (labels, name) => labels.filter((label) => label === name).length / n;
  const agreed = first.filter((label, i) => label === second[i]).length;
  let chance = 0;
  for (const name of names) chance += share(first, name) * share(second, name);
  return { n, agreed, kappa: chance < 1 ? (agreed / n - chance) / (1 - chance) : null };
}

return { $, percent, make, table, say, notice, download, stored, limits, kappa };
})();
