/* The page that classifies: images come in, one after the other, and verdicts go onto the page.

   Classic scripts alone, so that it works opened from disk. `hvClassify.facts` is there before this
   script runs; the runtime and the model, in `classify-runtime.js` and `classify-model.js`, are
   loaded when the first image comes, and put themselves into `hvClassify`. */

(() => {
  "use strict";

  const place = document.querySelector(".hv-classify");
  const { facts } = self.hvClassify;
  const PICTURES = 100;  // cards with a picture; of more images only the words are kept
  const ALARM = { least: 20, rare: 0.1, level: 1e-3 };  // as hv_utils.inference.familiarity
  const STATUSES = {
    ok: "likely enough to be told",
    unsure: `no class reaches ${facts.unsureBelow.toFixed(2)}`,
    not_a_cell: "unlike a single white cell",
    unreadable: "no verdict",
  };

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  };
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const counted = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

  // ------------------------------------------------------------------ the parts of the page

  const input = make("input", {
    type: "file", id: "hv-files", multiple: true, accept: "image/*", disabled: !facts.runtime,
    onchange: () => { add([...input.files]); input.value = ""; },
  });
  const says = make("p", { role: "status", class: "hv-classify-says" });
  const heat = make("input", {
    type: "checkbox", id: "hv-heat", checked: true,
    onchange: () => place.classList.toggle("hv-no-heat", !heat.checked),
  });
  const save = make("button", { type: "button", onclick: saveTable }, "Save the table");
  const clear = make("button", { type: "button", onclick: removeAll }, "Remove all");
  const tools = make("p", { class: "hv-classify-tools", hidden: true },
    make("label", {}, heat, " Heat maps"), save, clear);
  const tally = make("p", { class: "hv-classify-tally" });
  const list = make("ol", { class: "hv-verdicts", "aria-label": "Verdicts" });
  const drop = make("div", { class: "hv-drop" },
    make("label", { for: "hv-files" }, "Choose images of one cell each"), input,
    make("p", {}, "or drop them here, or paste one. They stay on this computer."));
  place.append(drop, says, tools, tally, list);
  place.classList.add("hv-on");

  const lacking = !self.DecompressionStream || !self.VideoFrame || !self.Worker;
  if (lacking) {
    input.disabled = true;
    says.textContent = "This browser is too old for this page: update it, or use hv predict.";
  } else if (!facts.runtime) {
    drop.hidden = true;
    place.querySelector(".hv-lacking").hidden = false;
  }

  // ------------------------------------------------------------------ images come in

  // For the tests: what is on the page, in full precision.
  self.hvClassify.rows = () => rows;

  let worker, rows = [], queue = [], total = 0, busy = false, turn = 0;

  function add(files) {
    if (!files.length || input.disabled) return;
    queue.push(...files);
    total += files.length;
    tools.hidden = false;
    if (!busy) work();
  }

  addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    place.classList.add("hv-over");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) place.classList.remove("hv-over");
  });
  addEventListener("drop", (event) => {  // beside the place, too, or the browser leaves the page
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    place.classList.remove("hv-over");
    add([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => add([...event.clipboardData.files]));

  const loaded = (part) => new Promise((done, failed) => {
    const there = () => (self.hvClassify[part] ? done(self.hvClassify[part]) : failed(lost(part)));
    document.head.append(make("script", {
      src: `${place.dataset.folder}classify-${part}.js`, onload: there, onerror: () => failed(lost(part)),
    }));
  });
  const lost = (part) => new Error(`classify-${part}.js is not beside this page: copy the whole `
    + "folder, or make it again");

  /* Send a message to the Worker and return its answer. */
  const ask = (message) => new Promise((done, failed) => {
    worker.onmessage = ({ data }) => (data.failure ? failed(new Error(data.failure)) : done(data));
    worker.onerror = (event) => failed(new Error(event.message || "the Worker does not start"));
    worker.postMessage(message);
  });

  async function start() {
    says.textContent = `Loading the model, ${facts.megabytes} MB from beside this page …`;
    const [runtime, model] = await Promise.all([loaded("runtime"), loaded("model")]);
    const text = `(${self.hvClassifyWorker})()`;
    worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    await ask({ facts, runtime, model });
    delete self.hvClassify.runtime;
    delete self.hvClassify.model;
  }

  async function work() {
    busy = true;
    try {
      if (!worker) await start();
      while (queue.length) {
        says.textContent = `Looking at image ${total - queue.length + 1} of ${total} …`;
        const file = queue.shift(), now = turn, { row } = await ask({ file });
        if (now === turn) show({ path: file.name, ...row });  // else removed meanwhile
      }
      sum();
      says.textContent = rows.length ? `Done: ${counted(rows.length, "image")}.` : "";
    } catch (error) {
      worker?.terminate();
      worker = null;
      queue = [];
      total = rows.length;
      sum();
      says.textContent = `No further verdicts: ${error.message}. Reload the page and try again.`;
      input.disabled = true;
    }
    busy = false;
  }

  function removeAll() {
    [rows, queue, total] = [[], [], 0];
    turn += 1;
    list.replaceChildren();
    tally.textContent = says.textContent = "";
    tools.hidden = true;
    input.focus();
  }

  // ------------------------------------------------------------------ verdicts go out

  const named = (row) => (row.best === undefined || row.status === "not_a_cell" ? "" : facts.classes[row.best]);
  const setOf = (row) => facts.classes.filter((_, k) => named(row) && row.members?.[k]);

  function show(row) {
    rows.push(row);
    list.append(card(row, rows.length <= PICTURES));
    delete row.pixels;
  }

  function card(row, withPicture) {
    const verdict = named(row);
    const told = make("div", { class: "hv-told" },
      make("p", { class: "hv-name" }, row.path),
      make("p", { class: "hv-verdict" },
        ...(verdict ? [make("strong", {}, verdict), ` ${percent(row.probabilities[row.best])} `] : []),
        make("span", { class: `hv-status hv-${row.status}` }, row.status.replaceAll("_", " ")),
        row.status === "ok" ? "" : ` ${STATUSES[row.status]}`));
    if (row.drafted) {
      told.append(make("p", { class: "hv-reason" }, "A large JPEG: hv predict shrinks it while it "
        + "decodes, so its figures differ a little from these."));
    }
    if (row.reason) told.append(make("p", { class: "hv-reason" }, row.reason));
    if (row.probabilities) told.append(bars(row));
    const members = setOf(row);
    if (members.length) {
      const all = members.length === facts.classes.length;
      told.append(make("p", {}, `Cannot be excluded at ${Math.round(100 * facts.coverage)} %: `
        + `${all ? "any of the classes" : members.join(", ")}.`));
    }
    return make("li", {}, ...(withPicture && row.pixels ? [picture(row)] : []), told);
  }

  function bars(row) {
    const body = make("tbody");
    facts.classes.forEach((name, k) => {
      const p = row.probabilities[k];
      body.append(make("tr", {}, make("th", { scope: "row" }, name),
        make("td", { class: "hv-bar", "aria-hidden": "true" },
          make("span", { style: `width: ${100 * p}%` })),
        make("td", {}, p.toFixed(3))));
    });
    return make("table", { class: "hv-bars", "aria-label": `Probabilities of ${row.path}` }, body);
  }

  /* What the model was shown, in the image's own proportions, and over it its heat map. */
  function picture(row) {
    const [height, width] = facts.size;
    const canvas = (image, kind) => {
      const element = make("canvas", {
        width, height, class: kind, style: `aspect-ratio: ${row.width} / ${row.height}`,
      });
      element.getContext("2d").putImageData(image, 0, 0);
      return element;
    };
    const shown = new ImageData(width, height);
    shown.data.forEach((_, at) => {
      shown.data[at] = at % 4 === 3 ? 255 : row.pixels[3 * Math.floor(at / 4) + at % 4];
    });
    const about = `${row.path}; the heat map shows what spoke for ${facts.classes[row.best]}`;
    return make("div", { class: "hv-picture-of", role: "img", "aria-label": about },
      canvas(shown, "hv-image"), canvas(coloured(row.heat, width, height), "hv-heat"));
  }

  /* A heat map enlarged, stretched to 0…1 and coloured, as hv_utils.images.heat_maps.overlay. */
  const ALPHA = 0.6;
  function coloured({ rows: high, columns: wide, values }, width, height) {
    const large = new Float32Array(width * height), clamp = (at, n) => Math.max(0, Math.min(n - 1, at));
    const between = (at, from, to) => {
      const middle = (at + 0.5) * from / to - 0.5, low = Math.floor(middle);
      return [clamp(low, from), clamp(low + 1, from), middle - low];
    };
    for (let y = 0; y < height; y += 1) {
      const [top, bottom, down] = between(y, high, height);
      for (let x = 0; x < width; x += 1) {
        const [left, right, across] = between(x, wide, width);
        const row = (at) => values[at * wide + left] * (1 - across) + values[at * wide + right] * across;
        large[y * width + x] = row(top) * (1 - down) + row(bottom) * down;
      }
    }
    const low = large.reduce((a, b) => Math.min(a, b)), span = large.reduce((a, b) => Math.max(a, b)) - low;
    const image = new ImageData(width, height);
    large.forEach((value, at) => {
      const hot = span > 0 ? (value - low) / span : 0, step = Math.min(255, Math.floor(256 * hot));
      for (let k = 0; k < 3; k += 1) {
        image.data[4 * at + k] = parseInt(facts.colours.slice(6 * step + 2 * k, 6 * step + 2 * k + 2), 16);
      }
      image.data[4 * at + 3] = 255 * ALPHA * hot;
    });
    return image;
  }

  function sum() {
    const of = (wanted) => rows.filter(wanted).length;
    const parts = facts.classes.map((name) => [name, of((row) => row.status === "ok" && named(row) === name)]);
    parts.push(...Object.keys(STATUSES).slice(1).map((status) =>
      [status.replaceAll("_", " "), of((row) => row.status === status)]));
    const words = parts.filter(([, n]) => n).map(([name, n]) => `${n} ${name}`).join(", ");
    tally.textContent = rows.length > 1 ? `${counted(rows.length, "image")}: ${words}. ${alarm()}` : "";
  }

  /* Too many strange cells to be chance, by an exact binomial test, as inference.familiarity. */
  function alarm() {
    const known = rows.filter((row) => row.familiarity !== undefined), n = known.length;
    const strange = known.filter((row) => row.familiarity <= ALARM.rare).length;
    if (n < ALARM.least) return "";
    let logarithm = n * Math.log(1 - ALARM.rare), tail = 0;
    for (let k = 0; k <= n; k += 1) {
      if (k >= strange) tail += Math.exp(logarithm);
      logarithm += Math.log((n - k) / (k + 1) * ALARM.rare / (1 - ALARM.rare));
    }
    return tail >= ALARM.level ? "" : `${strange} of ${n} are stranger than nine in ten of the cells `
      + "that the model was calibrated on: another laboratory, stain or camera. Probabilities and sets "
      + "may not hold here; use hv predict, and hv adapt.";
  }

  function saveTable() {
    const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const head = ["path", "predicted", "confidence", "status", ...facts.classes.map((name) => `prob_${name}`)];
    const lines = rows.map((row) => [row.path, named(row), row.probabilities?.[row.best] ?? "", row.status,
      ...facts.classes.map((_, k) => row.probabilities?.[k] ?? ""), setOf(row).join("|")]);
    const text = [[...head, "set"], ...lines].map((line) => line.map(String).map(quoted).join(",")).join("\n");
    const href = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" }));
    make("a", { href, download: "verdicts.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60000);
  }
})();
