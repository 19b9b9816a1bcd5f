// Light, dark or as the system says; and what is said where a chart could not be drawn.
function startTheme() {
  const button = find("theme");
  const themes = ["auto", "light", "dark"];
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    for (const { names, draw } of watchers) if (names.includes("theme")) draw();
  };
  let theme = "auto";
  button.hidden = false;
  button.addEventListener("click", () => apply((theme = themes[(themes.indexOf(theme) + 1) % 3])));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(theme));
}

function fail(error) {
  const box = find("failure");
  box.hidden = false;
  box.textContent = `A chart on this page could not be drawn (${error && error.message ? error.message : error}). atlas.json beside this page holds every number.`;
  document.documentElement.dataset.failed = "yes";
}

addEventListener("error", (event) => fail(event.error || event.message));
