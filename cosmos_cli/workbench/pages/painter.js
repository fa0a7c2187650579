// Painting a weight map on a clip: rectangles that may move, and strokes of a brush, each for some of the frames.

import {Latest, make, post, showProblems} from "./api.js";

const DARKEST = 48; // of 255, for weight 0: the picture below stays visible

const find = name => document.getElementById(`painter-${name}`);

export class Painter {
  constructor() {
    this.dialog = document.getElementById("painter");
    this.canvas = find("canvas");
    this.video = find("video");
    this.shapes = [];
    this.drawing = null;
    this.saving = new Latest();
    this.awaited = null; // a rectangle whose end has not been drawn
    for (const name of ["value", "ground", "radius", "first", "last"]) {
      const input = find(name);
      input.addEventListener("input", () => this.changedTool(name));
    }
    for (const radio of this.dialog.querySelectorAll("input[name=tool]")) {
      radio.addEventListener("change", () => this.changedTool("tool"));
    }
    find("frame").addEventListener("input", () => this.seek());
    find("whole").addEventListener("click", () => { this.shapes.push(this.shape("rectangle", [[0, 0], [1, 1]])); this.draw(); });
    find("undo").addEventListener("click", () => { this.awaited ? this.awaited = null : this.shapes.pop(); this.draw(); });
    find("clear").addEventListener("click", () => { this.shapes = []; this.awaited = null; this.draw(); });
    find("cancel").addEventListener("click", () => this.dialog.close());
    find("use").addEventListener("click", () => this.use());
    this.dialog.addEventListener("close", () => this.saving.forget());
    this.canvas.addEventListener("pointerdown", event => this.begin(event));
    this.canvas.addEventListener("pointermove", event => this.move(event));
    this.canvas.addEventListener("pointerup", () => this.end());
    this.canvas.addEventListener("pointercancel", () => { this.drawing = null; this.draw(); });
  }

  /** Paint for a control, on the video of an address; `done` gets the map. */
  open(control, address, facts, map, done) {
    this.facts = facts;
    this.done = done;
    this.saving.forget();
    this.awaited = this.drawing = null;
    const painting = map?.painting ?? {shapes: [], ground: 0};
    this.shapes = painting.shapes.map(shape => ({...shape}));
    find("title").textContent = `Where ${control} counts`;
    this.video.src = address;
    const scale = Math.min(1, 960 / facts.width);
    this.canvas.width = Math.max(2, Math.round(facts.width * scale)) * (facts.width < 480 ? 3 : 1);
    this.canvas.height = Math.max(2, Math.round(facts.height * scale)) * (facts.width < 480 ? 3 : 1);
    const last = facts.num_frames - 1;
    for (const name of ["frame", "first", "last"]) find(name).max = last;
    find("first").value = 0;
    find("last").value = last;
    find("ground").value = painting.ground;
    showProblems(find("problem"), null);
    this.dialog.showModal();
    for (const name of ["value", "ground", "radius", "first", "last", "tool"]) this.changedTool(name);
    find("frame").value = 0;
    this.seek();
  }

  tool() {
    return this.dialog.querySelector("input[name=tool]:checked").value;
  }

  changedTool(name) {
    const first = find("first"), last = find("last");
    if (name === "first" && Number(first.value) > Number(last.value)) last.value = first.value;
    if (name === "last" && Number(last.value) < Number(first.value)) first.value = last.value;
    for (const each of ["value", "ground", "radius", "first", "last"]) {
      const input = find(each);
      input.parentElement.querySelector("output").textContent =
        each === "first" || each === "last" ? String(Number(input.value) + 1) : Number(input.value).toFixed(2);
    }
    if (name === "first") { find("frame").value = first.value; this.seek(); }
    if (name === "last") { find("frame").value = last.value; this.seek(); }
    find("radius-label").hidden = this.tool() !== "brush";
    find("moves-label").hidden = this.tool() !== "rectangle";
    this.draw();
  }

  frame() {
    return Number(find("frame").value);
  }

