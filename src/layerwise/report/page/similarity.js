// The layer x layer map: cells on a canvas, names and cursors above it.
const NAME_ROOM = { wide: 128, narrow: 74 };

function pairOf(a, b) {
  const pair = atlas.similarity.find((s) => s.network === a && s.other === b);
  if (pair) return { rows: pair.layers, columns: pair.other_layers, value: (i, j) => number(pair.values[i][j]) };
  const turned = atlas.similarity.find((s) => s.network === b && s.other === a);
  return turned && { rows: turned.other_layers, columns: turned.layers, value: (i, j) => number(turned.values[j][i]) };
}

// One matrix out of all pairs of the named networks; pairs that were not measured stay undefined.
function matrixOf(down, across) {
  const lengths = new Map();
  for (const s of atlas.similarity) {
    lengths.set(s.network, s.layers);
    lengths.set(s.other, s.other_layers);
  }
  const list = (names) => names.flatMap((name) => (lengths.get(name) || []).map((layer, i) => ({ network: name, layer, i })));
  const pairs = new Map(down.flatMap((a) => across.map((b) => [at(a, b), pairOf(a, b)])));
  const value = (r, c) => {
    const pair = pairs.get(at(r.network, c.network));
    return pair ? pair.value(r.i, c.i) : NaN;
  };
  return { rows: list(down), columns: list(across), value };
}

const sayCell = (value) => (Number.isFinite(value) ? say.score(value) : "undefined");

function paintCells(canvas, matrix, cell) {
  const { rows: down, columns: across, value } = matrix;
  const scale = devicePixelRatio || 1;
  const size = Math.max(1, Math.round(cell * scale));
  canvas.width = size * across.length;
  canvas.height = size * down.length;
  canvas.style.width = `${cell * across.length}px`;
  canvas.style.height = `${cell * down.length}px`;
  const ink = canvas.getContext("2d");
  const shades = shadesOf(ramp);
  const [hatch, ground] = isDark() ? ["#6b7079", "#24272e"] : ["#a9a69c", "#f1efe9"];
  down.forEach((r, i) => across.forEach((c, j) => {
    const v = value(r, c);
    const [x, y] = [j * size, i * size];
    if (Number.isFinite(v)) {
      ink.fillStyle = shades[Math.round(255 * Math.min(1, Math.max(0, v)))];
      ink.fillRect(x, y, size, size);
      return;
    }
    ink.fillStyle = ground;
    ink.fillRect(x, y, size, size);
    ink.strokeStyle = hatch;
    ink.lineWidth = Math.max(1, scale);
    ink.beginPath();
    ink.moveTo(x, y + size);
    ink.lineTo(x + size, y);
    ink.stroke();
  }));
}

function shortByItem(list) {
  const short = new Map();
  for (const members of grouped(list, (item) => item.network).values()) {
    const names = shortNames(members.map((m) => m.layer)).names;
    members.forEach((m, i) => short.set(m, names[i]));
  }
  return short;
}

function rampKey() {
  const canvas = html("canvas", { width: 160, height: 12, "aria-hidden": "true" });
  const ink = canvas.getContext("2d");
  for (let x = 0; x < 160; x++) {
    ink.fillStyle = css(ramp(x / 159));
    ink.fillRect(x, 0, 1, 12);
  }
  return html("p", { class: "ramp" }, "0", canvas, "1",
    svg("svg", { width: 14, height: 14, "aria-hidden": "true" }, svg("path", { class: "axis", d: "M0 14 14 0M.5.5h13v13h-13z", fill: "none" })), "undefined");
}

