// The leaderboard: every way to read the target, its score against its time, and the front.
const FIRST_WAYS = 12;
const waysOf = grouped(atlas.candidates, (way) => way.target);

// Within the budget first, the best first: so the first of a layer is its best.
function bestOfLayers(ways) {
  return [...grouped(ways, (way) => at(way.network, way.layer)).values()].map(([first]) => first);
}

function wayFlags(way) {
  return [!way.affordable && "beyond the budget", way.front && "front", way.level && "not told from the best"].filter(Boolean);
}

function wayPoint(way) {
  const target = targetOf.get(way.target);
  return {
    x: number(way.milliseconds[0]), y: number(way.test), low: number(way.low), high: number(way.high),
    full: way.level, title: way.layer, way, row: layerOf.get(at(way.network, way.layer)),
    lines: [
      `${way.network}, ${way.pooling}, ${way.readout}`,
      `${target ? target.metric : "score"} ${say.score(way.test)} (${say.score(way.low)} to ${say.score(way.high)})`,
      `${say.time(way.milliseconds[0])} alone, ${say.time(way.milliseconds[1])} in a batch of 32`,
      `${say.plain(way.bytes / 1e6)} MB, ${say.amount(way.parameters)} parameters`,
      ...wayFlags(way),
    ],
  };
}

function costSeries(ways) {
  const points = bestOfLayers(ways).map(wayPoint).sort((a, b) => a.x - b.x);
  const front = points.filter((p) => p.way.front);
  const apart = networkNames.flatMap((network) => [false, true].map((affordable) => ({
    name: network, tone: networkNames.indexOf(network), shape: networkNames.indexOf(network), dash: 0, loose: true, faint: !affordable,
    points: points.filter((p) => p.way.network === network && p.way.affordable === affordable)
      .map((p) => (p.way.front ? p : { ...p, low: NaN, high: NaN })),
  })));
  return [{ tone: 6, shape: 0, dash: 0, bare: true, points: front }, ...apart.filter((s) => s.points.length)];
}

function timeAxis(points) {
  const times = points.map((p) => p.x).filter(Number.isFinite);
  const wall = number(atlas.budget.milliseconds);
  const all = Number.isFinite(wall) ? [...times, wall] : times;
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const log = low > 0 && high / low > 20;
  const steps = (log ? powers(low, high) : ticks(0, high, 6)).map((v) => [v, say.plain(v)]);
  return { low: log ? low : 0, high, log, ticks: steps, title: `milliseconds of one sample${log ? " (logarithmic)" : ""}` };
}

function leaderTable() {
  const state = { all: false };
  const heads = [["layer"], ["network", networkNames.length > 1], ["readout"], ["test", true, true], ["95 % interval", true, true], ["ms, one", true, true], ["ms, of 32", true, true], ["MB", true, true], ["parameters", true, true], [""]]
    .filter(([, here]) => here !== false);
  const body = html("tbody");
  const more = html("button", { type: "button", class: "quiet", onclick() { state.all = !state.all; draw(); } });
  const count = html("p", { class: "soft", role: "status" });
  const draw = () => {
    const ways = waysOf.get(chosen.target) || [];
    const shown = state.all ? ways : ways.filter((way, i) => i < FIRST_WAYS || (way.front && way.affordable));
    body.replaceChildren(...shown.map((way) => {
      const known = layerOf.has(at(way.network, way.layer));
      const name = html("code", {}, way.layer);
      const first = known ? html("button", { type: "button", class: "pick", onclick: () => choose({ network: way.network, layer: way.layer }) }, name) : name;
      const cells = [way.network, `${way.pooling}, ${way.readout}`, say.score(way.test), `${say.score(way.low)} to ${say.score(way.high)}`,
        ...way.milliseconds.map(say.plain), say.plain(way.bytes / 1e6), say.amount(way.parameters)];
      if (networkNames.length < 2) cells.shift();
      const words = networkNames.length > 1 ? 2 : 1;
      return html("tr", { class: way.affordable ? null : "dear" }, html("th", { scope: "row" }, first),
        cells.map((cell, i) => html("td", { class: i < words ? null : "number" }, cell)),
        html("td", { class: "flags" }, wayFlags(way).join(", ")));
    }));
    const dear = ways.filter((way) => !way.affordable).length;
    const level = ways.filter((way) => way.level).length;
    count.textContent = `${ways.length} ways to read ${chosen.target}, the best on validation samples first; ${level === 1 ? "all others are told from it" : `${level} cannot be told apart`}${dear ? `; ${dear} are beyond the budget` : ""}.`;
    more.hidden = !state.all && shown.length === ways.length;
    more.textContent = state.all ? "Show the first and the front" : `Show all ${ways.length}`;
  };
  const table = html("table", { class: "plain ways" }, html("caption", { class: "unseen" }, "Every way to read the target, with its price"),
    html("thead", {}, html("tr", {}, heads.map(([head, , right]) => html("th", { scope: "col", class: right ? "number" : null }, head)))), body);
  return { draw, parts: [count, html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Leaderboard" }, table), more] };
}

function startCost() {
  const panel = find("cost-chart");
  if (!panel) return;
  const host = html("div");
  const leaders = leaderTable();
  const key = (drawn, text) => html("li", { class: "plain-key" }, drawn, html("span", {}, text));
  const small = (...nodes) => svg("svg", { width: 30, height: 14, viewBox: "-15 -7 30 14", "aria-hidden": "true" }, nodes);
  const legend = html("ul", { class: "legend", "aria-label": "Networks and marks" },
    networkNames.map((name, i) => key(svg("svg", { class: toneOf(i), width: 16, height: 14, viewBox: "-8 -7 16 14", "aria-hidden": "true" }, glyph(i, false)), name)),
    key(small(svg("g", { class: "k6" }, svg("path", { class: "line", d: "M-15 0H15" }))), "the front"),
    key(small(svg("g", { class: networkNames.length > 1 ? null : "k0" }, glyph(0, true))), "filled: not told from the best"));
  let width = 0;
  let moveGuide = () => {};
  const guide = () => {
    const way = bestOfLayers(waysOf.get(chosen.target) || []).find((w) => w.network === chosen.network && w.layer === chosen.layer);
    return way ? number(way.milliseconds[0]) : NaN;
  };
  const draw = () => {
    const target = targetOf.get(chosen.target);
    if (!width || !target) return;
    const series = costSeries(waysOf.get(chosen.target) || []);
    const points = series.flatMap((s) => s.points);
    const wall = number(atlas.budget.milliseconds);
    moveGuide = drawChart(host, {
      width,
      height: width < 560 ? 330 : 420,
      label: `${target.metric} for ${target.target} against milliseconds of one sample.`,
      x: timeAxis(points),
      y: { ...scoreRange(series, target), say: (v) => minus(v.toFixed(2)) },
      series,
      rules: Number.isFinite(number(target.chance)) ? [{ y: number(target.chance), text: `chance ${say.score(target.chance)}` }] : [],
      wall: Number.isFinite(wall) ? { x: wall, text: `budget ${say.time(wall)}` } : null,
      guide: guide(),
      current: (p) => p.way.network === chosen.network && p.title === chosen.layer,
      onpick: (p) => p.row && choose({ network: p.row.network, layer: p.row.layer }),
    });
    leaders.draw();
  };
  panel.append(host, legend, ...leaders.parts);
  onWidth(host, (w) => { width = w; draw(); });
  watch(["target"], draw);
  watch(["layer", "network"], () => moveGuide(guide()));
}
