// Asking the server; what it refuses, and whether it is there at all.

export class Refused extends Error {
  constructor(title, problems) {
    super(problems.map(problem => problem.what).join(" ") || title);
    this.title = title;
    this.problems = problems;
  }
}

/** The server is not there, or is another: nothing is wrong with what was asked. */
export class Unreached extends Refused {
  constructor(what) {
    super("Not reached", [{what, where: null, fix: null}]);
  }
}

/**
 * Questions of one purpose, of which the latest counts: an answer that comes after another question, or after what it
 * was about has changed, is passed over, whether good or bad.
 */
export class Latest {
  constructor() {
    this.turn = 0;
    this.isAsking = false;
  }

  /** What is under way no longer counts. */
  forget() {
    this.turn += 1;
    this.isAsking = false;
  }

  /** Ask; `found` gets the answer, `failed` the error, each only if it counts. */
  async ask(question, found, failed) {
    this.forget();
    const turn = this.turn;
    this.isAsking = true;
    let act;
    try {
      const answer = await question();
      act = () => found(answer);
    } catch (error) {
      act = () => failed(error);
    }
    if (turn !== this.turn) return;
    this.isAsking = false;
    act();
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
  let answer, document;
  try {
    answer = await fetch(path, {...options, cache: "no-store"});
    const isJson = (answer.headers.get("content-type") || "").startsWith("application/json");
    document = isJson ? await answer.json() : null;
  } catch (error) {
    tell("gone");
    throw new Unreached("The workbench does not answer.");
  }
  // it refuses the token, or another program answers in its place
  if (!document && (answer.ok || answer.status === 403)) {
    tell("anew");
    throw new Unreached("The workbench was started anew.");
  }
  tell("");
  if (answer.ok) return document;
  throw document ? new Refused(document.title, document.problems) : new Refused("Failed", [
    {what: `The workbench failed (${answer.status}).`, where: null, fix: "Its terminal says more."},
  ]);
}

/** An answer of the server. timeout_s: after which it counts as lost. */
export function get(address, {timeout_s} = {}) {
  return ask(address, timeout_s ? {signal: AbortSignal.timeout(1000 * timeout_s)} : {});
}

export function post(path, body = {}) {
  return ask(path, {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(body)});
}

/** The address of something about a file. Bytes of its name that are no text come as lone surrogates \udcXX. */
export function addressOf(what, path) {
  const bytes = path.replace(/[^]/gu, each => {
    const code = each.charCodeAt(0);
    const isByte = each.length === 1 && code >= 0xdc80 && code <= 0xdcff;
    return isByte ? `%${(code - 0xdc00).toString(16)}` : encodeURIComponent(each);
  });
  return `/api/${what}?path=${bytes}`;
}

export function fileUrl(path) {
  return addressOf("file", path);
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

/** A picture or a video, whose screen takes its shape once that is known. */
export function fitted(screen, media) {
  const fit = () => screen.style.setProperty("--aspect", `${media.naturalWidth || media.videoWidth} / ${media.naturalHeight || media.videoHeight}`);
  media.addEventListener(media.tagName === "IMG" ? "load" : "loadedmetadata", fit);
  return media;
}

/** What is wrong, in an element for it; nothing hides it. */
export function showProblems(element, error) {
  element.replaceChildren();
  element.hidden = !error;
  if (!error) return;
  const problems = error.problems || [{what: String(error), where: null, fix: null}];
  for (const {what, where, fix} of problems) {
    element.append(make("p", {}, where ? `${named(where)}: ${what}` : what, fix ? make("span", {className: "fix"}, fix) : ""));
  }
}

/** Where something is wrong, as the page calls it: the server says options of the command line. */
function named(where) {
  const [, option] = where.match(/^--([a-z0-9-]+)$/) ?? [];
  return (option && document.querySelector(`label[for=field-${option.replaceAll("-", "_")}]`)?.textContent) || where;
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
