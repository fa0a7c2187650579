// The page: what to make, its input, controls, settings, plan, runs and comparison, kept together.

import {Latest, Unreached, addressOf, fileUrl, get, make, onConnection, post, showProblems} from "./api.js";
import {Comparison} from "./compare.js";
import {Field} from "./form.js";
import {Look} from "./looks.js";
import {Painter} from "./painter.js";
import {Players} from "./players.js";
import {Question, exported, planned} from "./questions.js";
import {Output, Queue, specOf} from "./queue.js";

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

let kindName = "", kind = null, clip = null, facts = null, fields = [], looks = [], listed = [], kept = "";
const about = await insistently(() => get("/api/about"));
const isPicture = path => about.pictures.some(suffix => path.toLowerCase().endsWith(suffix));
const painter = new Painter();
const stage = new Players(find("stage-transport"));
const comparison = new Comparison(about.kinds, isPicture, trouble);
const inputVideo = make("video", {muted: true, playsInline: true, loop: true, preload: "auto", ariaLabel: "The clip"});
const inputImage = make("img", {alt: "The picture"});
const output = new Output(joinStage, isPicture);
const queue = new Queue(find("jobs"), isPicture, jobs => comparison.show(jobs), reuse, goOn, hurry);
const unplayable = make("div", {className: "wait", hidden: true}, "This browser cannot play the clip. It is used all the same.");
const inputTile = make("article", {className: "tile", id: "chosen"}, make("header", {}, make("h3", {}, "input")),
  make("div", {className: "screen"}, inputVideo, inputImage, unplayable));
inputVideo.addEventListener("error", () => { unplayable.hidden = false; });
inputVideo.addEventListener("loadeddata", () => { unplayable.hidden = true; });

// What to make, and what the page shows of it

function choose(name) {
  for (const timer of reach.values()) clearTimeout(timer);
  reach.clear();
  for (const look of looks) look.forget();
  for (const question of questions) question.outdate();
  opening.forget();
  find("outdated").hidden = true;
  kindName = name;
  kind = about.kinds[name];
  find("kind").value = name;
  find("kind-help").textContent = kind.help;
  const described = kind.fields.map(each => [each, new Field(each, kind.schema[each.name], changedField)]);
  fields = described.map(([, field]) => field);
  find("fields").replaceChildren(...described.filter(([each]) => each.usual).map(([, field]) => field.element));
  find("more-fields").replaceChildren(...described.filter(([each]) => !each.usual).map(([, field]) => field.element));
  looks = kind.controls.map(control => new Look(control, kind.schema, keep, recomputeSoon, openPainter));
  find("looks").replaceChildren(inputTile, ...looks.map(look => look.element), output.element);
  nameInput();
  closeClip();
}

/** What the sections about the input say. */
function nameInput() {
  const isEither = kind.clip?.takes_pictures, what = isEither ? "picture or clip" : "clip", hasControls = kind.controls.length > 0;
  find("input").hidden = !kind.clip;
  find("clips-title").textContent = isEither ? "Picture or clip" : "Clip";
  find("clip-optional").textContent = kind.clip && !kind.clip.is_needed ? `Without a ${what} the prompt says everything. The chosen one is left out by choosing it again.` : "";
  find("stage-title").textContent = hasControls ? "Controls" : kind.clip ? "Input and output" : "Output";
  find("stage-none").textContent = `Choose a ${what}, and ${hasControls ? "its controls show here, each with a weight." : "it shows here beside what is made of it."}`;
  find("stage-transport").hidden = !hasControls; // a clip and what goes on from it have no common place
  find("looks").classList.toggle("wide", !hasControls);
  for (const video of [inputVideo, output.video]) {
    video.controls = video.loop = !hasControls;
    video.playbackRate = 1;
  }
}

/** Make another kind of thing, with what was set of it before; a clip that suits it stays. */
function change(name) {
  const before = clip;
  choose(name);
  restore();
  if (before && !clip && kind.clip?.is_needed && suits(before)) openClip(before);
  joinStage();
  keep();
  hurry();
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
  return {...fieldValues(), ...own, ...(kind.clip && {[kind.clip.field]: clip ?? undefined}), ...Object.fromEntries(controls)};
}

