// The page: clip, controls, settings, plan, runs and comparison, kept together.

import {Latest, Unreached, addressOf, copyButton, fileUrl, get, make, onConnection, post, showProblems} from "./api.js";
import {Field} from "./form.js";
import {Look} from "./looks.js";
import {Painter} from "./painter.js";
import {Players} from "./players.js";
import {Output, Queue, differences, seconds, specOf} from "./queue.js";

const find = id => document.getElementById(id);
const BUSY_MS = 500, IDLE_MS = 2000, HURRY_MS = 400, STATE_S = 30;

// What nobody has caught is said all the same

for (const name of ["error", "unhandledrejection"]) {
  addEventListener(name, event => {
    const error = event.reason ?? event.error;
    if (error && !(error instanceof Unreached)) trouble(error);  // that it is lost is said already
  });
}
find("trouble-close").addEventListener("click", () => { find("trouble").hidden = true; });

function trouble(error) {
  find("trouble").hidden = false;
  const fix = "This is a defect of the page. Reload it: what was set and what runs stays.";
  showProblems(find("trouble-problem"), error.problems ? error : {problems: [{what: String(error), where: null, fix}]});
}

let lost = "";

onConnection(state => {
  const isFound = lost && !state;
  lost = state;
  find("lost").hidden = !state;
  find("lost").textContent = state === "gone"
    ? "The workbench has stopped, or cannot be reached. Trying again: what is shown here stays."
    : "The workbench was started anew, and this page belongs to the one before. Open the address that its terminal shows.";
  if (isFound && kind) catchUp(); // at the start nothing was asked for yet
});

/** What was asked for while the server was away. */
function catchUp() {
  listClips();
  if (clip && !facts) openClip(clip);
  else for (const look of looks) if (look.isUnreached) compute(look);
}

async function insistently(question) {
  for (;;) {
    try {
      return await question();
    } catch (error) {
      if (!(error instanceof Unreached)) throw error;
      await new Promise(resolve => setTimeout(resolve, IDLE_MS));
    }
  }
}

let family = "", kind = null, clip = null, facts = null, fields = [], looks = [], kept = "";
const about = await insistently(() => get("/api/about"));
const painter = new Painter();
const stage = new Players(find("stage-transport"));
const comparison = new Players(find("compare-transport"));
const inputVideo = make("video", {muted: true, playsInline: true, preload: "auto", ariaLabel: "The clip"});
const output = new Output(joinStage);
const queue = new Queue(find("jobs"), compare, reuse, hurry);
const unplayable = make("div", {className: "wait", hidden: true}, "This browser cannot play the clip. Its controls are computed all the same.");
inputVideo.addEventListener("error", () => { unplayable.hidden = false; });
inputVideo.addEventListener("loadeddata", () => { unplayable.hidden = true; });

// The family, and what it shows

function choose(name) {
  family = name;
  kind = about.kinds[name];
  const described = kind.fields.map(each => [each, new Field(each, kind.schema[each.name], changedField)]);
  fields = described.map(([, field]) => field);
  find("fields").replaceChildren(...described.filter(([each]) => each.usual).map(([, field]) => field.element));
  find("more-fields").replaceChildren(...described.filter(([each]) => !each.usual).map(([, field]) => field.element));
  looks = kind.controls.map(control => new Look(control, kind.schema, keep, recomputeSoon, openPainter));
  const input = make("article", {className: "tile"}, make("header", {}, make("h3", {}, "input")), make("div", {className: "screen"}, inputVideo, unplayable));
  find("looks").replaceChildren(input, ...looks.map(look => look.element), output.element);
}

const reach = new Map(); // look to the timer after which it is computed anew

function changedField() {
  keep();
  // what names objects may be the prompt; the model says which networks look at the clip
  for (const look of looks) {
    if (JSON.stringify(lookSpec(look)) !== look.asked) recomputeSoon(look);
  }
}

