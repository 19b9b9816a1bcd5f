// The chosen layer from inside: concepts laid over a few inputs, and units with their strongest samples.
const insideOf = new Map(atlas.inside.map((each) => [at(each.network, each.layer), each]));

// Digits as a picture of so many rows: orange, the clearer the more.
function concept({ rows: height, columns: width }, digits) {
  const canvas = html("canvas", { width, height, "aria-hidden": "true" });
  const ink = canvas.getContext("2d");
  const picture = ink.createImageData(width, height);
  [...digits].forEach((digit, i) => picture.data.set([214, 84, 0, digit * 25], 4 * i));
  ink.putImageData(picture, 0, 0);
  return canvas;
}

function conceptFace(input, each, i) {
  const digits = each.heat[i];
  const { name } = atlas.shown[input.sample];
  if (input.picture) return html("span", { class: "laid", title: name }, html("img", { src: input.picture, alt: `${name}, with the concept in colour` }), concept(each, digits));
  return html("span", { class: "told" }, input.words.map((word, k) => html("span", { class: digits[k] > 0 ? `p${digits[k]}` : null }, word)));
}

function conceptList(found, inputs) {
  const texts = inputs.some((input) => !input.picture);
  return found.concepts.map((each, k) => html("li", { class: "inner" },
    html("h4", {}, `Concept ${k + 1}`, html("span", { class: "soft" }, `${say.percent(each.presence)} of what is present`)),
    html("ol", { class: texts ? "faces told-list" : "faces" }, inputs.map((input, i) => html("li", {}, conceptFace(input, each, i))))));
}

function exemplarFace(i) {
  const sample = atlas.exemplars[i];
  if (sample.picture) return html("img", { src: sample.picture, alt: sample.name, title: [sample.name, ...sampleLines(sample)].join(", "), loading: "lazy" });
  return html("span", { class: "told" }, sample.text || sample.name);
}

function unitWords(unit) {
  const far = `Strongest test samples ${say.plain(unit.selective)} deviations above the mean`;
  if (!unit.answer) return `${far}.`;
  return `${far}; ${say.percent(unit.found)} of them have ${unit.target}: ${unit.answer} (${say.percent(unit.chance)} of all).`;
}

function drawnWords(unit) {
  const far = `answers more to it than to ${say.percent(unit.above)} of all samples`;
  return `Drawn for this unit, which ${far}. No sample went into it.`;
}

function unitList(found) {
  return found.units.map((unit) => html("li", { class: "inner" },
    html("h4", {}, `Unit ${unit.unit}`),
    html("p", { class: "soft" }, unitWords(unit)),
    unit.picture ? html("figure", { class: "drawn" }, html("img", { src: unit.picture, alt: `A picture that unit ${unit.unit} answers to`, loading: "lazy" }), html("figcaption", { class: "soft" }, drawnWords(unit))) : "",
    html("ol", { class: unit.samples.some((i) => atlas.exemplars[i].picture) ? "faces" : "faces told-list" }, unit.samples.map((i) => html("li", {}, exemplarFace(i))))));
}

function startInside() {
  const box = find("inside-chart");
  if (!box) return;
  const draw = () => {
    const found = insideOf.get(at(chosen.network, chosen.layer)) || { concepts: [], units: [] };
    const inputs = atlas.looked.filter((each) => each.network === chosen.network);
    const left = found.left_out === null ? "" : ` They leave out ${say.percent(found.left_out)} of what the layer holds of other inputs.`;
    box.replaceChildren(
      html("p", { class: "where-inside" }, html("code", {}, chosen.layer), html("span", { class: "soft" }, chosen.network)),
      ...(found.concepts.length ? [html("h3", {}, "Concepts of its places"), html("p", { class: "soft" }, `Each concept marks the places that it is in, over the same inputs.${left}`), html("ul", { class: "inners" }, conceptList(found, inputs))] : []),
      ...(found.units.length ? [html("h3", {}, "Units that stand out"), html("ul", { class: "inners thirds" }, unitList(found))] : []),
      found.concepts.length + found.units.length ? "" : html("p", { class: "soft" }, "Nothing was looked into at this layer: it has no places, and too few samples."));
  };
  watch(["network", "layer"], draw);
  draw();
}
