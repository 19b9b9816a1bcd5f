// Scores by depth or cost, with what they have to be compared to.
const AXES = {
  depth: { text: "depth", of: (row) => row.depth },
  milliseconds: { text: "time", title: "milliseconds per sample up to the layer", of: (row) => row.milliseconds },
  parameters: { text: "parameters", title: "parameters up to the layer", of: (row) => row.parameters },
  flops: { text: "FLOPs", title: "FLOPs per sample up to the layer", of: (row) => row.flops },
};
const view = { axis: "depth", pooling: "", readout: "", controls: true, hidden: new Set() };

function costAxis(networks, extra) {
  const { of, title } = AXES[view.axis];
  if (view.axis === "depth") {
    const list = layersOf(chosen.network);
    const short = shortNames(list.map((row) => row.layer));
    const steps = list.map((row, i) => [row.depth, short.names[i]]);
    if (extra) steps.push([1.09, "joined"]);
    return { low: 0, high: extra ? 1.09 : 1, ticks: steps, title: `layers of ${chosen.network} by depth`, more: short.stem && `, without “${short.stem}”` };
  }
  const values = networks.flatMap(layersOf).map(of).map(number).filter(Number.isFinite);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const log = low > 0 && high / low > 50;
  const steps = (log ? powers(low, high) : ticks(0, high, 6)).map((v) => [v, say.amount(v)]);
  return { low: log ? low : 0, high, log, ticks: steps, title: title + (log ? " (logarithmic)" : "") };
}

// The chosen network comes last, on top; where there are many, the others step back.
function shownNetworks() {
  const names = networkNames.filter((name) => !view.hidden.has(name));
  return [...names.filter((name) => name !== chosen.network), ...names.filter((name) => name === chosen.network)];
}

const isFaint = (network) => networkNames.length > 3 && network !== chosen.network;

// Where the chosen layer stands on the axis.
function guidePlace() {
  const row = layerOf.get(at(chosen.network, chosen.layer));
  return row && !view.hidden.has(chosen.network) ? number(AXES[view.axis].of(row)) : NaN;
}

function scoreHere(target, network, layer) {
  const all = scoresOf.get(at(target, network, layer)) || [];
  return best(all.filter((s) => (!view.pooling || s.pooling === view.pooling) && (!view.readout || s.readout === view.readout)));
}

function scorePoint(row, score, x, near) {
  const target = targetOf.get(score.target);
  const lines = [
    `${score.network}, ${score.pooling}, ${score.readout}`,
    `${target ? target.metric : "score"} ${say.score(score.test)} (${say.score(score.low)} to ${say.score(score.high)})`,
  ];
  if (row) lines.push(`${say.time(row.milliseconds)}, ${say.amount(row.parameters)} parameters`);
  if (near) lines.push("cannot be told from the best");
  return { x, y: number(score.test), low: number(score.low), high: number(score.high), full: near, title: score.layer, lines, row, score };
}

function depthSeries(target) {
  const choice = choiceOf.get(target);
  const tied = new Set((choice ? choice.indistinguishable : []).map(([network, layer]) => at(network, layer)));
  const { of } = AXES[view.axis];
  return shownNetworks().map((network) => {
    const index = networkNames.indexOf(network);
    const points = layersOf(network).flatMap((row) => {
      const score = scoreHere(target, network, row.layer);
      return score ? [scorePoint(row, score, number(of(row)), tied.has(at(network, row.layer)))] : [];
    });
    return { name: network, tone: index, shape: index, dash: index, band: true, faint: isFaint(network), points };
  });
}

// Readouts on several layers at once have no depth: they stand at the right edge.
function joinedSeries(target) {
  return shownNetworks().flatMap((network) => {
    const joined = atlas.scores.filter((s) => s.target === target && s.network === network && !layerOf.has(at(network, s.layer)));
    const top = best(joined);
    const index = networkNames.indexOf(network);
    return top ? [{ name: network, tone: index, shape: index, dash: 0, loose: true, faint: isFaint(network), points: [scorePoint(null, top, 1.09, false)] }] : [];
  });
}

