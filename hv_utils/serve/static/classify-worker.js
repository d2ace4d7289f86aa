/* Judges images as `hv predict` does. The page makes a Worker of this function's text and that of
   `classify-finder.js`, since from disk a browser opens no other kind; nothing is fetched, nothing kept.

   Every step has its twin in Python: reading (hv_utils.images.reading), resizing (Pillow's bilinear
   filter, to the bit), preparation, probabilities, status, sets, words and heat maps
   (hv_utils.inference). */

self.hvClassifyWorker = (makeFinder) => {
  "use strict";

  const MIN_SIDE = 16, MAX_SIDE = 10000, MOST_BYTES = 1 << 29;
  const EMPTY_ALPHA = 1;  // of 255: what an unused channel holds
  const DRAFT_FROM = 4;  // times the network's side: Python decodes such a JPEG to half its size

  /* A file that gets no verdict; the message is one line, like those of `hv predict`. */
  class Unreadable extends Error {}

  // ------------------------------------------------------------------ what a file is

  const ascii = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
  const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

  const cut = (name, why) => new Unreadable(
    `expected a whole image, but ${name} breaks off or is damaged (${why}): copy or export it again`);

  const kindOf = (bytes) => {
    const head = ascii(bytes, 0, Math.min(12, bytes.length));
    if (head.startsWith("\xff\xd8\xff")) return "JPEG";
    if (head.startsWith("\x89PNG\r\n\x1a\n")) return "PNG";
    if (head.startsWith("GIF8")) return "GIF";
    if (head.startsWith("BM")) return "BMP";
    if (head.startsWith("RIFF") && head.endsWith("WEBP")) return "WebP";
    if (/^(II[*+]\0|MM\0[*+])/.test(head)) return "TIFF";
    if (/^(\0\0\0\x0cjP|\xff\x4f\xff\x51)/.test(head)) return "JPEG 2000";
    if (head.slice(4, 8) === "ftyp") return /avi[fs]/.test(head.slice(8)) ? "AVIF" : "HEIF";
    if (/^P[1-6]\s/.test(head)) return "PNM";
    if (head.startsWith("8BPS")) return "PSD";
    if (ascii(bytes, 128, 4) === "DICM") return "DICOM";
    return "";
  };
  const FOR_PREDICT = ["TIFF", "JPEG 2000", "AVIF", "PNM", "PSD"];  // Pillow reads them

  /* Browsers show what there is of a file that was cut, Firefox without an error: each format is
     therefore followed to its end. Each function returns the width and height that the file claims,
     and what else decides whether a browser's pixels are those of Pillow. */
  const READERS = {
    JPEG(bytes, name) {
      const found = {};
      let at = 2;
      while (at + 1 < bytes.length) {
        const marker = bytes[at + 1];
        if (bytes[at] !== 0xff) throw cut(name, "no marker where one must be");
        if (marker === 0xd9) return found;
        if (marker === 0xff) at += 1;
        else if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd7)) at += 2;
        else {
          if (at + 10 > bytes.length) break;
          if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
            found.height = view(bytes).getUint16(at + 5);
            found.width = view(bytes).getUint16(at + 7);
            found.channels = bytes[at + 9];
          }
          if (marker === 0xe1 && ascii(bytes, at + 4, 4) === "Exif") {
            found.turn = takeOrientation(bytes.subarray(at + 4, at + 2 + view(bytes).getUint16(at + 2)));
          }
          at += 2 + view(bytes).getUint16(at + 2);
          if (marker === 0xda) at = endOfScan(bytes, at);
        }
      }
      throw cut(name, "the end marker is missing");
    },
    PNG(bytes, name) {
      const data = view(bytes), found = {};
      for (let at = 8; at + 12 <= bytes.length;) {
        const length = data.getUint32(at), type = ascii(bytes, at + 4, 4);
        if (at + 12 + length > bytes.length) break;
        if (crc(bytes, at + 4, at + 8 + length) !== data.getUint32(at + 8 + length)) {
          throw cut(name, `the checksum of a part ${type} is wrong`);
        }
        if (type === "IHDR") {
          [found.width, found.height] = [data.getUint32(at + 8), data.getUint32(at + 12)];
          found.deep = bytes[at + 16] > 8;
        }
        if (type === "eXIf") found.turn = takeOrientation(bytes.subarray(at + 8, at + 8 + length));
        if (type === "IEND") return found;
        at += 12 + length;
      }
      throw cut(name, "the end is missing");
    },
    GIF(bytes, name) {
      if (bytes.at(-1) !== 0x3b) throw cut(name, "the end marker is missing");
      return { width: view(bytes).getUint16(6, true), height: view(bytes).getUint16(8, true) };
    },
    BMP(bytes, name) {
      if (bytes.length < 54) throw cut(name, "the header is cut");
      const data = view(bytes), bits = data.getUint16(28, true);
      const width = data.getInt32(18, true), height = Math.abs(data.getInt32(22, true));
      if (data.getUint32(14, true) < 40 || data.getUint32(30, true) || ![1, 4, 8, 24].includes(bits)) {
        throw new Unreadable(`expected a plain bitmap of 24 bits or fewer, but ${name} is of a rarer `
          + "kind: save it as PNG, or use hv predict");
      }
      const rows = 4 * Math.ceil(width * bits / 32) * height;
      if (data.getUint32(10, true) + rows > bytes.length) throw cut(name, "pixels are missing");
      return { width, height };
    },
    WebP(bytes, name) {
      const data = view(bytes);
      if (bytes.length < 30 || data.getUint32(4, true) + 8 > bytes.length) throw cut(name, "it is cut");
      const first = ascii(bytes, 12, 4), three = (at) => 1 + data.getUint16(at, true) + 65536 * bytes[at + 2];
      if (first === "VP8 ") {
        const sides = [26, 28].map((at) => data.getUint16(at, true) & 0x3fff);
        return { width: sides[0], height: sides[1] };
      }
      if (first === "VP8L") {
        const bits = data.getUint32(21, true);
        return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >> 14) & 0x3fff) };
      }
      const found = { width: three(24), height: three(27) };
      for (let at = 12; at + 8 <= bytes.length;) {
        const length = data.getUint32(at + 4, true);
        if (ascii(bytes, at, 4) === "EXIF") {
          found.turn = takeOrientation(bytes.subarray(at + 8, at + 8 + length));
        }
        at += 8 + length + length % 2;
      }
      return found;
    },
  };

  function endOfScan(bytes, at) {
    while (at + 1 < bytes.length) {
      const next = bytes[at + 1];
      if (bytes[at] === 0xff && next && next !== 0xff && !(next >= 0xd0 && next <= 0xd7)) break;
      at += 1;
    }
    return at;
  }

  const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
    for (let bit = 0; bit < 8; bit += 1) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n >>> 0;
  });

  function crc(bytes, from, to) {
    let value = 0xffffffff;
    for (let at = from; at < to; at += 1) value = CRC[(value ^ bytes[at]) & 255] ^ (value >>> 8);
    return (value ^ 0xffffffff) >>> 0;
  }

  /* Take the orientation, 1 to 8, out of a block of EXIF data: browsers heed it in different ways, so
     that it is applied here. */
  function takeOrientation(exif) {
    const bytes = ascii(exif, 0, 4) === "Exif" ? exif.subarray(6) : exif;
    const little = bytes[0] === 0x49, data = view(bytes);
    if (bytes.length < 14) return 1;
    for (let at = data.getUint32(4, little) + 2; at + 12 <= bytes.length; at += 12) {
      if (data.getUint16(at, little) === 0x0112) {
        const found = data.getUint16(at + 8, little);
        data.setUint16(at + 8, 1, little);
        return found >= 1 && found <= 8 ? found : 1;
      }
    }
    return 1;
  }

  /* Refuse what gets no verdict before a pixel is decoded; return what the file is. */
  function inspect(bytes, name) {
    if (!bytes.length) {
      throw new Unreadable(`expected an image, but ${name} is empty: copy or export it again`);
    }
    const kind = kindOf(bytes);
    if (!READERS[kind]) {
      const about = kind
        ? `${name} is a ${kind} file, which a browser cannot read or reads otherwise than Python`
        : `the content of ${name} is in no known image format`;
      throw new Unreadable(`expected a JPEG, PNG, WebP, BMP or GIF image, but ${about}: `
        + (FOR_PREDICT.includes(kind) ? "use hv predict, which reads it, or save it as PNG"
          : "export it as JPEG or PNG"));
    }
    const found = READERS[kind](bytes, name);
    if (!(found.width > 0 && found.height > 0)) throw cut(name, "it names no size");
    const sides = `${name} has ${found.width}x${found.height}`;
    if (Math.min(found.width, found.height) < MIN_SIDE) {
      throw new Unreadable(`expected sides of at least ${MIN_SIDE} pixels, but ${sides}: `
        + "it is probably a thumbnail or an icon; use the original");
    }
    if (Math.max(found.width, found.height) > MAX_SIDE) {
      throw new Unreadable(`expected sides of at most ${MAX_SIDE} pixels, but ${sides}: `
        + "it is probably a whole slide; crop the field to the cell");
    }
    const rare = found.deep ? "has 16 bits a channel"
      : found.channels === 4 ? "has four inks (CMYK)" : "";
    if (rare) {
      throw new Unreadable(`expected an image of 8 bits in red, green and blue, but ${name} ${rare}, `
        + "which browsers read in different ways: use hv predict, or save it as plain PNG");
    }
    return { turn: 1, ...found, kind };
  }

  // ------------------------------------------------------------------ pixels

  const DECODED = { colorSpaceConversion: "none", premultiplyAlpha: "none" };

  /* Pillow's weights for one direction, in fixed point: where it shrinks, every old pixel counts. */
  const BITS = 22;
  function weightsOf(from, to) {
    const scale = from / to, reach = Math.max(scale, 1);
    return Array.from({ length: to }, (_, at) => {
      const centre = (at + 0.5) * scale;
      const first = Math.max(0, Math.trunc(centre - reach + 0.5));
      const end = Math.min(from, Math.trunc(centre + reach + 0.5));
      const raw = Array.from({ length: end - first }, (_, k) =>
        Math.max(0, 1 - Math.abs((k + first - centre + 0.5) * (1 / reach))));
      const total = raw.reduce((sum, weight) => sum + weight, 0);
      const fixed = raw.map((weight) => Math.trunc(weight / total * (1 << BITS) + 0.5));
      return { first, fixed: Int32Array.from(fixed) };
    });
  }

  const HALF = 1 << (BITS - 1);
  const clip = (sum) => Math.max(0, Math.min(255, sum >> BITS));

  /* Resize as rows come, in two directions with eight bits between. Since version 13 Pillow takes
     the height first where it shrinks by far more than the width; before, always the width. */
  function resizer(width, height, toWidth, toHeight) {
    const downFirst = height > toHeight && height - toHeight > 2 * (width - toWidth);
    const columns = weightsOf(width, toWidth), lines = weightsOf(height, toHeight);
    const row = 3 * (downFirst ? width : toWidth);
    const sums = new Int32Array(row * toHeight).fill(HALF);
    let first = 0;  // of the new lines that an old one still counts in

    const across = (old, start, to, out) => columns.forEach(({ first: from, fixed }, x) => {
      let at = start + 3 * from, red = HALF, green = HALF, blue = HALF;
      for (let k = 0; k < fixed.length; k += 1, at += 3) {
        red += old[at] * fixed[k];
        green += old[at + 1] * fixed[k];
        blue += old[at + 2] * fixed[k];
      }
      out[to + 3 * x] = clip(red);
      out[to + 3 * x + 1] = clip(green);
      out[to + 3 * x + 2] = clip(blue);
    });
    const shrunk = new Uint8Array(row);

    return {
      add(line, y) {
        if (!downFirst) across(line, 0, 0, shrunk);
        const old = downFirst ? line : shrunk;
        while (lines[first] && lines[first].first + lines[first].fixed.length <= y) first += 1;
        for (let to = first; to < toHeight && lines[to].first <= y; to += 1) {
          const weight = lines[to].fixed[y - lines[to].first];
          if (weight) for (let x = 0; x < row; x += 1) sums[to * row + x] += old[x] * weight;
        }
      },
      finish() {
        const bytes = Uint8Array.from(sums, clip);
        if (!downFirst) return bytes;
        const out = new Uint8Array(3 * toWidth * toHeight);
        for (let y = 0; y < toHeight; y += 1) across(bytes, y * row, 3 * y * toWidth, out);
        return out;
      },
    };
  }

  /* The pixels of a bitmap as red, green, blue, alpha. A canvas would not do: it multiplies colours by
     their opacity, and some browsers blur what a page reads of it. */
  async function pixelsOf(bitmap) {
    const frame = new VideoFrame(bitmap, { timestamp: 0 });
    const { width, height } = bitmap, rgba = new Uint8Array(4 * width * height), { format } = frame;
    if (!/^(RGB|BGR)[AX]$/.test(format)) throw new Error(`pixels come as ${format}`);
    const rect = { x: 0, y: 0, width, height };
    await frame.copyTo(rgba, { rect, layout: [{ offset: 0, stride: 4 * width }] });
    frame.close();
    for (let at = 0; at < rgba.length; at += 4) {
      if (format[0] === "B") {
        const blue = rgba[at];
        rgba[at] = rgba[at + 2];
        rgba[at + 2] = blue;
      }
      if (format[3] === "X") rgba[at + 3] = 255;
    }
    return rgba;
  }

  /* Lay pixels over white, the ground of a smear, in Pillow's whole numbers. Transparency that hides
     all of a picture is an unused channel, and the colours under it count. */
  function layOnWhite(rgba, name) {
    const low = [255, 255, 255, 255], high = [0, 0, 0, 0];
    for (let at = 0; at < rgba.length; at += 1) {
      if (rgba[at] < low[at % 4]) low[at % 4] = rgba[at];
      if (rgba[at] > high[at % 4]) high[at % 4] = rgba[at];
    }
    if (high[3] <= EMPTY_ALPHA) {
      if (low.slice(0, 3).some((value, k) => value < high[k])) return;
      throw new Unreadable(`expected a picture, but the transparency of ${name} hides all of it: `
        + "save it without transparency, or use hv predict");
    }
    for (let at = 0; low[3] < 255 && at < rgba.length; at += 4) {
      for (let k = at; k < at + 3; k += 1) {
        const sum = (rgba[k] * rgba[at + 3] + 255 * (255 - rgba[at + 3])) * 128 + 0x4000;
        rgba[k] = (((sum >>> 8) + sum) >>> 8) >>> 7;
      }
    }
  }

  /* Where the first pixel of an image lies that is turned by its EXIF data, and how far from it the
     next ones lie, across and down. */
  const TURNS = {
    1: (w, h) => [0, 1, w], 2: (w, h) => [w - 1, -1, w],
    3: (w, h) => [w * h - 1, -1, -w], 4: (w, h) => [w * (h - 1), 1, -w],
    5: (w, h) => [0, w, 1], 6: (w, h) => [w * (h - 1), -w, 1],
    7: (w, h) => [w * h - 1, -w, -1], 8: (w, h) => [w - 1, w, -1],
  };

  /* The lines of a picture, from the top, each handed to `take` as red, green, blue; its size and kind
     are returned. `begin` is called before with the size. */
  async function read(file, begin) {
    if (file.size > MOST_BYTES) {
      throw new Unreadable(`expected a file of at most ${MOST_BYTES >> 20} MB, but ${file.name} has `
        + `${Math.round(file.size / 2 ** 20)} MB: it is probably a whole slide; crop the field to the cell`);
    }
    let bytes, bitmap;
    try {
      bytes = new Uint8Array(await file.arrayBuffer());
    } catch {
      throw new Unreadable(`expected an image file, but ${file.name} cannot be opened: it may be a `
        + "folder, or have been moved; choose the files in it");
    }
    const { kind, turn } = inspect(bytes, file.name);
    try {
      bitmap = await createImageBitmap(new Blob([bytes]), DECODED);
    } catch (error) {
      throw cut(file.name, `the browser says: ${error.message}`);
    }
    const rgba = await pixelsOf(bitmap), { width: wide, height: high } = bitmap;
    bitmap.close();
    if (kind !== "JPEG") layOnWhite(rgba, file.name);
    const [width, height] = turn > 4 ? [high, wide] : [wide, high];
    const [start, right, down] = TURNS[turn](wide, high), line = new Uint8Array(3 * width);
    const take = begin(width, height);
    for (let y = 0; y < height; y += 1) {
      for (let x = 0, at = 4 * (start + y * down); x < width; x += 1, at += 4 * right) {
        line[3 * x] = rgba[at];
        line[3 * x + 1] = rgba[at + 1];
        line[3 * x + 2] = rgba[at + 2];
      }
      take(line, y);
    }
    return { width, height, kind };
  }

  /* The whole picture at the network's size, as inference.preparation shows it. */
  async function wholePicture(file, { size }) {
    let result;
    const { width, height, kind } = await read(file, (wide, high) => {
      result = resizer(wide, high, size[1], size[0]);
      return result.add;
    });
    const drafted = kind === "JPEG" && Math.min(width, height) >= DRAFT_FROM * Math.max(...size);
    return [{ pixels: result.finish(), about: { width, height, drafted } }];
  }

  /* Each white cell of a picture in the standard view, as inference.preparation.cells_of. */
  async function cellsOf(file, { size, hue, largest, classes }, finder) {
    let data;
    const { width, height } = await read(file, (wide, high) => {
      data = new Uint8Array(3 * wide * high);
      return (line, y) => data.set(line, 3 * wide * y);
    });
    const image = { width, height, channels: 3, data }, finding = finder.findCells(image);
    let cells = finder.byProminence(finding);
    if (!cells.length) {
      const what = finding.ruler === "red cells" ? "only red cells" : "nothing stained like one";
      const reason = `expected a white cell in view, but ${file.name} shows ${what}: choose another field`;
      return [{ about: { status: "not_a_cell", reason } }];
    }
    if (!cells[0].white) cells = cells.slice(0, 1);
    return cells.map((cell, at) => {
      const view = finder.standardView(image, finding, cell, size[0]);
      const about = { cell: at + 1, x: finder.tenths(cell.x), y: finder.tenths(cell.y) };
      about.reason = !cell.cut ? "" : `expected whole cells, but the edge cuts off cell ${at + 1} of `
        + `${file.name}, at ${finder.round(cell.x)}, ${finder.round(cell.y)}: it counts as unsure; move `
        + "the field to see all of it";
      return {
        pixels: (hue ? finder.inHue(view, hue) : view).data, cut: cell.cut,
        barred: classes.map((_, k) => largest[k] !== null && cell.nucleusUm2 > largest[k]),
        about: { ...about, width: size[1], height: size[0] },
      };
    });
  }

  /* Some browsers change the pixels that a page reads, so that it cannot tell visitors apart. */
  async function pixelsAreTrue() {
    const drawn = new ImageData(64, 64);
    drawn.data.forEach((_, at) => { drawn.data[at] = at % 4 === 3 ? (at >> 2) % 256 : (at * 37) % 251; });
    const seen = await pixelsOf(await createImageBitmap(drawn, DECODED));
    return seen.every((value, at) => value === drawn.data[at]);
  }

  // ------------------------------------------------------------------ the verdict

  const indexOfLargest = (values) => values.indexOf(Math.max(...values));

  function softmax(logits, temperature) {
    const cooled = Array.from(logits, (logit) => logit / temperature), top = Math.max(...cooled);
    const powers = cooled.map((value) => Math.exp(value - top));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => power / total);
  }

  /* Mean over the places of a feature map, (places, channels). */
  function pooled(map, places, channels) {
    const mean = new Float64Array(channels);
    for (let at = 0; at < map.length; at += 1) mean[at % channels] += map[at];
    return mean.map((sum) => sum / places);
  }

  /* Grad-CAM in closed form, as inference.onnx_model.OnnxClassifier.heat_maps. */
  function heatMap(map, features, best, head, places) {
    let x = features;
    const opened = head.slice(0, -1).map(({ kernel, bias }) => {
      x = Float64Array.from(bias, (start, to) => x.reduce(
        (sum, value, from) => sum + value * kernel[from * bias.length + to], start));
      const mask = x.map((value) => (value > 0 ? 1 : 0));
      x = x.map((value) => Math.max(value, 0));
      return mask;
    });
    const last = head.at(-1), outputs = last.bias.length;
    let gradient = Float64Array.from(
      { length: last.kernel.length / outputs }, (_, from) => last.kernel[from * outputs + best]);
    for (let layer = head.length - 2; layer >= 0; layer -= 1) {
      const { kernel, bias } = head[layer], through = gradient.map((g, to) => g * opened[layer][to]);
      gradient = Float64Array.from({ length: kernel.length / bias.length }, (_, from) =>
        through.reduce((sum, g, to) => sum + g * kernel[from * bias.length + to], 0));
    }
    return Float32Array.from({ length: places }, (_, place) => {
      let sum = 0;
      gradient.forEach((g, channel) => { sum += map[place * gradient.length + channel] * g; });
      return Math.max(0, sum / places);
    });
  }

  /* Distance from what was learnt, as inference.novelty.Novelty.score. */
  function distance(features, { means, basis, variances, rest }) {
    const size = features.length, rank = variances.length;
    const length = Math.max(Math.hypot(...features), 1e-12);
    let nearest = Infinity;
    for (let start = 0; start < means.length; start += size) {
      const along = new Float64Array(rank);
      let all = 0, within = 0, scaled = 0;
      for (let d = 0; d < size; d += 1) {
        const offset = features[d] / length - means[start + d];
        all += offset * offset;
        for (let r = 0; r < rank; r += 1) along[r] += offset * basis[d * rank + r];
      }
      along.forEach((value, r) => {
        within += value * value;
        scaled += value * value / variances[r];
      });
      nearest = Math.min(nearest, scaled + Math.max(all - within, 0) / rest[0]);
    }
    return nearest / size;
  }

  /* A conformal p-value among ascending scores, as inference.ranks.Ranks.share_as_high. */
  const shareAsHigh = (scores, value) =>
    (scores.filter((score) => score >= value).length + 1) / (scores.length + 1);

  const unit = (features) => {
    const length = Math.max(Math.hypot(...features), 1e-12);
    return features.map((value) => value / length);
  };
  const dot = (a, b) => a.reduce((sum, value, at) => sum + value * b[at], 0);

  /* How likely each value of the looks is, by attribute, as inference.morphology.probabilities. */
  function looksOf(features, { kernel, bias }, words) {
    const logits = Float64Array.from(bias, (start, to) => features.reduce(
      (sum, value, from) => sum + value * kernel[from * bias.length + to], start));
    let at = 0;
    return words.map(([, values]) => softmax(logits.subarray(at, at += values.length), 1));
  }

  /* What a cell looks like in words, as inference.morphology.why; "" for kinds not learnt. */
  function why(features, name, { arrays, facts: { looks } }) {
    if (!looks.classes.includes(name)) return "";
    const probs = looksOf(features, arrays.looks, looks.words), { typical } = arrays.looks;
    const starts = [0], values = arrays.looks.bias.length;
    for (const part of probs) starts.push(starts.at(-1) + part.length);
    const support = looks.classes.map((_, kind) => probs.reduce((sum, part, k) => {
      const own = typical.subarray(kind * values + starts[k], kind * values + starts[k + 1]);
      return sum + Math.log(Math.max(dot(part, own), 1e-6));
    }, 0) / probs.length);
    const best = indexOfLargest(support), own = looks.classes.indexOf(name);
    const rival = support[best] - support[own] > looks.margin, kind = rival ? best : own;
    const telling = (value) => Math.log(typical[kind * values + value]
      / Math.max(...looks.classes.map((_, k) => (k === kind ? 0 : typical[k * values + value]))));
    const told = [];
    looks.words.forEach(([shown, words], k) => {
      const likely = indexOfLargest(probs[k]), share = probs[k][likely];
      if (shown && share >= looks.least) {
        told.push([telling(starts[k] + likely), `${words[likely]} (${(100 * share).toFixed(0)} %)`]);
      }
    });
    told.sort((a, b) => b[0] - a[0]);
    return told.slice(0, looks.shown).map(([, words]) => words).join("; ")
      + (rival ? `; this speaks for ${looks.classes[best]}` : "");
  }

  async function judge({ pixels, barred = [], cut, about }, { ort, session, facts, arrays }) {
    if (!pixels) return about;
    const [height, width] = facts.size;
    const images = new ort.Tensor("uint8", pixels, [1, height, width, 3]);
    const found = await session.run({ images });
    const [, rows, columns, channels] = found.feature_map.dims, map = found.feature_map.data;
    const logits = Array.from(found.logits.data, (logit, k) => (barred[k] ? -Infinity : logit));
    const probabilities = softmax(logits, facts.temperature);
    const best = indexOfLargest(probabilities), features = pooled(map, rows * columns, channels);
    const row = {
      ...about, pixels, probabilities, best, status: probabilities[best] < facts.unsureBelow ? "unsure" : "ok",
      heat: { rows, columns, values: heatMap(map, features, best, arrays.head, rows * columns) },
    };
    const far = arrays.novelty ? distance(features, arrays.novelty) : 0;
    if (arrays.presence) {
      if (dot(unit(features), arrays.presence.weights) < arrays.presence.threshold[0]) row.status = "not_a_cell";
    } else if (arrays.novelty && far > arrays.novelty.threshold[0]) row.status = "not_a_cell";
    if (arrays.novelty && facts.distances) row.familiarity = shareAsHigh(facts.distances[best], far);
    if (facts.sets) row.shares = probabilities.map((p, k) => shareAsHigh(facts.sets[k], 1 - p));
    if (facts.looks && row.status !== "not_a_cell") {
      row.why = why(features, facts.classes[best], { arrays, facts });
    }
    if (cut && row.status === "ok") row.status = "unsure";
    return row;
  }

  // ------------------------------------------------------------------ the Worker

  async function unpack(text) {
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let at = 0; at < bytes.length; at += 1) bytes[at] = letters.charCodeAt(at);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  const script = (bytes) => URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));

  async function start({ facts, runtime, opencv, model }) {
    if (!await pixelsAreTrue()) {
      throw new Error("this browser changes the pixels that a page reads, perhaps to protect from "
        + "fingerprinting; allow this page to read them, or use another browser");
    }
    importScripts(script(await unpack(runtime.script)));
    const ort = self.ort, wasm = ort.env.wasm;
    wasm.numThreads = 1;
    wasm.wasmPaths = { mjs: script(await unpack(runtime.module)) };
    wasm.wasmBinary = await unpack(runtime.wasm);
    const options = { executionProviders: ["wasm"], logSeverityLevel: 3 };
    const session = await ort.InferenceSession.create(await unpack(model.graph), options);
    const numbers = new Float32Array((await unpack(model.arrays)).buffer), named = {};
    let at = 0;
    for (const [name, length] of facts.arrays) named[name] = numbers.subarray(at, at += length);
    const arrays = { head: [] };
    for (let layer = 0; named[`head_${layer}_kernel`]; layer += 1) {
      arrays.head.push({ kernel: named[`head_${layer}_kernel`], bias: named[`head_${layer}_bias`] });
    }
    for (const [name, values] of Object.entries(named)) {
      const [group, ...rest] = name.split("_");
      if (group !== "head") (arrays[group] ??= {})[rest.join("_")] = values;
    }
    if (!opencv) return { ort, session, facts, arrays, prepare: wholePicture };
    importScripts(script(await unpack(opencv.script)));
    const finder = makeFinder(await self.cv);
    return { ort, session, facts, arrays, prepare: (file) => cellsOf(file, facts, finder) };
  }

  let ready;
  self.onmessage = async ({ data }) => {
    try {
      if (data.runtime) {
        ready = await start(data);
        self.postMessage({ ready: true });
        return;
      }
      const rows = [];
      for (const shown of await ready.prepare(data.file, ready.facts)) rows.push(await judge(shown, ready));
      self.postMessage({ rows });
    } catch (error) {
      if (error instanceof Unreadable) {
        self.postMessage({ rows: [{ status: "unreadable", reason: error.message }] });
      } else {
        self.postMessage({ failure: error.message || String(error) });
      }
    }
  };
};
