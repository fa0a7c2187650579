// Runs side by side with what they were made of, playing as one.

import {Latest, fileUrl, fitted, make} from "./api.js";
import {Players} from "./players.js";
import {differences, nameOf, specOf} from "./queue.js";

const find = name => document.getElementById(name);

export class Comparison {
  /** kinds: by name, as the server describes them. */
  constructor(kinds, isPicture, trouble) {
    this.kinds = kinds;
    this.isPicture = isPicture;
    this.trouble = trouble;
    this.players = new Players(find("compare-transport"));
    this.asking = new Latest();
  }

  show(jobs) {
    find("compare").hidden = !jobs.length;
    // a specification may be gone; what was made shows without what differs
    const specs = () => Promise.all(jobs.map(job => specOf(job).catch(() => ({}))));
    return this.asking.ask(specs, found => this.fill(jobs, found), this.trouble);
  }

  fill(jobs, specs) {
    const fields = jobs.map(job => this.kinds[job.kind]?.clip?.field); // each kind has a name of its own for its input
    const inputs = specs.map((spec, index) => spec[fields[index]]);
    const ways = differences(specs.map((spec, index) => ({kind: jobs[index].kind, input: inputs[index], ...spec, [fields[index]]: undefined})));
    const tiles = [
      ...[...new Set(inputs.filter(Boolean))].map(path => this.tile(path.split("/").at(-1), path, [])),
      ...jobs.map((job, index) => this.tile(nameOf(job), job.output, ways[index])),
    ];
    const videos = tiles.map(([media]) => media).filter(media => media.tagName === "VIDEO");
    find("compared").replaceChildren(...tiles.map(([, element]) => element));
    this.players.pause();
    this.players.set(videos);
    find("compare-transport").hidden = !videos.length;
  }

  tile(title, path, lines) {
    const src = fileUrl(path), screen = make("div", {className: "screen"});
    const media = this.isPicture(path) ? make("img", {src, alt: title})
      : make("video", {src, muted: true, playsInline: true, preload: "auto", ariaLabel: title});
    screen.append(fitted(screen, media));
    const said = lines.map(([name, value]) => make("span", {}, `${name} `, make("b", {}, value)));
    return [media, make("article", {className: "tile"}, make("h3", {}, title), screen, make("div", {className: "differs"}, ...said))];
  }
}
