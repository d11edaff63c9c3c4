"use strict";
(() => {
  const found = JSON.parse(document.getElementById("data").textContent);
  const { points, candidates, target, work } = found;
  const at = (id) => document.getElementById(id);
  const MOST_ROWS = 200, PRINTED_ROWS = 30, REACH = 24; // rows of the table, on paper; pixels from a mark to the mouse

  // Numbers as they are written.
  const whole = (value) => (value == null ? "–" : exact(value));
  const fixed = (digits) => (value) => (value == null ? "–" : value.toFixed(digits));
  const percent = (value) => (value == null ? "–" : `${(100 * value).toFixed(1)}%`);
  const milliseconds = (value) =>
    value == null ? "–" : value >= 1000 ? whole(Math.round(value)) : value.toPrecision(4);
  const score = fixed(candidates.some((one) => Math.abs(one.accuracy) > 1) ? 2 : 4);
  const colours = new Map(candidates.map((one, number) => [one.name, colour(number)]));

  const COLUMNS = [
    { key: "front", title: "front", text: true, show: (is) => (is ? "●" : ""), order: (is) => (is ? 0 : 1) },
    { key: "candidate", title: "candidate", text: true, show: String },
    { key: "label", title: "configuration", text: true, show: String },
    { key: "accuracy", title: "accuracy", show: score, best: 1 },
    { key: "ms", title: "ms", show: milliseconds, best: -1 },
    { key: "cycles", title: "cycles", show: whole, best: -1 },
    { key: "mhz", title: "MHz", show: fixed(1), best: 1 },
    { key: "luts", title: "LUTs", show: whole, best: -1 },
    { key: "registers", title: "registers", show: whole, best: -1 },
    { key: "block_rams", title: "block RAMs", show: whole, best: -1 },
    { key: "multipliers", title: "multipliers", show: whole, best: -1 },
    { key: "utilisation", title: "utilisation", show: percent, best: 1 },
    { key: "held_by", title: "held by", text: true, show: String },
  ];
  const column = new Map(COLUMNS.map((one) => [one.key, one]));
  const AXES = ["accuracy", "luts", "block_rams", "mhz", "utilisation", "cycles"].filter((key) =>
    points.every((one) => one[key] != null),
  );

  // An opcode has one colour whatever the design.
  const opcodes = new Map();
  for (const one of points) {
    for (const parts of Object.values(one.by_layer)) {
      for (const opcode in parts) if (!opcodes.has(opcode)) opcodes.set(opcode, colour(opcodes.size));
    }
  }

  let shown = points;
  let sort = { key: null, down: false };
  let chosen = points.find((one) => one.id === found.front[0]) ?? points[0];
  let pointed = null;

  // Filters.
  function choices(select, names) {
    select.append(make("option", { value: "" }, "all"));
    for (const name of names) select.append(make("option", { value: name }, String(name)));
  }
  const unique = (values) => [...new Set(values)].sort((a, b) => (a < b ? -1 : 1));
  const greatest = (key) => points.reduce((most, one) => Math.max(most, one[key]), 0);
  for (const { name } of candidates) {
    const box = make("input", { type: "checkbox", name: "candidate", value: name, checked: "" });
    at("candidates").append(make("label", {}, box, swatch(colours.get(name)), name));
  }
  choices(at("pe"), unique(points.map((one) => one.configuration.pe)));
  choices(at("m"), unique(points.map((one) => one.configuration.m)));
  at("luts").placeholder = whole(greatest("luts"));
  at("ms").placeholder = milliseconds(greatest("ms"));
  at("axis").append(...AXES.map((key) => make("option", { value: key }, column.get(key).title)));

  function filtered() {
    const names = new Set([...document.querySelectorAll("[name=candidate]:checked")].map((box) => box.value));
    const bound = (id) => (at(id).value === "" ? Infinity : Number(at(id).value));
    const pe = at("pe").value, m = at("m").value, luts = bound("luts"), ms = bound("ms"), front = at("front").checked;
    return points.filter(
      (one) =>
        names.has(one.candidate) &&
        (pe === "" || one.configuration.pe === pe) &&
        (m === "" || String(one.configuration.m) === m) &&
        one.luts <= luts && one.ms <= ms && (one.front || !front),
    );
  }

  function update() {
    shown = filtered();
    at("count").textContent = `${whole(shown.length)} of ${whole(points.length)} points shown`;
    plot();
    list();
  }

  // The plot.
  let places = []; // [{point, x, y}] of what is drawn
  let layer, ring, tip;

  function plot() {
    const key = at("axis").value, { title, best, show } = column.get(key);
    const about = `${title} against latency of ${whole(shown.length)} designs; the table below has the same numbers`;
    const { svg, width, height } = canvas(at("plot"), 440, about);
    const x = scale(range(shown.map((one) => one.ms), true), [64, width - 20], true);
    const y = scale(range(shown.map((one) => one[key])), [height - 46, 30]);
    const largest = greatest("luts") || 1;
    axes(svg, x, y, { x: "latency, ms", y: key === "accuracy" ? `accuracy: ${found.metric}` : title });
    places = [...shown].sort((a, b) => a.front - b.front || b.luts - a.luts).map((one) => ({
      point: one, x: x(one.ms), y: y(one[key]), r: Math.max(2, 12 * Math.sqrt(one.luts / largest)),
    }));
    layer = draw("g");
    const line = joined(key, best).map((one) => `${x(one.ms)},${y(one[key])}`);
    layer.append(draw("polyline", { class: "joined", points: line.join(" ") }));
    for (const { point, x, y, r } of places) {
      const place = { cx: x.toFixed(1), cy: y.toFixed(1), r: r.toFixed(1) };
      const kind = point.front ? "mark front" : "mark";
      layer.append(draw("circle", { ...place, class: kind, fill: colours.get(point.candidate) }));
    }
    ring = draw("circle", { class: "ring", r: 0 });
    svg.append(layer, ring);
    tip = make("div", { class: "tip", hidden: "" });
    at("plot").append(tip);
    pointed = null;
    mark();
  }

  /** Of the front, what no other beats in both axes, by latency. */
  function joined(key, best) {
    const line = [];
    for (const one of shown.filter((one) => one.front).sort((a, b) => a.ms - b.ms || best * (b[key] - a[key]))) {
      if (!line.length || best * (one[key] - line.at(-1)[key]) > 0) line.push(one);
    }
    return line;
  }

  /** A ring about what the mouse points at, else about the chosen one. */
  function mark() {
    const place = places.find((one) => one.point === (pointed ?? chosen));
    ring.setAttribute("r", place ? place.r + 4 : 0);
    if (place) for (const axis of ["x", "y"]) ring.setAttribute(`c${axis}`, place[axis]);
  }

  function nearest(event) {
    const box = layer.ownerSVGElement.getBoundingClientRect();
    const zoom = layer.ownerSVGElement.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * zoom, y = (event.clientY - box.top) * zoom;
    let least = REACH, near = null;
    for (const place of places) {
      const distance = Math.hypot(place.x - x, place.y - y);
      if (distance <= least) [least, near] = [distance, place];
    }
    return near;
  }

  function point(event) {
    const near = event.type === "pointerleave" ? null : nearest(event);
    if ((near?.point ?? null) === pointed) return;
    pointed = near?.point ?? null;
    mark();
    tip.hidden = !near;
    if (!near) return;
    const one = near.point;
    const lines = [
      `${one.candidate}${one.front ? ", on the front" : ""}`,
      `accuracy ${score(one.accuracy)}, ${milliseconds(one.ms)} ms at ${fixed(1)(one.mhz)} MHz`,
      `${whole(one.cycles)} cycles, ${percent(one.utilisation)} of the multipliers in use`,
      `${whole(one.luts)} LUTs, ${whole(one.block_rams)} block RAMs, ${whole(one.multipliers)} multipliers`,
      `held by: ${one.held_by}`,
    ];
    tip.replaceChildren(make("strong", {}, one.label), ...lines.map((line) => make("div", {}, line)));
    const zoom = layer.ownerSVGElement.getBoundingClientRect().width / layer.ownerSVGElement.viewBox.baseVal.width;
    // Beside the mark, on the side that has room.
    const beside = (place, size, room) => `${place + 14 + size > room ? Math.max(0, place - 14 - size) : place + 14}px`;
    tip.style.left = beside(near.x * zoom, tip.offsetWidth, at("plot").clientWidth);
    tip.style.top = beside(near.y * zoom, tip.offsetHeight, at("plot").clientHeight);
  }

  // The table.
  const collator = new Intl.Collator("en", { numeric: true });
  function sorted() {
    const latency = (a, b) => a.ms - b.ms || a.id - b.id;
    if (!sort.key) return [...shown].sort((a, b) => b.front - a.front || latency(a, b));
    const { text, order = (value) => value } = column.get(sort.key);
    const values = new Map(shown.map((one) => [one, order(one[sort.key])]));
    const compare = text && sort.key !== "front" ? collator.compare : (a, b) => (a ?? -Infinity) - (b ?? -Infinity);
    return [...shown].sort((a, b) => (sort.down ? -1 : 1) * compare(values.get(a), values.get(b)) || latency(a, b));
  }

  function list() {
    at("points").tHead.replaceChildren(
      make("tr", {}, ...COLUMNS.map(({ key, title, text }) => {
        const button = make("button", { type: "button", "data-key": key }, title);
        const head = make("th", { scope: "col", ...(text ? {} : { class: "number" }) }, button);
        if (key === sort.key) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
        return head;
      })),
    );
    const rows = sorted().slice(0, MOST_ROWS);
    at("points").tBodies[0].replaceChildren(...rows.map(row));
    const first = (most) => `The first ${most} of ${whole(shown.length)} rows`;
    at("cut").textContent = shown.length > MOST_ROWS ? `${first(MOST_ROWS)}. Filter or sort to see others.` : "";
    at("printed").textContent = shown.length > PRINTED_ROWS ? `${first(PRINTED_ROWS)} are printed.` : "";
  }

  function row(one) {
    const cells = COLUMNS.map(({ key, text, show }) => {
      const inside = key === "label" ? make("button", { type: "button" }, one.label) : show(one[key]);
      const cell = make("td", text ? {} : { class: "number" });
      if (key === "candidate") cell.append(swatch(colours.get(one.candidate)));
      cell.append(inside);
      return cell;
    });
    return make("tr", { "data-id": one.id, ...(one === chosen ? { class: "chosen" } : {}) }, ...cells);
  }

  // The chosen design.
  const HELD = {
    array: "The array multiplies in most cycles. More multipliers, a higher clock or a sparser model would help first.",
    drain: "The array waits until its results have left it. More results a cycle (drain) would help first.",
    memory: "The array waits for the memory. A wider port, or more rows that share each weight, would help first.",
  };

  function pairs(list, kind = "") {
    const pair = ([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
    return make("dl", { class: `facts ${kind}` }, ...list.map(pair));
  }

  function detail() {
    const one = chosen;
    at("choice").replaceChildren("Chosen: ", make("a", { href: "#chosen" }, `${one.label}, ${one.candidate}`));
    const share = (key) => ` of ${whole(target[key])}, ${percent(one[key] / target[key])}`;
    const of = (key) => whole(one[key]) + (target[key] && one[key] != null ? share(key) : "");
    const configuration = Object.entries(one.configuration);
    const waits = `Of all that the array waits for, ${one.held_by} takes most cycles.`;
    const layers = make("div", { class: "plot" }), roof = make("div", { class: "plot" });
    const legend = make("div", { class: "legend" });
    at("chosen").replaceChildren(
      make("h2", {}, `Chosen: ${one.label}, ${one.candidate}`),
      pairs([
        ["accuracy", score(one.accuracy)], ["latency", `${milliseconds(one.ms)} ms`], ["cycles", whole(one.cycles)],
        ["clock", `${fixed(1)(one.mhz)} MHz`], ["LUTs", of("luts")], ["registers", of("registers")],
        ["block RAMs", of("block_rams")], ["multipliers", of("multipliers")], ["utilisation", percent(one.utilisation)],
        ["multiplies", whole(one.multiplies)], ["bytes moved", whole(one.bytes)],
        ["on the front", one.front ? "yes" : "no"],
      ]),
      make("p", { id: "held" }, make("strong", {}, `Held by: ${one.held_by}. `), HELD[one.held_by] ?? waits),
      ...further(one),
      make("h3", {}, "Configuration"),
      pairs(configuration.map(([name, value]) => [name, value === "" ? "–" : String(value)]), "dense"),
      make("div", { class: "pair" },
        make("figure", {}, make("h3", {}, "Cycles by layer and opcode"), legend, layers),
        make("figure", {}, make("h3", {}, "Roofline"), roof)),
      command(one),
    );
    cycles(one, layers, legend);
    under(one, roof);
  }

  // What one step further would buy, of the points there are: a wider port, another lane.
  function further(one) {
    const steps = Object.entries(one.further ?? {});
    if (!steps.length) return [];
    const text = ([name, share]) => `${name}: ${percent(Math.abs(share))} ${share < 0 ? "fewer" : "more"} cycles`;
    return [make("p", { id: "further" }, make("strong", {}, "One step further. "), `${steps.map(text).join("; ")}.`)];
  }

  function cycles(one, holder, legend) {
    const totals = new Map();
    for (const parts of Object.values(one.by_layer)) {
      for (const [opcode, count] of Object.entries(parts)) totals.set(opcode, (totals.get(opcode) ?? 0) + count);
    }
    if (!totals.size) return holder.append(make("p", {}, "Not counted by layer."));
    const most = [...totals.keys()].sort((a, b) => totals.get(b) - totals.get(a));
    const kinds = new Map(most.map((opcode) => [opcode, opcodes.get(opcode)]));
    const sum = [...totals.values()].reduce((all, count) => all + count, 0);
    for (const [opcode, shade] of kinds) {
      legend.append(make("span", {}, swatch(shade, "square"), `${opcode} ${percent(totals.get(opcode) / sum)}`));
    }
    const rows = Object.entries(one.by_layer).map(([name, parts]) => ({ name, parts }));
    stacked(holder, rows, kinds, `Cycles of ${one.label} by layer and opcode; the table below has the same numbers`);
    const count = (value) => make("td", { class: "number" }, value ? whole(value) : "");
    const line = ({ name, parts }) =>
      make("tr", {}, make("td", {}, name), ...most.map((opcode) => count(parts[opcode])));
    const head = make("tr", {}, ...["layer", ...most].map((name) => make("th", { scope: "col" }, name)));
    const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows.map(line)));
    holder.after(make("details", {}, make("summary", {}, "As a table"), make("div", { class: "wide" }, table)));
  }

  function under(one, holder) {
    const { rows, cols, n, port_bytes } = one.configuration;
    if (!(one.bytes > 0 && one.multiplies > 0)) return holder.append(make("p", {}, "No bytes are moved."));
    const bandwidth = Math.min(port_bytes, work.memory_bytes_per_cycle ?? Infinity); // a board's memory may give less
    const place = { peak: rows * cols * n, bandwidth, x: one.multiplies / one.bytes, y: one.multiplies / one.cycles };
    const said = `${short(place.x)} multiplies a byte moved and ${short(place.y)} a cycle`;
    roofline(holder, place, `Roofline of ${one.label}: ${said}, of at most ${short(place.peak)}`);
    holder.after(make("figcaption", {}, `${said}.`));
  }

  function command(one) {
    const code = make("code", { id: "command" }, one.command);
    const button = make("button", { type: "button", id: "copy" }, "Copy");
    const said = make("span", { id: "copied", role: "status", class: "quiet" });
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(one.command);
        said.textContent = "copied";
      } catch { // a file may have no clipboard
        getSelection().selectAllChildren(code);
        said.textContent = document.execCommand("copy") ? "copied" : "selected: press Ctrl+C";
      }
    });
    const line = make("div", { class: "command" }, make("pre", {}, code), button);
    return make("div", {}, make("h3", {}, "Command"), line, said);
  }

  function choose(one) {
    if (!one) return;
    chosen = one;
    for (const tr of at("points").tBodies[0].rows) tr.classList.toggle("chosen", Number(tr.dataset.id) === one.id);
    mark();
    detail();
  }

  // Events.
  if (!points.length) {
    at("filters").hidden = true;
    at("count").textContent = "No point fits.";
    return;
  }
  const byId = new Map(points.map((one) => [one.id, one]));
  at("filters").addEventListener("input", update);
  at("filters").addEventListener("reset", () => setTimeout(update)); // once the fields are empty
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  at("plot").addEventListener("pointermove", point);
  at("plot").addEventListener("pointerleave", point);
  at("plot").addEventListener("click", (event) => choose(nearest(event)?.point));
  at("points").addEventListener("click", (event) => {
    const key = event.target.closest("th button")?.dataset.key;
    const id = event.target.closest("tbody tr")?.dataset.id;
    if (key) {
      sort = { key, down: sort.key === key && !sort.down };
      list();
      at("points").querySelector(`[data-key=${key}]`).focus();
    } else if (id) choose(byId.get(Number(id)));
  });
  at("about").textContent =
    "The area of a mark is the LUTs of the design. Marks with a rim are on the front; the line joins those that no " +
    "other beats in both axes. Point at a mark for its numbers, click it to choose the design.";
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) {
      width = innerWidth;
      plot();
      detail();
    }
  });
  update();
  detail();
})();
