// The nearest samples of one sample, a row per layer.
function sampleFace(i) {
  const sample = atlas.shown[i];
  if (sample.picture) return html("img", { src: sample.picture, alt: sample.name });
  return html("span", { class: "snippet" }, html("span", {}, sample.text || sample.name));
}

function startNeighbours() {
  const box = find("neighbours-chart");
  if (!box) return;
  const queries = [...new Set(atlas.neighbours.flatMap((n) => n.queries))];
  let query = queries[0];
  const strip = html("div", { class: "queries", role: "group", "aria-label": "Whose neighbours" });
  const buttons = queries.map((i) => html("button", { type: "button", "aria-pressed": String(i === query), "aria-label": atlas.shown[i].picture ? `Neighbours of ${atlas.shown[i].name}` : null, title: atlas.shown[i].name, onclick: () => choose({ sample: i }) }, sampleFace(i)));
  strip.append(...buttons);
  const words = html("p", {});
  const sheet = html("div", { class: "sheet near", tabindex: "0", role: "region", "aria-label": "Nearest neighbours by layer" });
  box.append(strip, words, sheet);
  const one = (i, own) => {
    const theirs = answerOf(atlas.shown[i], chosen.target);
    const target = targetOf.get(chosen.target);
    const same = target && target.kind === "class" && theirs !== undefined && theirs === own;
    const described = `${atlas.shown[i].name}${theirs === undefined ? "" : `, ${chosen.target} ${theirs}`}`;
    return html("button", { type: "button", class: "near-one", title: described, "aria-label": atlas.shown[i].picture ? described + (same ? ", the same" : "") : null, onclick: () => choose({ sample: i }) },
      sampleFace(i), same && html("span", { class: "same" }, html("span", { "aria-hidden": "true" }, "✓"), html("span", { class: "unseen" }, " the same")), target && target.kind === "number" && theirs !== undefined && html("span", { class: "value" }, say.plain(theirs)));
  };
  const mark = () => {
    for (const row of sheet.querySelectorAll("tr[data-layer]")) {
      for (const cell of row.children) cell.classList.toggle("current", row.dataset.layer === chosen.layer);
    }
    const row = sheet.querySelector("th.current");
    if (row) sheet.scrollTo({ top: row.offsetTop - sheet.clientHeight / 2, behavior: still.matches ? "auto" : "smooth" });
  };
  const draw = () => {
    if (queries.includes(chosen.sample)) query = chosen.sample;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(queries[i] === query)));
    const own = answerOf(atlas.shown[query], chosen.target);
    const target = targetOf.get(chosen.target);
    const meaning = target && target.kind === "class" ? ` A tick marks the same ${chosen.target}.` : "";
    const away = chosen.sample !== null && chosen.sample !== query ? " Neighbours were kept for the samples above only." : "";
    words.replaceChildren(html("b", {}, atlas.shown[query].name), own === undefined ? "." : `, ${chosen.target} ${own}.`, meaning + away);
    const mine = new Map(atlas.neighbours.filter((n) => n.network === chosen.network).map((n) => [n.layer, n]));
    const list = layersOf(chosen.network).filter((row) => mine.has(row.layer) && mine.get(row.layer).queries.includes(query));
    const short = shortNames(list.map((row) => row.layer)).names;
    const most = Math.max(0, ...list.map((row) => mine.get(row.layer).nearest[mine.get(row.layer).queries.indexOf(query)].length));
    sheet.hidden = !list.length;
    sheet.replaceChildren(html("table", {},
      html("caption", { class: "unseen" }, `Nearest neighbours of ${atlas.shown[query].name} by layer of ${chosen.network}`),
      html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "layer"), Array.from({ length: most }, (_, k) => html("th", { scope: "col" }, k ? String(k + 1) : "nearest")))),
      html("tbody", {}, list.map((row, r) => {
        const found = mine.get(row.layer);
        const nearest = found.nearest[found.queries.indexOf(query)];
        return html("tr", { "data-layer": row.layer }, html("th", { scope: "row" }, layerButton(row, short[r])), nearest.map((i) => html("td", {}, one(i, own))));
      }))));
    mark();
  };
  watch(["network", "sample", "target"], draw);
  watch(["layer"], mark);
  draw();
}
