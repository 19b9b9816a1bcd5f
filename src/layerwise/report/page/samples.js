// The shown samples in two dimensions, moving from layer to layer.
const mapOf = new Map(atlas.maps.map((map) => [at(map.network, map.layer), map]));
const hasPictures = atlas.shown.some((each) => each.picture);

const answerOf = (sample, target) => (sample.targets || {})[target];

function sampleLines(sample) {
  const answers = Object.entries(sample.targets || {}).map(([target, value]) => `${target}: ${value}`);
  return [...(sample.text ? [clipText(sample.text, 160)] : []), ...answers.slice(0, 6), ...(sample.split ? [`${sample.split} sample`] : [])];
}

// How a target colours the samples: by class with a shape each, or by number along a ramp.
function colouring(target) {
  const row = targetOf.get(target);
  const values = atlas.shown.map((each) => answerOf(each, target));
  if (row && row.kind === "number") {
    const known = values.map(number).filter(Number.isFinite);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    return { low, high, kind: "number", mark: (i) => ({ shape: 0, rgb: Number.isFinite(number(values[i])) ? css(markRamp((number(values[i]) - low) / (high - low || 1))) : null }) };
  }
  const classes = row ? row.classes.filter((name) => values.includes(name)) : [];
  const place = new Map(classes.map((name, i) => [name, i]));
  return { kind: "class", classes, mark: (i) => ({ shape: place.has(values[i]) ? place.get(values[i]) : null, name: values[i] }) };
}

function startSamples() {
  const box = find("samples-chart");
  if (!box) return;
  const style = { pictures: hasPictures, only: null };
  const cloud = html("div", { class: "cloud", tabindex: "0", role: "application", "aria-roledescription": "map of samples", "aria-label": "Samples in two dimensions. Arrow keys walk to the next sample that way, Enter chooses it. The same samples follow as a table." });
  const missing = html("p", { class: "soft", hidden: true }, "There is no map of this layer.");
  const legend = html("ul", { class: "legend classes", "aria-label": "What the colours mean" });
  const picked = html("div", { class: "picked", hidden: true });
  const marks = atlas.shown.map((_, i) => html("div", { class: "mark", "data-i": i }));
  cloud.append(...marks);
  const spots = atlas.shown.map(() => [0, 0]);
  const twin = tableTwin("Samples at this layer", ["sample", "x", "y", "split", ...atlas.targets.slice(0, 6).map((t) => t.target)], () => {
    const map = mapOf.get(at(chosen.network, chosen.layer));
    return atlas.shown.map((each, i) => [each.name, ...(map ? map.places[i].map((v) => number(v).toFixed(2)) : ["", ""]), each.split, ...atlas.targets.slice(0, 6).map((t) => answerOf(each, t.target) || "")]);
  });

  const dress = () => {
    const { kind, classes, mark, low, high } = colouring(chosen.target);
    const side = cloud.clientWidth < 560 ? 22 : 38;
    cloud.style.setProperty("--side", `${side}px`);
    marks.forEach((node, i) => {
      const { shape, rgb, name } = mark(i);
      node.className = `mark ${kind === "class" && shape !== null ? toneOf(shape) : "k6"}${style.only !== null && name !== style.only ? " dim" : ""}${chosen.sample === i ? " current" : ""}`;
      node.style.color = rgb || "";
      const sign = (extra) => svg("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", class: extra, "aria-hidden": "true" }, glyph(shape === null ? 6 : shape, true, extra ? 0.85 : 1.05));
      const { picture } = atlas.shown[i];
      node.replaceChildren(...(style.pictures && picture ? [html("img", { src: picture, alt: "" }), ...(kind === "class" && atlas.targets.length ? [sign("badge")] : [])] : [sign(null)]));
    });
    const items = kind === "number" ? [numberKey(low, high)] : classes.map((name, i) => html("li", {}, html("button", {
      type: "button",
      "aria-pressed": style.only === null ? null : String(style.only === name),
      onclick() { style.only = style.only === name ? null : name; dress(); },
    }, svg("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", class: toneOf(i), "aria-hidden": "true" }, glyph(i, true)), html("span", {}, name))));
    legend.replaceChildren(...items);
    legend.hidden = !items.length || !chosen.target;
    showPicked();
  };
  const move = (smooth) => {
    const map = mapOf.get(at(chosen.network, chosen.layer));
    missing.hidden = Boolean(map);
    if (map) {
      cloud.classList.toggle("moving", Boolean(smooth));
      const pad = cloud.clientWidth < 560 ? 18 : 32;
      const [w, h] = [cloud.clientWidth - 2 * pad, cloud.clientHeight - 2 * pad];
      map.places.forEach(([x, y], i) => {
        spots[i] = [pad + number(x) * w, pad + (1 - number(y)) * h];
        marks[i].style.transform = `translate(${spots[i][0].toFixed(1)}px, ${spots[i][1].toFixed(1)}px)`;
      });
    }
    twin.refresh();
  };
  const showPicked = () => {
    const sample = atlas.shown[chosen.sample];
    picked.hidden = !sample;
    if (!sample) return;
    picked.replaceChildren(...[sample.picture && html("img", { src: sample.picture, alt: "" }), html("p", {}, html("b", {}, sample.name), html("br"), sampleLines(sample).join(", "))].filter(Boolean));
  };

  walkCloud(cloud, marks, spots, (i) => choose({ sample: i }));
  box.append(
    html("div", { class: "tools" }, hasPictures && segments("Draw", [["pictures", "pictures"], ["shapes", "shapes"]], "pictures", (key) => { style.pictures = key === "pictures"; dress(); })),
    cloud, missing, html("div", { class: "below" }, layerSlider(), atlas.layers.length > 1 && playButton()), legend, picked, twin);
  dress();
  onWidth(cloud, () => { dress(); move(false); });
  watch(["target"], () => { style.only = null; dress(); });
  watch(["theme", "sample"], dress);
  watch(["network", "layer"], () => move(true));
}

