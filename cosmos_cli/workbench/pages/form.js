// Settings: one input for each field that the kind describes.

import {make} from "./api.js";

/** What a field takes, out of its JSON schema. */
function takenBy(schema) {
  const members = schema.anyOf ? schema.anyOf.filter(member => member.type !== "null") : [schema];
  const all = members.flatMap(member => member.enum ?? ("const" in member ? [member.const] : []));
  const [first] = members;
  return {
    choices: all.length ? all : null,
    type: first.type,
    minimum: first.minimum ?? first.exclusiveMinimum,
    maximum: first.maximum ?? first.exclusiveMaximum,
  };
}

function label(name) {
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}

/** One field; `value()` is undefined where it is what it would be anyway. */
export class Field {
  constructor(described, schema, changed) {
    this.name = described.name;
    this.schema = schema;
    this.fallback = schema.default ?? null;
    const {choices, type, minimum, maximum} = takenBy(schema);
    const id = `field-${this.name}`;
    const help = (schema.description || "").replace(/\s+/g, " ");
    const title = make("label", {htmlFor: id}, label(this.name));
    const said = make("span", {className: "faint"}, help, described.default ? ` By default ${described.default}.` : "");
    this.type = type;
    if (choices && described.isScale) {
      this.choices = choices;
      this.isScale = true;
      this.input = make("input", {id, type: "range", min: 0, max: choices.length - 1, step: 1});
      this.reading = make("output", {});
      this.element = make("div", {className: "stack", title: help}, make("div", {className: "row"}, title, this.input, this.reading));
      this.input.addEventListener("input", () => this.read());
    } else if (choices) {
      const automatic = this.fallback === null ? [make("option", {value: ""}, "auto")] : [];
      const options = choices.map(choice => make("option", {value: String(choice)}, String(choice).replaceAll("_", " ")));
      this.input = make("select", {id, title: help}, ...automatic, ...options);
      this.choices = choices;
      this.element = make("div", {className: "stack"}, title, this.input, said);
    } else if (type === "boolean") {
      this.input = make("input", {id, type: "checkbox"});
      this.element = make("div", {className: "stack"}, make("label", {className: "row"}, this.input, make("span", {}, label(this.name)), ""), said);
    } else if (type === "integer" || type === "number") {
      this.input = make("input", {id, type: "number", step: type === "integer" ? 1 : "any", title: help});
      if (minimum !== undefined) this.input.min = minimum;
      if (maximum !== undefined) this.input.max = maximum;
      if (this.fallback === null) this.input.placeholder = "auto";
      if (described.slider) {
        const [low, high] = described.slider;
        this.slider = make("input", {type: "range", min: low, max: high, step: type === "integer" ? 1 : 0.5, ariaLabel: label(this.name)});
        this.slider.addEventListener("input", () => { this.input.value = this.slider.value; this.mark(); changed(); });
        this.input.addEventListener("input", () => { if (this.input.value !== "") this.slider.value = this.input.value; this.mark(); });
        this.element = make("div", {className: "stack"}, title, make("div", {className: "with-number"}, this.slider, this.input), said);
      } else {
        this.element = make("div", {className: "stack"}, title, this.input, said);
      }
    } else {
      this.input = make("textarea", {id, title: help, rows: 4, placeholder: this.fallback || ""});
      this.element = make("div", {className: "stack"}, title, this.input, said);
    }
    this.input.addEventListener("input", changed);
    this.set(undefined);
  }

  /** A slider that says nothing yet looks so. */
  mark() {
    this.slider?.classList.toggle("unset", this.input.value === "");
  }

  read() {
    this.reading.textContent = String(this.choices[Number(this.input.value)]).replaceAll("_", " ");
  }

  value() {
    if (this.isScale) {
      const chosen = this.choices[Number(this.input.value)];
      return chosen === this.fallback ? undefined : chosen;
    }
    if (this.type === "boolean") return this.input.checked === Boolean(this.fallback) ? undefined : this.input.checked;
    const text = this.input.value;
    if (text.trim() === "") return undefined;
    if (this.choices) {
      const chosen = this.choices.find(choice => String(choice) === text);
      return chosen === this.fallback ? undefined : chosen;
    }
    if (this.type === "integer" || this.type === "number") return Number(text) === this.fallback ? undefined : Number(text);
    return text === this.fallback ? undefined : text;
  }

  set(value) {
    const shown = value === undefined ? this.fallback : value;
    if (this.type === "boolean") this.input.checked = Boolean(shown);
    else if (this.isScale) { this.input.value = this.choices.indexOf(shown); this.read(); }
    else if (this.choices) this.input.value = String(shown ?? "");
    else if (this.type === "integer" || this.type === "number") this.input.value = shown ?? "";
    else this.input.value = value ?? "";
    if (!this.slider) return;
    this.slider.value = shown ?? (Number(this.slider.min) + Number(this.slider.max)) / 2;
    this.mark();
  }
}
