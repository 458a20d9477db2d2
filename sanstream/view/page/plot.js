// Rows of one time axis: an envelope or samples of one channel, with marks behind them.

export const COLOURS = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7a5195", "#8c510a"];

const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];

const LANE = 15;  // room for labels below a row
const EDGE = 24;  // room for half a time at the right end

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A chart draws what `view` spans; `marks` gives stretches and moments that are drawn behind and before the lines.
export class Row {
  constructor(parent, { title, note = "", height, left, marks, axis, stamp, digits = 4, zero = false, paper = 0, lane = false, onValue }) {
    this.node = document.createElement("div");
    this.node.className = "row";
    this.node.append(label(title, note));
    this.value = document.createElement("div");
    this.value.className = "value";
    this.node.append(this.value);
    this.node.style.minHeight = `${height}px`;  // before anything is drawn, titles keep their places
    parent.append(this.node);
    this.height = height;
    this.options = { left, marks, axis, stamp, digits, zero, paper, lane, onValue };
    this.least = 0;  // of the range of values: rows of one scale share it
    this.lines = [];
    this.plot = null;
    this.data = [[0]];
  }

  // lines: [{colour, width, band: bool}], one or two series each
  shape(lines) {
    const same = this.plot && JSON.stringify(lines) === JSON.stringify(this.lines);
    if (same) return;
    this.lines = lines;
    this.plot?.destroy();
    const series = [{}];
    const bands = [];
    for (const line of lines) {
      const own = { stroke: line.colour, width: line.width ?? 1, points: { size: 4 }, dash: line.dash };
      series.push(own);
      if (line.band) {
        series.push({ ...own });
        bands.push({ series: [series.length - 1, series.length - 2], fill: line.colour + "55" });
      }
    }
    const { left, axis, lane, stamp, zero } = this.options;
    const soft = css("--soft");
    const grid = { stroke: () => (this.boxes() ? "transparent" : css("--line")), width: 1 };
    this.plot = new uPlot(
      {
        width: Math.max(80, this.node.clientWidth), height: this.height, series, bands,
        legend: { show: false }, padding: [left ? 18 : 4, left ? EDGE : 0, axis ? 0 : lane ? LANE : 4, 0],
        cursor: { drag: { x: false, y: false }, y: false, points: { size: 6 }, sync: { key: "time" } },
        scales: { x: { time: false, auto: false, range: () => this.span }, y: { range: (u, low, high) => around(low, high, zero, this.least) } },
        axes: [
          { show: true, size: axis ? 30 : 0, values: axis ? (u, at) => at.map((v) => (this.across(v) > this.inner() - 6 ? "" : stamp(v))) : () => [], stroke: soft, grid, ticks: { show: !!axis, ...grid }, space: 90, incrs: STEPS, font: "12px system-ui" },
          { size: left, stroke: soft, grid, ticks: { show: false }, font: "11px system-ui", gap: 4, space: this.height < 90 ? 13 : 24 },
        ],
        hooks: {
          drawClear: [(u) => this.behind(u)],
          draw: [(u) => this.before(u)],
          setCursor: [(u) => this.tell(u)],
        },
      },
      this.data,
      this.node,
    );
  }

  show(span, data) {
    this.span = span;
    this.data = data;
    this.plot.setData(data, false);
    this.plot.setScale("x", { min: span[0], max: span[1] });
  }

  move(span) {
    this.span = span;
    this.plot?.setScale("x", { min: span[0], max: span[1] });
  }

  fit() {
    this.plot?.setSize({ width: Math.max(80, this.node.clientWidth), height: this.height });
  }

  destroy() {
    this.plot?.destroy();
    this.node.remove();
  }

  // the box of the plot, in CSS pixels from the row's left
  box() {
    const over = this.plot.over.getBoundingClientRect();
    return { left: over.left - this.node.getBoundingClientRect().left, width: over.width };
  }

