// Everything that takes something in: choosing, dropping, pasting, typing.
const files = find("files");
files.addEventListener("change", () => {
  ask([...files.files]);
  files.value = "";
});

const textFile = (text) => new File([text], "", { type: "text/plain" });
const box = find("text");
const askText = () => (box.value.trim() ? ask([textFile(box.value)]) : box.focus());
if (box) {
  find("send").addEventListener("click", askText);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) askText();
  });
}

const drop = find("drop");
addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
addEventListener("dragleave", (event) => !event.relatedTarget && drop.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const text = event.dataTransfer.getData("text/plain");
  if (event.dataTransfer.files.length) ask([...event.dataTransfer.files]);
  else if (box && text) ask([textFile(text)]);
  else fail("Nothing that can be read was dropped.");
});
addEventListener("paste", (event) => {
  const given = [...event.clipboardData.files];
  if (given.length && (pictures || event.target !== box)) ask(given);
});

for (const place of document.querySelectorAll(".here")) place.textContent = location.href.split("#")[0];
startTheme(() => {});
startKind();
document.documentElement.dataset.ready = "yes";
