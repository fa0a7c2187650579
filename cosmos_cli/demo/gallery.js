const still = matchMedia("(prefers-reduced-motion: reduce)");
const near = new IntersectionObserver(found => {
  for (const {isIntersecting, target} of found) {
    if (!isIntersecting) target.pause();
    else target.play().catch(() => { target.controls = true; });  // a browser may want to be asked first
  }
});
for (const video of still.matches ? [] : videos) {
  near.observe(video);
  // the videos are small, and controls would cover what is to be seen
  video.controls = false;
  for (const come of ["pointerenter", "focus"]) video.addEventListener(come, () => { video.controls = true; });
  for (const go of ["pointerleave", "blur"]) video.addEventListener(go, () => { video.controls = video.paused; });
}

function copied(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.style.position = "fixed";
  document.body.append(area);
  area.focus({preventScroll: true});
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).textContent;
    let done = true;
    try { await navigator.clipboard.writeText(text); } catch { done = copied(text); }
    button.focus();
    button.textContent = done ? "Copied" : "Select it";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
