// Plan and export: questions about what is set, and how their answers look.

import {Latest, copyButton, fileUrl, make, post, showProblems} from "./api.js";
import {seconds} from "./queue.js";

const find = id => document.getElementById(id);

/** A button that asks about the settings; what comes of it is shown until they change. */
export class Question {
  /** asked: what is set now. show: elements of an answer. */
  constructor(name, address, asked, show) {
    this.button = find(name);
    this.result = find(`${name}-result`);
    this.latest = new Latest();
    this.button.addEventListener("click", () => {
      this.outdate();
      this.button.disabled = true;
      find("outdated").hidden = true;
      showProblems(find("form-problem"), null);
      this.latest.ask(() => post(address, asked()), answer => {
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

export function planned(plan, isPicture) {
  const facts = [];
  const fact = (name, text) => facts.push(make("dt", {}, name), make("dd", {}, text));
  fact("Time", `about ${seconds(plan.time.seconds)}`);
  const device = plan.memory.device_peak;
  if (device) fact("GPU memory", `${size(device.num_bytes)} at most, ${plan.memory.weights}`);
  fact("Host memory", `${size(plan.memory.host_peak.num_bytes)} at most`);
  const {made, width, height} = plan.frames;
  if (isPicture) fact("Picture", `${width}x${height}`);
  else fact("Frames", `${made} of ${width}x${height}`);
  fact("Files", plan.files.missing_bytes ? `${size(plan.files.missing_bytes)} are missing` : "all there");
  const problems = make("div", {className: "problem"}, ...plan.problems.map(text => make("p", {}, text)));
  const notes = plan.notes.map(text => make("p", {className: "faint"}, text));
  return [make("dl", {className: "facts"}, ...facts), problems, ...notes,
    make("details", {}, make("summary", {}, "The whole plan"), make("pre", {}, plan.text))];
}

export function exported(made) {
  const text = JSON.stringify(made.document, null, 2);
  return [
    make("h3", {}, "Command line"), make("pre", {id: "export-command"}, made.command), make("div", {className: "buttons"}, copyButton(() => made.command)),
    make("h3", {}, "Specification"), make("pre", {id: "export-spec"}, text),
    make("div", {className: "buttons"}, copyButton(() => text), make("a", {href: fileUrl(made.spec), download: "spec.json"}, "Save as a file")),
  ];
}
