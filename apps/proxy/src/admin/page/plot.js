"use strict";
// Curves over the time: lines of numbers, with axes that have units.

const SVG = "http://www.w3.org/2000/svg";
const HISTORY = 300; // seconds
const SHORTEST = 60; // seconds that are shown at least

const make = (name, attributes = {}, text = "") => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
};

const html = (name, text = "", className = "") => {
  const element = document.createElement(name);
  element.textContent = text;
  if (className) element.className = className;
  return element;
};

// Three digits, and a letter for thousands.
const scaled = (n) => {
  const [scale, letter] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([scale]) => Math.abs(n) >= scale * 0.9995) ?? [1, ""];
  return [parseFloat((n / scale).toPrecision(3)), letter];
};
const short = (n) => n === null ? "–" : scaled(n).join("");

// Seconds, in the unit that suits them.
const time = (seconds) => {
  if (seconds === null) return "–";
  if (seconds >= 1) return `${short(seconds)} s`;
  return seconds >= 1e-3 ? `${short(seconds * 1e3)} ms` : `${short(seconds * 1e6)} µs`;
};

// About `count` round numbers from 0 to at least `most`.
const ticks = (most, count) => {
  const rough = (most > 0 ? most : 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((step) => step >= rough * 0.999);
  const end = Math.max(1, Math.ceil((most > 0 ? most : 1) / step - 1e-9));
  return Array.from({ length: end + 1 }, (_, i) => i * step);
};

// Powers of ten around what there is, and what is between them if they are few.
const decades = (least, most) => {
  const low = Math.floor(Math.log10(least) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(Math.log10(most) - 1e-9));
  return Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i));
};

class Plot {
  // `lines`: name and dashes; `format`: of a number in the legend; `label`: of one at the axis.
  constructor({ title, unit, lines = [], format = short, label = short, logarithmic = false }) {
    Object.assign(this, { title, unit, format, label, logarithmic, lines: new Map() });
    this.figure = html("figure");
    this.legend = html("ul", "", "legend");
    this.svg = make("svg", { class: "plot", role: "img" });
    this.figure.append(html("figcaption", `${title} (${unit})`), this.legend, this.svg);
    lines.forEach((line) => this.line(line));
    document.getElementById("plots").append(this.figure);
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  line({ name, colour = this.lines.size % 6, dashed = false }) {
    if (!this.lines.has(name)) {
      const item = html("li");
      item.style.setProperty("--colour", `var(--c${colour})`);
      if (dashed) item.dataset.dash = "";
      this.legend.append(item);
      this.lines.set(name, { colour, dashed, item, points: [] });
    }
    return this.lines.get(name);
  }

  // Numbers at a time in seconds; null where there is none, and then the line has a gap.
  add(at, values) {
    this.now = at;
    for (const [name, value] of Object.entries(values)) {
      const { points, item } = this.line({ name });
      points.push([at, value]);
      while (points[0][0] < at - HISTORY) points.shift();
      this.began = Math.min(this.began ?? at, at);
      item.textContent = `${name}: ${this.format(value)}`;
    }
    this.draw();
  }

  clear() {
    for (const line of this.lines.values()) line.points = [];
    this.began = undefined;
  }

  draw() {
    const { width, height } = this.svg.getBoundingClientRect();
    if (width < 50 || this.now === undefined) return;
    const all = [...this.lines.values()].flatMap((line) => line.points.map(([, value]) => value)).filter((v) => v !== null);
    const positive = all.filter((v) => v > 0);
    const logarithmic = this.logarithmic && positive.length > 0;
    const marks = logarithmic ? decades(Math.min(...positive), Math.max(...positive)) : ticks(Math.max(0, ...all), 4);
    const [first, last] = [marks[0], marks[marks.length - 1]];
    const labels = marks.map(this.label);
    const left = Math.max(...labels.map((text) => text.length)) * 7 + 10;
    const [right, top, bottom] = [12, 10, 34];
    // Minutes, as many as there are numbers for.
    const span = Math.min(HISTORY, Math.max(SHORTEST, 60 * Math.ceil((this.now - this.began) / 60)));
    const [step, unit, seconds] = span > 120 ? [60, "minutes", 60] : [span / 4, "seconds", 1];
    const x = (at) => left + (width - left - right) * (1 + (at - this.now) / span);
    const part = (v) => logarithmic ? Math.log(Math.max(v, first) / first) / Math.log(last / first) : (v - first) / (last - first);
    const y = (v) => height - bottom - (height - top - bottom) * part(v);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("aria-label", `${this.title} (${this.unit}): ${[...this.lines.values()].map((l) => l.item.textContent).join(", ")}`);
    const drawn = [];
    marks.forEach((mark, i) => {
      drawn.push(make("line", { class: "grid", x1: left, x2: width - right, y1: y(mark), y2: y(mark) }));
      drawn.push(make("text", { x: left - 6, y: y(mark) + 4, "text-anchor": "end" }, labels[i]));
    });
    for (let ago = 0; ago <= span; ago += step) {
      const at = x(this.now - ago);
      drawn.push(make("line", { class: "grid", x1: at, x2: at, y1: height - bottom, y2: height - bottom + 4 }));
      drawn.push(make("text", { x: at, y: height - bottom + 16, "text-anchor": "middle" }, ago ? `−${ago / seconds}` : "0"));
    }
    drawn.push(make("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, `time (${unit} from now)`));
    for (const { colour, dashed, points } of this.lines.values()) {
      for (const run of runs(points)) {
        // A single point is a line of no length, which round ends make a dot.
        const at = run.length > 1 ? run : [run[0], run[0]];
        const path = at.map(([t, v]) => `${x(t).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
        drawn.push(make("polyline", { points: path, style: `stroke: var(--c${colour})`, "stroke-dasharray": dashed ? "5 4" : "none" }));
      }
    }
    this.svg.replaceChildren(...drawn);
  }
}

// Points between gaps.
const runs = (points) => {
  const found = [[]];
  for (const point of points) {
    if (point[1] === null) found.push([]);
    else found[found.length - 1].push(point);
  }
  return found.filter((run) => run.length > 0);
};
