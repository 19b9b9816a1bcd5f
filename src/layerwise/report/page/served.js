// Takes what people give, asks the server, and keeps what it says.
const served = JSON.parse(document.getElementById("served").textContent);
const pictures = served.modality === "image";
const entries = [];
const AT_ONCE = 8;

function fail(text) {
  const box = find("failure");
  box.textContent = text;
  box.hidden = !text;
}

// Whether a file asks as a text: always where texts are asked, and a file of text where pictures answer to both.
const isText = (file) => !pictures || (Boolean(served.words) && file.type === "text/plain");

function doing(done, given) {
  const total = given.length;
  const texts = given.filter(({ file }) => isText(file)).length;
  const noun = texts === total ? ["text", "texts"] : texts ? ["input", "inputs"] : ["picture", "pictures"];
  find("doing").hidden = done >= total;
  find("progress").max = total;
  if (done) find("progress").value = done;
  else find("progress").removeAttribute("value");
  find("status").textContent = `${done} of ${total} ${noun[Number(total > 1)]} read`;
}

// The answer to a request, or an error with what the server says of it.
async function post(path, body) {
  const json = typeof body === "string";
  let response;
  try {
    response = await fetch(path, { method: "POST", body, headers: json ? { "Content-Type": "application/json" } : {} });
  } catch {
    throw new Error("The server cannot be reached, or has cut the request off; perhaps it was stopped.");
  }
  const told = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(told.error || `The server answered ${response.status}.`);
  return told;
}

// Parts that fit into one request each: of one kind, of few files, so that the progress is seen, and not too large.
function parts(given) {
  const found = [];
  let size = Infinity;
  for (const each of given) {
    const weight = each.file.size + 1000;
    const last = found[found.length - 1];
    if (!last || isText(last[0].file) !== isText(each.file) || last.length >= Math.min(AT_ONCE, served.inputs) || size + weight > served.bytes) {
      found.push([]);
      size = 0;
    }
    found[found.length - 1].push(each);
    size += weight;
  }
  return found;
}

let running = Promise.resolve();

function ask(files) {
  const given = files.map((file) => ({ file, name: file.name || "" }));
  if (given.length) running = running.then(() => askNow(given));
}

async function askNow(given) {
  const told = [];
  fail("");
  let done = 0;
  doing(0, given);
  for (const part of parts(given)) {
    const form = new FormData();
    for (const [name, value] of Object.entries(served.form || {})) form.append(name, value);
    for (const { file, name } of part) form.append("files", file, name || "given");
    try {
      const path = pictures && isText(part[0].file) ? served.words : served.path;
      const { answers, set_aside: left } = await post(path, form);
      for (const answer of answers) await keep(part[answer.input], answer);
      for (const { input, reason } of left) told.push(`${part[input].name || "The input"} was not read: ${reason}`);
    } catch (error) {
      told.push(error.message);
    }
    done += part.length;
    doing(done, given);
    drawAll();
  }
  fail(told.join("\n"));
  document.documentElement.dataset.asked = String(Number(document.documentElement.dataset.asked || 0) + 1);
}

async function keep(given, answer) {
  const entry = isText(given.file) ? { text: await given.file.text() } : { url: URL.createObjectURL(given.file) };
  entries.unshift({ name: given.name, answer, ...entry });
}

// What was given: the picture or the text, with its name.
function givenFace(entry, ...more) {
  const face = entry.url ? picture(entry.url, entry.name || "the picture you gave") : html("blockquote", {}, clipText(entry.text, 600));
  return html("div", { class: "given" }, html("figure", {}, face, entry.name && html("figcaption", {}, entry.name)), more);
}

// A picture, or a word where the browser cannot show it.
function picture(source, name, kind) {
  return html("img", { src: source, alt: name, class: kind, loading: "lazy", onerror(event) {
    event.currentTarget.replaceWith(html("div", { class: "no-picture" }, "no picture"));
  } });
}

function tiles(label, list) {
  return html("ul", { class: pictures ? "tiles" : "tiles wide", "aria-label": label }, list);
}

// One sample that was found: its picture or its text, what is to be said of it, and what is known of it.
function tile(found, note) {
  const known = Object.entries(found.targets).filter(([, value]) => value !== null && value !== "");
  const face = pictures ? picture(`items/${encodeURIComponent(found.key)}`, found.name) : html("blockquote", {}, found.text || "no longer there");
  return html("li", { class: "tile" }, face,
    html("b", {}, note), html("span", { title: found.name }, found.name),
    known.length > 0 && html("span", { class: "soft" }, known.map(([name, value]) => `${name} ${typeof value === "number" ? say(value) : value}`).join(", ")));
}

const say = (value) => String(Number(value.toPrecision(3))).replace("-", "−");
const percent = (value) => `${(100 * value).toFixed(1)} %`;

// Walks through places that all answers share: layers, or ways to search.
const places = { names: [], now: 0 };

function startSlider(names, now) {
  places.names = names;
  places.now = now;
  if (names.length < 2) return;
  const input = html("input", { type: "range", min: "0", max: String(names.length - 1), step: "1", "aria-label": "Layer", oninput: () => go(Number(input.value)) });
  const output = html("output", {});
  const step = (by, sign, text) => html("button", { type: "button", class: "step", "aria-label": text, onclick: () => go(places.now + by) }, sign);
  const go = (place) => {
    places.now = Math.min(names.length - 1, Math.max(0, place));
    input.value = String(places.now);
    input.setAttribute("aria-valuetext", `${names[places.now]}, ${places.now + 1} of ${names.length}`);
    output.textContent = names[places.now];
    output.title = names[places.now];
    drawAll();
  };
  const bar = find("bar");
  bar.hidden = false;
  bar.append(html("div", { class: "slider" }, step(-1, "‹", "Layer before"), input, step(1, "›", "Layer after"), output));
  go(now);
}

function drawAll() {
  find("answers").hidden = !entries.length;
  find("cards").replaceChildren(...entries.map(drawAnswer));
}