function controlSeries(target) {
  const { of } = AXES[view.axis];
  return shownNetworks().filter((network) => !isFaint(network)).flatMap((network) => {
    const seen = new Set();
    const mine = atlas.controls.filter((c) => {
      const fits = c.target === target && c.network === network && layerOf.has(at(network, c.layer)) && (!view.pooling || c.pooling === view.pooling);
      if (!fits || seen.has(c.layer)) return false;
      return seen.add(c.layer);
    });
    const rowOf = (c) => layerOf.get(at(network, c.layer));
    const point = (c, y, what, extra) => ({ x: number(of(rowOf(c))), y: number(y), title: c.layer, lines: [network, `${what} ${say.score(y)}`, ...extra], row: rowOf(c) });
    return [
      { tone: 6, shape: 5, dash: 0, loose: true, points: mine.map((c) => ({ ...point(c, c.permuted, "permuted labels", [`${say.score(c.permuted_low)} to ${say.score(c.permuted_high)}`]), low: number(c.permuted_low), high: number(c.permuted_high) })) },
      { tone: networkNames.indexOf(network), shape: networkNames.indexOf(network), dash: 2, thin: true, points: mine.filter((c) => Number.isFinite(number(c.random_weights))).map((c) => point(c, c.random_weights, "random weights", [`trained ${say.score(c.trained)}, both on ${c.samples} samples`])) },
    ].filter((series) => series.points.length);
  });
}

function depthMarks(target, series) {
  const choice = choiceOf.get(target);
  if (!choice) return [];
  const found = new Map();
  for (const [text, score] of [["best", choice.best], ["cheapest as good", choice.cheapest], ["last", choice.last]]) {
    const point = series.filter((s) => s.name === score.network).flatMap((s) => s.points).find((p) => p.title === score.layer);
    if (point) found.set(point, found.has(point) ? `${found.get(point)}, ${text}` : text);
  }
  return [...found].map(([point, text]) => ({ point, text }));
}

function scoreRange(series, target) {
  const values = series.flatMap((s) => s.points.flatMap((p) => [p.y, p.low, p.high])).filter(Number.isFinite);
  if (Number.isFinite(number(target.chance))) values.push(number(target.chance));
  if (!values.length) values.push(0, 1);
  const floor = Math.min(...values);
  const low = target.kind === "class" ? Math.max(0, Math.floor(floor * 20 - 0.4) / 20) : Math.max(-0.25, Math.floor(floor * 20 - 0.4) / 20);
  return { low, high: Math.min(1, Math.ceil(Math.max(low + 0.1, ...values) * 20 + 0.2) / 20) };
}

function depthLegend(redraw) {
  const swatch = (index, extra) => svg("svg", { class: toneOf(index), width: 34, height: 14, viewBox: "0 -7 34 14", "aria-hidden": "true" },
    svg("path", { class: "line", d: "M0 0H34", "stroke-dasharray": DASHES[extra === undefined ? index % DASHES.length : extra] || null }),
    svg("g", { transform: "translate(17 0)" }, glyph(index, false)));
  const items = networkNames.map((name, i) => html("li", {}, html("button", {
    type: "button",
    "aria-pressed": String(!view.hidden.has(name)),
    onclick(event) {
      if (view.hidden.has(name)) view.hidden.delete(name);
      else if (view.hidden.size < networkNames.length - 1) view.hidden.add(name);
      event.currentTarget.setAttribute("aria-pressed", String(!view.hidden.has(name)));
      redraw();
    },
  }, swatch(i), html("span", {}, name))));
  const key = (drawn, text) => html("li", { class: "plain-key" }, drawn, html("span", {}, text));
  const small = (...nodes) => svg("svg", { width: 30, height: 14, viewBox: "-15 -7 30 14", "aria-hidden": "true" }, nodes);
  items.push(key(small(svg("g", { transform: "translate(-7 0)" }, glyph(0, true)), svg("g", { transform: "translate(8 0)" }, glyph(1, true))), "filled: cannot be told from the best"));
  if (view.controls && atlas.controls.length) {
    items.push(key(small(svg("g", { class: "k6" }, glyph(5, false, 0.8))), "permuted labels"));
    items.push(key(small(svg("path", { class: "line thin", d: "M-15 0H15", "stroke-dasharray": DASHES[2] })), "random weights"));
  }
  return items;
}

