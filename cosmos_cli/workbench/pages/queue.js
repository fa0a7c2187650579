// Runs: what waits, what is being made, what there is, and what of it is compared.

import {copyButton, fileUrl, fitted, get, make, post, showProblems} from "./api.js";

const WORDS = {queued: "waits", running: "runs", done: "done", failed: "failed", cancelled: "cancelled"};
const OVER = ["done", "failed", "cancelled"];

/** One run, kept as one element whatever becomes of it, so that its video plays on. */
class Run {
  constructor(job, queue) {
    this.queue = queue;
    this.title = make("h3", {}, nameOf(job));
    this.status = make("span", {className: "status", "aria-live": "polite"});
    this.screen = make("div", {className: "screen"});
    this.bar = make("progress", {max: 1, ariaLabel: "How much of it is made"});
    this.stage = make("p", {className: "faint"});
    this.problem = make("div", {className: "problem", hidden: true});
    this.buttons = make("div", {className: "buttons"});
    this.details = make("div", {});
    this.element = make("article", {className: "job", "data-job": job.id}, this.screen,
      make("div", {className: "about"}, make("header", {}, this.title, this.status), make("p", {className: "faint"}, job.kind), this.bar, this.stage, this.problem, this.buttons, this.details));
    this.update(job);
  }

  update(job) {
    const text = JSON.stringify(job);
    if (text === this.shown) return;
    const before = this.job;
    this.shown = text;
    this.job = job;
    this.status.textContent = job.status === "done" ? `done in ${seconds(job.seconds)}` : WORDS[job.status];
    this.status.className = `status ${job.status}`;
    const runs = job.status === "running";
    this.bar.hidden = !runs;
    if (job.num_steps && job.step) this.bar.value = job.step / job.num_steps;
    else this.bar.removeAttribute("value");
    this.stage.textContent = runs ? job.stage || "Starting" : "";
    showProblems(this.problem, job.status === "failed" ? job : null);
    if (runs && job.num_previews) this.preview(job);
    if (!before || before.status !== job.status) this.arrange(job);
  }

  preview(job) {
    if (!this.image) {
      this.image = fitted(this.screen, make("img", {alt: `What is being made, as it looks after ${job.step} steps`}));
      this.screen.replaceChildren(this.image);
    }
    this.image.src = `/api/preview/${job.id}?n=${job.num_previews}`;
  }

  arrange(job) {
    if (job.status !== "running") this.image = null;
    if (job.status === "done" && job.output) {
      const src = fileUrl(job.output);
      const media = this.queue.isPicture(job.output) ? make("img", {src, alt: `Run ${job.id}`})
        : make("video", {src, muted: true, loop: true, playsInline: true, controls: true, preload: "auto", ariaLabel: `Run ${job.id}`});
      this.screen.replaceChildren(fitted(this.screen, media));
    } else if (!this.image) {
      this.screen.replaceChildren(make("div", {className: "wait"}, job.status === "running" ? "The first preview comes with the first steps" : WORDS[job.status]));
    }
    this.buttons.replaceChildren(...this.choices(job));
    this.details.replaceChildren(...this.more(job));
  }

  choices(job) {
    const button = (text, act) => {
      const made = make("button", {type: "button"}, text);
      made.addEventListener("click", async () => {
        made.disabled = true;
        try {
          await act();
        } catch (error) {
          showProblems(this.problem, error);
        } finally {
          made.disabled = false;
        }
      });
      return made;
    };
    const tell = async what => { await post(`/api/jobs/${job.id}/${what}`); this.queue.changed(); };
    if (!OVER.includes(job.status)) return [button("Cancel", () => tell("cancel"))];
    const own = [];
    if (job.status === "done") {
      const compare = button("Compare", () => this.queue.toggle(job.id));
      compare.dataset.compares = job.id;
      compare.setAttribute("aria-pressed", this.queue.chosen.has(job.id));
      own.push(compare);
    }
    const failed = error => showProblems(this.problem, error);
    own.push(button("Use these settings", () => this.queue.reuse(job, failed)));
    if (job.status === "done") own.push(button("Use as input", () => this.queue.goOn(job, failed)));
    own.push(button("Take off the list", async () => { await tell("forget"); this.queue.remove(job.id); }));
    return own;
  }

  more(job) {
    if (!OVER.includes(job.status)) return [];
    const name = job.spec.split("/").at(-2);
    const save = make("a", {href: fileUrl(job.spec), download: `${name}.json`}, "Save the specification");
    const line = make("details", {}, make("summary", {}, "Command line"),
      make("pre", {className: "command"}, job.command), make("div", {className: "buttons"}, copyButton(() => job.command)), make("p", {}, save));
    const notes = job.notices.map(text => make("p", {className: "faint"}, text));
    return [...notes, line];
  }
}