function recomputeSoon(look) {
  clearTimeout(reach.get(look));
  reach.set(look, setTimeout(() => compute(look), HURRY_MS));
}

function fieldValues() {
  return Object.fromEntries(fields.map(field => [field.name, field.value()]).filter(([, value]) => value !== undefined));
}

/** What is asked for, as a specification. */
function spec() {
  const controls = looks.map(look => [look.control.name, look.spec()]).filter(([, entry]) => entry);
  const own = Object.assign({}, ...looks.map(look => look.ownFields()));
  return {...fieldValues(), ...own, [kind.clip]: clip ?? undefined, ...Object.fromEntries(controls)};
}

function lookSpec(look) {
  const {prompt, model_size} = fieldValues();
  const names = look.control.shows_objects && !look.objects.value.trim() ? {prompt} : {};
  return JSON.parse(JSON.stringify({
    [kind.clip]: clip, model_size, ...names, ...look.ownFields(), [look.control.name]: {control_weight: 1, ...look.entry()},
  }));
}

function compute(look) {
  if (!clip) return;
  const asked = lookSpec(look);
  look.forget();
  look.asked = JSON.stringify(asked);
  look.computing.ask(() => post("/api/looks", {family, spec: asked}), job => {
    showLook(look, job);
    hurry();
  }, error => look.fail(error));
}

function showLook(look, job) {
  const before = look.videos().length;
  look.show(job);
  if (look.videos().length !== before) joinStage();
}

function joinStage() {
  stage.set([inputVideo, ...looks.flatMap(look => look.videos()), ...output.videos()], facts ? facts.num_frames : 0);
}

// Clips

const listing = new Latest();

function listClips() {
  return listing.ask(() => get("/api/clips"), showClips, error => showProblems(find("clip-problem"), error));
}

function showClips({clips}) {
  const cards = clips.map(({path, name}) => {
    const picture = make("img", {alt: "", loading: "lazy", src: addressOf("thumbnail", path)});
    picture.addEventListener("error", () => picture.replaceWith(make("div", {className: "unreadable"}, "cannot be read")));
    const card = make("button", {type: "button", className: "clip", title: path, "data-path": path}, picture, make("span", {}, name));
    card.setAttribute("aria-pressed", path === clip);
    card.addEventListener("click", () => openClip(path));
    return card;
  });
  find("clips").replaceChildren(...cards);
  find("clips-none").textContent = `There is no video in ${about.folders.filter(folder => folder !== about.output).join(", ")}. `
    + "Put one there and look again, or start the workbench with --folder for another folder.";
  find("clips-none").hidden = cards.length > 0;
  filterClips();
}

function filterClips() {
  const wanted = find("filter").value.toLowerCase();
  const cards = [...find("clips").querySelectorAll(".clip")];
  for (const card of cards) card.hidden = !card.textContent.toLowerCase().includes(wanted);
  find("filter-none").hidden = !cards.length || cards.some(card => !card.hidden);
}

const opening = new Latest();

function chooseClip(path) {
  clip = path;
  facts = null;
  for (const card of find("clips").querySelectorAll(".clip")) card.setAttribute("aria-pressed", card.dataset.path === path);
  keep();
}

function openClip(path) {
  chooseClip(path);
  for (const look of looks) look.forget();
  find("stage").inert = true; // until it is the stage of this clip
  showProblems(find("clip-problem"), null);
  return opening.ask(() => get(addressOf("facts", path)), found => showClip(path, found), error => {
    showProblems(find("clip-problem"), error);
    showStage(false);
    if (!(error instanceof Unreached)) chooseClip(null);
  });
}

function showStage(isShown) {
  find("stage").hidden = !isShown;
  find("stage").inert = false;
  find("stage-none").hidden = isShown;
  if (!isShown) stage.pause();
}

function showClip(path, found) {
  facts = found;
  showStage(true);
  find("clip-facts").textContent = `${facts.num_frames} frames, ${facts.width}x${facts.height}, ${Number(facts.fps.toFixed(2))} fps`;
  document.body.style.setProperty("--aspect", `${facts.width} / ${facts.height}`);
  inputVideo.src = fileUrl(path);
  joinStage();
  for (const look of looks) compute(look);
}

