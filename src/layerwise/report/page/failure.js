// What is said where a chart could not be drawn.
function fail(error) {
  const box = find("failure");
  box.hidden = false;
  box.textContent = `A chart on this page could not be drawn (${error && error.message ? error.message : error}). The JSON file beside this page holds every number.`;
  document.documentElement.dataset.failed = "yes";
}

addEventListener("error", (event) => fail(event.error || event.message));
