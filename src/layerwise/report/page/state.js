// What is chosen: a target, a network, one of its layers, and one of the shown samples.
const chosen = { target: null, network: null, layer: null, sample: null };
const watchers = [];

// Calls `draw` after any of the named choices has changed.
function watch(names, draw) {
  watchers.push({ names, draw });
}

function redrawTheme() {
  for (const { names, draw } of watchers) if (names.includes("theme")) draw();
}

function nearestLayer(network, depth) {
  let found = null;
  for (const row of layersOf(network)) {
    if (!found || Math.abs(row.depth - depth) < Math.abs(found.depth - depth)) found = row;
  }
  return found ? found.layer : null;
}

function choose(change) {
  const next = { ...chosen, ...change };
  const known = layersOf(next.network).some((row) => row.layer === next.layer);
  if (!known) {
    const before = layerOf.get(at(chosen.network, chosen.layer));
    next.layer = nearestLayer(next.network, before ? before.depth : 1);
  }
  const changed = Object.keys(next).filter((name) => next[name] !== chosen[name]);
  Object.assign(chosen, next);
  for (const { names, draw } of watchers) if (names.some((name) => changed.includes(name))) draw();
}

// A combination of layers is no layer: then the layer of its network nearest to the end is shown.
function chooseAnswer(target) {
  const answer = choiceOf.get(target);
  if (answer) choose({ target, network: answer.best.network, layer: answer.best.layer });
  else choose({ target });
}
