// What a reader says: a class with its probability, or a quantity with its interval.
const FEW = 5;

function drawAnswer(entry) {
  const { answer } = entry;
  const classes = answer.label !== undefined;
  const title = classes ? answer.label : say(answer.value);
  const sure = classes ? percent(answer.probability) : `${say(answer.low)} to ${say(answer.high)}`;
  return html("article", { class: "answer" }, givenFace(entry), html("div", {},
    html("p", { class: "kicker" }, served.target),
    html("h3", {}, title, " ", html("span", { class: "soft" }, sure)),
    answer.unfamiliar && html("p", { class: "warning" }, `Unlike anything the reader was fitted on (${say(answer.strangeness)} times as far as is usual): do not rely on it.`),
    answer.truncated && html("p", { class: "warning" }, "The text is longer than the network takes; its end was not read."),
    classes && shares(answer.probabilities)));
}

function shares(probabilities) {
  const sorted = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
  const table = (list) => html("table", { class: "shares", "aria-label": "Probability of each class" },
    html("tbody", {}, list.map(([name, share]) => {
      const bar = html("span", { class: "share" });
      bar.style.width = `${100 * share}%`;
      return html("tr", {}, html("th", { scope: "row" }, name), html("td", { "aria-hidden": "true" }, bar), html("td", {}, percent(share)));
    })));
  if (sorted.length <= FEW + 1) return table(sorted);
  return [table(sorted.slice(0, FEW)), html("details", { class: "equal" }, html("summary", {}, `${sorted.length - FEW} more classes`), table(sorted.slice(FEW)))];
}

function startKind() {}