/** The latest run of a kind with a clip, beside it and its controls. */
export class Output {
  constructor(joined, isPicture) {
    this.joined = joined;
    this.isPicture = isPicture;
    this.title = make("span", {className: "faint"});
    this.screen = make("div", {className: "screen"});
    this.video = fitted(this.screen, make("video", {muted: true, playsInline: true, loop: true, preload: "auto", ariaLabel: "Latest run"}));
    this.image = fitted(this.screen, make("img", {alt: "What is made"}));
    this.wait = make("div", {className: "wait"});
    this.screen.append(this.video, this.image, this.wait);
    this.element = make("article", {className: "tile", id: "output"}, make("header", {}, make("h3", {}, "output"), this.title), this.screen);
    this.source = "";
    this.update([], "", "");
  }

  update(jobs, kind, clip) {
    const name = (clip || "").split("/").at(-1);
    const job = jobs.filter(each => each.what === "make" && each.kind === kind && each.clip === name && ["running", "done"].includes(each.status)).at(-1);
    const isDone = job?.status === "done" && Boolean(job.output), isShown = job?.status === "running" && job.num_previews > 0;
    const isPicture = isDone && this.isPicture(job.output);
    this.title.textContent = !job ? "" : isDone ? `run ${job.id}` : job.step ? `run ${job.id}, step ${job.step} of ${job.num_steps}` : `run ${job.id}`;
    this.image.hidden = !isShown && !isPicture;
    if (!isShown && !isDone) this.screen.style.removeProperty("--aspect"); // that of another kind
    this.wait.hidden = isDone || isShown;
    this.wait.textContent = job ? "The first preview comes with the first steps" : "Run shows it here";
    const picture = isShown ? `/api/preview/${job.id}?n=${job.num_previews}` : isPicture ? fileUrl(job.output) : "";
    if (picture && this.image.getAttribute("src") !== picture) this.image.src = picture;
    const source = isDone && !isPicture ? fileUrl(job.output) : "";
    this.video.hidden = !source;
    if (source === this.source) return;
    this.source = source;
    if (source) this.video.src = source;
    else this.video.removeAttribute("src");
    this.joined();
  }

  videos() {
    return this.source ? [this.video] : [];
  }
}

export class Queue {
  /** changed: told that something was done to a run. */
  constructor(place, isPicture, onChosen, reuse, goOn, changed) {
    this.place = place;
    this.isPicture = isPicture;
    this.onChosen = onChosen;
    this.reuse = reuse;
    this.goOn = goOn;
    this.changed = changed;
    this.runs = new Map();
    this.chosen = new Set();
  }

  update(jobs) {
    const made = jobs.filter(job => job.what === "make");
    const there = new Set(made.map(job => job.id));
    for (const id of this.runs.keys()) if (!there.has(id)) this.remove(id);
    for (const job of made) {
      const run = this.runs.get(job.id);
      if (run) run.update(job);
      else {
        const fresh = new Run(job, this);
        this.runs.set(job.id, fresh);
        this.place.prepend(fresh.element);
      }
    }
    return made.length;
  }

  remove(id) {
    this.runs.get(id)?.element.remove();
    this.runs.delete(id);
    if (this.chosen.has(id)) this.toggle(id);
  }

  toggle(id) {
    if (!this.chosen.delete(id)) this.chosen.add(id);
    for (const button of this.place.querySelectorAll("[data-compares]")) {
      button.setAttribute("aria-pressed", this.chosen.has(Number(button.dataset.compares)));
    }
    this.onChosen([...this.chosen].map(each => this.runs.get(each)?.job).filter(Boolean));
  }

  clear() {
    for (const id of [...this.chosen]) this.toggle(id);
  }
}

/** What a run is called: by its input, or else by its prompt. */
export function nameOf(job) {
  return `${job.id}  ${job.clip || job.prompt}`;
}

export function seconds(value) {
  if (value < 60) return `${value.toFixed(1)} s`;
  const minutes = Math.round(value / 60);
  if (minutes < 90) return `${minutes} min`;
  return value < 48 * 3600 ? `${(value / 3600).toFixed(1)} h` : `${Math.round(value / 86400)} days`;
}

/** What some specifications say that others of them do not, a line for each. */
export function differences(specs) {
  const flat = specs.map(spec => Object.fromEntries(Object.entries(spec).flatMap(([name, value]) =>
    value && typeof value === "object" ? Object.entries(value).map(([key, each]) => [`${name} ${key.replace("control_", "")}`, each]) : [[name, value]])));
  const names = [...new Set(flat.flatMap(Object.keys))].filter(name => new Set(flat.map(each => JSON.stringify(each[name]))).size > 1);
  const shown = value => value === undefined ? "not given" : typeof value === "string" && value.startsWith("/") ? value.split("/").at(-1) : String(value);
  return flat.map(each => names.map(name => [name.replaceAll("_", " "), shown(each[name])]));
}

export function specOf(job) {
  return get(fileUrl(job.spec));
}
