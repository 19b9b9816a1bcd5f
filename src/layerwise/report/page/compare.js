// The page of two networks: partners by depth, the same layer before and after, heads, and places.
const [first, second] = networkNames;
const depthTicks = [[0, "first layer"], [0.25, "25 %"], [0.5, "50 %"], [0.75, "75 %"], [1, "last layer"]];
const depthAxis = (title) => ({ low: 0, high: 1, ticks: depthTicks, title });
const orNaN = (value) => (value === null || value === undefined ? NaN : number(value));

function legendOf(items) {
  return html("ul", { class: "legend" }, items.map(({ name, tone, shape }) => html("li", { class: "plain-key" },
    svg("svg", { class: toneOf(tone), width: 14, height: 14, viewBox: "-7 -7 14 14" }, glyph(shape, true, 0.9)), html("span", {}, name))));
}

// A chart with its table, drawn anew when its box changes or the theme does.
function panelOf(host, spec, table) {
  const twin = tableTwin(...table);
  const box = html("div");
  host.append(box, spec.legend ? legendOf(spec.legend) : "", twin);
  let width = 0;
  const draw = () => width && drawChart(box, { ...spec, width, height: Math.min(380, Math.max(260, width * 0.42)) });
  onWidth(box, (w) => { width = w; draw(); });
  watch(["theme"], draw);
}

function bounds(series, zero = true) {
  const values = series.flatMap((s) => s.points.flatMap((p) => [p.y, p.low, p.high])).filter(Number.isFinite);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return { low: zero ? Math.min(0, low) : low, high: high + 0.03 * (high - low || 1) };
}

function startPartners() {
  const host = find("partners-chart");
  if (!host) return;
  const series = networkNames.map((network, i) => ({
    name: network, tone: i, shape: i, dash: i, band: true,
    points: atlas.matches.filter((m) => m.network === network).map((m) => ({
      x: m.depth, y: orNaN(m.cka), low: orNaN(m.low), high: orNaN(m.high), full: true, title: `${m.layer} of ${m.network}`,
      lines: [`most like ${m.other_layer} of ${m.other}`, `CKA ${say.score(m.cka)} (${say.score(m.low)} to ${say.score(m.high)})`, `R2 of the linear map ${m.told === null ? "undefined" : say.score(m.told)}`],
      row: m,
    })),
  }));
  const range = bounds(series);
  panelOf(host, {
    label: "CKA of each layer with its partner.", x: depthAxis("relative depth of the layer"),
    y: { low: Math.max(-0.2, range.low), high: Math.min(1.02, Math.max(1, range.high)), say: say.plain }, series, legend: series,
    onpick: (p) => choose({ network: p.row.network, layer: p.row.layer }),
  }, ["Partners", ["network", "layer", "most alike", "CKA", "low", "high", "R2"], () => atlas.matches.map((m) => [m.network, m.layer, m.other_layer, say.score(m.cka), say.score(m.low), say.score(m.high), m.told === null ? "undefined" : say.score(m.told)])]);
}

function startOrder() {
  const host = find("order-chart");
  if (!host) return;
  const series = networkNames.map((network, i) => ({
    name: `layers of ${network}`, tone: i, shape: i, dash: 0, loose: true,
    points: atlas.matches.filter((m) => m.network === network).map((m) => ({
      x: m.network === first ? m.depth : m.other_depth, y: m.network === first ? m.other_depth : m.depth, full: true,
      title: `${m.layer} of ${m.network}`, lines: [`most like ${m.other_layer} of ${m.other}`, `CKA ${say.score(m.cka)}`], row: m,
    })),
  }));
  const line = { name: "equal depth", tone: 6, shape: 0, dash: 1, thin: true, faint: true, points: [0, 1].map((v) => ({ x: v, y: v, title: "equal relative depth", lines: [] })) };
  panelOf(host, {
    label: "Depth of each layer against the depth of its partner.", x: depthAxis(`depth in ${first}`),
    y: { low: 0, high: 1, say: say.percent }, series: [line, ...series], legend: series,
  }, ["Depths of partners", ["network", "layer", "depth", "most alike", "its depth"], () => atlas.matches.map((m) => [m.network, m.layer, say.percent(m.depth), m.other_layer, say.percent(m.other_depth)])]);
}

