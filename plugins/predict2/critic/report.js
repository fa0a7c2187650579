const together = document.getElementById("together");
if (together) {
  together.hidden = false;
  together.addEventListener("click", () => {
    const playing = videos.some(video => !video.paused);
    together.textContent = playing ? "Play all together" : "Pause all";
    for (const video of videos) {
      if (playing) { video.pause(); continue; }
      video.currentTime = 0;
      video.play();
    }
  });
}