  // smallest and largest of what is seen, null where nothing is
  extent() {
    let low = Infinity, high = -Infinity;
    const [x, ...lines] = this.data;
    for (let i = 0; i < x.length; i++) {
      if (x[i] < this.span[0] || x[i] > this.span[1]) continue;
      for (const line of lines) {
        const v = line[i];
        if (v === null || v === undefined) continue;
        if (v < low) low = v;
        if (v > high) high = v;
      }
    }
    return high >= low ? high - low : null;
  }

  // boxes of ECG paper, 0.2 s wide, that are wide enough to be seen: their width in CSS pixels, else 0
  boxes() {
    if (!this.options.paper || !this.span || !this.plot) return 0;
    const wide = (0.2 / (this.span[1] - this.span[0])) * this.inner();
    return wide >= 5 ? wide : 0;
  }

  // width of the plot in CSS pixels, which a plot does not tell before it has been drawn once
  inner() {
    return Math.max(80, this.node.clientWidth) - this.options.left - (this.options.left ? EDGE : 0);
  }

  across(time) {
    return ((time - this.span[0]) / (this.span[1] - this.span[0])) * this.inner();
  }

  paper(u) {
    const { ctx, bbox } = u, wide = this.boxes();
    if (!wide) return;
    const { min, max } = u.scales.y, one = this.options.paper;
    const rule = (step, colour) => {
      ctx.strokeStyle = css(colour);
      ctx.beginPath();
      for (let i = Math.ceil(this.span[0] / (step * 0.4)); i * step * 0.4 <= this.span[1]; i++) {
        const x = Math.round(u.valToPos(i * step * 0.4, "x", true)) + 0.5;
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
      }
      if ((step * one * bbox.height) / (max - min) >= 3 * devicePixelRatio) {
        for (let i = Math.ceil(min / (step * one)); i * step * one <= max; i++) {
          const y = Math.round(u.valToPos(i * step * one, "y", true)) + 0.5;
          ctx.moveTo(bbox.left, y);
          ctx.lineTo(bbox.left + bbox.width, y);
        }
      }
      ctx.stroke();
    };
    ctx.lineWidth = 1;
    if (wide >= 25) rule(0.1, "--paper");
    rule(0.5, "--paper-bold");
  }

  behind(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    this.paper(u);
    for (const m of this.options.marks?.() ?? []) {
      if (m.to === undefined) continue;
      const a = u.valToPos(m.from, "x", true);
      const b = u.valToPos(m.to, "x", true);
      ctx.fillStyle = css(m.kind === "bad" ? "--bad" : "--gap");
      ctx.fillRect(a, bbox.top, Math.max(1, b - a), bbox.height);
    }
    ctx.restore();
  }