function startSame() {
  const host = find("same-chart");
  if (!host) return;
  const line = (name, index, value, ends) => ({
    name, tone: index, shape: index, dash: index, band: Boolean(ends), thin: index > 0,
    points: atlas.same.map((row) => ({
      x: row.depth, y: orNaN(row[value]), low: ends ? orNaN(row.low) : NaN, high: ends ? orNaN(row.high) : NaN, full: index === 0, title: row.layer,
      lines: [`CKA ${say.score(row.cka)} (${say.score(row.low)} to ${say.score(row.high)})`, `R2 ${row.told === null ? "undefined" : say.score(row.told)}`, row.changed === null ? "no weights of its own" : `weights moved by ${say.plain(100 * row.changed)} %`],
      row,
    })).filter((p) => Number.isFinite(p.y)),
  });
  const series = [line("CKA with itself", 0, "cka", true), line("R2 of the linear map", 1, "told")];
  const range = bounds(series);
  panelOf(host, {
    label: "Each layer against itself.", x: depthAxis("relative depth"), y: { low: Math.max(-0.5, range.low), high: 1.02, say: say.plain }, series, legend: series,
    onpick: (p) => choose({ network: first, layer: p.row.layer }),
  }, ["Each layer against itself", ["layer", "CKA", "low", "high", "R2", "weights moved"], () => atlas.same.map((r) => [r.layer, say.score(r.cka), say.score(r.low), say.score(r.high), r.told === null ? "undefined" : say.score(r.told), r.changed === null ? "" : `${say.plain(100 * r.changed)} %`])]);
}

// On a scale of its own: after training from scratch weights move by many times their length.
function startMoved() {
  const host = find("moved-chart");
  if (!host) return;
  const rows = atlas.same.filter((row) => row.changed !== null);
  const series = [{
    name: "weights moved", tone: 2, shape: 2, dash: 0,
    points: rows.map((row) => ({ x: row.depth, y: 100 * row.changed, full: true, title: row.layer, lines: [`weights moved by ${say.plain(100 * row.changed)} % of their length`], row })),
  }];
  panelOf(host, { label: "How far the weights of each layer moved.", x: depthAxis("relative depth"), y: { low: 0, high: bounds(series).high, say: (v) => `${say.plain(v)} %` }, series },
    ["Weights moved", ["layer", "share of their length"], () => rows.map((r) => [r.layer, `${say.plain(100 * r.changed)} %`])]);
}

function startTold() {
  const host = find("told-chart");
  if (!host) return;
  let picked = 0;
  const frame = html("div", { class: "heat-frame" });
  const matrix = () => {
    const s = atlas.told[picked];
    const items = (network, layers) => layers.map((layer, i) => ({ network, layer, i }));
    return { rows: items(s.network, s.layers), columns: items(s.other, s.other_layers), value: (r, c) => orNaN(s.values[r.i][c.i]), measure: "R2" };
  };
  let width = 0;
  const key = html("div");
  const twin = tableTwin("R2 of linear maps", ["from", "layer", "to", "layer", "R2"], () => {
    const m = matrix();
    return m.rows.flatMap((r) => m.columns.map((c) => [r.network, r.layer, c.network, c.layer, sayCell(m.value(r, c))]));
  });
  const draw = () => {
    if (!width) return;
    drawHeat(frame, matrix(), width);
    key.replaceChildren(rampKey());
    twin.refresh();
  };
  host.append(html("div", { class: "tools" }, segments("Linear maps", atlas.told.map((s, i) => [i, `${s.network} to ${s.other}`]), 0, (i) => { picked = i; draw(); })), frame, key, twin);
  onWidth(frame, (w) => { width = w; draw(); });
  watch(["theme"], draw);
}

