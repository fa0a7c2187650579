// The clip and its controls side by side, each with its weight, its presets and where it counts.

import {Latest, Unreached, fileUrl, get, make, post, showProblems} from "./api.js";
import {Field} from "./form.js";

/** One control: its video, as the server computes it, and what the user says of it. */
export class Look {
  constructor(control, schema, changed, recompute, paint) {
    this.control = control;
    this.job = null;
    this.map = null;
    this.computing = new Latest();
    this.finding = new Latest(); // of what a map was painted with
    this.changed = changed;
    this.video = make("video", {muted: true, playsInline: true, preload: "auto", hidden: true, ariaLabel: control.name});
    this.wait = make("div", {className: "wait"}, "No clip yet");
    this.problem = make("div", {className: "problem", hidden: true});
    this.mapVideo = make("video", {muted: true, playsInline: true, preload: "auto", ariaLabel: `Where ${control.name} counts`});
    this.mapScreen = make("div", {className: "screen map", hidden: true}, this.mapVideo);
    this.slider = make("input", {type: "range", min: 0, max: 1, step: 0.05, value: control.weight, ariaLabel: `Weight of ${control.name}`});
    this.number = make("output", {});
    this.slider.addEventListener("input", () => this.changedWeight());
    this.confined = make("input", {type: "text", placeholder: "objects, such as ball . table"});
    this.confined.addEventListener("change", () => { this.update(); changed(); recompute(this); });
    this.fields = control.fields.map(name => new Field({name, isScale: true}, schema[name], () => { changed(); recompute(this); }));
    this.objects = control.shows_objects ? make("input", {type: "text", placeholder: "the prompt names them"}) : null;
    this.objects?.addEventListener("change", () => { changed(); recompute(this); });
    this.paintButton = make("button", {type: "button"}, "Paint where it counts");
    this.paintButton.addEventListener("click", () => paint(this));
    this.unpaint = make("button", {type: "button", className: "quiet", hidden: true}, "Remove the map");
    this.unpaint.addEventListener("click", () => { this.setMap(null); changed(); });
    this.element = make("article", {className: "tile", "data-control": control.name},
      make("h3", {}, control.name), make("div", {className: "screen"}, this.video, this.wait), this.problem, this.mapScreen,
      make("p", {className: "faint"}, control.help),
      make("label", {className: "row"}, "Weight", this.slider, this.number),
      ...this.fields.map(field => field.element),
      this.objects ? make("label", {className: "stack"}, "Objects that it shows", this.objects) : null,
      make("label", {className: "stack"}, "Counts only on", this.confined),
      make("div", {className: "buttons"}, this.paintButton, this.unpaint));
    this.update();
  }

  changedWeight() {
    this.update();
    this.changed();
  }

  setMap(map) {
    this.finding.forget();
    this.map = map;
    this.update();
  }

  update() {
    this.number.textContent = Number(this.slider.value).toFixed(2);
    this.slider.disabled = Boolean(this.map);
    this.confined.disabled = Boolean(this.map);
    this.unpaint.hidden = !this.map;
    this.paintButton.textContent = this.map ? "Change the painted map" : "Paint where it counts";
    this.paintButton.disabled = !this.map && this.confined.value.trim() !== "";
    if (this.map) this.number.textContent = "map";
  }

  /** Its object in a specification; null if it takes no part. */
  spec() {
    if (!this.map && Number(this.slider.value) === 0) return null;
    return {...this.entry(), control_weight: this.map ? this.map.path : Number(this.slider.value)};
  }

  entry() {
    const entry = {};
    if (!this.map && this.confined.value.trim()) entry.control_weight_prompt = this.confined.value.trim();
    if (this.objects && this.objects.value.trim()) entry.input_control_prompt = this.objects.value.trim();
    return entry;
  }

  ownFields() {
    return Object.fromEntries(this.fields.map(field => [field.name, field.value()]).filter(([, value]) => value !== undefined));
  }

  set(spec, document) {
    const weight = spec ? spec.control_weight ?? 0.5 : 0;
    this.slider.value = typeof weight === "number" ? weight : 1;
    this.confined.value = spec?.control_weight_prompt ?? "";
    if (this.objects) this.objects.value = spec?.input_control_prompt ?? "";
    for (const field of this.fields) field.set(document[field.name]);
    this.setMap(null);
    if (typeof weight === "string") {
      this.setMap({path: weight, painting: null});
      // of a map that was not painted here nothing is known, and a new one begins
      this.finding.ask(() => get(fileUrl(weight.replace(/\.npy$/, ".json"))), painting => { this.map.painting = painting; }, () => {});
    }
  }

  /** What the server knows of its computation. */
  show(job) {
    const before = this.job;
    this.job = job;
    if (job.status === "done") {
      if (before?.status === "done" && before.id === job.id) return;
      const name = this.control.name;
      this.video.src = fileUrl(job.files[`control:${name}`]);
      this.video.hidden = false;
      this.wait.hidden = true;
      const map = job.files[`weight:${name}`];
      this.mapScreen.hidden = !map;
      if (map) this.mapVideo.src = fileUrl(map);
      return;
    }
    this.wait.hidden = false;
    const isBad = job.status === "failed";
    this.wait.classList.toggle("bad", isBad);
    showProblems(this.problem, isBad ? job : null);
    const stage = job.stage === "Starting" ? "Starting the worker" : job.stage;
    this.wait.textContent = isBad ? "Cannot be shown"
      : job.status === "queued" ? "Waits for what runs" : job.status === "cancelled" ? "Cancelled" : stage || "Computing";
  }

  fail(error) {
    this.isUnreached = error instanceof Unreached;
    this.show({id: 0, status: "failed", problems: error.problems || [{what: String(error)}]});
  }

  forget() {
    this.computing.forget();
    if (this.job && !["done", "failed", "cancelled"].includes(this.job.status)) {
      post(`/api/jobs/${this.job.id}/cancel`).catch(() => {});
    }
    this.job = null;
    this.isUnreached = false;
    this.video.hidden = true;
    this.video.removeAttribute("src");
    this.video.load(); // or it stays the one before
    this.mapScreen.hidden = true;
    this.wait.hidden = false;
    this.wait.classList.remove("bad");
    showProblems(this.problem, null);
    this.wait.textContent = "Computing";
  }

  videos() {
    return [this.video, this.mapVideo].filter(video => video.hasAttribute("src"));
  }
}
