// What an index finds, by all its layers or by one of them.
function drawAnswer(entry) {
  const { hits } = entry.answer.ways[places.now];
  return html("article", { class: "answer" }, givenFace(entry), tiles("What was found, the most alike first", hits.map((hit) => tile(hit, hit.score.toFixed(3)))));
}

function startKind() {
  startSlider(served.ways, 0);
}