function numberKey(low, high) {
  const canvas = html("canvas", { width: 120, height: 10, "aria-hidden": "true" });
  const ink = canvas.getContext("2d");
  for (let x = 0; x < 120; x++) {
    ink.fillStyle = css(markRamp(x / 119));
    ink.fillRect(x, 0, 1, 10);
  }
  return html("li", { class: "plain-key" }, say.plain(low), canvas, say.plain(high));
}

function walkCloud(cloud, marks, spots, onpick) {
  let now = null;
  const show = (i, speak) => {
    if (now !== null) marks[now].classList.remove("near");
    now = i;
    if (i === null) return hideTip();
    marks[i].classList.add("near");
    const sample = atlas.shown[i];
    const box = cloud.getBoundingClientRect();
    tip(box.left + spots[i][0] + 10, box.top + spots[i][1], sample.name, sampleLines(sample), sample.picture);
    if (speak) announce([sample.name, ...sampleLines(sample)].join(", "));
  };
  const near = (event) => {
    const box = cloud.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let found = null;
    let least = 24 ** 2;
    spots.forEach(([a, b], i) => {
      const far = (a - x) ** 2 + (b - y) ** 2;
      if (far < least) [found, least] = [i, far];
    });
    return found;
  };
  const toward = (dx, dy) => {
    if (now === null) return chosen.sample === null ? 0 : chosen.sample;
    let found = now;
    let least = Infinity;
    spots.forEach(([a, b], i) => {
      const [ahead, aside] = [(a - spots[now][0]) * dx + (b - spots[now][1]) * dy, Math.abs((a - spots[now][0]) * dy) + Math.abs((b - spots[now][1]) * dx)];
      if (i !== now && ahead > 0.5 && ahead + 2 * aside < least) [found, least] = [i, ahead + 2 * aside];
    });
    return found;
  };
  const keyed = () => document.activeElement === cloud;
  cloud.onpointermove = (event) => {
    const i = near(event);
    if (i !== null || !keyed()) show(i);
  };
  cloud.onpointerleave = () => (keyed() ? hideTip() : show(null));
  cloud.onblur = () => show(null);
  cloud.onclick = (event) => {
    const i = near(event);
    if (i !== null) onpick(i);
  };
  cloud.onkeydown = (event) => {
    const moves = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    if (moves[event.key]) {
      event.preventDefault();
      show(toward(...moves[event.key]), true);
    } else if ((event.key === "Enter" || event.key === " ") && now !== null) {
      event.preventDefault();
      onpick(now);
      announce(`Chosen: ${atlas.shown[now].name}`);
    }
  };
}
