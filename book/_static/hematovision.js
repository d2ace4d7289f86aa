/* The pieces of the book that a reader can try: plain JavaScript, nothing fetched, nothing kept.

   A page holds for each piece a section with a heading, a table or pictures that say the same
   without a script, and the data as JSON. Each function below gets the section's new place, the
   data and the section. Whatever changes is also said in words, in a live region. */

(() => {
  "use strict";

  // ------------------------------------------------------------------ small parts

  const make = (namespace) => (tag, attributes = {}, ...children) => {
    const element = document.createElementNS(namespace, tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  };
  const html = make("http://www.w3.org/1999/xhtml");
  const svg = make("http://www.w3.org/2000/svg");

  const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
  const counted = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  const button = (text, onclick, attributes = {}) =>
    html("button", { type: "button", class: "hv-button", onclick, ...attributes }, text);
  const status = () => html("p", { class: "hv-says", role: "status" });
  const sum = (values) => values.reduce((total, value) => total + value, 0);

  let ids = 0;
  const newId = () => `hv-field-${++ids}`;

  /* A slider with its label and value; `show` turns the number into words. */
  function slider(place, label, { min, max, step, value, show = String }, onchange) {
    const id = newId();
    const input = html("input", { type: "range", id, min, max, step, value });
    const output = html("output", { for: id });
    const update = () => {
      output.textContent = show(Number(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => { update(); onchange(); });
    update();
    place.append(html("p", { class: "hv-field" }, html("label", { for: id }, label), input, output));
    return {
      get value() { return Number(input.value); },
      set value(number) { input.value = number; update(); },
    };
  }

  /* A group of radio buttons; `choices` maps values to words. */
  function choice(place, legend, choices, onchange) {
    const group = newId();
    const field = html("fieldset", { class: "hv-field" }, html("legend", {}, legend));
    Object.entries(choices).forEach(([value, words], at) => {
      const radio = { type: "radio", name: group, value, id: `${group}-${at}`, onchange };
      field.append(html("input", { ...radio, checked: at === 0 }));
      field.append(html("label", { for: radio.id }, words));
    });
    place.append(field);
    return { get value() { return field.querySelector(":checked").value; } };
  }

  /* A picture without a meaning of its own for those who cannot see it: the words say it all. */
  const picture = (width, height) =>
    svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "hv-picture", "aria-hidden": "true" });
  const text = (x, y, words, attributes = {}) => svg("text", { x, y, ...attributes }, words);

  /* Marks that differ in shape as well as in colour, centred at (x, y). */
  const marks = {
    full: (x, y, r) => svg("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r, class: "hv-a" }),
    open: (x, y, r) => svg("rect", {
      x: x - r + 0.8, y: y - r + 0.8, width: 2 * r - 1.6, height: 2 * r - 1.6, class: "hv-line",
    }),
    alarm: (x, y, r) => svg("path", { d: `M${x} ${y - r} l${r} ${2 * r} h${-2 * r} z`, class: "hv-b" }),
    cross: (x, y, r) => svg("path", {
      d: `M${x - r} ${y - r} l${2 * r} ${2 * r} m0 ${-2 * r} l${-2 * r} ${2 * r}`, class: "hv-cross",
    }),
    dot: (x, y, r) => svg("circle", { cx: x, cy: y, r: r / 3, class: "hv-c" }),
  };
  const legend = (entries) => html("ul", { class: "hv-legend", "aria-hidden": "true" },
    ...Object.entries(entries).map(([mark, words]) => {
      const shown = svg("svg", { viewBox: "0 0 14 14" });
      shown.append(marks[mark](7, 7, 5));
      return html("li", {}, shown, words);
    }));

  const shuffled = (values) => {
    const mixed = [...values];
    for (let last = mixed.length - 1; last > 0; last--) {
      const other = Math.floor(Math.random() * (last + 1));
      [mixed[last], mixed[other]] = [mixed[other], mixed[last]];
    }
    return mixed;
  };

  // ------------------------------------------------------------------ the pieces

  /* Name the cell: one picture at a time, against the model's verdicts on the same cells. */
  function quiz(place, { classes, cells }, section) {
    const sources = [...section.querySelectorAll(".hv-static img")];
    const shown = html("img", { width: 220, height: 220 });
    const asks = html("p", { id: newId() });
    const says = status();
    const answers = html("div", { class: "hv-row", role: "group", "aria-labelledby": asks.id });
    const next = button("Next cell", () => (at < cells.length ? ask() : start()));
    let at, mine, models, named;

    classes.forEach((name) => answers.append(button(name, () => answer(name), { "data-name": name })));
    place.append(shown, asks, answers, says, html("p", {}, next));

    function start() {
      at = mine = models = 0;
      named = [];
      ask();
      says.textContent = "";
    }
    function ask() {
      shown.src = sources[at].src;
      shown.alt = cells[at].alt;
      asks.textContent = `Cell ${at + 1} of ${cells.length}. Which is it?`;
      for (const one of answers.children) {
        one.textContent = one.dataset.name;
        one.disabled = false;
      }
      next.hidden = true;
      if (at || named.length) answers.firstChild.focus();
    }
    function answer(name) {
      const cell = cells[at++];
      mine += name === cell.label;
      models += cell.predicted === cell.label;
      named.push(name);
      for (const one of answers.children) {
        const its = one.dataset.name;
        if (its === cell.label) one.textContent = `✓ ${its}`;
        else if (its === name) one.textContent = `✗ ${its}`;
        one.disabled = true;
      }
      says.textContent =
        `${name === cell.label ? "Right" : "No"}: it was drawn as ${cell.drawn}. ` +
        `The model says ${cell.predicted} and is right about ${cell.right} of its ` +
        `${counted(cell.copies, "image")}. ` +
        `${at < cells.length ? "So far" : "At the end"} you have ${mine} of ${at}, ` +
        `the model ${models} of ${at}.`;
      next.textContent = at < cells.length ? "Next cell" : "Start again";
      next.hidden = false;
      next.focus();
    }
    start();
  }

  /* When to say nothing: both shares over the least confidence. */
  function threshold(place, { parts, chosen, target }) {
    const part = choice(place, "Images of the", { validation: "validation cells", test: "test cells" }, draw);
    const least = slider(place, "Answer only from a confidence of", {
      min: 0, max: 1, step: 0.01, value: Math.round(100 * chosen) / 100, show: (v) => v.toFixed(2),
    }, draw);
    const [chart, says] = [html("div"), status()];
    const reset = () => { least.value = chosen; draw(); };
    const words = `This run's own choice: ${chosen.toFixed(2)}`;
    place.append(html("p", {}, button(words, reset)), chart, says);

    const shares = (value) => {
      const { confidence, right } = parts[part.value];
      const answered = confidence.filter((c) => c >= value).length;
      return { all: right.length, answered, right: sum(right.slice(0, answered)) };
    };
    function draw() {
      const now = shares(least.value);
      const [left, top, width, height] = [46, 12, 300, 150];
      const x = (value) => left + width * value;
      const y = (share) => top + height * (1 - share);
      const drawn = picture(500, 215);
      for (const share of [0, 0.5, 1]) {
        drawn.append(svg("path", { d: `M${left} ${y(share)} h${width}`, class: "hv-grid" }));
        drawn.append(text(left - 6, y(share) + 5, percent(share), { "text-anchor": "end" }));
        drawn.append(text(x(share), top + height + 20, share, { "text-anchor": "middle" }));
      }
      drawn.append(text(x(0.5), top + height + 42, "least confidence", { "text-anchor": "middle" }));
      const steps = Array.from({ length: 101 }, (_, at) => at / 100);
      const line = (share) => "M" + steps.map((v) => [v, share(shares(v))])
        .filter(([, s]) => Number.isFinite(s)).map(([v, s]) => `${x(v)} ${y(s)}`).join(" L");
      drawn.append(svg("path", { d: line((s) => s.answered / s.all), class: "hv-line" }));
      drawn.append(svg("path", { d: line((s) => s.right / s.answered), class: "hv-line hv-dashed" }));
      drawn.append(svg("path", { d: `M${x(least.value)} ${top} v${height}`, class: "hv-now" }));
      drawn.append(svg("path", { d: `M${left + width + 14} 40 h26`, class: "hv-line" }));
      drawn.append(text(left + width + 46, 45, "answered"));
      drawn.append(svg("path", { d: `M${left + width + 14} 66 h26`, class: "hv-line hv-dashed" }));
      drawn.append(text(left + width + 46, 71, "of these right"));
      chart.replaceChildren(drawn);
      const silent = now.all - now.answered;
      says.textContent =
        `${counted(now.answered, "image")} of ${now.all} get an answer (${percent(now.answered / now.all)}), ` +
        (now.answered ? `and ${now.right} of the answers are right (${percent(now.right / now.answered, 1)}). ` : "") +
        `${counted(silent, "image")} ${silent === 1 ? "is" : "are"} left to a person. ` +
        `Asked for were ${percent(target)} right answers on the validation cells.`;
    }
    draw();
  }

  /* What a positive verdict is worth: a thousand cells, in whole numbers. */
  function prevalence(place, { sensitivity, specificity, shares }) {
    const show = (value) => `${value.toFixed(1).replace(".0", "")} %`;
    const common = { min: 50, max: 100, step: 0.5, show };
    const [first] = Object.values(shares);
    const found = slider(place, "Sensitivity: eosinophils that are found", { ...common, value: sensitivity }, draw);
    const cleared = slider(place, "Specificity: other cells that are cleared", { ...common, value: specificity }, draw);
    const share = slider(place, "Share of eosinophils among the cells", { min: 0.1, max: 50, step: 0.1, value: first, show }, draw);
    const row = html("p", { class: "hv-row" });
    for (const [name, value] of Object.entries(shares))
      row.append(button(`${name}: ${show(value)}`, () => { share.value = value; draw(); }));
    const key = { full: "found", open: "missed", alarm: "false alarm", dot: "cleared" };
    const [chart, says] = [html("div"), status()];
    place.append(row, chart, legend(key), says);

    function draw() {
      const p = share.value / 100;
      const parts = [
        p * found.value / 100, p * (1 - found.value / 100),
        (1 - p) * (1 - cleared.value / 100), (1 - p) * cleared.value / 100,
      ];
      const eosinophils = Math.round(1000 * p);
      const hits = Math.round(1000 * parts[0]);
      const alarms = Math.round(1000 * parts[2]);
      const counts = [hits, eosinophils - hits, alarms, 1000 - eosinophils - alarms];
      const drawn = picture(500, 200);
      let at = 0;
      Object.keys(key).forEach((mark, kind) => {
        for (let n = 0; n < counts[kind]; n++, at++)
          drawn.append(marks[mark](5 + 10 * (at % 50), 5 + 10 * Math.floor(at / 50), 4));
      });
      chart.replaceChildren(drawn);
      const positive = parts[0] + parts[2];
      const negative = parts[1] + parts[3];
      says.textContent =
        `Of 1,000 cells ${eosinophils} are eosinophils: ${counts[0]} are found, ${counts[1]} missed. ` +
        `Of the other ${1000 - eosinophils}, ${counts[2]} give a false alarm. ` +
        (positive ? `A positive verdict is right in ${percent(parts[0] / positive)} of the cases, ` : "There is no positive verdict, ") +
        (negative ? `a negative one in ${percent(parts[3] / negative, 1)}.` : "and no negative one.");
    }
    draw();
  }

  /* The bag: draw cells with replacement, score their images, and again. */
  function bag(place, { classes, cells }) {
    const k = classes.length;
    let scores = [];
    const size = slider(place, "Cells in a draw", {
      min: Math.min(3, cells.length), max: cells.length, step: 1, value: cells.length,
    }, () => { scores = []; show("Nothing drawn yet with this number of cells."); });
    const chart = html("div");
    const says = status();
    const kept = html("tbody");
    const table = html("table", { class: "table", hidden: true },
      html("caption", {}, "The middle 95 % of what you have drawn, from 100 draws on"),
      html("thead", {}, html("tr", {}, ...["cells in a draw", "draws", "from … to", "width"].map((word) =>
        html("th", { scope: "col" }, word)))), kept);
    place.append(html("p", { class: "hv-row" }, button("Draw once", () => draw(1)), button("Draw 200 times", () => draw(200))),
      chart, says, table);

    /* The mean over the classes in the draw of 2 right / (true + predicted), as the book has it. */
    function macroF1(counts) {
      const f1 = [];
      for (let j = 0; j < k; j++) {
        const truth = sum(counts.slice(j * k, j * k + k));
        const called = sum(classes.map((_, i) => counts[i * k + j]));
        if (truth) f1.push(2 * counts[j * k + j] / (truth + called));
      }
      return sum(f1) / f1.length;
    }
    function quantile(sorted, share) {
      const at = share * (sorted.length - 1);
      const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
      return low + (high - low) * (at - Math.floor(at));
    }
    function draw(times) {
      let different;
      for (let time = 0; time < times; time++) {
        const counts = new Array(k * k).fill(0);
        const seen = new Set();
        for (let n = 0; n < size.value; n++) {
          const one = Math.floor(Math.random() * cells.length);
          seen.add(one);
          cells[one].forEach((count, at) => { counts[at] += count; });
        }
        different = seen.size;
        scores.push(macroF1(counts));
      }
      const sorted = [...scores].sort((a, b) => a - b);
      const ends = [quantile(sorted, 0.025), quantile(sorted, 0.975)];
      const words = ends.map((end) => end.toFixed(2)).join(" to ");
      const width = (ends[1] - ends[0]).toFixed(2);
      show(`The last draw of ${size.value} cells held ${different} different ones: ` +
        `macro-F1 ${scores.at(-1).toFixed(2)}. ` +
        (scores.length > 1 ? `The middle 95 % of ${counted(scores.length, "draw")} lie from ${words}.` : ""), ends);
      if (scores.length >= 100) keep([size.value, scores.length, words, width]);
    }
    function keep(row) {
      const former = [...kept.children].find((tr) => tr.firstChild.textContent === String(row[0]));
      const fresh = html("tr", {}, html("th", { scope: "row" }, row[0]), ...row.slice(1).map((word) => html("td", {}, word)));
      if (former) former.replaceWith(fresh); else kept.append(fresh);
      table.hidden = false;
    }
    function show(words, ends) {
      const drawn = picture(500, 150);
      const x = (score) => 20 + 460 * score;
      drawn.append(svg("path", { d: "M20 112 h460", class: "hv-grid" }));
      for (const score of [0, 0.25, 0.5, 0.75, 1])
        drawn.append(text(x(score), 132, score, { "text-anchor": "middle" }));
      const bins = new Map();
      const tallest = scores.length > 60 ? 60 / scores.length * 3 : 3;
      for (const score of scores) {
        const bin = Math.round(80 * score);
        const high = bins.get(bin) || 0;
        bins.set(bin, high + 1);
        if (high * tallest < 80)
          drawn.append(svg("circle", { cx: x(bin / 80), cy: 107 - high * tallest, r: 2.6, class: "hv-c" }));
      }
      if (ends && scores.length > 1)
        drawn.append(svg("path", { d: `M${x(ends[0])} 12 v12 m0 -6 H${x(ends[1])} m0 -6 v12`, class: "hv-now" }));
      chart.replaceChildren(drawn);
      says.textContent = words;
    }
    show(`There are ${cells.length} test cells in the bag, each with all its images.`);
  }

  /* The leak: deal the copies by image or by cell, and count siblings on the other side. */
  function leak(place, { copies, share }) {
    const [rows, columns] = [8, 24];
    const by = choice(place, "Deal to training and test", { image: "image by image", cell: "cell by cell" }, deal);
    const most = slider(place, "Copies of a cell, at most", {
      min: 1, max: Math.max(...copies), step: 1, value: Math.min(10, Math.max(...copies)),
    }, deal);
    const chart = html("div");
    const says = status();
    const key = { open: "training", full: "test, no sibling in training", alarm: "test, a sibling in training" };
    place.append(html("p", {}, button("Deal again", deal)), chart, legend(key), says);

    function deal() {
      const cells = copies.map((n) => new Array(Math.min(n, most.value)).fill(false));
      if (by.value === "cell") {
        const tested = Math.max(1, Math.round(share * cells.length));
        shuffled(cells).slice(0, tested).forEach((cell) => cell.fill(true));
      } else {
        const images = cells.flatMap((cell) => cell.map((_, at) => [cell, at]));
        const tested = Math.max(1, Math.round(share * images.length));
        shuffled(images).slice(0, tested).forEach(([cell, at]) => { cell[at] = true; });
      }
      const all = sum(cells.map((cell) => cell.length));
      const tested = sum(cells.map((cell) => cell.filter(Boolean).length));
      const leaking = sum(cells.map((cell) => (cell.every(Boolean) ? 0 : cell.filter(Boolean).length)));
      const some = cells.slice(0, rows);
      const drawn = picture(500, 18 * some.length + 4);
      some.forEach((cell, row) => {
        drawn.append(text(0, 18 * row + 15, `cell ${row + 1}`));
        cell.slice(0, columns).forEach((test, at) => {
          const mark = test ? (cell.every(Boolean) ? "full" : "alarm") : "open";
          drawn.append(marks[mark](66 + 18 * at, 18 * row + 10, 6));
        });
      });
      chart.replaceChildren(drawn);
      says.textContent =
        `${counted(cells.length, "cell")}, ${counted(all, "image")}, of which the picture shows ` +
        `${counted(some.length, "cell")}. ${counted(tested, "image")} went to the test, and ` +
        `${leaking} of them (${percent(leaking / tested)}) have a sibling in training.`;
    }
    deal();
  }

  // ------------------------------------------------------------------ start

  const pieces = { quiz, threshold, prevalence, bag, leak };
  for (const section of document.querySelectorAll(".hv-piece")) {
    const data = section.querySelector('script[type="application/json"]');
    if (!data) continue;
    const place = html("div", { class: "hv-live" });
    section.append(place);
    pieces[section.dataset.piece](place, JSON.parse(data.textContent), section);
    section.classList.add("hv-on");
  }
})();