function startLooking() {
  const host = find("looking-charts");
  if (!host) return;
  for (const [network, list] of grouped(atlas.looking, (row) => row.network)) {
    const index = networkNames.indexOf(network);
    const heads = { name: "a head", tone: index, shape: index, dash: 0, loose: true, thin: true, points: list.flatMap((row) => row.distances.map((d) => ({ x: row.depth, y: d, title: row.layer, lines: [`a head: ${say.plain(d)} ${row.unit}`], row }))) };
    const mean = { name: "mean of the heads", tone: index, shape: index, dash: 0, points: list.map((row) => ({ x: row.depth, y: row.distances.reduce((a, b) => a + b, 0) / row.distances.length, full: true, title: row.layer, lines: [`${row.distances.length} heads, from ${say.plain(row.distances[0])} to ${say.plain(row.distances[row.distances.length - 1])} ${row.unit}`], row })) };
    const panel = html("div", { class: "panel" }, html("h3", {}, network), html("p", { class: "hint" }, `How far each head looks, in ${list[0].unit}.`));
    host.append(panel);
    panelOf(panel, { label: `Attention distance in ${network}.`, x: depthAxis("relative depth"), y: { low: 0, high: 1.05 * Math.max(...heads.points.map((p) => p.y)), say: say.plain }, series: [heads, mean] },
      [`Attention distance in ${network}`, ["layer", "mean", "nearest", "farthest"], () => list.map((row) => [row.layer, say.plain(row.distances.reduce((a, b) => a + b, 0) / row.distances.length), say.plain(row.distances[0]), say.plain(row.distances[row.distances.length - 1])])]);
  }
}

function startPlaced() {
  const host = find("placed-chart");
  if (!host) return;
  const series = networkNames.map((network, i) => ({
    name: network, tone: i, shape: i, dash: i,
    points: atlas.placed.filter((row) => row.network === network).map((row) => ({ x: row.depth, y: row.found, full: true, title: row.layer, lines: [`${say.percent(row.found)} of the places are most like their own patch`, `by chance ${say.plain(100 * row.chance)} %`, `mean way ${say.percent(row.distance)} of the side`], row })),
  })).filter((s) => s.points.length);
  panelOf(host, { label: "Places that are most like their own patch.", x: depthAxis("relative depth"), y: { low: 0, high: 1.02, say: say.percent }, series, legend: series },
    ["Places and patches", ["network", "layer", "found", "chance", "mean way"], () => atlas.placed.map((r) => [r.network, r.layer, say.percent(r.found), `${say.plain(100 * r.chance)} %`, say.percent(r.distance)])]);
}

function startProbed() {
  const host = find("probed-charts");
  if (!host) return;
  for (const [network, list] of grouped(atlas.probed, (row) => row.network)) {
    const index = networkNames.indexOf(network);
    const line = (name, value, shape, more) => ({
      name, tone: index, shape, dash: shape, band: true, ...more,
      points: list.map((row) => ({
        x: row.depth, y: row[value], low: row[`${value}_low`], high: row[`${value}_high`], full: shape === 0, title: row.layer,
        lines: [`mean of all places ${say.score(row.pooled)} (${say.score(row.pooled_low)} to ${say.score(row.pooled_high)})`, `a single place ${say.score(row.single)} (${say.score(row.single_low)} to ${say.score(row.single_high)})`, `the mean tells more by ${say.score(row.gain)} (${say.score(row.gain_low)} to ${say.score(row.gain_high)})`, row.prefix === null ? "no token beside the places" : `best token beside the places ${say.score(row.prefix)}`],
        row,
      })),
    });
    const series = [line("mean of all places", "pooled", 0), line("a single place, on average", "single", 1, { thin: true })];
    const panel = html("div", { class: "panel" }, html("h3", {}, network), html("p", { class: "hint" }, `Accuracy of ${list[0].target}.`));
    host.append(panel);
    panelOf(panel, { label: `Accuracy of single places and their mean in ${network}.`, x: depthAxis("relative depth"), y: { low: 0, high: 1.02, say: say.plain }, series, legend: series },
      [`Single places in ${network}`, ["layer", "single", "mean of all", "gain", "low", "high", "beside"], () => list.map((r) => [r.layer, say.score(r.single), say.score(r.pooled), say.score(r.gain), say.score(r.gain_low), say.score(r.gain_high), r.prefix === null ? "" : say.score(r.prefix)])]);
  }
}

chosen.network = first;
chosen.layer = nearestLayer(first, 1);
for (const begin of [() => startTheme(redrawTheme), startPartners, startOrder, startSame, startMoved, startSimilarity, startTold, startLooking, startPlaced, startProbed]) {
  try {
    begin();
  } catch (error) {
    fail(error);
  }
}
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not(.equal)")) details.open = true;
});
document.documentElement.dataset.ready = "yes";
