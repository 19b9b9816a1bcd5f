// Small curves below the scores: spread, local dimension, and neural collapse, on the same axis.
const SHAPES_OF_CLOUDS = [
  ["effective_rank", "Effective rank", "How many directions carry the spread of the samples."],
  ["participation_ratio", "Participation ratio", "The same, counted with less weight on weak directions."],
  ["intrinsic_dimension", "Intrinsic dimension", "How many numbers place a sample among its neighbours."],
];
const COLLAPSES = [
  ["nc1", "NC1: spread within classes", "Spread within classes against spread between them."],
  ["nc2_equinorm", "NC2: unequal lengths", "How far the class means are from equal length."],
  ["nc2_coherence", "NC2: unequal angles", "How far the class means are from equal angles."],
  ["nc3", "NC3: readout against means", "How far the readout is from the class means."],
  ["nc4", "NC4: agreement", "How often readout and nearest class mean agree; always, once collapsed."],
];
const NOISY = 0.1; // share of chance in the distances of class means, from which on NC1 is too low
let drawGeometry = () => {};

function geometryValues(key) {
  if (!COLLAPSES.some(([name]) => name === key)) return (row) => row[key];
  const mine = new Map(atlas.collapse.filter((c) => c.target === chosen.target).map((c) => [at(c.network, c.layer), c[key]]));
  return (row) => mine.get(at(row.network, row.layer));
}

// The hint of NC1, with a warning where the classes hold too few samples for it.
function geometryHint(key, hint) {
  if (key !== "nc1") return hint;
  const noise = Math.max(0, ...atlas.collapse.filter((c) => c.target === chosen.target).map((c) => number(c.noise) || 0));
  return noise > NOISY ? `${hint} Too low here: of the spread between, up to ${say.percent(noise)} is chance, for few samples in each class.` : hint;
}

function startGeometry() {
  const box = find("geometry-charts");
  if (!box) return;
  const panels = [...SHAPES_OF_CLOUDS, ...(atlas.collapse.length ? COLLAPSES : [])].map(([key, title, hint]) => {
    const host = html("div");
    const series = () => shownNetworks().map((network) => {
      const value = geometryValues(key);
      const index = networkNames.indexOf(network);
      const points = layersOf(network).map((row) => ({
        x: number(AXES[view.axis].of(row)), y: number(value(row)), row, title: row.layer, lines: [network, `${title} ${say.plain(value(row))}`],
      }));
      return { name: network, tone: index, shape: index, dash: index, thin: true, faint: isFaint(network), points: points.filter((p) => Number.isFinite(p.y)) };
    });
    const twin = tableTwin(`${title} by layer`, ["network", "layer", title], () => series().flatMap((s) => s.points.map((p) => [s.name, p.title, say.plain(p.y)])));
    const told = html("p", { class: "hint" });
    const panel = html("div", { class: "panel" }, html("h3", {}, title), told, host, twin);
    let width = 0;
    let moveGuide = () => {};
    const draw = () => {
      const lines = series();
      const values = lines.flatMap((s) => s.points.map((p) => p.y));
      panel.hidden = !values.length;
      told.textContent = geometryHint(key, hint);
      if (!width || !values.length) return;
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const log = low > 0 && high / low > 50;
      moveGuide = drawChart(host, {
        width,
        height: 210,
        label: `${title} by layer.`,
        x: costAxis(shownNetworks(), false),
        y: { low: log ? low : Math.min(0, low), high: high * (log ? 1 : 1.05), log, say: say.amount },
        series: lines,
        guide: guidePlace(),
        current: (p) => p.row.network === chosen.network && p.title === chosen.layer,
        onpick: (p) => choose({ network: p.row.network, layer: p.row.layer }),
      });
      twin.refresh();
    };
    onWidth(host, (w) => { width = w; draw(); });
    return { panel, draw, mark: () => moveGuide(guidePlace()) };
  });
  box.append(...panels.map(({ panel }) => panel));
  drawGeometry = () => panels.forEach(({ draw }) => draw());
  watch(["target", "network"], drawGeometry);
  watch(["layer"], () => panels.forEach(({ mark }) => mark()));
  drawGeometry();
}
