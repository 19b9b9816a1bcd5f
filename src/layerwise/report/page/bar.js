// The bar that stays in reach: target, network and layer for all charts.
function layerSlider() {
  const input = html("input", { type: "range", min: "0", step: "1", "aria-label": "Layer" });
  const output = html("output", {});
  const go = (place) => {
    const list = layersOf(chosen.network);
    const row = list[Math.min(list.length - 1, Math.max(0, place))];
    if (row) choose({ layer: row.layer });
  };
  input.addEventListener("input", () => go(Number(input.value)));
  const step = (by, sign, text) => html("button", { type: "button", class: "step", "aria-label": text, onclick: () => go(Number(input.value) + by) }, sign);
  const draw = () => {
    const list = layersOf(chosen.network);
    const place = list.findIndex((row) => row.layer === chosen.layer);
    input.max = String(Math.max(0, list.length - 1));
    input.value = String(place);
    input.setAttribute("aria-valuetext", `${chosen.layer}, ${place + 1} of ${list.length}`);
    output.textContent = chosen.layer || "";
    output.title = chosen.layer || "";
  };
  watch(["network", "layer"], draw);
  draw();
  return html("div", { class: "slider" }, step(-1, "‹", "Layer before"), input, step(1, "›", "Layer after"), output);
}

function playButton() {
  let timer = 0;
  const button = html("button", { type: "button", class: "quiet", onclick() {
    if (timer) return stop();
    const list = layersOf(chosen.network);
    if (chosen.layer === list[list.length - 1].layer) choose({ layer: list[0].layer });
    timer = setInterval(() => {
      const now = layersOf(chosen.network);
      const place = now.findIndex((row) => row.layer === chosen.layer);
      if (place >= now.length - 1) stop();
      else choose({ layer: now[place + 1].layer });
    }, 1100);
    button.textContent = "Stop";
  } }, "Play");
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = "Play";
  };
  return button;
}

function startBar() {
  const bar = find("bar");
  if (!chosen.layer) return;
  bar.hidden = false;
  if (atlas.targets.length > 1) {
    const field = picker("Target", atlas.targets.map(({ target }) => [target, target]), chosen.target, (target) => choose({ target }));
    watch(["target"], () => { field.querySelector("select").value = chosen.target; });
    bar.append(field);
  }
  const known = networkNames.filter((name) => layersOf(name).length);
  const field = picker("Network", known.map((name) => [name, name]), chosen.network, (network) => choose({ network }));
  watch(["network"], () => { field.querySelector("select").value = chosen.network; });
  if (known.length > 1) bar.append(field);
  bar.append(layerSlider());
}