function openPainter(look) {
  if (!facts) return;  // of a clip that is being opened
  const shown = inputVideo.error && look.video.hasAttribute("src") ? look.video.src : fileUrl(clip);
  painter.open(look.control.name, shown, facts, look.map, map => { look.setMap(map); keep(); });
}

// Plan, run, export

/** A button that asks about the settings; what comes of it is shown until they change. */
class Question {
  constructor(name, address, show) {
    this.button = find(name);
    this.result = find(`${name}-result`);
    this.latest = new Latest();
    this.button.addEventListener("click", () => {
      this.outdate();
      this.button.disabled = true;
      find("outdated").hidden = true;
      showProblems(find("form-problem"), null);
      this.latest.ask(() => post(address, {family, spec: spec()}), answer => {
        this.button.disabled = false;
        this.result.hidden = false;
        this.result.replaceChildren(...show(answer));
      }, error => {
        this.button.disabled = false;
        showProblems(find("form-problem"), error);
      });
    });
  }

  /** The settings are others now; whether that takes an answer away. */
  outdate() {
    const isMissed = this.latest.isAsking || !this.result.hidden;
    this.latest.forget();
    this.result.hidden = true;
    this.button.disabled = false;
    return isMissed;
  }
}

const size = bytes => bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;

function planned(plan) {
  const facts = [];
  const fact = (name, text) => facts.push(make("dt", {}, name), make("dd", {}, text));
  fact("Time", `about ${seconds(plan.time.seconds)}`);
  const device = plan.memory.device_peak;
  if (device) fact("GPU memory", `${size(device.num_bytes)} at most, ${plan.memory.weights}`);
  fact("Host memory", `${size(plan.memory.host_peak.num_bytes)} at most`);
  fact("Frames", `${plan.frames.made} of ${plan.frames.width}x${plan.frames.height}`);
  fact("Files", plan.files.missing_bytes ? `${size(plan.files.missing_bytes)} are missing` : "all there");
  const problems = make("div", {className: "problem"}, ...plan.problems.map(text => make("p", {}, text)));
  const notes = plan.notes.map(text => make("p", {className: "faint"}, text));
  return [make("dl", {className: "facts"}, ...facts), problems, ...notes,
    make("details", {}, make("summary", {}, "The whole plan"), make("pre", {}, plan.text))];
}

function exported(made) {
  const text = JSON.stringify(made.document, null, 2);
  return [
    make("h3", {}, "Command line"), make("pre", {id: "export-command"}, made.command), make("div", {className: "buttons"}, copyButton(() => made.command)),
    make("h3", {}, "Specification"), make("pre", {id: "export-spec"}, text),
    make("div", {className: "buttons"}, copyButton(() => text), make("a", {href: fileUrl(made.spec), download: "spec.json"}, "Save as a file")),
  ];
}

const questions = [new Question("plan", "/api/plan", planned), new Question("export", "/api/export", exported)];

find("run").addEventListener("click", async () => {
  find("run").disabled = true;
  showProblems(find("form-problem"), null);
  try {
    await post("/api/jobs", {family, spec: spec()});
    hurry();
  } catch (error) {
    showProblems(find("form-problem"), error);  // also if the settings are others by now: nothing runs
  } finally {
    find("run").disabled = false;
  }
});

// Runs and their comparison

const comparing = new Latest();

function compare(jobs) {
  find("compare").hidden = !jobs.length;
  // a specification may be gone; the video shows without what differs
  const specs = () => Promise.all(jobs.map(job => specOf(job).catch(() => ({}))));
  return comparing.ask(specs, found => showCompared(jobs, found), trouble);
}

