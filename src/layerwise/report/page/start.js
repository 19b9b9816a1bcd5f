// Puts the page together once its elements are there.
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = html("textarea", { class: "unseen" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  return area.remove();
}

function startCards() {
  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = false;
    const label = button.firstChild;
    button.addEventListener("click", () => copyText(button.parentElement.querySelector("code").textContent).then(
      () => { label.data = "Copied"; announce("Copied"); setTimeout(() => { label.data = "Copy"; }, 1600); },
      () => { label.data = "Select and copy by hand"; },
    ));
  }
  for (const button of document.querySelectorAll(".show-target")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      chooseAnswer(button.dataset.target);
      (find("depth") || find("layers")).scrollIntoView();
    });
  }
  for (const link of document.querySelectorAll(".glance a")) {
    link.addEventListener("click", () => chooseAnswer(link.dataset.target));
  }
  // Many answers are shown one at a time; the table above them chooses.
  find("cards").classList.toggle("one", atlas.choices.length > 6);
  const mark = () => {
    for (const button of document.querySelectorAll(".show-target")) button.closest(".card").classList.toggle("current", button.dataset.target === chosen.target && atlas.targets.length > 1);
  };
  watch(["target"], mark);
  mark();
}

chosen.network = networkNames.find((name) => layersOf(name).length) || null;
chosen.layer = nearestLayer(chosen.network, 1);
if (atlas.targets.length) chooseAnswer(atlas.targets[0].target);
// A chart that fails must not take the others with it.
for (const begin of [startBar, startCards, () => startTheme(redrawTheme), startDepth, startCost, startLanguage, startGeometry, startSimilarity, startSamples, startSees, startInside, startNeighbours, startLayers]) {
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
