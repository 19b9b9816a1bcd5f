// Light, dark, or as the system has it; `redraw` is called when that changes.
function startTheme(redraw) {
  const button = find("theme");
  const themes = ["auto", "light", "dark"];
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    redraw();
  };
  let theme = "auto";
  button.hidden = false;
  button.addEventListener("click", () => apply((theme = themes[(themes.indexOf(theme) + 1) % 3])));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(theme));
}
