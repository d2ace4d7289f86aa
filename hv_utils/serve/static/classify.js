/* The page that classifies: images come in, one after the other, and verdicts go onto the page.

   Opened from disk it judges in a Worker of its own: classic scripts alone, with `hvClassify.facts`
   there before this one runs; runtime, OpenCV and model, in `classify-*.js`, are loaded when the first
   image comes, and put themselves into `hvClassify`. Sent by `hv serve` it asks the service. */

(() => {
  "use strict";

  const place = document.querySelector(".hv-classify");
  const { facts } = self.hvClassify;
  const PICTURES = 100;  // cards with a picture; of more cells only the words are kept
  const ALARM = { least: 20, rare: 0.1, level: 1e-3 };  // as hv_utils.inference.familiarity
  const COVERAGES = [0.8, 0.9, 0.95, 0.99];

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
  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

  // ------------------------------------------------------------------ who judges

  /* A Worker of this browser. A back end has the `model` that it judges with; `judge` takes a few
     files and returns the rows of each. */
  function inBrowser(model) {
    let worker;
    const lost = (part) => new Error(`classify-${part}.js is not beside this page: copy the whole `
      + "folder, or make it again");
    const loaded = (part) => new Promise((done, failed) => {
      const there = () => {
        const data = self.hvClassify[part];
        delete self.hvClassify[part];  // two models with runtime and OpenCV are much to keep
        return data ? done(data) : failed(lost(part));
      };
      document.head.append(make("script", {
        src: `${place.dataset.folder}classify-${part}.js`, onload: there, onerror: () => failed(lost(part)),
      }));
    });
    /* Send a message to the Worker and return its answer. */
    const ask = (message) => new Promise((done, failed) => {
      worker.onmessage = ({ data }) => (data.failure ? failed(new Error(data.failure)) : done(data));
      worker.onerror = (event) => failed(new Error(event.message || "the Worker does not start"));
      worker.postMessage(message);
    });
    async function start() {
      says.textContent = `Loading the model, ${model.megabytes} MB from beside this page …`;
      const message = { facts: model };
      await Promise.all(model.parts.map(async (part) => {
        message[part.split("-")[0]] = await loaded(part);
      }));
      const text = `(${self.hvClassifyWorker})(${self.hvClassifyFinder})`;
      worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
      await ask(message);
    }
    return {
      model, most: 1, coverage: facts.coverage,
      async judge([file]) {
        if (!worker) await start();
        return [(await ask({ file })).rows];
      },
      end() {
        worker?.terminate();
        worker = null;
      },
    };
  }

  /* The service that has sent this page. */
  function byService() {
    const key = make("input", { type: "password", id: "hv-token", autocomplete: "off" });
    const send = make("button", { type: "button" }, "Send again");
    const door = make("p", { class: "hv-token", hidden: true },
      make("label", { for: "hv-token" }, "Token of the service "), key, " ", send);
    async function ask(files) {
      const form = new FormData();
      for (const file of files) form.append("files", file, file.name);
      const headers = key.value ? { Authorization: `Bearer ${key.value}` } : {};
      try {
        return await fetch("look", { method: "POST", body: form, headers });
      } catch {
        throw new Error("the service does not answer: is it still running?");
      }
    }
    /* Wait until somebody has typed a token. */
    async function unlock(why) {
      door.hidden = false;
      says.textContent = why;
      key.focus();
      await new Promise((done) => {
        send.onclick = done;
        key.onkeydown = (event) => { if (event.key === "Enter") done(); };
      });
      says.textContent = "Sending again …";
    }
    const back = {
      model: null, door, most: 8,
      async judge(files) {
        for (;;) {
          const answer = await ask(files);
          if (answer.status === 503) {
            says.textContent = "The service is busy; the images are sent again in a moment.";
            await pause(Number(answer.headers.get("Retry-After")) || 2);
            continue;
          }
          const told = await answer.json();
          if (answer.status === 401) {
            await unlock(told.error);
            continue;
          }
          door.hidden = true;
          if (!answer.ok && files.length === 1) return [[{ status: "unreadable", reason: told.error }]];
          if (!answer.ok) {  // one of them may be to blame
            const each = [];
            for (const file of files) each.push(...await back.judge([file]));
            return each;
          }
          back.model = told.model;
          back.coverage = told.model.coverage;
          return byFile(told.rows.map(taken));
        }
      },
      end() {},
    };
    const taken = (row) => ({
      ...Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null)),
      ...(row.view ? seen(row) : {}),
    });
    const seen = (row) => {
      const probabilities = back.model.classes.map((name) => row[`prob_${name}`]), { heat_map: heat } = row;
      const [height, width] = back.model.size;
      return {
        probabilities, best: probabilities.indexOf(Math.max(...probabilities)),
        members: row.set === undefined ? null : back.model.classes.map((name) => row.set.split("|").includes(name)),
        pixels: bytesOf(row.view), width, height,
        heat: { rows: heat.length, columns: heat[0].length, values: heat.flat() },
      };
    };
    /* Rows come in the order sent; a further cell of the same image has a number above 1. */
    const byFile = (all) => all.reduce((files, row) => {
      if (row.cell > 1) files.at(-1).push(row);
      else files.push([row]);
      return files;
    }, []);
    return back;
  }

  // ------------------------------------------------------------------ the parts of the page

  const lacking = facts.lacking || [], models = facts.models || [];
  const ways = { standard: "find the white cells in each image", resized: "take each image as one cell" };
  let back = facts.service ? byService() : inBrowser(models.find(({ able }) => able) || models[0]);

  const input = make("input", {
    type: "file", id: "hv-files", multiple: true, accept: facts.service ? "image/*,.tif,.tiff,.jp2" : "image/*",
    onchange: () => { add([...input.files]); input.value = ""; },
  });
  const choice = make("fieldset", { class: "hv-models" }, make("legend", {}, "Model"));
  for (const model of models) {
    const one = make("input", {
      type: "radio", name: "hv-model", value: model.key, checked: model === back.model,
      disabled: !model.able, onchange: () => choose(model),
    });
    const kinds = `${counted(model.classes.length, "kind")}`;
    choice.append(make("label", {}, one, ` ${ways[model.view]} `,
      make("small", {}, `${model.name}, ${kinds}${model.able ? "" : ": lacks OpenCV.js"}`)));
  }
  const says = make("p", { role: "status", class: "hv-classify-says" });
  const heat = make("input", {
    type: "checkbox", id: "hv-heat", checked: true,
    onchange: () => place.classList.toggle("hv-no-heat", !heat.checked),
  });
  const coverage = make("select", { id: "hv-coverage", onchange: showSets },
    ...COVERAGES.map((value) => make("option", { value, selected: value === facts.coverage }, `${100 * value} % of cells`)));
  const save = make("button", { type: "button", onclick: saveTable }, "Save the table");
  const clear = make("button", { type: "button", onclick: removeAll }, "Remove all");
  const tools = make("p", { class: "hv-classify-tools", hidden: true },
    make("label", {}, heat, " Heat maps"),
    ...(facts.service ? [] : [make("label", {}, "Sets hold the class in ", coverage)]), save, clear);
  const tally = make("p", { class: "hv-classify-tally" });
  const list = make("ol", { class: "hv-verdicts", "aria-label": "Verdicts" });
  const stays = facts.service ? "or drop them here, or paste one." : "or drop them here, or paste one. They stay on this computer.";
  const drop = make("div", { class: "hv-drop" },
    make("label", { for: "hv-files" }, "Choose images of cells"), input, make("p", {}, stays));
  place.append(...(models.length > 1 ? [choice] : []), drop, ...(back.door ? [back.door] : []), says, tools, tally, list);
  place.classList.add("hv-on");

  const tooOld = !facts.service && !(self.DecompressionStream && self.VideoFrame && self.Worker);
  if (tooOld) {
    input.disabled = true;
    says.textContent = "This browser is too old for this page: update it, or use hv predict.";
  } else if (lacking.length) {
    const note = place.querySelector(".hv-lacking");
    note.querySelector("span").textContent = lacking.join(" and ");
    note.hidden = false;
    if (!models.some(({ able }) => able)) drop.hidden = choice.hidden = input.disabled = true;
  }

  // ------------------------------------------------------------------ images come in

  // For the tests: what is on the page, in full precision.
  self.hvClassify.rows = () => rows.map((row) => ({ ...row, members: membersOf(row) }));

  let rows = [], queue = [], total = 0, looked = 0, busy = false, turn = 0;

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

  async function work() {
    busy = choice.disabled = true;
    try {
      while (queue.length) {
        says.textContent = `Looking at image ${looked + 1} of ${total} …`;
        const now = turn, judge = back, files = queue.slice(0, back.most);
        const found = await judge.judge(files);
        if (now !== turn) continue;  // removed meanwhile, or another model
        queue = queue.slice(files.length);
        looked += files.length;
        files.forEach((file, at) => {
          if (found[at].length > 1 && rows.length < PICTURES) list.append(field(file, found[at]));
          found[at].forEach((row) => show({ ...row, path: file.name }));
        });
      }
      sum();
      says.textContent = rows.length ? `Done: ${counted(looked, "image")}.` : "";
    } catch (error) {
      back.end();
      queue = [];
      total = looked;
      sum();
      says.textContent = `No further verdicts: ${error.message}`.replace(/[.?]?$/, (end) => end || ".")
        + " Reload the page and try again.";
      input.disabled = true;
    }
    busy = choice.disabled = false;
  }

  function choose(model) {
    removeAll();
    back.end();
    back = inBrowser(model);
    back.coverage = Number(coverage.value);
    choice.querySelector(":checked").focus();
  }

  function removeAll() {
    [rows, queue, total, looked] = [[], [], 0, 0];
    turn += 1;
    list.replaceChildren();
    tally.textContent = says.textContent = "";
    tools.hidden = true;
    input.focus();
  }

  // ------------------------------------------------------------------ verdicts go out

  const classes = () => back.model?.classes ?? [];
  const named = (row) => (row.best === undefined || row.status === "not_a_cell" ? "" : classes()[row.best]);
  /* Which classes cannot be excluded, as inference.sets; a service has said so, with its coverage. */
  const membersOf = (row) => row.members ?? row.shares?.map((share, k) =>
    k === row.best || share > 1 - back.coverage + 1e-12);
  const setOf = (row) => classes().filter((_, k) => named(row) && membersOf(row)?.[k]);
  const meaning = {
    ok: () => "",
    unsure: (row) => (row.reason ? "" : ` no class reaches ${back.model.unsureBelow.toFixed(2)}`),
    not_a_cell: (row) => (row.reason ? "" : " unlike a single white cell"),
    unreadable: () => " no verdict",
  };
  const lines = new WeakMap();  // of each row what names its set

  function show(row) {
    rows.push(row);
    list.append(card(row, rows.length <= PICTURES));
    delete row.pixels;
  }

  /* An image of several cells, with their numbers. */
  function field(file, cells) {
    const image = make("img", { src: URL.createObjectURL(file), alt: `${file.name}: ${counted(cells.length, "cell")}` });
    const frame = make("div", { class: "hv-field-of" }, image), item = make("li", { class: "hv-field" }, frame);
    image.onload = () => {
      URL.revokeObjectURL(image.src);
      for (const { cell, x, y } of cells) {
        const [left, top] = [x / image.naturalWidth, y / image.naturalHeight].map((share) => `${100 * share}%`);
        frame.append(make("span", { style: `left: ${left}; top: ${top}`, "aria-hidden": "true" }, cell));
      }
    };
    image.onerror = () => {  // a service reads more than a browser shows
      URL.revokeObjectURL(image.src);
      item.remove();
    };
    return item;
  }

  function card(row, withPicture) {
    const verdict = named(row), at = row.cell ? `, cell ${row.cell} at ${row.x}, ${row.y}` : "";
    const told = make("div", { class: "hv-told" },
      make("p", { class: "hv-name" }, row.path + at),
      make("p", { class: "hv-verdict" },
        ...(verdict ? [make("strong", {}, verdict), ` ${percent(row.probabilities[row.best])} `] : []),
        make("span", { class: `hv-status hv-${row.status}` }, row.status.replaceAll("_", " ")),
        meaning[row.status](row)));
    if (row.drafted) {
      told.append(make("p", { class: "hv-reason" }, "A large JPEG: hv predict shrinks it while it "
        + "decodes, so its figures differ a little from these."));
    }
    if (row.reason) told.append(make("p", { class: "hv-reason" }, row.reason));
    if (row.why) told.append(make("p", { class: "hv-why" }, `${row.why}.`));
    if (row.probabilities) told.append(bars(row));
    if (setOf(row).length) {
      lines.set(row, make("p"));
      told.append(lines.get(row));
      showSet(row);
    }
    return make("li", {}, ...(withPicture && row.pixels ? [picture(row)] : []), told);
  }

  function showSet(row) {
    const members = setOf(row), all = members.length === classes().length;
    lines.get(row).textContent = `Cannot be excluded at ${Math.round(100 * back.coverage)} %: `
      + `${all ? "any of the classes" : members.join(", ")}.`;
  }

  function showSets() {
    back.coverage = Number(coverage.value);
    rows.filter((row) => lines.has(row)).forEach(showSet);
  }

  function bars(row) {
    const body = make("tbody");
    classes().forEach((name, k) => {
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
    const [height, width] = back.model.size;
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
    const about = `${row.path}; the heat map shows what spoke for ${classes()[row.best]}`;
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
    const parts = classes().map((name) => [name, of((row) => row.status === "ok" && named(row) === name)]);
    parts.push(...Object.keys(meaning).slice(1).map((status) =>
      [status.replaceAll("_", " "), of((row) => row.status === status)]));
    const words = parts.filter(([, n]) => n).map(([name, n]) => `${n} ${name}`).join(", ");
    const what = back.model?.view === "standard" ? counted(rows.length, "row") : counted(rows.length, "image");
    tally.textContent = rows.length > 1 ? `${what}: ${words}. ${alarm()}` : "";
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
    const model = back.model ?? { classes: [] };
    const columns = {
      path: (row) => row.path, predicted: named, confidence: (row) => row.probabilities?.[row.best],
      status: (row) => row.status,
    };
    model.classes.forEach((name, k) => { columns[`prob_${name}`] = (row) => row.probabilities?.[k]; });
    if (model.view === "standard") for (const name of ["cell", "x", "y"]) columns[name] = (row) => row[name];
    if (model.sets) columns.set = (row) => setOf(row).join("|");
    if (model.looks) columns.why = (row) => row.why;
    const lines = rows.map((row) => Object.values(columns).map((value) => value(row) ?? ""));
    const text = [Object.keys(columns), ...lines].map((line) => line.map(String).map(quoted).join(",")).join("\n");
    const href = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" }));
    make("a", { href, download: "verdicts.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60000);
  }
})();
