// Elements out of plain values. Text is only ever set as text, so nothing in the data can become markup.
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const html = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const find = (id) => document.getElementById(id);

const clipText = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);

function announce(text) {
  find("live").textContent = text;
}

const still = matchMedia("(prefers-reduced-motion: reduce)");

// Calls `draw` with the width of a box, now and whenever it changes.
function onWidth(box, draw) {
  let width = 0;
  new ResizeObserver(() => requestAnimationFrame(() => {
    const now = Math.floor(box.clientWidth);
    if (now && now !== width) draw((width = now));
  })).observe(box);
}

function picker(label, options, value, onpick) {
  const select = html("select", { onchange: () => onpick(select.value) },
    options.map(([key, text]) => html("option", { value: key, selected: key === value }, text)));
  return html("label", { class: "field" }, html("span", {}, label), select);
}

function segments(label, options, value, onpick) {
  const buttons = options.map(([key, text]) => html("button", {
    type: "button",
    "aria-pressed": String(key === value),
    onclick(event) {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === event.currentTarget));
      onpick(key);
    },
  }, text));
  return html("span", { class: "segments", role: "group", "aria-label": label },
    html("span", { "aria-hidden": "true" }, label), html("span", {}, buttons));
}

// Every chart has its numbers as a table too, built when somebody asks for it.
function tableTwin(caption, heads, list) {
  const box = html("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": caption });
  const details = html("details", { class: "equal" }, html("summary", {}, "Show as a table"), box);
  const build = () => {
    if (!details.open) return;
    box.replaceChildren(html("table", { class: "plain" },
      html("caption", { class: "unseen" }, caption),
      html("thead", {}, html("tr", {}, heads.map((head) => html("th", { scope: "col" }, head)))),
      html("tbody", {}, list().map((cells) => html("tr", {}, cells.map((cell) => html("td", {}, cell)))))));
  };
  details.addEventListener("toggle", build);
  details.refresh = build;
  return details;
}

function save(name, kind, text) {
  const link = html("a", { href: URL.createObjectURL(new Blob([text], { type: kind })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