function showCompared(jobs, specs) {
  const ways = differences(specs);
  const clips = [...new Set(specs.map(each => each[kind.clip]).filter(Boolean))];
  const tile = (title, path, lines) => {
    const video = make("video", {src: fileUrl(path), muted: true, playsInline: true, preload: "auto", ariaLabel: title});
    const said = lines.map(([name, value]) => make("span", {}, `${name} `, make("b", {}, value)));
    return [video, make("article", {className: "tile"}, make("h3", {}, title), make("div", {className: "screen"}, video), make("div", {className: "differs"}, ...said))];
  };
  const tiles = [
    ...clips.map(path => tile(path.split("/").at(-1), path, [])),
    ...jobs.map((job, index) => tile(`${job.id}  ${job.clip}`, job.files.video, ways[index])),
  ];
  find("compared").replaceChildren(...tiles.map(([, element]) => element));
  comparison.pause();
  comparison.set(tiles.map(([video]) => video));
}

const reusing = new Latest();

function reuse(job, failed) {
  return reusing.ask(() => specOf(job), document => {
    fill(document);
    scrollTo({top: 0, behavior: "smooth"});
  }, failed);
}

function fill(document) {
  for (const field of fields) field.set(document[field.name]);
  for (const look of looks) look.set(document[look.control.name], document);
  keep();
  const path = document[kind.clip];
  if (typeof path === "string") openClip(path);
}

// What stays over a reload of the page

const place = () => `cosmos-workbench ${about.output} ${family}`;

/** The settings may have changed: they are kept, and what was said of others goes. */
function keep() {
  const weights = looks.filter(look => !look.map).map(look => Number(look.slider.value));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  find("sum").textContent = sum > 1 && kind.weights_note ? `The weights sum to ${sum.toFixed(2)}. ${kind.weights_note}` : "";
  const text = JSON.stringify(spec());
  if (text === kept) return;
  kept = text;
  showProblems(find("form-problem"), null);
  if (questions.map(question => question.outdate()).some(Boolean)) find("outdated").hidden = false;
  try {
    localStorage.setItem(place(), text);
  } catch (error) {
    // the browser keeps nothing: a reload begins afresh
  }
}

function restore() {
  try {
    const document = JSON.parse(localStorage.getItem(place()) || "null");
    if (document) fill(document);
  } catch (error) {
    // of another version, or the browser keeps nothing
  }
}

// Watching

const watching = new Latest();
let timer = 0;

function watchIn(pause_ms) {
  clearTimeout(timer);
  timer = setTimeout(watch, pause_ms);
}

/** Something was done: what is under way does not know of it yet. */
function hurry() {
  watching.forget();
  watchIn(50);
}

function watch() {
  watching.ask(() => get("/api/state", {timeout_s: STATE_S}), ({jobs}) => {
    watchIn(jobs.some(job => job.status === "running" || job.status === "queued") ? BUSY_MS : IDLE_MS);
    find("runs-none").hidden = queue.update(jobs) > 0;
    output.update(jobs, clip);
    const byId = new Map(jobs.map(job => [job.id, job]));
    for (const look of looks) {
      const job = look.job && byId.get(look.job.id);
      // cancelled by another page that looked at the same
      if (job?.status === "cancelled") compute(look);
      else if (job) showLook(look, job);
    }
  }, error => {
    watchIn(IDLE_MS);
    if (!(error instanceof Unreached)) trouble(error);
  });
}

const names = Object.keys(about.kinds);
find("family-choice").hidden = names.length < 2;
find("family").append(...names.map(name => make("option", {value: name}, name)));
find("family").addEventListener("change", () => { choose(find("family").value); restore(); joinStage(); });
find("where").textContent = `Everything stays on this machine. Made in ${about.output}`;
find("filter").addEventListener("input", filterClips);
find("refresh").addEventListener("click", listClips);
find("compare-clear").addEventListener("click", () => queue.clear());
find("settings").addEventListener("submit", event => event.preventDefault());
choose(names[0]);
await listClips();
restore();
keep();
watch();
document.body.dataset.ready = "yes";
