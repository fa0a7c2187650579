// Videos: a browser plays only so many at a time, so that each exists while its card is near.
const inside = JSON.parse(document.getElementById("inputs-inside").textContent);

// What lies elsewhere, as the small picture that this page has of it.
function showInside(place) {
  const picture = inside[place.dataset.liesAt];
  if (!picture) return false;
  const frame = place.firstElementChild;
  const made = Object.assign(document.createElement("img"), {alt: place.dataset.label, src: picture});
  made.addEventListener("load", () => { frame.style.aspectRatio = made.naturalWidth + " / " + made.naturalHeight; });
  frame.querySelector("a").hidden = true;
  frame.append(made);
  return true;
}

function fill(place) {
  const frame = place.firstElementChild;
  if (frame.childElementCount > 1) return;
  const link = frame.querySelector("a");
  if (!link.href) {
    showInside(place);
    return;
  }
  const made = document.createElement(place.dataset.kind === "video" ? "video" : "img");
  if (made.localName === "video") {
    Object.assign(made, {controls: true, loop: true, muted: true, playsInline: true, preload: "metadata"});
    made.setAttribute("aria-label", place.dataset.label);
    if (place.closest(".beside")) {
      // small, so that controls would cover what is to be seen
      Object.assign(made, {controls: false, tabIndex: 0});
      for (const come of ["pointerenter", "focus"]) made.addEventListener(come, () => { made.controls = true; });
      for (const go of ["pointerleave", "blur"]) made.addEventListener(go, () => { made.controls = false; });
    }
    made.addEventListener("loadedmetadata", () => {
      if (made.videoWidth) frame.style.aspectRatio = made.videoWidth + " / " + made.videoHeight;
    });
  } else {
    made.alt = place.dataset.label;
  }
  made.addEventListener("error", () => {
    made.remove();
    link.hidden = false;
    if (showInside(place)) return;
    link.textContent = "Not there: " + decodeURIComponent(link.getAttribute("href"));
  });
  made.src = link.href;
  link.hidden = true;
  frame.append(made);
}

function empty(place) {
  const [link, made] = place.firstElementChild.children;
  if (!made || made.paused === false) return;
  made.removeAttribute("src");
  if (made.load) made.load();
  made.remove();
  link.hidden = false;
}

const near = new IntersectionObserver(found => {
  for (const {isIntersecting, target} of found) {
    for (const place of target.querySelectorAll(".place")) (isIntersecting ? fill : empty)(place);
  }
}, {rootMargin: "400px"});
const cards = [...document.querySelectorAll("article")];
for (const card of cards) near.observe(card);

const buttons = [...document.querySelectorAll("button[data-show]")];
const search = document.querySelector("input[type=search]");
const told = document.getElementById("told");
let status = "";

function show() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const card of cards) {
    const fits = !status || card.dataset.status === status;
    const text = fits && words.length ? (card.dataset.text ??= card.textContent.toLowerCase()) : "";
    card.hidden = !(fits && words.every(word => text.includes(word)));
    count += !card.hidden;
  }
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.show === status));
  told.textContent = status || words.length ? count + " of " + cards.length + " shown" : "";
}

for (const button of buttons) {
  button.disabled = false;
  button.addEventListener("click", () => {
    status = button.dataset.show;
    // it is there again when the page is loaded anew
    history.replaceState(null, "", status ? "#" + encodeURIComponent(status) : location.pathname);
    show();
  });
}
search.disabled = false;
search.addEventListener("input", show);
const wanted = decodeURIComponent(location.hash.slice(1));
if (buttons.some(button => button.dataset.show === wanted)) status = wanted;
show();
