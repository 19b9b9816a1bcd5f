// Principal components as colours: inputs down, layers across.
function startSees() {
  const box = find("sees-chart");
  if (!box) return;
  const pictureOf = new Map(atlas.pictures.map((p) => [at(p.network, p.layer, p.sample), p.picture]));
  const sheet = html("div", { class: "sheet", tabindex: "0", role: "region", "aria-label": "Inputs down, layers across" });
  const missing = html("p", { class: "soft", hidden: true }, "There are no pictures of this network's layers.");
  box.append(missing, sheet);
  const mark = () => {
    for (const cell of sheet.querySelectorAll("[data-layer]")) cell.classList.toggle("current", cell.dataset.layer === chosen.layer);
    const head = sheet.querySelector("thead .current");
    if (head) sheet.scrollTo({ left: head.offsetLeft - sheet.clientWidth / 2, behavior: still.matches ? "auto" : "smooth" });
  };
  const draw = () => {
    const mine = atlas.pictures.filter((p) => p.network === chosen.network);
    const samples = [...new Set(mine.map((p) => p.sample))];
    const list = layersOf(chosen.network).filter((row) => mine.some((p) => p.layer === row.layer));
    missing.hidden = mine.length > 0;
    sheet.hidden = !mine.length;
    const short = shortNames(list.map((row) => row.layer)).names;
    sheet.replaceChildren(html("table", {},
      html("caption", { class: "unseen" }, `What the layers of ${chosen.network} see`),
      html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "input"), list.map((row, i) => html("th", { scope: "col", "data-layer": row.layer }, layerButton(row, short[i]))))),
      html("tbody", {}, samples.map((s) => html("tr", {}, html("th", { scope: "row" }, html("img", { src: atlas.shown[s].picture, alt: atlas.shown[s].name, title: atlas.shown[s].name })),
        list.map((row) => {
          const picture = pictureOf.get(at(chosen.network, row.layer, s));
          return html("td", { "data-layer": row.layer }, picture ? html("img", { class: "seen", src: picture, alt: `${row.layer} on ${atlas.shown[s].name}` }) : "");
        }))))));
    mark();
  };
  watch(["network"], draw);
  watch(["layer"], mark);
  draw();
}

function layerButton(row, text) {
  return html("button", { type: "button", class: "head-pick", title: row.layer, "aria-label": `Choose ${row.layer}`, onclick: () => choose({ network: row.network, layer: row.layer }) }, text);
}