function startSimilarity() {
  const panel = find("similarity-chart");
  if (!panel) return;
  const names = networkNames.filter((name) => atlas.similarity.some((s) => s.network === name || s.other === name));
  const total = names.reduce((sum, name) => sum + layersOf(name).length, 0);
  const pairs = atlas.similarity.map((s) => [at(s.network, s.other), s.network === s.other ? s.network : `${s.network} and ${s.other}`]);
  const options = names.length > 1 && total <= 320 ? [["", "all networks"], ...pairs] : pairs;
  let picked = options[0][0];
  const frame = html("div", { class: "heat-frame" });
  const key = html("div");
  let matrix;
  const twin = tableTwin("Similarity between layers", ["network", "layer", "other network", "other layer", "CKA"], () => {
    const all = matrix.rows.length * matrix.columns.length <= 2500;
    const list = all ? matrix.rows : matrix.rows.filter((r) => r.network === chosen.network && r.layer === chosen.layer);
    return list.flatMap((r) => matrix.columns.map((c) => [r.network, r.layer, c.network, c.layer, sayCell(matrix.value(r, c))]));
  });
  let width = 0;
  let mark = () => {};
  const draw = () => {
    if (!width) return;
    const [a, b] = picked ? picked.split("\u0000") : [];
    matrix = picked ? matrixOf([a], [b]) : matrixOf(names, names);
    mark = drawHeat(frame, matrix, width);
    key.replaceChildren(rampKey());
    twin.refresh();
  };
  if (options.length > 1) panel.append(html("div", { class: "tools" }, picker("Between the layers of", options, picked, (value) => { picked = value; draw(); })));
  panel.append(frame, key, twin);
  onWidth(frame, (w) => { width = w; draw(); });
  watch(["theme"], draw);
  watch(["network", "layer"], () => {
    mark();
    twin.refresh();
  });
}

// Draws the whole map, and gives back what marks the chosen layer on it.
function drawHeat(frame, matrix, width) {
  const { rows: down, columns: across } = matrix;
  const grown = down[0].network !== down[down.length - 1].network ? 20 : 0;
  const short = new Map([...shortByItem(down), ...shortByItem(across)]);
  const longest = Math.max(...[...short.values()].map((name) => name.length));
  const room = Math.min(width < 560 ? NAME_ROOM.narrow : NAME_ROOM.wide, longest * 6.4 + 20) + grown;
  const cell = Math.min(44, (width - room) / across.length, Math.max(420, innerHeight * 0.8) / down.length);
  const [w, h] = [cell * across.length, cell * down.length];
  const canvas = html("canvas", { "aria-hidden": "true" });
  paintCells(canvas, matrix, cell);
  canvas.style.left = `${room}px`;
  canvas.style.top = `${room}px`;
  const overlay = svg("svg", { width: room + w, height: room + h, "aria-hidden": "true" });
  const seams = (list) => list.map((item, i) => (i && item.network !== list[i - 1].network ? i : 0)).filter(Boolean);
  for (const i of seams(down)) overlay.append(svg("line", { class: "seam", x1: room, x2: room + w, y1: room + i * cell, y2: room + i * cell }));
  for (const j of seams(across)) overlay.append(svg("line", { class: "seam", y1: room, y2: room + h, x1: room + j * cell, x2: room + j * cell }));
  if (grown) overlay.append(...netNames(down, across, room, cell));
  const names = svg("g");
  const cursor = svg("rect", { class: "cursor", width: cell, height: cell, visibility: "hidden" });
  overlay.append(names, cursor);
  const mark = () => names.replaceChildren(...heatMarks(down, across, { short, cell, room, grown }));
  mark();
  let box = frame.querySelector(".heat");
  if (!box) {
    box = html("div", { class: "heat", tabindex: "0", role: "application", "aria-roledescription": "map of similarities" });
    frame.replaceChildren(box);
  }
  box.setAttribute("aria-label", "Similarity between layers. Arrow keys walk the cells, Enter chooses the row's layer. The same numbers follow as a table.");
  box.style.width = `${room + w}px`;
  box.replaceChildren(canvas, overlay);
  walkHeat(box, matrix, room, cell, cursor);
  return mark;
}

