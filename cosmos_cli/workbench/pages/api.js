// Asking the server; what it refuses, and whether it is there at all.

export class Refused extends Error {
  constructor(title, problems) {
    super(problems.map(problem => problem.what).join(" ") || title);
    this.title = title;
    this.problems = problems;
  }
}

const listeners = [];

/** Have a function told when the server is lost ("gone", "anew") and found again (""). */
export function onConnection(listener) {
  listeners.push(listener);
}

function tell(state) {
  for (const listener of listeners) listener(state);
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, {...options, cache: "no-store"});
  } catch (error) {
    tell("gone");
    throw new Refused("Not reached", [{what: "The workbench does not answer.", where: null, fix: null}]);
  }
  const isJson = (answer.headers.get("content-type") || "").startsWith("application/json");
  const document = isJson ? await answer.json() : null;
  if (answer.status === 403 && !document) {
    tell("anew");
    throw new Refused("Refused", [{what: "The workbench was started anew.", where: null, fix: null}]);
  }
  tell("");
  if (answer.ok) return document;
  throw document ? new Refused(document.title, document.problems) : new Refused("Failed", [
    {what: `The workbench failed (${answer.status}).`, where: null, fix: "Its terminal says more."},
  ]);
}

export function get(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  return ask(query ? `${path}?${query}` : path, {});
}

export function post(path, body = {}) {
  return ask(path, {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(body)});
}

export function fileUrl(path) {
  return `/api/file?${new URLSearchParams({path})}`;
}

/** An element with properties and children; texts are texts, never markup. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null));
  return element;
}

/** What is wrong, in an element for it; nothing hides it. */
export function showProblems(element, error) {
  element.replaceChildren();
  element.hidden = !error;
  if (!error) return;
  const problems = error.problems || [{what: String(error), where: null, fix: null}];
  for (const {what, where, fix} of problems) {
    element.append(make("p", {}, where ? `${where}: ${what}` : what, fix ? make("span", {className: "fix"}, fix) : ""));
  }
}

export function copyButton(text) {
  const button = make("button", {type: "button", className: "copy"}, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch (error) {
      button.textContent = "Select it to copy";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}
