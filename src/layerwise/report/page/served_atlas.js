// What one layer makes of an input: a picture of what it sees, what is read off it, what is near.
function drawAnswer(entry) {
  const { layer, sees, readings, nearest } = entry.answer.layers[places.now];
  const seen = sees && html("figure", {}, picture(sees, `What ${layer} sees in it`, "seen"), html("figcaption", {}, `What ${layer} sees: its first three principal components as colours`));
  return html("article", { class: "answer" }, givenFace(entry, seen), html("div", {},
    readings.length > 0 && html("table", { class: "plain readings" },
      html("thead", {}, html("tr", {}, ["target", "read off this layer", "on test samples"].map((head) => html("th", { scope: "col" }, head)))),
      html("tbody", {}, readings.map((row) => html("tr", {},
        html("th", { scope: "row" }, row.target),
        html("td", {}, html("b", {}, typeof row.answer === "number" ? say(row.answer) : row.answer)),
        html("td", { class: "soft" }, `${row.metric} ${row.test.toFixed(3)}`))))),
    html("h4", {}, "Nearest samples at this layer"),
    tiles("Nearest samples, the nearest first", nearest.map((near) => tile(near, near.score.toFixed(2))))));
}

function startKind() {
  startSlider(served.ways, served.start);
}
