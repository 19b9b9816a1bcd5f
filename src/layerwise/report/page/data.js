// The atlas as rows again, looked up by name, and numbers as people read them.
const atlas = JSON.parse(document.getElementById("atlas").textContent);

function column(values) {
  return values.words ? values.at.map((place) => values.words[place]) : values;
}

function rows(table) {
  const names = Object.keys(table);
  if (!names.length) return [];
  const columns = names.map((name) => column(table[name]));
  return columns[0].map((_, i) => Object.fromEntries(names.map((name, k) => [name, columns[k][i]])));
}

for (const name of ["layers", "scores", "candidates", "controls", "collapse", "pictures", "shown", "exemplars"]) {
  atlas[name] = rows(atlas[name]);
}

function grouped(items, key) {
  const found = new Map();
  for (const item of items) {
    const name = key(item);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(item);
  }
  return found;
}

const at = (...names) => names.join("\u0000");
const networkNames = atlas.networks.map((row) => row.network);
const readLayers = grouped(atlas.layers.filter((row) => !row.refused), (row) => row.network);
for (const list of readLayers.values()) list.sort((a, b) => a.position - b.position);
const layerOf = new Map(atlas.layers.map((row) => [at(row.network, row.layer), row]));
const targetOf = new Map(atlas.targets.map((row) => [row.target, row]));
const choiceOf = new Map(atlas.choices.map((row) => [row.target, row]));
const scoresOf = grouped(atlas.scores, (row) => at(row.target, row.network, row.layer));
const layersOf = (network) => readLayers.get(network) || [];

// Infinity and NaN come as words, because JSON has none for them.
function number(value) {
  if (value === null || value === undefined || value === "") return NaN;
  return Number(value);
}

function best(scores) {
  let found = null;
  for (const row of scores || []) {
    if (!found || number(row.validation) > number(found.validation)) found = row;
  }
  return found;
}

// Layer names without the beginning that most of them share, as `blocks.` in `blocks.3`.
function shortNames(names) {
  const stems = grouped(names, (name) => (name.match(/^(.*?\.)\d/) || ["", ""])[1]);
  let stem = "";
  for (const [start, members] of stems) if (members.length > names.length / 2) stem = start;
  const cut = (name) => (stem && name.startsWith(stem) ? name.slice(stem.length) : name);
  return { stem, names: names.map(cut) };
}

const minus = (text) => text.replace(/-/g, "\u2212");
const say = {
  score: (value) => (Number.isFinite(number(value)) ? minus(number(value).toFixed(3)) : "undefined"),
  amount(value) {
    if (!Number.isFinite(number(value))) return "undefined";
    const size = Math.abs(value);
    const power = size >= 1 ? Math.min(4, Math.floor(Math.log10(size) / 3)) : 0;
    return minus(`${Number((value / 1000 ** power).toPrecision(3))}${power ? ` ${"kMGT"[power - 1]}` : ""}`);
  },
  plain: (value) => (Number.isFinite(number(value)) ? minus(String(Number(number(value).toPrecision(3)))) : "undefined"),
  time: (value) => `${minus(String(Number(number(value).toPrecision(3))))} ms`,
  percent: (value) => `${Math.round(100 * value)} %`,
};
