// Several videos that play as one: same place, same pace, whatever their own rates are.

import {make} from "./api.js";

const APART_S = 0.06; // ahead of the others, beyond which a video waits for them

export class Players {
  constructor(place) {
    this.videos = [];
    this.isPlaying = false;
    this.numFrames = 0;
    this.button = make("button", {type: "button"}, "Play");
    this.slider = make("input", {type: "range", min: 0, max: 1, step: "any", value: 0, ariaLabel: "Place in the videos"});
    this.shown = make("output", {});
    this.button.addEventListener("click", () => this.isPlaying ? this.pause() : this.play());
    this.slider.addEventListener("input", () => { this.pause(); this.seek(Number(this.slider.value)); });
    place.replaceChildren(make("div", {className: "transport"}, this.button, this.slider, this.shown));
    const turn = () => { this.follow(); requestAnimationFrame(turn); };
    requestAnimationFrame(turn);
  }

  /** The videos that play together from now on; the first one leads. */
  set(videos, numFrames = 0) {
    this.videos = videos;
    this.numFrames = numFrames;
    for (const video of videos) {
      video.muted = true;
      video.playsInline = true;
      video.loop = false;
      if (video.dataset.joined) continue;
      video.dataset.joined = "yes";
      video.addEventListener("loadeddata", () => this.place(video, this.share()));
    }
  }

  ready() {
    return this.videos.filter(video => video.readyState >= 1 && video.duration > 0 && !video.error);
  }

  share() {
    const [lead] = this.ready();
    return lead ? Math.min(1, lead.currentTime / lead.duration) : 0;
  }

  place(video, share) {
    if (video.duration > 0) video.currentTime = Math.min(share * video.duration, video.duration - 1e-3);
  }

  seek(share) {
    for (const video of this.ready()) this.place(video, share);
  }

  play() {
    this.isPlaying = true;
    this.button.textContent = "Pause";
    const share = this.share();
    this.seek(share >= 0.98 ? 0 : share);
  }

  pause() {
    this.isPlaying = false;
    this.button.textContent = "Play";
    for (const video of this.videos) video.pause();
    this.seek(this.share());
  }

  follow() {
    const ready = this.ready();
    if (!ready.length) return;
    const [lead] = ready;
    if (this.isPlaying) this.keepTogether(ready);
    const share = this.share();
    if (document.activeElement !== this.slider || this.isPlaying) this.slider.value = share;
    const frame = this.numFrames ? Math.min(this.numFrames, Math.floor(share * this.numFrames) + 1) : 0;
    this.shown.textContent = frame ? `frame ${frame} of ${this.numFrames}` : `${lead.currentTime.toFixed(1)} s`;
  }

  /** Who is ahead goes slower, or waits; nobody jumps, so a machine that is slow only plays slowly. */
  keepTogether(ready) {
    if (ready.every(video => video.ended)) this.seek(0);
    const pace_s = ready[0].duration;
    const shareOf = video => video.ended ? 1 : video.currentTime / video.duration;
    const least = Math.min(...ready.map(shareOf));
    for (const video of ready) {
      const ahead_s = (shareOf(video) - least) * pace_s;
      if (ahead_s > APART_S && !video.paused) video.pause();
      if (ahead_s <= APART_S / 2 && video.paused && !video.ended) video.play().catch(() => {});
      const own = Math.min(4, Math.max(0.25, video.duration / pace_s));
      const rate = own * (1 - Math.min(0.5, ahead_s / APART_S / 2));
      if (Math.abs(video.playbackRate - rate) > 0.02) video.playbackRate = rate;
    }
  }
}