  before(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    const ratio = devicePixelRatio, lane = this.options.lane ? LANE * ratio : 0;
    ctx.rect(bbox.left, bbox.top, bbox.width + (lane ? EDGE * ratio : 0), bbox.height + lane);
    ctx.clip();
    ctx.lineWidth = ratio;
    ctx.font = `${11 * ratio}px system-ui`;
    ctx.textAlign = "left";
    let free = -Infinity;
    const all = [...(this.options.marks?.() ?? [])].sort((a, b) => a.from - b.from);
    const dense = all.filter((m) => m.kind === "event" && m.from >= this.span[0] && m.from <= this.span[1]).length > bbox.width / (8 * ratio);
    for (const m of all) {
      if (m.to !== undefined && !m.text) continue;
      const x = u.valToPos(m.from, "x", true);
      if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
      ctx.strokeStyle = ctx.fillStyle = m.colour ?? css("--soft");
      ctx.globalAlpha = m.kind === "event" ? 0.45 : 0.9;
      ctx.setLineDash(m.kind === "event" ? [] : [4 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, m.kind === "event" && dense ? bbox.top + bbox.height - 16 * ratio : bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height + lane);
      ctx.stroke();
      ctx.globalAlpha = 1;
      if (m.text && x > free && !(dense && m.kind === "event")) {
        const text = m.text.length > 24 ? m.text.slice(0, 23) + "…" : m.text;
        ctx.fillText(text, x + 3 * ratio, bbox.top + bbox.height + (this.options.lane ? LANE - 3 : -4) * ratio);
        free = x + ctx.measureText(text).width + 8 * ratio;
      }
    }
    ctx.restore();
  }

  tell(u) {
    const i = u.cursor.idx;
    const band = this.lines.at(-1)?.band;
    const own = i === null || i === undefined || !this.lines.length ? [] : u.data.slice(band ? -2 : -1).map((s) => s[i]);
    const values = own.filter((v) => v !== null && Number.isFinite(v));
    if (!values.length || u.cursor.left < 0) {
      this.value.textContent = "";
      return;
    }
    const text = band && values[0] !== values[1] ? `${short(values[0])} … ${short(values[1])}` : short(values[0]);
    this.value.textContent = text;
    this.options.onValue?.(u.data[0][i]);
  }
}

export const short = (v) => (Math.abs(v) >= 1e5 || (v !== 0 && Math.abs(v) < 1e-3) ? v.toExponential(2) : String(+v.toPrecision(4)));

function label(title, note) {
  const node = document.createElement("div");
  node.className = "name";
  const name = document.createElement("b");
  name.textContent = title;
  node.append(name);
  if (note) {
    const more = document.createElement("span");
    more.textContent = note;
    node.append(more);
  }
  return node;
}

function around(low, high, zero, least) {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  if (zero) return [0, high > 0 ? high * 1.15 : 1];
  const room = high > low ? (high - low) * 0.08 : Math.abs(high) * 0.1 || 1;
  const more = Math.max(0, (least * 1.16 - (high - low + 2 * room)) / 2);
  return [low - room - more, high + room + more];
}

// Ticks of activations, one colour per kernel, higher for larger amplitudes.
export function drawTicks(canvas, { left, width }, span, found, colourOf) {
  const ratio = devicePixelRatio;
  const full = canvas.parentElement.clientWidth;
  canvas.width = full * ratio;
  canvas.height = 34 * ratio;
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  ctx.fillStyle = css("--soft");
  ctx.font = "11px system-ui";
  ctx.fillText("kernels", 4, 21);
  ctx.strokeStyle = css("--line");
  ctx.strokeRect(left, 0.5, width, 33);
  let drawn = 0;
  const dense = found.at.filter((t) => t >= span[0] && t <= span[1]).length > width / 4;
  const peak = found.amplitude.reduce((most, a) => Math.max(most, Math.abs(a)), 1e-9);
  ctx.lineWidth = dense ? 1 : 2;
  ctx.globalAlpha = dense ? 0.35 : 1;
  found.at.forEach((t, i) => {
    const x = left + ((t - span[0]) / (span[1] - span[0])) * width;
    if (x < left || x > left + width) return;
    const tall = 6 + 26 * Math.sqrt(Math.abs(found.amplitude[i]) / peak);
    ctx.strokeStyle = colourOf(found.kernel[i]);
    ctx.beginPath();
    ctx.moveTo(x, 33);
    ctx.lineTo(x, 33 - tall);
    ctx.stroke();
    drawn += 1;
  });
  return drawn;
}

// One kernel's taps, all channels over each other.
export function drawKernel(canvas, taps, colour) {
  const ratio = devicePixelRatio;
  canvas.width = 138 * ratio;
  canvas.height = 70 * ratio;
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  const lines = taps.filter(Boolean);
  const peak = Math.max(1e-12, ...lines.flat().map(Math.abs));
  ctx.strokeStyle = css("--line");
  ctx.beginPath();
  ctx.moveTo(0, 35);
  ctx.lineTo(138, 35);
  ctx.stroke();
  lines.forEach((line, k) => {
    ctx.strokeStyle = colour;
    ctx.globalAlpha = k ? 0.4 : 1;
    ctx.lineWidth = k ? 1 : 1.8;
    ctx.beginPath();
    line.forEach((v, i) => ctx.lineTo((i / Math.max(1, line.length - 1)) * 137, 35 - (v / peak) * 32));
    ctx.stroke();
  });
}