function lookSpec(look) {
  const {prompt, model_size} = fieldValues();
  const names = look.control.shows_objects && !look.objects.value.trim() ? {prompt} : {};
  return JSON.parse(JSON.stringify({
    [kind.clip.field]: clip, model_size, ...names, ...look.ownFields(), [look.control.name]: {control_weight: 1, ...look.entry()},
  }));
}

function compute(look) {
  if (!clip) return;
  const asked = lookSpec(look);
  look.forget();
  look.asked = JSON.stringify(asked);
  look.computing.ask(() => post("/api/looks", {kind: kindName, spec: asked}), job => {
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
  if (!kind?.controls.length) stage.set([]);
  else stage.set([inputVideo, ...looks.flatMap(look => look.videos()), ...output.videos()], facts ? facts.num_frames : 0);
}

// Clips and pictures

const listing = new Latest();

function listClips() {
  return listing.ask(() => get("/api/clips"), showClips, error => showProblems(find("clip-problem"), error));
}

function showClips({clips}) {
  listed = clips;
  showCards();
}

/** Whether the kind takes a file as its input. */
function suits(path) {
  return Boolean(kind.clip) && (kind.clip.takes_pictures || !isPicture(path));
}

function showCards() {
  const cards = listed.filter(({path}) => suits(path)).map(({path, name}) => {
    const picture = make("img", {alt: "", loading: "lazy", src: addressOf("thumbnail", path)});
    picture.addEventListener("error", () => picture.replaceWith(make("div", {className: "unreadable"}, "cannot be read")));
    const card = make("button", {type: "button", className: "clip", title: path, "data-path": path}, picture, make("span", {}, name));
    card.setAttribute("aria-pressed", path === clip);
    card.addEventListener("click", () => path === clip && !kind.clip.is_needed ? leaveOut() : openClip(path));
    return card;
  });
  find("clips").replaceChildren(...cards);
  find("clips-none").textContent = `There is no ${kind.clip?.takes_pictures ? "picture or video" : "video"} in ${about.folders.filter(folder => folder !== about.output).join(", ")}. `
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

/** No clip is chosen, and none is shown. */
function closeClip() {
  clip = facts = null;
  opening.forget();
  showProblems(find("clip-problem"), null);
  showCards();
  showStage(!kind.clip?.is_needed);
}

function leaveOut() {
  closeClip();
  keep();
  hurry();
}

function openClip(path) {
  chooseClip(path);
  for (const look of looks) look.forget();
  find("stage").inert = true; // until it is the stage of this clip
  showProblems(find("clip-problem"), null);
  return opening.ask(() => get(addressOf("facts", path)), found => showClip(path, found), error => {
    showProblems(find("clip-problem"), error);
    showStage(!kind.clip.is_needed);
    if (!(error instanceof Unreached)) chooseClip(null);
  });
}

function showStage(isShown) {
  find("stage").hidden = !isShown;
  find("stage").inert = false;
  find("stage-none").hidden = isShown;
  inputTile.hidden = !facts;
  find("clip-facts").textContent = "";
  if (!facts) {
    stage.pause();
    inputVideo.pause();
    document.body.style.removeProperty("--aspect");
  }
}

function showClip(path, found) {
  facts = found;
  showStage(true);
  const isStill = isPicture(path), length = isStill ? "" : `${facts.num_frames} frames, `, pace = isStill ? "" : `, ${Number(facts.fps.toFixed(2))} fps`;
  find("clip-facts").textContent = `${length}${facts.width}x${facts.height}${pace}`;
  document.body.style.setProperty("--aspect", `${facts.width} / ${facts.height}`);
  inputVideo.hidden = isStill;
  inputImage.hidden = !isStill;
  unplayable.hidden = true;
  (isStill ? inputImage : inputVideo).src = fileUrl(path);
  joinStage();
  hurry();
  for (const look of looks) compute(look);
}

function openPainter(look) {
  if (!facts) return;  // of a clip that is being opened
  const shown = inputVideo.error && look.video.hasAttribute("src") ? look.video.src : fileUrl(clip);
  painter.open(look.control.name, shown, facts, look.map, map => { look.setMap(map); keep(); });
}

// Plan, run, export

const asked = () => ({kind: kindName, spec: spec()});
const questions = [
  new Question("plan", "/api/plan", asked, plan => planned(plan, kind.makes_picture)), new Question("export", "/api/export", asked, exported),
];

find("run").addEventListener("click", async () => {
  find("run").disabled = true;
  showProblems(find("form-problem"), null);
  try {
    await post("/api/jobs", asked());
    hurry();
  } catch (error) {
    showProblems(find("form-problem"), error);  // also if the settings are others by now: nothing runs
  } finally {
    find("run").disabled = false;
  }
});

// Runs

const reusing = new Latest();

function reuse(job, failed) {
  const isKnown = job.kind in about.kinds, fix = "Install the package that brings it, and start the workbench anew.";
  if (!isKnown) return failed({problems: [{what: `${job.kind} cannot be made here.`, where: null, fix}]});
  return reusing.ask(() => specOf(job), document => {
    if (job.kind !== kindName) choose(job.kind);
    fill(document);
    hurry();
    scrollTo({top: 0, behavior: "smooth"});
  }, failed);
}

/** What was made is an input of what is made next. */
function goOn(job, failed) {
  const fix = "Choose at the top what to make out of it.", what = isPicture(job.output) ? "picture" : "clip";
  if (!suits(job.output)) return failed({problems: [{what: `${kindName} takes no ${what}.`, where: null, fix}]});
  failed(null);
  scrollTo({top: 0, behavior: "smooth"});
  return openClip(job.output);
}

function fill(document) {
  for (const field of fields) field.set(document[field.name]);
  for (const look of looks) look.set(document[look.control.name], document);
  keep();
  const path = kind.clip && document[kind.clip.field];
  if (typeof path === "string") openClip(path);
  else if (clip && kind.clip) leaveOut();
}

// What stays over a reload of the page

const place = (...kind) => ["cosmos-workbench", about.output, ...kind].join(" ");

function stored(where) {
  try {
    return localStorage.getItem(where);
  } catch (error) {
    return null; // the browser keeps nothing: a reload begins afresh
  }
}

/** The settings may have changed: they are kept, and what was said of others goes. */
function keep() {
  const weights = looks.filter(look => !look.map).map(look => Number(look.slider.value));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  find("sum").textContent = sum > 1 && kind.weights_note ? `The weights sum to ${sum.toFixed(2)}. ${kind.weights_note}` : "";
  const text = JSON.stringify(spec());
  if (`${kindName} ${text}` === kept) return;
  kept = `${kindName} ${text}`;
  showProblems(find("form-problem"), null);
  if (questions.map(question => question.outdate()).some(Boolean)) find("outdated").hidden = false;
  try {
    localStorage.setItem(place(), kindName);
    localStorage.setItem(place(kindName), text);
  } catch (error) {
    // the browser keeps nothing: a reload begins afresh
  }
}

function restore() {
  try {
    const document = JSON.parse(stored(place(kindName)) || "null");
    if (document) fill(document);
  } catch (error) {
    // of another version
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
    output.update(jobs, kindName, clip);
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
for (const family of new Set(Object.values(about.kinds).map(each => each.family))) {
  const own = names.filter(name => about.kinds[name].family === family);
  find("kind").append(make("optgroup", {label: family}, ...own.map(name => make("option", {value: name}, name))));
}
find("kind").addEventListener("change", () => change(find("kind").value));
find("where").textContent = `Everything stays on this machine. Made in ${about.output}`;
find("filter").addEventListener("input", filterClips);
find("refresh").addEventListener("click", listClips);
find("compare-clear").addEventListener("click", () => queue.clear());
find("settings").addEventListener("submit", event => event.preventDefault());
// what has controls has the most to show
choose([stored(place()), names.find(name => about.kinds[name].controls.length), ...names].find(name => name in about.kinds));
await listClips();
restore();
keep();
watch();
document.body.dataset.ready = "yes";
