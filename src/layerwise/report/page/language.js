// A language model layer by layer: what it would say, what it adds, what is missed without it.
const LANGUAGE = [
  ["Agreement with the final prediction", "Share of tokens at which the layer's first choice is already the network's.",
    [["lens", "logit lens", "lens_low", "lens_high"], ["shortcut", "linear shortcut", "shortcut_low", "shortcut_high"]]],
  ["What attention and MLP add", "Length of what is added over that of the stream.", [["attention", "attention"], ["mlp", "MLP"]]],
  ["What is missed without it", "Change of the next token's probabilities when the layer is left out.",
    [["skipped_output", "left out everywhere"], ["future_output", "left out of the past only"]]],
  ["What later layers miss", "Change of what later layers add, over what they add.",
    [["skipped_later", "left out everywhere"], ["future_later", "left out of the past only"]]],
  ["Divergence of the logit lens", "KL divergence to the final distribution, in nats.", [["divergence", "logit lens"]]],
  ["Collapse of equal next tokens", "Variance before the same next token over distance between different ones.", [["cdnv", "CDNV"]]],
  ["Cloze questions from these texts", "Share of right answers; the texts' own words against others.", [["answers", "accuracy", "answers_low", "answers_high"]]],
];

function startLanguage() {
  const box = find("language-charts");
  if (!box) return;
  const known = atlas.language.map((each) => each.network);
  let network = known[0];
  const field = known.length > 1 ? picker("Network", known.map((name) => [name, name]), network, (name) => { network = name; panels.forEach((panel) => panel.draw()); }) : "";
  const rowsOf = () => atlas.language.find((each) => each.network === network).rows;
  const panels = LANGUAGE.map(([title, hint, kinds]) => {
    const host = html("div");
    const series = () => kinds.map(([key, name, low, high], i) => ({
      name, tone: i, shape: i, dash: i, band: Boolean(low), thin: true,
      points: rowsOf().map((row) => {
        const layer = layerOf.get(at(network, row.layer));
        const value = row[key] === null ? NaN : number(row[key]);
        const ends = low ? [number(row[low]), number(row[high])] : [NaN, NaN];
        return {
          x: layer ? layer.depth : NaN, y: value, low: ends[0], high: ends[1], full: true, title: row.layer, row,
          lines: [`${name} ${say.plain(value)}${low ? ` (${say.plain(ends[0])} to ${say.plain(ends[1])})` : ""}`, layer ? `${say.time(layer.milliseconds)}, ${say.amount(layer.flops)} FLOPs` : ""],
        };
      }).filter((p) => Number.isFinite(p.y) && Number.isFinite(p.x)),
    }));
    const twin = tableTwin(title, ["layer", ...kinds.map(([, name]) => name)], () => rowsOf().map((row) => [row.layer, ...kinds.map(([key]) => (row[key] === null ? "" : say.plain(row[key])))]));
    const key = html("ul", { class: "legend" }, kinds.length > 1 ? kinds.map(([, name], i) => html("li", { class: "plain-key" },
      svg("svg", { class: toneOf(i), width: 14, height: 14, viewBox: "-7 -7 14 14" }, glyph(i, true, 0.9)), html("span", {}, name))) : []);
    const panel = html("div", { class: "panel" }, html("h3", {}, title), html("p", { class: "hint" }, hint), host, key, twin);
    let width = 0;
    const draw = () => {
      const lines = series();
      const values = lines.flatMap((s) => s.points.map((p) => p.y));
      panel.hidden = !values.length;
      if (!width || !values.length) return;
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const log = low > 0 && high / low > 50;
      const list = layersOf(network);
      const short = shortNames(list.map((row) => row.layer));
      drawChart(host, {
        width, height: 230, label: `${title} by layer.`,
        x: { low: 0, high: 1, ticks: list.map((row, i) => [row.depth, short.names[i]]), title: `layers of ${network} by depth`, more: short.stem && `, without “${short.stem}”` },
        y: { low: log ? low : Math.min(0, low), high: high * (log ? 1 : 1.05) || 1, log, say: say.plain },
        series: lines, onpick: (p) => choose({ network, layer: p.row.layer }),
      });
      twin.refresh();
    };
    onWidth(host, (w) => { width = w; draw(); });
    watch(["theme"], draw);
    return { panel, draw };
  });
  box.before(field);
  box.append(...panels.map(({ panel }) => panel));
}