// Names of rows and columns, the chosen layer's in any case, and frames around its cells.
function heatMarks(down, across, { short, cell, room, grown }) {
  const isChosen = (item) => item.network === chosen.network && item.layer === chosen.layer;
  const middle = (i) => room + (i + 0.5) * cell;
  const named = (list, draw) => {
    const kept = list.findIndex(isChosen);
    let free = 0;
    return list.flatMap((item, i) => {
      const crowded = i * cell < free || (kept >= 0 && Math.abs(i - kept) * cell < 13);
      if (i !== kept && crowded) return [];
      free = i * cell + 13;
      return [draw(clip(short.get(item), room - grown), i, i === kept ? "current" : null)];
    });
  };
  const framed = (list, shape) => list.flatMap((item, i) => (isChosen(item) ? [svg("rect", { class: "pick", ...shape(i) })] : []));
  return [
    ...named(down, (text, i, kind) => svg("text", { x: room - 8, y: middle(i) + 4, "text-anchor": "end", class: kind }, text)),
    ...named(across, (text, j, kind) => svg("text", { transform: `translate(${middle(j) + 4} ${room - 8}) rotate(-90)`, class: kind }, text)),
    ...framed(down, (i) => ({ x: room, y: room + i * cell, width: cell * across.length, height: cell })),
    ...framed(across, (j) => ({ x: room + j * cell, y: room, width: cell, height: cell * down.length })),
  ];
}

// Names of the networks at the outer edges, where their layers begin.
function netNames(down, across, room, cell) {
  const spans = (list) => [...grouped(list.map((item, i) => ({ ...item, i })), (item) => item.network)].map(([name, items]) => ({ name, start: room + items[0].i * cell, long: items.length * cell }));
  const fit = ({ name, long }) => (name.length * 7 > long ? `${name.slice(0, Math.max(1, Math.floor(long / 7) - 1))}…` : name);
  return [
    ...spans(across).map((s) => svg("text", { class: "net", x: s.start, y: 13 }, fit(s))),
    ...spans(down).map((s) => svg("text", { class: "net", transform: `translate(13 ${s.start}) rotate(-90)`, "text-anchor": "end" }, fit(s))),
  ];
}

const clip = (text, room) => (text.length * 6.2 > room - 10 ? `…${text.slice(-Math.floor((room - 16) / 6.2))}` : text);

function walkHeat(box, { rows: down, columns: across, value, measure }, room, cell, cursor) {
  let now = null;
  const show = (i, j, speak) => {
    if (!(i >= 0 && j >= 0 && i < down.length && j < across.length)) {
      now = null;
      cursor.setAttribute("visibility", "hidden");
      return hideTip();
    }
    now = [i, j];
    cursor.setAttribute("visibility", "visible");
    cursor.setAttribute("x", room + j * cell);
    cursor.setAttribute("y", room + i * cell);
    const [r, c] = [down[i], across[j]];
    const [title, lines] = [`${measure || "CKA"} ${sayCell(value(r, c))}`, [`${r.network} ${r.layer}`, `${c.network} ${c.layer}`]];
    const edge = box.getBoundingClientRect();
    tip(edge.left + room + (j + 0.5) * cell, edge.top + room + i * cell, title, lines);
    if (speak) announce([title, ...lines].join(", "));
  };
  const cellAt = (event) => {
    const edge = box.getBoundingClientRect();
    return [Math.floor((event.clientY - edge.top - room) / cell), Math.floor((event.clientX - edge.left - room) / cell)];
  };
  box.onpointermove = (event) => show(...cellAt(event));
  box.onpointerleave = () => (document.activeElement === box ? hideTip() : show(-1, -1));
  box.onblur = () => show(-1, -1);
  box.onclick = (event) => {
    const [i, j] = cellAt(event);
    if (down[i] && across[j]) choose({ network: down[i].network, layer: down[i].layer });
  };
  box.onkeydown = (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (moves[event.key]) {
      event.preventDefault();
      const start = Math.max(0, down.findIndex((r) => r.network === chosen.network && r.layer === chosen.layer));
      const [i, j] = now || [start, 0];
      const [di, dj] = now ? moves[event.key] : [0, 0];
      show(Math.min(down.length - 1, Math.max(0, i + di)), Math.min(across.length - 1, Math.max(0, j + dj)), true);
    } else if (event.key === "Enter" && now) {
      choose({ network: down[now[0]].network, layer: down[now[0]].layer });
    }
  };
}
