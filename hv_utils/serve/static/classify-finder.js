/* Finds the white cells of a picture and brings each to the standard view, as hv_utils.fields does:
   stain.py, scale.py, nuclei.py, finder.py and view.py, function by function and under their names.

   OpenCV.js does what OpenCV does there. The rest is NumPy by hand, in single precision where NumPy
   has it (`fround`), since a comparison may hang on the last bit. A plane is what an array is in
   Python: { width, height, channels, data }. */

self.hvClassifyFinder = (cv) => {
  "use strict";

  const { fround, hypot, max, min, trunc } = Math;

  // ------------------------------------------------------------------ Python's and NumPy's numbers

  /* Whole numbers, halves to the even one. */
  function round(value) {
    const low = Math.floor(value), rest = value - low;
    return rest > 0.5 || (rest === 0.5 && low % 2) ? low + 1 : low;
  }
  /* One digit behind the point, as Python's round. */
  const tenths = (value) => (value * 4 % 1 ? Number(value.toFixed(1)) : round(10 * value) / 10);
  const clamp = (value, low, high) => max(low, min(high, value));
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const mean = (values) => sum(values) / values.length;
  const indexOfLargest = (values) => values.reduce((best, value, at) => (value > values[best] ? at : best), 0);

  /* numpy.quantile, in the precision of the values. */
  function quantile(values, share) {
    const near = values instanceof Float32Array ? fround : Number;
    const sorted = values.slice().sort(), at = near((sorted.length - 1) * near(share));
    const low = Math.floor(at), part = near(at - low), high = min(low + 1, sorted.length - 1);
    const step = near(sorted[high] - sorted[low]);
    return part >= 0.5 ? near(sorted[high] - near(step * near(1 - part)))
      : near(sorted[low] + near(step * part));
  }

  /* The first `most` of numpy.random.default_rng(0).permutation(size): PCG64, and of its
     bits as many as a place needs, until one is low enough. */
  function permuted(size, most) {
    const WIDE = (1n << 128n) - 1n, LONG = (1n << 64n) - 1n;
    const times = 47026247687942121848144207491837523525n;
    const step = 87136372517582989555478159403783844777n;
    let state = 35399562948360463058890781895381311971n, spare = null;
    const next = () => {
      if (spare !== null) {
        const kept = spare;
        spare = null;
        return kept;
      }
      state = (state * times + step) & WIDE;
      const mixed = (state >> 64n) ^ (state & LONG), turn = state >> 122n;
      const drawn = ((mixed >> turn) | (mixed << ((64n - turn) & 63n))) & LONG;
      spare = Number(drawn >> 32n);
      return Number(drawn & 0xffffffffn);
    };
    const upTo = (most) => {
      const mask = 2 ** (32 - Math.clz32(most)) - 1;
      let drawn;
      do drawn = (next() & mask) >>> 0; while (drawn > most);
      return drawn;
    };
    const order = Int32Array.from({ length: size }, (_, at) => at);
    for (let at = size - 1; at > 0; at -= 1) {
      const other = upTo(at), kept = order[at];
      order[at] = order[other];
      order[other] = kept;
    }
    return order.subarray(0, most);
  }

  // ------------------------------------------------------------------ planes

  const KINDS = [
    [Uint8Array, "CV_8U", "data"], [Int32Array, "CV_32S", "data32S"],
    [Float32Array, "CV_32F", "data32F"], [Float64Array, "CV_64F", "data64F"],
  ];

  const plane = ({ width, height }, data, channels = 1) => ({ width, height, channels, data });
  const map = (like, f) => plane(like, Uint8Array.from({ length: like.width * like.height }, (_, at) => +f(at)));

  function matOf({ width, height, channels, data }) {
    const [, name, view] = KINDS.find(([kind]) => data instanceof kind);
    const mat = new cv.Mat(height, width, cv[`${name}C${channels}`]);
    mat[view].set(data);
    return mat;
  }

  function planeOf(mat) {
    const [kind, , view] = KINDS.find(([, name]) => cv[name] === mat.depth());
    const data = kind.from(mat.isContinuous() ? mat[view] : mat.clone()[view]);
    return { width: mat.cols, height: mat.rows, channels: mat.channels(), data };
  }

  /* Hand planes to OpenCV and take what it makes of them. */
  function through(planes, f) {
    const mats = [...planes.map(matOf), new cv.Mat()];
    try {
      f(...mats);
      return planeOf(mats.at(-1));
    } finally {
      mats.forEach((mat) => mat.delete());
    }
  }

  const blurred = (one, sigma) =>
    through([one], (from, to) => cv.GaussianBlur(from, to, new cv.Size(0, 0), sigma));
  const away = (mask) =>  // from the nearest pixel that is 0
    through([mask], (from, to) => cv.distanceTransform(from, to, cv.DIST_L2, 3));

  function morphed(mask, how, shape, side, outside) {
    const brush = cv.getStructuringElement(cv[shape], new cv.Size(side, side)), at = new cv.Point(-1, -1);
    const border = outside === undefined ? [] : [at, 1, cv.BORDER_CONSTANT, new cv.Scalar(outside)];
    try {
      return through([mask], (from, to) => (how === "dilate" || how === "erode"
        ? cv[how](from, to, brush, ...border) : cv.morphologyEx(from, to, cv[how], brush)));
    } finally {
      brush.delete();
    }
  }

  /* The pieces of a mask: their numbers, and of each left, top, width, height, area. */
  function pieces(mask, connectivity = 8) {
    const stats = new cv.Mat(), middles = new cv.Mat();
    try {
      const labels = through([mask], (from, to) =>
        cv.connectedComponentsWithStats(from, to, stats, middles, connectivity, cv.CV_32S));
      const table = Array.from({ length: stats.rows }, (_, at) => stats.data32S.slice(5 * at, 5 * at + 5));
      return { labels, table };
    } finally {
      stats.delete();
      middles.delete();
    }
  }

  function cut(one, x0, y0, x1, y1) {
    const { width, channels: n, data } = one, size = { width: x1 - x0, height: y1 - y0 };
    const part = new data.constructor(size.width * size.height * n);
    for (let y = y0; y < y1; y += 1) {
      part.set(data.subarray(n * (y * width + x0), n * (y * width + x1)), n * (y - y0) * size.width);
    }
    return plane(size, part, n);
  }

  const where = ({ data }, mask) => data.filter((_, at) => mask.data[at]);
  const any = (mask) => mask.data.some((value) => value);

  /* The box around a mask: left, top, right, bottom. */
  function boxOf({ width, data }) {
    const box = [Infinity, Infinity, 0, 0];
    data.forEach((value, at) => {
      if (!value) return;
      const x = at % width, y = (at - x) / width;
      box[0] = min(box[0], x);
      box[1] = min(box[1], y);
      box[2] = max(box[2], x + 1);
      box[3] = max(box[3], y + 1);
    });
    return box;
  }

  function looked(image, table) {  // cv2.LUT, each band with its own table
    return plane(image, table[0].constructor.from(image.data, (value, at) => table[at % 3][value]), 3);
  }

  // ------------------------------------------------------------------ fields.stain

  const BLACK = 40, LEAST_GROUND = 20, LEAST_PIXELS = 50, PEAK_SHARE = 0.007, NUCLEUS_UM2 = 10;

  function resized(image, width, height) {
    return through([image], (from, to) =>
      cv.resize(from, to, new cv.Size(width, height), 0, 0, cv.INTER_AREA));
  }

  function takeApart(image, shrink) {
    if (shrink < 1) image = resized(image, round(image.width * shrink), round(image.height * shrink));
    const inside = insideBorder(image), ground = groundColour(image, inside);
    const mixed = mix(looked(image, opticalDensity(ground))), smooth = mixed.map((one) => blurred(one, 0.7).data);
    const band = (k) => plane(image, Float32Array.from(inside.data, (value, at) => (value ? smooth[k][at] : 0)));
    const nuclear = band(0), total = band(1), edge = fround(edgeOfGround(where(total, inside)));
    const foreground = map(image, (at) => total.data[at] > edge && inside.data[at]);
    return stainOf({ inside, ground, nuclear, total, foreground }, PEAK_SHARE);
  }

  /* Of optical densities, the nuclear and the mean one. */
  function mix({ width, height, data }) {
    const third = 1 / 3, nuclear = new Float64Array(width * height), total = new Float64Array(width * height);
    nuclear.forEach((_, at) => {
      const [red, green, blue] = [data[3 * at], data[3 * at + 1], data[3 * at + 2]];
      nuclear[at] = red + green - blue;
      total[at] = red * third + green * third + blue * third;
    });
    return [nuclear, total].map((one) => plane({ width, height }, one));
  }

  /* What was taken apart, with the levels of its red cells and its darkest nuclei. */
  function stainOf(parts, share) {
    const [red, peak] = levels(parts, share), contrast = peak - red;
    const least = fround(red + max(0.15, 0.45 * contrast));
    const nuclei = map(parts.nuclear, (at) => parts.nuclear.data[at] > least);
    return { ...parts, redLevel: red, contrast, nuclei };
  }

  function inWideField(stain, um) {
    const size = stain.nuclear.data.length, share = NUCLEUS_UM2 / um ** 2 / size;
    return share >= PEAK_SHARE ? stain : stainOf(stain, max(share, 25 / size));
  }

  function coherence({ inside, nuclear }) {
    const { width, height } = nuclear, level = mean(where(nuclear, inside));
    const part = Float32Array.from(nuclear.data, (value, at) => (inside.data[at] ? value - level : 0));
    let across = 0, down = 0, own = 0;
    part.forEach((value, at) => {
      own += value * value;
      if (at % width >= 3) across += value * part[at - 3];
      if (at >= 3 * width) down += value * part[at - 3 * width];
    });
    const along = across / ((width - 3) * height) + down / (width * (height - 3));
    return along / 2 / max(own / part.length, 1e-12);
  }

  function insideBorder(image) {
    const { width, height, data } = image;
    const dark = map(image, (at) => max(data[3 * at], data[3 * at + 1], data[3 * at + 2]) < BLACK);
    const atEdge = (at) => at < width || at >= width * (height - 1) || at % width === 0 || at % width === width - 1;
    if (!dark.data.some((value, at) => value && atEdge(at))) return map(image, () => 1);
    const { labels, table } = pieces(dark, 4), outer = new Uint8Array(table.length);
    labels.data.forEach((label, at) => { if (label && atEdge(at)) outer[label] = 1; });
    const border = morphed(map(image, (at) => outer[labels.data[at]]), "dilate", "MORPH_RECT", 5);
    return map(image, (at) => !border.data[at]);
  }

  const HANNING = Array.from({ length: 17 }, (_, at) => 0.5 + 0.5 * Math.cos(Math.PI * (2 * at - 16) / 16));

  function groundColour(image, inside) {
    const everywhere = inside.data.every((value) => value) || !any(inside);
    const counts = (band, wanted) => {
      const found = new Float64Array(256);
      inside.data.forEach((value, at) => {
        if ((everywhere || value) && wanted(at)) found[image.data[3 * at + band]] += 1;
      });
      return found;
    };
    const summed = (values) => {
      let total = 0;
      return values.map((value) => (total += value));
    };
    const green = counts(1, () => true), below = summed(green);
    const share = Float32Array.from(below, (value) => value / below[255]);
    const peaks = Float64Array.from(green, (_, at) => {
      if (share[at] < 0.5 || (at && share[at - 1] > 0.99)) return -1;
      return HANNING.reduce((total, weight, k) => total + weight * (green[at + 8 - k] || 0), 0) * (at / 255) ** 2;
    });
    const mode = indexOfLargest(peaks), near = (at) => Math.abs(image.data[3 * at + 1] - mode) <= 8;
    return Float32Array.from([0, 1, 2], (band) => {
      const up = summed(counts(band, near));
      return max(up.findIndex((value) => value >= up[255] / 2), LEAST_GROUND);
    });
  }

  function opticalDensity(ground) {
    return Array.from(ground, (light) => Float32Array.from({ length: 256 },
      (_, level) => Math.log((light + 4) / (level + 4))));
  }

  function otsu(values) {
    let low = Infinity, high = -Infinity;
    for (const value of values) {
      low = min(low, value);
      high = max(high, value);
    }
    if (high <= low) return low;
    const step = (high - low) / 255, narrow = fround(step);
    const grey = Uint8Array.from(values, (value) => round(fround(fround(value - low) / narrow)));
    let level;
    through([{ width: 1, height: grey.length, channels: 1, data: grey }], (from, to) => {
      level = cv.threshold(from, to, 0, 255, cv.THRESH_OTSU);
    });
    return low + (level + 0.5) * step;
  }

  function edgeOfGround(total) {
    if (total.length < LEAST_PIXELS) return 0.1;
    return clamp(otsu(total.map((value) => clamp(value, fround(-0.1), fround(0.3)))), 0.05, 0.15);
  }

  function levels({ nuclear, foreground, inside }, share) {
    const values = where(nuclear, inside);
    if (values.length < LEAST_PIXELS) return [0, 0];
    const peak = quantile(values, 1 - share), least = fround(0.55 * peak);
    const body = where(nuclear, foreground).filter((value) => value < least);
    return [max(body.length > 0.01 * values.length ? quantile(body, 0.8) : 0, 0), peak];
  }

  // ------------------------------------------------------------------ fields.scale

  const RED_CELL = 7.5, WORK_SIDE = 240, LEAST_SIDE = 16, RED_AT_WORK = 20, STEP = 1.2;
  const RADII = Array.from({ length: 15 }, (_, at) => 3.5 * STEP ** at);
  const POWER = 1.75, OUTLINE_BIAS = 1.06, MAX_POINTS = 2500, MIN_RED = 2;
  const USUAL_NUCLEUS = 50, NUCLEUS_FLOOR = 0.003, NUCLEUS_SPREAD = 0.35;

  function measureScale(image) {
    const sides = [image.height, image.width];
    let shrink = min(1, max(WORK_SIDE / max(...sides), LEAST_SIDE / min(...sides)));
    let stain = takeApart(image, shrink), [diameter, red] = redCells(stain);
    if (red >= MIN_RED && shrink < 1 && diameter < 0.75 * RED_AT_WORK) {
      shrink = min(1, shrink * RED_AT_WORK / diameter);
      stain = takeApart(image, shrink);
      [diameter, red] = redCells(stain);
    }
    const [um, ruler] = chosen(stain, diameter, red, shrink);
    return { um: um * shrink, ruler, shrink, stain };
  }

  function chosen(stain, diameter, red, shrink) {
    if (red >= MIN_RED && diameter > 0) return [RED_CELL / diameter, "red cells"];
    const own = byNucleus(stain);
    if (own !== null) return [own, "white cell"];
    return diameter > 0 ? [RED_CELL / diameter, "red cells"] : [0.1 / shrink, "none"];
  }

  function byNucleus(stain) {
    const mask = morphed(stain.nuclei, "MORPH_OPEN", "MORPH_RECT", 3);
    const { labels, table } = pieces(morphed(mask, "MORPH_CLOSE", "MORPH_RECT", 7));
    if (table.length < 2) return null;
    const largest = 1 + indexOfLargest(table.slice(1).map((stats) => stats[4]));
    const area = sum(mask.data.filter((_, at) => labels.data[at] === largest));
    return area >= 20 ? Math.sqrt(USUAL_NUCLEUS / area) : null;
  }

  function redCells(stain) {
    const own = byNucleus(stain), points = outlines(stain, own === null ? 4 : max(4, 4 / own));
    if (!points) return [0, 0];
    const { width, height } = stain.total, radii = RADII.filter((radius) => max(width, height) > 2 * radius);
    const { bundled, highest } = votes(points, stain.total, radii);
    const power = bundled.map((value, k) => {
      const weighed = value * radii[k] ** POWER;
      if (own === null) return weighed;
      const far = Math.log(radii[k] / (RED_CELL / own / 2)) / NUCLEUS_SPREAD;
      return weighed * (NUCLEUS_FLOOR + Math.exp(-0.5 * far ** 2));
    });
    const best = indexOfLargest(power);
    const count = bundled[best] / max(highest[best], 1e-12) * 2 / Math.PI;
    return [2 * between(radii, power, best) * OUTLINE_BIAS, count];
  }

  function outlines(stain, apart) {
    const smooth = blurred(plane(stain.total, Float64Array.from(stain.total.data)), 1.1);
    const slopes = (x, y) => through([smooth], (from, to) => cv.Sobel(from, to, cv.CV_64F, x, y)).data;
    const across = slopes(1, 0), down = slopes(0, 1);
    const steep = plane(smooth, across.map((value, at) => Math.sqrt(value * value + down[at] * down[at])));
    const far = away(map(steep, (at) => !stain.nuclei.data[at])), least = fround(apart);
    const near = map(steep, (at) => stain.inside.data[at] && far.data[at] >= least);
    const allowed = morphed(near, "erode", "MORPH_RECT", 5, 0), slope = where(steep, allowed);
    if (slope.length < 100) return null;
    const usual = quantile(slope, 0.9), edge = 0.35 * usual, most = 1.5 * usual;
    let found = [];
    steep.data.forEach((value, at) => { if (value > edge && allowed.data[at]) found.push(at); });
    if (found.length < 20) return null;
    if (found.length > MAX_POINTS) found = Array.from(permuted(found.length, MAX_POINTS), (at) => found[at]);
    return found.map((at) => {
      const value = steep.data[at], x = at % steep.width;
      return {
        x, y: (at - x) / steep.width, weight: min(value, most),
        toX: across[at] / value, toY: down[at] / value,
      };
    });
  }

  function votes(points, { width, height }, radii) {
    const pad = 12, size = { width: (width >> 1) + 2 * pad, height: (height >> 1) + 2 * pad };
    const bundled = [], highest = [];
    for (const radius of radii) {
      const counted = new Float64Array(size.width * size.height), spread = max(0.7, 0.07 * radius);
      for (const { x, y, toX, toY, weight } of points) {
        const column = trunc((x + radius * toX) * 0.5 + pad), row = trunc((y + radius * toY) * 0.5 + pad);
        if (column >= 0 && column < size.width && row >= 0 && row < size.height) {
          counted[row * size.width + column] += weight;
        }
      }
      const smooth = blurred(plane(size, counted), spread).data, factor = spread * spread / radius;
      let power = 0, top = 0;
      for (const value of smooth) {
        const squared = (value * factor) ** 2;
        power += squared * squared;
        top = max(top, squared);
      }
      bundled.push(power / (spread * spread));
      highest.push(top ** 2);
    }
    return { bundled, highest };
  }

  function between(radii, power, best) {
    if (best === 0 || best === radii.length - 1) return radii[best];
    const [left, middle, right] = power.slice(best - 1, best + 2).map((value) => Math.log(max(value, 1e-30)));
    const bend = left - 2 * middle + right;
    return radii[best] * STEP ** (bend >= 0 ? 0 : clamp(0.5 * (left - right) / bend, -0.5, 0.5));
  }

  // ------------------------------------------------------------------ fields.nuclei

  const MIN_CONTRAST = 0.35, MIN_COHERENCE = 0.15, SPECK_UM2 = 2, LOBES_APART_UM = 2.2;
  const NUCLEUS_WIDE_UM = 15, NUCLEUS_MOST_UM2 = 160;

  /* The number of the nucleus at each pixel, 0 for none; and how many there are. */
  function findNuclei(stain, um) {
    if (stain.contrast < MIN_CONTRAST || coherence(stain) < MIN_COHERENCE) return { count: 0 };
    const side = 2 * max(1, round(0.3 / um)) + 1;
    let mask = map(stain.nuclei, (at) => stain.nuclei.data[at] && stain.inside.data[at]);
    for (const how of ["MORPH_CLOSE", "MORPH_OPEN"]) mask = morphed(mask, how, "MORPH_ELLIPSE", side);
    const { labels, table } = pieces(mask), groups = joined(labels, table, um);
    const number = new Int32Array(table.length);
    groups.forEach((members, at) => members.forEach((piece) => { number[piece] = at + 1; }));
    return { count: groups.length, numbers: plane(labels, labels.data.map((piece) => number[piece])) };
  }

  function joined(labels, table, um) {
    const area = table.map((stats) => stats[4] * um ** 2), groups = new Map(), home = new Map();
    const large = table.map((_, at) => at).filter((at) => at && area[at] >= SPECK_UM2);
    for (const piece of large) {
      groups.set(piece, [piece]);
      home.set(piece, piece);
    }
    const near = gaps(labels, table, large, LOBES_APART_UM / um);
    near.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
    for (const [, one, other] of near) {
      const first = home.get(one), second = home.get(other);
      if (first === second) continue;
      const members = [...groups.get(first), ...groups.get(second)];
      const extent = [0, 1].map((side) => max(...members.map((at) => table[at][side] + table[at][side + 2]))
        - min(...members.map((at) => table[at][side])));
      if (max(...extent) * um > NUCLEUS_WIDE_UM || sum(members.map((at) => area[at])) > NUCLEUS_MOST_UM2) continue;
      groups.set(first, members);
      for (const at of groups.get(second)) home.set(at, first);
      groups.delete(second);
    }
    return [...groups.values()];
  }

  function gaps(labels, table, large, reach) {
    const outlineOf = new Map(), found = [];
    const outline = (piece) => {  // the nearest pixels of two pieces lie on their outlines
      if (!outlineOf.has(piece)) outlineOf.set(piece, outlinePixels(labels, table[piece], piece));
      return outlineOf.get(piece);
    };
    large.forEach((one, place) => large.slice(place + 1).forEach((other) => {
      const [a, b] = [table[one], table[other]];
      const apart = max(...[0, 1].map((k) => max(a[k] - b[k] - b[k + 2], b[k] - a[k] - a[k + 2])));
      if (apart > reach) return;
      let least = Infinity;
      for (const [x, y] of outline(one)) {
        for (const [u, v] of outline(other)) least = min(least, (x - u) ** 2 + (y - v) ** 2);
      }
      if (Math.sqrt(least) < reach) found.push([Math.sqrt(least), one, other]);
    }));
    return found;
  }

  function outlinePixels({ width, height, data }, [left, top, wide, high], piece) {
    const is = (x, y) => x >= 0 && y >= 0 && x < width && y < height && data[y * width + x] === piece;
    const found = [];
    for (let y = top; y < top + high; y += 1) {
      for (let x = left; x < left + wide; x += 1) {
        if (is(x, y) && !(is(x - 1, y) && is(x + 1, y) && is(x, y - 1) && is(x, y + 1))) found.push([x, y]);
      }
    }
    return found;
  }

  // ------------------------------------------------------------------ fields.finder

  const CYTOPLASM_UM = 3.8, MARGIN_UM = 5, BRIDGE_UM = 1.2, SMALL_UM2 = 14, SMALL_CUT_UM2 = 6;

  function findCells(image) {
    const scale = measureScale(image), { shrink } = scale, um = scale.um / shrink;
    const stain = inWideField(scale.stain, um), { count, numbers } = findNuclei(stain, um);
    const boxes = Array.from({ length: count }, () => [Infinity, Infinity, 0, 0]);
    numbers?.data.forEach((number, at) => {
      if (!number) return;
      const box = boxes[number - 1], x = at % numbers.width, y = (at - x) / numbers.width;
      [box[0], box[1], box[2], box[3]] = [min(box[0], x), min(box[1], y), max(box[2], x + 1), max(box[3], y + 1)];
    });
    let cells = boxes.map((box, at) => measured(stain, numbers, at + 1, box, um));
    cells.sort((a, b) => b.nucleusUm2 - a.nucleusUm2);
    if (cells.some(({ white }) => white)) cells = cells.filter(({ white }) => white);
    const most = [image.width, image.height, image.width, image.height];
    cells = cells.map((cell) => ({
      ...cell, x: cell.x / shrink, y: cell.y / shrink,
      box: cell.box.map((side, k) => min(side / shrink, most[k])),
    }));
    return { cells, um: scale.um, ruler: scale.ruler, ground: stain.ground, size: most.slice(0, 2) };
  }

  function measured(stain, numbers, number, [left, top, right, bottom], um) {
    const margin = Math.ceil(MARGIN_UM / um), { width, height } = numbers;
    const [x0, y0] = [max(0, left - margin), max(0, top - margin)];
    const part = (one) => cut(one, x0, y0, min(width, right + margin), min(height, bottom + margin));
    const all = part(numbers), nuclear = part(stain.nuclear), inside = part(stain.inside);
    const foreground = part(stain.foreground);
    let nucleus = map(all, (at) => all.data[at] === number);
    const body = cellAround(map(all, (at) => foreground.data[at] && inside.data[at]), nucleus, um);
    nucleus = withoutCytoplasm(nuclear, nucleus, body);
    const place = (mask) => boxOf(mask).map((side, k) => side + (k % 2 ? y0 : x0));
    const own = place(nucleus), box = place(body), nucleusUm2 = sum(nucleus.data) * um ** 2;
    const around = morphed(nucleus, "dilate", "MORPH_RECT", 3);
    const isCut = min(own[0], own[1]) <= 0 || own[2] >= width || own[3] >= height
      || around.data.some((value, at) => value && !inside.data[at]);
    return {
      x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2, box, nucleusUm2, cut: isCut,
      white: nucleusUm2 >= (isCut ? SMALL_CUT_UM2 : SMALL_UM2),
    };
  }

  function cellAround(stained, nucleus, um) {
    const far = away(map(nucleus, (at) => !nucleus.data[at])), reach = fround(CYTOPLASM_UM / um);
    const hull = hullOf(nucleus), radius = max(1, round(BRIDGE_UM / um));
    let body = map(nucleus, (at) => (stained.data[at] && far.data[at] < reach) || hull.data[at]);
    const opened = morphed(body, "MORPH_OPEN", "MORPH_ELLIPSE", 2 * radius + 1);
    body = map(nucleus, (at) => opened.data[at] || hull.data[at]);
    const { labels, table } = pieces(body), seen = new Array(table.length).fill(0);
    nucleus.data.forEach((value, at) => { if (value) seen[labels.data[at]] += 1; });
    const own = indexOfLargest(seen);
    return map(nucleus, (at) => labels.data[at] === own);
  }

  function hullOf(mask) {
    const points = [];
    mask.data.forEach((value, at) => {
      if (value) points.push(at % mask.width, Math.floor(at / mask.width));
    });
    const given = cv.matFromArray(points.length / 2, 1, cv.CV_32SC2, points), outline = new cv.Mat();
    const hull = cv.Mat.zeros(mask.height, mask.width, cv.CV_8U);
    try {
      cv.convexHull(given, outline);
      cv.fillConvexPoly(hull, outline, new cv.Scalar(1));
      return planeOf(hull);
    } finally {
      [given, outline, hull].forEach((mat) => mat.delete());
    }
  }

  function withoutCytoplasm(nuclear, nucleus, body) {
    const inside = where(nuclear, nucleus);
    if (inside.length < 30) return nucleus;
    const stained = nuclear.data.filter((value, at) => body.data[at] && value > fround(0.1));
    const level = fround(otsu(stained)), upper = inside.filter((value) => value > level);
    const share = upper.length / inside.length;
    if (!(share > 0.25 && share < 1)) return nucleus;
    if (mean(inside.filter((value) => value <= level)) > 0.65 * mean(upper)) return nucleus;
    return map(nucleus, (at) => nucleus.data[at] && nuclear.data[at] > level);
  }

  // ------------------------------------------------------------------ fields.view

  const VIEW_UM = 0.125, GROUND = 240, GAINS = [0.3, 3];

  function byProminence({ cells, size }) {
    const weighed = cells.map((cell) => {
      const far = hypot(cell.x - size[0] / 2, cell.y - size[1] / 2) / (min(...size) / 2);
      return [min(cell.nucleusUm2, 80) * (cell.cut ? 0.5 : 1) * Math.exp(-0.5 * far ** 2), cell];
    });
    return weighed.sort((a, b) => b[0] - a[0]).map(([, cell]) => cell);
  }

  function neutral(image, ground) {
    const tables = Array.from(ground, (light) => {
      const factor = fround(GROUND / max(light, LEAST_GROUND));
      return Uint8Array.from({ length: 256 }, (_, level) => clamp(round(level * factor), 0, 255));
    });
    const balanced = looked(image, tables), inside = insideBorder(image);
    inside.data.forEach((value, at) => { if (!value) balanced.data.fill(GROUND, 3 * at, 3 * at + 3); });
    return balanced;
  }

  function standardView(image, { um, ground }, cell, side) {
    const zoom = um / VIEW_UM, half = side / 2 / zoom + 2;
    const [x0, y0] = [cell.x, cell.y].map((place) => max(0, trunc(place - half)));
    const [x1, y1] = [cell.x, cell.y].map((place) => trunc(place + half + 1));
    let part = neutral(cut(image, x0, y0, min(x1, image.width), min(y1, image.height)), ground);
    const { width, height } = part, shrink = min(1, 1.25 * zoom);
    if (shrink < 0.95) {
      part = resized(part, max(1, round(width * shrink)), max(1, round(height * shrink)));
    }
    const across = part.width / width, down = part.height / height, middle = (side - 1) / 2;
    const x = (cell.x - x0) * across - 0.5, y = (cell.y - y0) * down - 0.5;
    const wider = zoom / across, higher = zoom / down, shrunk = 1 / (wider * higher);
    const stepX = higher * shrunk, stepY = wider * shrunk;
    return warped(part, side, [stepX, -stepX * (middle - wider * x)], [stepY, -stepY * (middle - higher * y)]);
  }

  /* cv2.warpAffine to the bit, on processors that multiply and add in one step. OpenCV.js does it in
     two and may round otherwise, and one grey level can move a probability by 4e-4. */
  function warped({ width, height, data }, side, [stepX, startX], [stepY, startY]) {
    const view = new Uint8Array(3 * side * side), fused = (a, b, c) => fround(a * b + c);
    const split = (place) => [Math.floor(place), fround(place - Math.floor(place))];
    const columns = Array.from({ length: side }, (_, x) => split(fused(fround(stepX), x, fround(startX))));
    const lines = Array.from({ length: side }, (_, y) => split(fround(fround(fround(stepY) * y) + fround(startY))));
    const level = (x, y, k) =>
      (x >= 0 && y >= 0 && x < width && y < height ? data[3 * (y * width + x) + k] : GROUND);
    const between = (low, high, share) => fused(share, fround(high - low), low);
    let at = 0;
    for (const [y, down] of lines) {
      for (const [x, across] of columns) {
        for (let k = 0; k < 3; k += 1, at += 1) {
          view[at] = round(between(between(level(x, y, k), level(x + 1, y, k), across),
            between(level(x, y + 1, k), level(x + 1, y + 1, k), across), down));
        }
      }
    }
    return plane({ width: side, height: side }, view, 3);
  }

  const DENSITY = opticalDensity([GROUND, GROUND, GROUND]);

  function stainLevels(view) {
    const low = view.width / 2 - 40, found = [];
    for (let y = low; y < low + 80; y += 2) {
      for (let x = low; x < low + 80; x += 2) {
        const at = 3 * (y * view.width + x), [a, b, c] = [0, 1, 2].map((k) => DENSITY[k][view.data[at + k]]);
        found.push([a, b, c, fround(fround(a + b) + c)]);
      }
    }
    const half = Float32Array.from(found, (one) => one[3]).sort()[found.length >> 1];
    const dark = found.filter((one) => one[3] >= half);
    return [0, 1, 2].map((k) =>
      max(fround(dark.reduce((total, one) => fround(total + one[k]), 0) / dark.length), fround(0.08)));
  }

  function inHue(view, hue) {
    const own = stainLevels(view), total = fround(fround(own[0] + own[1]) + own[2]);
    const shares = own.map((level) => fround(level / total)), gains = hue.map((share, k) => share / shares[k]);
    const norm = sum(gains.map((gain, k) => gain * shares[k]));
    const tables = gains.map((gain, k) => {
      const kept = fround(clamp(gain / norm, ...GAINS));
      return Uint8Array.from(DENSITY[k], (value) =>
        clamp(Math.exp(-fround(value * kept)) * (GROUND + 4) - 4 + 0.5, 0, 255));
    });
    return looked(view, tables);
  }

  return { findCells, byProminence, standardView, inHue, round, tenths };
};
