// The page: clip, controls, settings, plan, runs and comparison, kept together.

import {Refused, copyButton, fileUrl, get, make, onConnection, post, showProblems} from "./api.js";
import {Field} from "./form.js";
import {Look} from "./looks.js";
import {Painter} from "./painter.js";
import {Players} from "./players.js";
import {Output, Queue, differences, seconds, specOf} from "./queue.js";

const find = id => document.getElementById(id);
const BUSY_MS = 500, IDLE_MS = 2000, HURRY_MS = 400;

const about = await get("/api/about");
let family = "", kind = null, clip = null, facts = null, fields = [], looks = [];
const painter = new Painter();
const stage = new Players(find("stage-transport"));
const comparison = new Players(find("compare-transport"));
const inputVideo = make("video", {muted: true, playsInline: true, preload: "auto"});
const output = new Output(joinStage);
const queue = new Queue(find("jobs"), compare, reuse);
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

async function compute(look) {
  if (!clip) return;
  const asked = lookSpec(look);
  look.forget();
  look.asked = JSON.stringify(asked);
  try {
    const job = await post("/api/looks", {family, spec: asked});
    if (look.asked === JSON.stringify(asked)) showLook(look, job);
    hurry();
  } catch (error) {
    if (look.asked === JSON.stringify(asked)) look.fail(error);
  }
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

async function listClips() {
  const {clips} = await get("/api/clips");
  const cards = clips.map(({path, name}) => {
    const picture = make("img", {alt: "", loading: "lazy", src: `/api/thumbnail?${new URLSearchParams({path})}`});
    picture.addEventListener("error", () => picture.replaceWith(make("div", {className: "unreadable"}, "cannot be read")));
    const card = make("button", {type: "button", className: "clip", title: path, "data-path": path}, picture, make("span", {}, name));
    card.setAttribute("aria-pressed", path === clip);
    card.addEventListener("click", () => openClip(path));
    return card;
  });
  find("clips").replaceChildren(...cards);
  if (!cards.length) find("clips").append(make("p", {className: "faint"}, `No videos in ${about.folders.join(", ")}.`));
  filterClips();
}

function filterClips() {
  const wanted = find("filter").value.toLowerCase();
  for (const card of find("clips").querySelectorAll(".clip")) card.hidden = !card.textContent.toLowerCase().includes(wanted);
}

let opening = 0;

async function openClip(path) {
  const turn = ++opening;
  for (const card of find("clips").querySelectorAll(".clip")) card.setAttribute("aria-pressed", card.dataset.path === path);
  try {
    const found = await get("/api/facts", {path});
    if (turn !== opening) return;  // another was chosen meanwhile
    showProblems(find("clip-problem"), null);
    clip = path;
    facts = found;
  } catch (error) {
    if (turn === opening) showProblems(find("clip-problem"), error);
    return;
  }
  find("stage").hidden = false;
  find("clip-facts").textContent = `${facts.num_frames} frames, ${facts.width}x${facts.height}, ${Number(facts.fps.toFixed(2))} fps`;
  document.body.style.setProperty("--aspect", `${facts.width} / ${facts.height}`);
  inputVideo.src = fileUrl(path);
  keep();
  joinStage();
  for (const look of looks) compute(look);
}

function openPainter(look) {
  const shown = inputVideo.error && look.video.hasAttribute("src") ? look.video.src : fileUrl(clip);
  painter.open(look.control.name, shown, facts, look.map, map => { look.setMap(map); keep(); });
}

// Plan, run, export

async function act(button, work) {
  button.disabled = true;
  showProblems(find("form-problem"), null);
  try {
    await work();
  } catch (error) {
    showProblems(find("form-problem"), error);
  } finally {
    button.disabled = false;
  }
}

const size = bytes => bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;

function showPlan(plan) {
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
  find("plan-result").hidden = false;
  find("plan-result").replaceChildren(make("dl", {className: "facts"}, ...facts), problems, ...notes,
    make("details", {}, make("summary", {}, "The whole plan"), make("pre", {}, plan.text)));
}

find("plan").addEventListener("click", () => act(find("plan"), async () => {
  find("plan-result").hidden = true;
  showPlan(await post("/api/plan", {family, spec: spec()}));
}));
find("run").addEventListener("click", () => act(find("run"), async () => {
  await post("/api/jobs", {family, spec: spec()});
  hurry();
}));
find("export").addEventListener("click", () => act(find("export"), async () => {
  const made = await post("/api/export", {family, spec: spec()});
  const text = JSON.stringify(made.document, null, 2);
  find("export-result").hidden = false;
  find("export-result").replaceChildren(
    make("h3", {}, "Command line"), make("pre", {id: "export-command"}, made.command), make("div", {className: "buttons"}, copyButton(() => made.command)),
    make("h3", {}, "Specification"), make("pre", {id: "export-spec"}, text),
    make("div", {className: "buttons"}, copyButton(() => text), make("a", {href: fileUrl(made.spec), download: "spec.json"}, "Save as a file")));
}));

// Runs and their comparison

let comparing = 0;

async function compare(jobs) {
  const turn = ++comparing;
  find("compare").hidden = !jobs.length;
  if (!jobs.length) { comparison.pause(); comparison.set([]); find("compared").replaceChildren(); return; }
  const specs = await Promise.all(jobs.map(job => specOf(job).catch(() => ({}))));
  if (turn !== comparing) return;  // answers to an earlier choice may come after those to a later one
  const ways = differences(specs);
  const clips = [...new Set(specs.map(each => each[kind.clip]).filter(Boolean))];
  const tile = (title, path, lines) => {
    const video = make("video", {src: fileUrl(path), muted: true, playsInline: true, preload: "auto"});
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

async function reuse(job) {
  const document = await specOf(job);
  fill(document);
  scrollTo({top: 0, behavior: "smooth"});
}

function fill(document) {
  for (const field of fields) field.set(document[field.name]);
  for (const look of looks) look.set(document[look.control.name], document);
  keep();
  const path = document[kind.clip];
  if (path) openClip(path);
}

// What stays over a reload of the page

const place = () => `cosmos-workbench ${family}`;

function keep() {
  // they belong to other settings
  find("plan-result").hidden = find("export-result").hidden = true;
  const weights = looks.filter(look => !look.map).map(look => Number(look.slider.value));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  find("sum").textContent = sum > 1 && kind.weights_note ? `The weights sum to ${sum.toFixed(2)}. ${kind.weights_note}` : "";
  localStorage.setItem(place(), JSON.stringify(spec()));
}

function restore() {
  try {
    const kept = JSON.parse(localStorage.getItem(place()) || "null");
    if (kept) fill(kept);
  } catch (error) {
    localStorage.removeItem(place());
  }
}

// Watching

let timer = 0, isLooking = false;

function hurry() {
  clearTimeout(timer);
  timer = setTimeout(watch, 50);
}

async function watch() {
  if (isLooking) return;
  isLooking = true;
  let pause = IDLE_MS;
  try {
    const {jobs} = await get("/api/state");
    find("runs").hidden = !queue.update(jobs);
    output.update(jobs, clip);
    const byId = new Map(jobs.map(job => [job.id, job]));
    for (const look of looks) {
      const job = look.job && byId.get(look.job.id);
      if (job) showLook(look, job);
    }
    if (jobs.some(job => job.status === "running" || job.status === "queued")) pause = BUSY_MS;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
  } finally {
    isLooking = false;
    clearTimeout(timer);
    timer = setTimeout(watch, pause);
  }
}

onConnection(state => {
  find("lost").hidden = !state;
  find("lost").textContent = state === "gone"
    ? "The workbench has stopped, or cannot be reached. Trying again: what is shown here stays."
    : "The workbench was started anew, and this page belongs to the one before. Open the address that its terminal shows.";
});

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