  seek() {
    const {num_frames} = this.facts;
    find("frame-number").textContent = `${this.frame() + 1} of ${num_frames}`;
    const place = () => { this.video.currentTime = (this.frame() + 0.5) / num_frames * this.video.duration; };
    if (this.video.duration > 0) place();
    else this.video.addEventListener("loadedmetadata", place, {once: true});
    this.draw();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const bounded = value => Math.round(Math.min(1.2, Math.max(-0.2, value)) * 1e4) / 1e4;
    return [bounded((event.clientX - box.left) / box.width), bounded((event.clientY - box.top) / box.height)];
  }

  begin(event) {
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.place(event);
    this.drawing = this.shape(this.tool(), this.tool() === "rectangle" ? [place, place] : [place]);
    this.draw();
  }

  /** One with the weight and the frames that are chosen. */
  shape(kind, points) {
    const [value, first, last, radius] = ["value", "first", "last", "radius"].map(name => Number(find(name).value));
    return {kind, value, first, last, points, end: null, radius};
  }

  move(event) {
    if (!this.drawing) return;
    const place = this.place(event);
    if (this.drawing.kind === "rectangle") this.drawing.points[1] = place;
    else if (this.drawing.points.length < 2000) this.drawing.points.push(place);
    this.draw();
  }

  end() {
    const shape = this.drawing;
    this.drawing = null;
    if (!shape) return;
    const isRectangle = shape.kind === "rectangle";
    const isEmpty = isRectangle && shape.points[0].some((part, axis) => Math.abs(part - shape.points[1][axis]) < 0.005);
    if (isEmpty) { this.draw(); return; }
    if (this.awaited && isRectangle) {
      this.shapes.push({...this.awaited, end: shape.points});
      this.awaited = null;
    } else if (isRectangle && find("moves").checked && shape.last > shape.first) {
      this.awaited = shape;
      find("frame").value = shape.last;
      this.seek();
    } else {
      this.shapes.push(shape);
    }
    this.draw();
  }

  draw() {
    const context = this.canvas.getContext("2d");
    const {width, height} = this.canvas;
    const grey = weight => { const level = Math.round(DARKEST + (255 - DARKEST) * weight); return `rgb(${level} ${level} ${level})`; };
    context.fillStyle = grey(Number(find("ground").value));
    context.fillRect(0, 0, width, height);
    const shown = [...this.shapes, ...(this.awaited ? [this.awaited] : []), ...(this.drawing ? [this.drawing] : [])];
    for (const shape of shown) {
      const frame = shape === this.drawing ? shape.first : this.frame();
      if (frame < shape.first || frame > shape.last) continue;
      context.fillStyle = context.strokeStyle = grey(shape.value);
      if (shape.kind === "rectangle") {
        const [[x0, y0], [x1, y1]] = corners(shape, frame);
        context.fillRect(x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height);
      } else {
        context.lineWidth = 2 * shape.radius * width;
        context.lineCap = context.lineJoin = "round";
        context.beginPath();
        const [[x, y], ...rest] = shape.points;
        context.moveTo(x * width, y * height);
        context.lineTo(x * width + 0.01, y * height);
        for (const [px, py] of rest) context.lineTo(px * width, py * height);
        context.stroke();
      }
    }
    this.list();
  }

  list() {
    const items = this.shapes.map((shape, index) => {
      const remove = make("button", {type: "button", className: "quiet"}, "Remove");
      remove.addEventListener("click", () => { this.shapes.splice(index, 1); this.draw(); });
      const what = shape.kind === "brush" ? "Brush stroke" : shape.end ? "Rectangle that moves" : "Rectangle";
      return make("li", {}, `${what}, weight ${shape.value.toFixed(2)}, frames ${shape.first + 1} to ${shape.last + 1} `, remove);
    });
    if (this.awaited) items.push(make("li", {}, "Now draw where the rectangle ends"));
    find("shapes").replaceChildren(...items);
  }

  use() {
    const {num_frames, height, width} = this.facts;
    const painting = {shapes: this.shapes, ground: Number(find("ground").value), num_frames, height, width};
    this.saving.ask(() => post("/api/maps", painting), ({path}) => {
      this.done({path, painting});
      this.dialog.close();
    }, error => showProblems(find("problem"), error));
  }
}

function corners(shape, frame) {
  if (!shape.end || shape.last <= shape.first) return shape.points;
  const share = (frame - shape.first) / (shape.last - shape.first);
  return shape.points.map((point, corner) => point.map((part, axis) => (1 - share) * part + share * shape.end[corner][axis]));
}
