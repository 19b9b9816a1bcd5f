// One text's way through a language model: a graph that can be pruned, and every layer's guess.
const trace = JSON.parse(find("trace").textContent);
const blocks = trace.states.length - 1;
const view = { threshold: trace.threshold, place: trace.place, picked: null };
const KINDS = ["attention", "kept", "mlp", "passed"];
const edges = trace.edges.map(([kind, block, source, target, weight, heads]) => ({ kind: KINDS[kind], block, source, target, weight, heads }));
const parts = trace.parts.map(([name, block, place, share, promoted, suppressed]) => ({ name, block, place, share, promoted, suppressed }));
const into = new Map();
for (const edge of edges) {
  const key = `${edge.kind === "attention" || edge.kind === "kept"} ${edge.block} ${edge.target}`;
  if (!into.has(key)) into.set(key, []);
  into.get(key).push(edge);
}

const share = (value) => (value >= 0.0995 ? `${Math.round(100 * value)} %` : `${(100 * value).toFixed(1)} %`);
const shown = (token) => (token.trim() ? token : token.replace(/ /g, "␣")).replace(/\n/g, "⏎").replace(/\t/g, "⇥") || "∅";
const piece = (token) => html("span", { class: "piece" }, shown(token));
const pieces = (tokens) => tokens.flatMap((token) => [piece(token), " "]);

// From the place at the top down along everything above the threshold.
function walk() {
  const found = [];
  let reached = new Set([view.place]);
  for (let block = blocks - 1; block >= 0; block -= 1) {
    const take = (key, places) => [...places].flatMap((place) => (into.get(`${key} ${block} ${place}`) || []).filter((edge) => edge.weight > view.threshold));
    const upper = take(false, reached);
    const lower = take(true, new Set(upper.map((edge) => edge.target)));
    found.push(...upper, ...lower);
    reached = new Set(lower.map((edge) => edge.source));
  }
  return found;
}

