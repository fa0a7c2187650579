const near = new IntersectionObserver(found => {
  for (const {isIntersecting, target} of found) {
    if (!isIntersecting) continue;
    target.preload = "metadata";
    near.unobserve(target);
  }
}, {rootMargin: "400px"});
for (const video of document.querySelectorAll("video")) {
  video.addEventListener("loadedmetadata", () => {
    video.style.aspectRatio = video.videoWidth + " / " + video.videoHeight;
    video.classList.toggle("wide", video.videoWidth > 2.5 * video.videoHeight);
  });
  near.observe(video);
}
