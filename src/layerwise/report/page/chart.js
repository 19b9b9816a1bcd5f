// A line chart: series of points over a linear or logarithmic axis, with bands, marks and a guide.
// Arrow keys walk the points, Enter chooses one, and the same works with a pointer.
function ticks(low, high, count) {
  const raw = (high - low) / Math.max(1, count) || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((m) => m * power >= raw * 0.999) * power;
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step) found.push(Math.abs(v) < step / 1e6 ? 0 : v);
  return found;
}

function powers(low, high) {
  const found = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) {
    for (const m of [1, 3]) if (m * 10 ** p >= low * 0.999 && m * 10 ** p <= high * 1.001) found.push(m * 10 ** p);
  }
  return found.length > 7 ? found.filter((v) => Number.isInteger(Math.log10(v))) : found;
}

function axis(low, high, from, to, log) {
  if (!(high > low)) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
  const turn = log ? Math.log : (v) => v;
  const span = turn(high) - turn(low);
  return (v) => from + ((turn(v) - turn(low)) / span) * (to - from);
}

// spec: width, height, label, x {low, high, log, ticks [[value, text]], title}, y {low, high, say, title},
// series [{name, tone, shape, dash, band, thin, faint, loose, bare, points [{x, y, low, high, full, title, lines, row}]}],
// rules [{y, text}], wall {x, text}, marks [{point, text}], guide, current(point), onpick(point).
// Gives back what moves the guide to another place.
function drawChart(host, spec) {
  const edge = { top: spec.marks && spec.marks.length ? 30 : 12, right: spec.right || 14, bottom: 46, left: 46 };
  const inner = { right: spec.width - edge.right, bottom: spec.height - edge.bottom };
  const X = axis(spec.x.low, spec.x.high, edge.left + 8, inner.right - 8, spec.x.log);
  const Y = axis(spec.y.low, spec.y.high, inner.bottom, edge.top, spec.y.log);
  const clampY = (v) => Math.min(inner.bottom, Math.max(edge.top, Y(v)));
  const root = svg("svg", { width: spec.width, height: spec.height, viewBox: `0 0 ${spec.width} ${spec.height}`, "aria-hidden": "true" });
  const put = (...nodes) => root.append(...nodes);

  for (const value of spec.y.log ? powers(spec.y.low, spec.y.high) : ticks(spec.y.low, spec.y.high, spec.height / 60)) {
    put(svg("line", { class: "grid", x1: edge.left, x2: inner.right, y1: Y(value), y2: Y(value) }),
      svg("text", { x: edge.left - 8, y: Y(value) + 4, "text-anchor": "end" }, spec.y.say(value)));
  }
  put(svg("line", { class: "axis", x1: edge.left, x2: inner.right, y1: inner.bottom, y2: inner.bottom }));
  let free = Infinity;
  for (const [value, text] of [...spec.x.ticks].reverse()) {
    const half = 3.5 * text.length;
    put(svg("line", { class: "axis", x1: X(value), x2: X(value), y1: inner.bottom, y2: inner.bottom + 4 }));
    if (X(value) + half > free) continue;
    free = X(value) - half - 9;
    put(svg("text", { class: "name", x: X(value), y: inner.bottom + 18, "text-anchor": "middle" }, text));
  }
  put(svg("text", { x: (edge.left + inner.right) / 2, y: spec.height - 6, "text-anchor": "middle" }, clipText(spec.x.title, spec.width / 7) + (spec.width > 520 && spec.x.more ? spec.x.more : "")));
  for (const rule of spec.rules || []) {
    put(svg("line", { class: "rule", x1: edge.left, x2: inner.right, y1: clampY(rule.y), y2: clampY(rule.y) }));
  }
  if (spec.wall) {
    const end = X(spec.wall.x) > (edge.left + inner.right) / 2;
    put(svg("line", { class: "rule", x1: X(spec.wall.x), x2: X(spec.wall.x), y1: edge.top, y2: inner.bottom }),
      svg("text", { class: "note", x: X(spec.wall.x) + (end ? -6 : 6), y: inner.bottom - 8, "text-anchor": end ? "end" : "start" }, spec.wall.text));
  }
  const guide = svg("line", { class: "guide", y1: edge.top, y2: inner.bottom });
  put(guide);
  const moveGuide = (value) => {
    guide.setAttribute("visibility", Number.isFinite(value) ? "visible" : "hidden");
    if (Number.isFinite(value)) for (const end of ["x1", "x2"]) guide.setAttribute(end, X(value));
  };
  moveGuide(spec.guide);

  const places = [];
  const gap = (inner.right - edge.left) / Math.max(2, ...spec.series.map((s) => s.points.length));
  const size = Math.min(1, Math.max(0.42, gap / 16));
  spec.series.forEach((series, s) => {
    const group = svg("g", { class: `${toneOf(series.tone)}${series.faint ? " faint" : ""}` });
    const points = series.points.filter((p) => Number.isFinite(p.y) && Number.isFinite(X(p.x)));
    const ranged = points.filter((p) => Number.isFinite(p.low) && Number.isFinite(p.high));
    if (series.band && ranged.length > 1) {
      const up = ranged.map((p) => `${X(p.x)} ${clampY(p.high)}`);
      const down = ranged.map((p) => `${X(p.x)} ${clampY(p.low)}`).reverse();
      group.append(svg("path", { class: "band", d: `M${up.join("L")}L${down.join("L")}Z` }));
    } else if (series.band) {
      for (const p of ranged) group.append(svg("line", { class: "whisker", x1: X(p.x), x2: X(p.x), y1: clampY(p.low), y2: clampY(p.high) }));
    }
    if (!series.loose) {
      group.append(svg("path", { class: `line${series.thin ? " thin" : ""}`, "stroke-dasharray": DASHES[series.dash % DASHES.length] || null, d: points.map((p, i) => `${i ? "L" : "M"}${X(p.x)} ${clampY(p.y)}`).join("") }));
    }
    for (const p of series.bare ? [] : points) {
      const place = { x: X(p.x), y: clampY(p.y), point: p, series: s };
      places.push(place);
      if (series.loose && Number.isFinite(p.low)) group.append(svg("line", { class: "whisker", x1: place.x, x2: place.x, y1: clampY(p.low), y2: clampY(p.high) }));
      const mark = glyph(series.shape, p.full, series.thin || series.loose ? size * 0.7 : size);
      group.append(svg("g", { transform: `translate(${place.x} ${place.y})` }, mark));
    }
    put(group);
  });
  for (const rule of spec.rules || []) {
    put(svg("text", { class: "note", x: inner.right, y: clampY(rule.y) - 6, "text-anchor": "end" }, rule.text));
  }
  put(...noteMarks(spec, X, clampY, edge, inner));
  const ring = svg("circle", { class: "ring", r: 9, visibility: "hidden" });
  put(ring);
  host.replaceChildren(root);
  listen(host, spec, places, ring);
  return moveGuide;
}

