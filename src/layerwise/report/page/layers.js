// Every layer with its costs and its best score for each target: sorted, filtered, downloaded.
const LAYER_COLUMNS = [
  ["layer", "layer", null],
  ["network", "network", null],
  ["kind", "kind", null],
  ["depth", "depth", say.percent],
  ["width", "width", say.amount],
  ["milliseconds", "ms", say.plain],
  ["parameters", "parameters", say.amount],
  ["flops", "FLOPs", say.amount],
  ["bytes", "bytes", say.amount],
  ["effective_rank", "effective rank", say.plain],
  ["participation_ratio", "participation", say.plain],
  ["intrinsic_dimension", "intrinsic dim.", say.plain],
];

function layerTable() {
  return atlas.layers.map((row) => {
    const flat = { ...row, shape: row.shape.join(" x ") };
    for (const { target } of atlas.targets) {
      const top = best(scoresOf.get(at(target, row.network, row.layer)));
      flat[`score ${target}`] = top ? top.test : null;
    }
    return flat;
  });
}

// A cell that begins like a formula would run in a spreadsheet: a quote before it keeps it text.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

function csvOf(list) {
  if (!list.length) return "";
  const names = Object.keys(list[0]);
  return [names, ...list.map((row) => names.map((name) => row[name]))].map((cells) => cells.map(csvCell).join(",")).join("\r\n");
}

function layerFlags(row, target) {
  const choice = choiceOf.get(target);
  const is = (score) => choice && score.network === row.network && score.layer === row.layer;
  return [is(choice && choice.best) && ["★", "best"], is(choice && choice.cheapest) && ["◆", "cheapest as good"]].filter(Boolean)
    .map(([sign, text]) => html("span", { class: "flag", title: text }, html("span", { "aria-hidden": "true" }, sign), html("span", { class: "unseen" }, text)));
}

function startLayers() {
  const box = find("layers-table");
  if (!box) return;
  const all = layerTable();
  const columns = [
    ...LAYER_COLUMNS.filter(([key]) => (key !== "network" || networkNames.length > 1) && all.some((row) => row[key] !== null)),
    ...atlas.targets.map(({ target }) => [`score ${target}`, target, say.score, target]),
  ];
  const state = { key: null, down: false, words: "", most: 150 };
  const body = html("tbody");
  const count = html("p", { class: "soft", role: "status" });
  const more = html("button", { type: "button", class: "quiet", onclick() { state.most = Infinity; draw(); } });
  const heads = columns.map(([key, text, , target]) => html("th", { scope: "col", class: key === "layer" || key === "network" || key === "kind" ? null : "number" },
    html("button", { type: "button", class: "sort", onclick() {
      const numeric = key !== "layer" && key !== "network" && key !== "kind";
      state.down = state.key === key ? !state.down : numeric && Boolean(target);
      state.key = key;
      draw();
    } }, text, html("span", { "aria-hidden": "true" }))));
  const compare = (a, b) => {
    const [x, y] = [a[state.key], b[state.key]];
    const missing = (v) => v === null || v === undefined || (typeof v === "number" && !Number.isFinite(v));
    if (missing(x) || missing(y)) return missing(x) - missing(y);
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return state.down ? -order : order;
  };
  let drawn = new Map();
  let current = null;
  const mark = () => {
    if (current) current.classList.remove("current");
    current = drawn.get(at(chosen.network, chosen.layer));
    if (current) current.classList.add("current");
  };
  const draw = () => {
    const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
    const found = all.filter((row) => !row.refused && words.every((word) => `${row.network} ${row.layer} ${row.kind} ${row.layout}`.toLowerCase().includes(word)));
    if (state.key) found.sort(compare);
    const list = found.slice(0, state.most);
    columns.forEach(([key], i) => {
      const on = state.key === key;
      heads[i].setAttribute("aria-sort", on ? (state.down ? "descending" : "ascending") : "none");
      heads[i].querySelector("span").textContent = on ? (state.down ? " ↓" : " ↑") : "";
    });
    body.replaceChildren(...list.map((row) => html("tr", { onclick: () => choose({ network: row.network, layer: row.layer }) },
      columns.map(([key, , speak, target]) => {
        if (key === "layer") return html("th", { scope: "row" }, html("button", { type: "button", class: "pick" }, html("code", {}, row.layer)));
        const text = speak ? (row[key] === null || row[key] === undefined ? "–" : speak(row[key])) : row[key];
        return html("td", { class: speak ? "number" : null }, text, target && layerFlags(row, target));
      }))));
    drawn = new Map(list.map((row, i) => [at(row.network, row.layer), body.children[i]]));
    mark();
    const total = all.filter((row) => !row.refused).length;
    count.textContent = list.length === total ? "" : `${list.length} of ${total} layers`;
    count.hidden = list.length === total;
    more.hidden = list.length === found.length;
    more.textContent = `Show all ${found.length} layers`;
  };
  box.append(
    html("div", { class: "tools" },
      html("label", { class: "field" }, html("span", {}, "Filter"), html("input", { type: "search", placeholder: "name, network or kind", oninput(event) { state.words = event.target.value; draw(); } })),
      html("button", { type: "button", class: "quiet", onclick: () => save("layers.csv", "text/csv", csvOf(all)) }, "Layers as CSV"),
      html("button", { type: "button", class: "quiet", onclick: () => save("layers.json", "application/json", JSON.stringify(all, null, 1)) }, "Layers as JSON"),
      atlas.scores.length > 0 && html("button", { type: "button", class: "quiet", onclick: () => save("scores.csv", "text/csv", csvOf(atlas.scores)) }, "All scores as CSV")),
    html("div", { class: "panel" },
      html("div", { class: "layers-scroll", tabindex: "0", role: "region", "aria-label": "Table of layers" },
        html("table", { class: "big" }, html("caption", { class: "unseen" }, "All layers with costs and scores"), html("thead", {}, html("tr", {}, heads)), body)),
      count, more));
  draw();
  watch(["network", "layer"], mark);
}