function startFlow() {
  const box = find("flow");
  const said = find("said");
  const count = html("output");
  const twin = tableTwin("Edges of the graph", ["block", "kind", "from", "to", "share", "heads"], () => walk().map((e) => [
    String(e.block), e.kind, `${e.source} ${shown(trace.tokens[e.source])}`, `${e.target} ${shown(trace.tokens[e.target])}`, share(e.weight), e.heads.map(([head, part]) => `${head}: ${share(part)}`).join(", "),
  ]));
  let aimed = null;
  const draw = () => {
    const [left, top, row] = [52, 34, Math.min(24, Math.max(16, 620 / blocks))];
    const column = Math.max(58, Math.floor((box.clientWidth - left - 24) / trace.tokens.length));
    const x = (place) => left + column * (place + 0.5);
    const y = (state) => top + row * (blocks - state);
    const graph = walk();
    count.textContent = `${graph.length} edges above ${share(view.threshold)}`;
    const wide = (weight) => 0.6 + 6 * weight;
    const lines = [];
    const marks = [];
    for (const edge of graph) {
      const [xs, xt, low, middle, high] = [x(edge.source), x(edge.target), y(edge.block), y(edge.block + 0.45), y(edge.block + 1)];
      const name = `block ${edge.block}, ${share(edge.weight)}`;
      const pick = { onpointermove: (event) => tip(event.clientX, event.clientY, edge.kind === "mlp" ? `MLP of ${name}` : `Attention of ${name}`, tipLines(edge)), onpointerleave: hideTip, onclick: () => { view.picked = edge; draw(); tell(); } };
      const current = view.picked === edge ? " current" : "";
      if (edge.kind === "kept") lines.push(svg("path", { class: "stream", d: `M${xt} ${low}V${middle}`, "stroke-width": wide(edge.weight) }));
      else if (edge.kind === "passed") lines.push(svg("path", { class: "stream", d: `M${xt} ${middle}V${high}`, "stroke-width": wide(edge.weight) }));
      else if (edge.kind === "attention") {
        const bend = xs === xt ? `M${xt} ${low}C${xt - 16} ${low - 4} ${xt - 16} ${middle + 4} ${xt} ${middle}` : `M${xs} ${low}C${xs} ${low - row * 0.9} ${xt - 12} ${middle + row * 0.2} ${xt} ${middle}`;
        marks.push(svg("path", { class: `look${current}`, d: bend, "stroke-width": wide(edge.weight), "stroke-opacity": Math.min(1, 0.35 + 2 * edge.weight), ...pick }));
      } else {
        const side = 4 + 10 * Math.sqrt(edge.weight);
        lines.push(svg("path", { class: "branch", d: `M${xt} ${middle}Q${xt + 16} ${middle} ${xt + 16} ${(middle + high) / 2}T${xt} ${high}`, "stroke-width": wide(edge.weight) * 0.7 }));
        marks.push(svg("rect", { class: `think${current}`, x: xt + 13 - side / 2, y: (middle + high) / 2 - side / 2, width: side, height: side, rx: 2, ...pick }));
      }
    }
    const every = Array.from({ length: blocks + 1 }, (_, state) => state);
    const width = left + column * trace.tokens.length + 24;
    const height = top + row * blocks + 46;
    const fit = (token) => clipText(shown(token), Math.max(3, Math.floor(column / 7.4) - 1));
    box.replaceChildren(svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Graph of ${graph.length} edges; the table below says the same` },
      every.map((state) => svg("path", { class: "row", d: `M${left} ${y(state)}H${width - 12}` })),
      every.filter((state) => state % 2 === 0 || blocks < 16).map((state) => svg("text", { x: left - 10, y: y(state) + 4, "text-anchor": "end" }, String(state))),
      lines, marks,
      trace.tokens.map((token, place) => svg("text", { class: `word${place === view.place ? " aim" : ""}`, x: x(place), y: height - 14, "text-anchor": "middle" }, fit(token))),
      svg("text", { class: "aim", x: x(view.place), y: top - 14, "text-anchor": "middle" }, `→ ${fit(trace.lens[blocks][view.place][0])}`)));
    if (aimed !== view.place) box.scrollLeft = x((aimed = view.place)) - box.clientWidth + 80;
    twin.refresh();
  };
  const tell = () => {
    const edge = view.picked;
    if (!edge) return said.replaceChildren(html("p", { class: "soft" }, "Choose a line or a square to see what it writes."));
    const mine = parts.filter((part) => part.block === edge.block && part.place === edge.target && (edge.kind === "mlp" ? !part.name.startsWith("head") : edge.heads.some(([head]) => part.name === `head ${head}`)));
    const title = edge.kind === "mlp" ? `MLP of block ${edge.block} at ` : `Attention of block ${edge.block} from `;
    const where = edge.kind === "mlp" ? [piece(trace.tokens[edge.target])] : [piece(trace.tokens[edge.source]), " to ", piece(trace.tokens[edge.target])];
    const table = mine.length ? html("table", { class: "plain" },
      html("thead", {}, html("tr", {}, ["part", "share", "makes likelier", "less likely"].map((head) => html("th", { scope: "col" }, head)))),
      html("tbody", {}, mine.map((part) => html("tr", {}, html("th", { scope: "row" }, part.name), html("td", {}, share(part.share)), html("td", {}, pieces(part.promoted)), html("td", {}, pieces(part.suppressed))))))
      : html("p", { class: "soft" }, edge.heads.length ? `Heads: ${edge.heads.map(([head, part]) => `${head} (${share(part)})`).join(", ")}. ` : "", `Parts were looked into for the place they were traced for, above ${share(trace.threshold)}.`);
    said.replaceChildren(html("h3", {}, title, where, `: ${share(edge.weight)}`), html("div", { class: "scroll" }, table));
    return announce(`${title} ${share(edge.weight)}`);
  };
  const slider = html("input", { type: "range", min: Math.log(trace.floor), max: Math.log(0.5), step: 0.01, value: Math.log(view.threshold), "aria-label": "Threshold", oninput: () => {
    view.threshold = Math.exp(Number(slider.value));
    draw();
  } });
  find("flow-tools").append(
    html("span", { class: "slider" }, html("span", { class: "soft" }, "Threshold"), slider, count),
    picker("Prediction after", trace.tokens.map((token, place) => [String(place), `${place} ${clipText(shown(token), 20)}`]), String(view.place), (place) => {
      view.place = Number(place);
      view.picked = null;
      draw();
      tell();
    }));
  find("flow-table").append(twin);
  onWidth(box.parentElement, draw);
  draw();
  tell();
}

function tipLines(edge) {
  if (edge.kind === "mlp") {
    const mlp = parts.find((part) => part.name === "mlp" && part.block === edge.block && part.place === edge.target);
    return mlp ? [`likelier: ${mlp.promoted.map(shown).join(" ")}`] : [];
  }
  const heads = edge.heads.map(([head, part]) => `head ${head}: ${share(part)}`);
  return [`from “${shown(trace.tokens[edge.source])}” to “${shown(trace.tokens[edge.target])}”`, ...heads];
}

function startLens() {
  const last = trace.lens[blocks];
  const line = (state) => html("tr", {}, html("th", { scope: "row" }, state ? `block ${state - 1}` : "entry"), trace.lens[state].map(([token, chance], place) => {
    const cell = html("td", { class: token === last[place][0] ? "final" : null, title: `${shown(token)} ${share(chance)}` }, shown(token));
    cell.style.background = `color-mix(in srgb, var(--k2) ${Math.round(75 * chance)}%, transparent)`;
    return cell;
  }));
  const order = Array.from({ length: blocks + 1 }, (_, i) => blocks - i);
  find("lens").append(html("table", { class: "lens" },
    html("caption", { class: "unseen" }, "The likeliest next token if a layer were the last, by layer and place"),
    html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "after"), trace.tokens.map((token) => html("th", { scope: "col" }, shown(token))))),
    html("tbody", {}, order.map(line))));
  find("lens").scrollLeft = find("lens").scrollWidth;
}

addEventListener("error", (event) => {
  const box = find("failure");
  box.hidden = false;
  box.textContent = `A part of this page could not be drawn (${event.message}).`;
  document.documentElement.dataset.failed = "yes";
});
startTheme(() => {});
startFlow();
startLens();
document.documentElement.dataset.ready = "yes";
