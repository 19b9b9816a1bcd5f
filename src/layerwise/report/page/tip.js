// One box beside the pointer or the focus that says what is there.
function tip(x, y, title, lines, picture) {
  const box = find("tip");
  box.replaceChildren(...[
    picture ? html("img", { src: picture, alt: "" }) : null,
    html("b", {}, title),
    ...lines.map((line) => html("span", {}, line)),
  ].filter(Boolean));
  box.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = box;
  const left = Math.min(Math.max(8, x + 14), document.documentElement.clientWidth - width - 8);
  const above = y - height - 14;
  box.style.left = `${left + scrollX}px`;
  box.style.top = `${(above > 8 ? above : y + 18) + scrollY}px`;
}

function hideTip() {
  find("tip").hidden = true;
}

addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