function startDepth() {
  const panel = find("depth-chart");
  if (!panel) return;
  const host = html("div");
  const legend = html("ul", { class: "legend", "aria-label": "Networks and marks" });
  const note = html("p", { class: "soft", hidden: true });
  const twin = tableTwin("Scores by layer", ["network", "layer", "pooling", "readout", "validation", "test", "95 % low", "95 % high"], () =>
    [...depthSeries(chosen.target), ...joinedSeries(chosen.target)].flatMap((s) => s.points.map(({ score }) => [
      score.network, score.layer, score.pooling, score.readout, ...[score.validation, score.test, score.low, score.high].map(say.score),
    ])));
  let width = 0;
  let moveGuide = () => {};
  const draw = () => {
    const target = targetOf.get(chosen.target);
    if (!width || !target) return;
    const lines = depthSeries(chosen.target);
    const joined = view.axis === "depth" ? joinedSeries(chosen.target) : [];
    const controls = view.controls ? controlSeries(chosen.target) : [];
    const range = scoreRange([...lines, ...joined, ...controls], target);
    const cut = lines.some((s) => s.points.some((p) => p.y < range.low));
    note.hidden = !cut;
    note.textContent = `Scores below ${say.plain(range.low)} are drawn at the edge.`;
    moveGuide = drawChart(host, {
      width,
      height: width < 560 ? 330 : 420,
      label: `${target.metric} for ${target.target} by layer.`,
      x: costAxis(shownNetworks(), joined.length > 0),
      y: { ...range, say: (v) => minus(v.toFixed(2)) },
      series: [...controls, ...lines, ...joined],
      rules: Number.isFinite(number(target.chance)) ? [{ y: number(target.chance), text: `chance ${say.score(target.chance)}` }] : [],
      marks: depthMarks(chosen.target, [...lines, ...joined]),
      guide: guidePlace(),
      current: (p) => p.score && p.score.network === chosen.network && p.title === chosen.layer,
      onpick: (p) => p.row && choose({ network: p.row.network, layer: p.row.layer }),
    });
    twin.refresh();
  };
  const redraw = () => {
    legend.replaceChildren(...depthLegend(redraw));
    draw();
    drawGeometry();
  };
  const different = (key) => [...new Set(atlas.scores.filter((s) => layerOf.has(at(s.network, s.layer))).map((s) => s[key]))];
  const options = (key) => [["", "best of each layer"], ...different(key).map((name) => [name, name])];
  panel.append(
    html("div", { class: "tools" },
      segments("Along", Object.entries(AXES).map(([key, { text }]) => [key, text]), view.axis, (key) => { view.axis = key; redraw(); }),
      different("pooling").length > 1 && picker("Pooling", options("pooling"), "", (key) => { view.pooling = key; redraw(); }),
      different("readout").length > 1 && picker("Readout", options("readout"), "", (key) => { view.readout = key; redraw(); }),
      atlas.controls.length > 0 && html("button", { type: "button", class: "quiet", "aria-pressed": "true", onclick(event) {
        view.controls = !view.controls;
        event.currentTarget.setAttribute("aria-pressed", String(view.controls));
        redraw();
      } }, "Controls")),
    host, note, legend, twin);
  legend.append(...depthLegend(redraw));
  onWidth(host, (w) => { width = w; draw(); });
  watch(["target", "network"], draw);
  watch(["layer"], () => moveGuide(guidePlace()));
}
