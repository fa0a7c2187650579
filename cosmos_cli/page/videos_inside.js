// The videos of this page are inside as data URLs; what follows finds them as `videos`.
const videos = [...document.querySelectorAll("video")];
for (const video of videos) {
  const fit = () => {
    if (video.videoWidth) video.style.aspectRatio = video.videoWidth + " / " + video.videoHeight;
  };
  fit();
  video.addEventListener("loadedmetadata", fit);
  // some browsers play no video out of a data URL, or only a short one; as a blob it is the same bytes
  video.addEventListener("error", () => {
    const bytes = Uint8Array.from(atob(video.src.slice(video.src.indexOf(",") + 1)), c => c.charCodeAt(0));
    video.src = URL.createObjectURL(new Blob([bytes], {type: "video/mp4"}));
  }, {once: true});
}