// Words above the chart with a line down to their points, moved apart where they would overlap.
function noteMarks(spec, X, Y, edge, inner) {
  const marks = (spec.marks || []).filter((m) => Number.isFinite(m.point.y)).map((m) => ({ ...m, at: X(m.point.x), half: m.text.length * 3.6 + 6 }));
  marks.sort((a, b) => a.at - b.at);
  let free = edge.left - 30;
  for (const m of marks) {
    m.middle = Math.max(m.at, free + m.half);
    free = m.middle + m.half;
  }
  let wall = inner.right + spec.width - inner.right;
  for (const m of marks.reverse()) {
    m.middle = Math.min(m.middle, wall - m.half);
    wall = m.middle - m.half;
  }
  return marks.flatMap((m) => [
    svg("path", { class: "leader", fill: "none", d: `M${m.middle} 18L${m.at} ${Math.min(30, Y(m.point.y) - 9)}V${Y(m.point.y) - 9}` }),
    svg("circle", { class: "ring", cx: m.at, cy: Y(m.point.y), r: 8 }),
    svg("text", { class: "note", x: m.middle, y: 13, "text-anchor": "middle" }, m.text),
  ]);
}

function listen(host, spec, places, ring) {
  let now = null;
  const show = (place, speak) => {
    now = place;
    ring.setAttribute("visibility", place ? "visible" : "hidden");
    if (!place) return hideTip();
    ring.setAttribute("cx", place.x);
    ring.setAttribute("cy", place.y);
    const box = host.getBoundingClientRect();
    tip(box.left + place.x, box.top + place.y, place.point.title, place.point.lines);
    if (speak) announce([place.point.title, ...place.point.lines].join(", "));
  };
  const near = (event) => {
    const box = host.getBoundingClientRect();
    let found = null;
    let least = 40 ** 2;
    for (const place of places) {
      const far = (place.x - event.clientX + box.left) ** 2 + ((place.y - event.clientY + box.top) ** 2) / 2;
      if (far < least) [found, least] = [place, far];
    }
    return found;
  };
  const step = (key) => {
    if (!places.length) return null;
    if (!now || !places.includes(now)) return places.find((p) => spec.current && spec.current(p.point)) || places[0];
    const mine = places.filter((p) => p.series === now.series);
    if (key === "Home") return mine[0];
    if (key === "End") return mine[mine.length - 1];
    if (key === "ArrowLeft" || key === "ArrowRight") {
      return mine[Math.min(mine.length - 1, Math.max(0, mine.indexOf(now) + (key === "ArrowRight" ? 1 : -1)))];
    }
    const order = [...new Set(places.map((p) => p.series))];
    const other = order[(order.indexOf(now.series) + (key === "ArrowDown" ? 1 : order.length - 1)) % order.length];
    return places.filter((p) => p.series === other).reduce((a, b) => (Math.abs(b.x - now.x) < Math.abs(a.x - now.x) ? b : a));
  };
  host.className = "chart";
  host.tabIndex = 0;
  host.setAttribute("role", "application");
  host.setAttribute("aria-roledescription", "chart");
  host.setAttribute("aria-label", `${spec.label} Arrow keys walk the points, Enter chooses a layer. The same numbers follow as a table.`);
  // A resting pointer must not take the point away from the keys.
  const keyed = () => document.activeElement === host;
  host.onpointermove = (event) => {
    const place = near(event);
    if (place || !keyed()) show(place);
  };
  host.onpointerleave = () => (keyed() ? hideTip() : show(null));
  host.onblur = () => show(null);
  host.onclick = (event) => {
    const place = near(event);
    if (place && spec.onpick) spec.onpick(place.point);
  };
  host.onkeydown = (event) => {
    if (["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) {
      event.preventDefault();
      show(step(event.key), true);
    } else if ((event.key === "Enter" || event.key === " ") && now && spec.onpick) {
      event.preventDefault();
      const { point } = now;
      spec.onpick(point);
      announce(`Chosen: ${point.title}`);
    }
  };
}
