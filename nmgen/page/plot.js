"use strict";
// Elements, scales and axes. Names come in as text nodes and attributes alone, so that no sign in them is markup.

/** An HTML element. inside: elements and strings */
function make(name, attributes = {}, ...inside) {
  return filled(document.createElement(name), attributes, inside);
}

/** An SVG element. */
function draw(name, attributes = {}, ...inside) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, inside);
}

function filled(element, attributes, inside) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inside);
  return element;
}

/** A drawing as wide as what holds it, which then grows and shrinks with it. about: for who does not see it */
function canvas(holder, height, about) {
  const width = Math.max(holder.clientWidth, 320);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": about });
  holder.replaceChildren(svg);
  return { svg, width, height };
}

/** From values to pixels. */
function scale([low, high], [from, to], log = false) {
  const f = log ? Math.log10 : (value) => value;
  const place = (value) => from + ((f(value) - f(low)) / (f(high) - f(low))) * (to - from);
  return Object.assign(place, { low, high, from, to, log });
}

/** The least and the greatest value, with some room around them. */
function range(values, log = false) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) [low, high] = [1, 2];
  if (log) return low < high ? [low / 1.12, high * 1.12] : [low / 2, high * 2];
  const room = (high - low) * 0.07 || Math.abs(high) * 0.05 || 1;
  return [low - room, high + room];
}

/** Round values within a scale: of a logarithmic one 1, 2 and 5 of each decade, or the first of them alone. */
function ticks({ low, high, log }, wanted = 6) {
  if (!log || high / low < 4) {
    const rough = (high - low) / wanted;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = unit * [1, 2, 5, 10].find((one) => one * unit >= rough * 0.999);
    const found = [];
    for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(Number((k * step).toPrecision(12)));
    return found;
  }
  const decades = Math.log10(high / low);
  const steps = decades > 4 ? [1] : [1, 2, 5];
  const found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) {
    for (const step of steps) {
      const value = Number(`${step}e${e}`);
      if (value >= low && value <= high) found.push(value);
    }
  }
  return found;
}

const ENGLISH = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 6 }); // toLocaleString makes one a number

/** A number with commas between thousands. */
function exact(value) {
  return ENGLISH.format(value);
}

/** The same with no more digits than say something. */
function short(value) {
  if (Math.abs(value) >= 1e6) return `${Number((value / 1e6).toPrecision(4))} M`;
  return exact(Number(value.toPrecision(4)));
}

/** Grid, numbers and names of both axes. */
function axes(svg, x, y, names) {
  const group = draw("g");
  for (const value of ticks(x, 8)) {
    group.append(draw("line", { class: "grid", x1: x(value), x2: x(value), y1: y.from, y2: y.to }));
    const anchor = x.to - x(value) < 16 ? "end" : "middle"; // the last one ends where the plot does
    group.append(draw("text", { class: "axis", x: x(value), y: y.from + 16, "text-anchor": anchor }, short(value)));
  }
  for (const value of ticks(y, 6)) {
    group.append(draw("line", { class: "grid", x1: x.from, x2: x.to, y1: y(value), y2: y(value) }));
    group.append(draw("text", { class: "axis", x: x.from - 8, y: y(value) + 4, "text-anchor": "end" }, short(value)));
  }
  group.append(draw("text", { x: x.to, y: y.from + 34, "text-anchor": "end" }, names.x));
  group.append(draw("text", { x: 4, y: y.to - 10 }, names.y));
  svg.append(group);
}

/** Colours that are told apart on white and on black, also by who does not see all; then more around the circle. */
const COLOURS = [
  "#0f77b8", "#d55e00", "#009e73", "#b85c9e", "#b98200", "#6a5acd", "#6b8e23", "#808890", "#a0522d", "#0097a7",
];
function colour(number) {
  return COLOURS[number] ?? `hsl(${Math.round(number * 137.5) % 360} 55% 48%)`;
}

function swatch(colour, kind = "") {
  const mark = make("span", { class: `swatch ${kind}` });
  mark.style.background = colour;
  return mark;
}

/** Bars of rows [{name, parts: {kind: length}}], each kind in its colour. */
function stacked(holder, rows, kinds, about) {
  const left = 120, right = 90, bar = 18, pitch = 26;
  const { svg, width } = canvas(holder, rows.length * pitch + 28, about);
  const total = (row) => Object.values(row.parts).reduce((sum, one) => sum + one, 0);
  const x = scale([0, Math.max(1, ...rows.map(total))], [left, width - right]);
  const bottom = rows.length * pitch + 4;
  for (const value of ticks(x, 4)) {
    svg.append(draw("line", { class: "grid", x1: x(value), x2: x(value), y1: 0, y2: bottom }));
    svg.append(draw("text", { class: "axis", x: x(value), y: bottom + 16, "text-anchor": "middle" }, short(value)));
  }
  rows.forEach((row, number) => {
    const top = number * pitch + 4;
    const name = row.name.length > 17 ? `${row.name.slice(0, 16)}…` : row.name;
    svg.append(draw("text", { x: left - 8, y: top + 13, "text-anchor": "end" }, name, draw("title", {}, row.name)));
    let begin = 0;
    for (const kind of kinds.keys()) {
      const length = row.parts[kind];
      if (!length) continue;
      const said = `${row.name}: ${kind} ${exact(length)} cycles`;
      const place = { x: x(begin), y: top, width: Math.max(x(begin + length) - x(begin), 0.5), height: bar };
      svg.append(draw("rect", { ...place, fill: kinds.get(kind) }, draw("title", {}, said)));
      begin += length;
    }
    svg.append(draw("text", { x: x(begin) + 6, y: top + 13 }, exact(begin)));
  });
}

/** A design under its roof: peak multiplies a cycle, and bytes a cycle that the memory gives. */
function roofline(holder, { peak, bandwidth, x: reached, y: done }, about) {
  const { svg, width, height } = canvas(holder, 320, about);
  const ridge = peak / bandwidth;
  const x = scale([Math.min(ridge, reached) / 8, Math.max(ridge, reached) * 8], [56, width - 14], true);
  const roof = (value) => Math.min(peak, bandwidth * value);
  const y = scale([Math.min(roof(x.low), done) / 1.5, peak * 2.5], [height - 44, 24], true);
  axes(svg, x, y, { x: "multiplies a byte moved", y: "multiplies a cycle" });
  const path = `M${x(x.low)},${y(roof(x.low))}L${x(ridge)},${y(peak)}L${x(x.high)},${y(peak)}`;
  svg.append(draw("path", { class: "roof", d: path }));
  svg.append(draw("text", { x: x.to - 4, y: y(peak) - 8, "text-anchor": "end" }, `${short(peak)} multipliers`));
  const foot = x.low * 1.15;
  svg.append(draw("text", { x: x(foot) + 14, y: y(roof(foot)) + 6 }, `${short(bandwidth)} bytes a cycle`));
  svg.append(draw("line", { class: "drop", x1: x(reached), x2: x(reached), y1: y(done), y2: y(roof(reached)) }));
  svg.append(draw("circle", { class: "design", cx: x(reached), cy: y(done), r: 6 }));
  const end = x(reached) > (x.from + x.to) / 2;
  const beside = { x: x(reached) + (end ? -10 : 10), y: y(done) + 18, "text-anchor": end ? "end" : "start" };
  svg.append(draw("text", beside, `${short(done)} a cycle, ${((100 * done) / roof(reached)).toFixed(1)}% of the roof`));
}
