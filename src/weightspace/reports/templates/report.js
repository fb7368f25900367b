(() => {
  const frames = JSON.parse(document.getElementById("orbit-frames").textContent);
  const first = document.getElementById("orbit-first");
  const last = document.getElementById("orbit-last");
  const controls = document.getElementById("orbit-controls");
  const slider = controls.querySelector("input");
  const play = controls.querySelector("button");
  const step = controls.querySelector("output");
  const end = frames.length - 1;
  let timer = null;

  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };

  const show = (index) => {
    const k = Math.min(end, Math.max(0, Math.trunc(index) || 0));
    const frame = frames[k];
    slider.value = k;
    slider.setAttribute("aria-valuetext", `step ${k} of ${end}: ${frame.move}`);
    step.textContent = `${k} of ${end}`;
    first.querySelector(".weights").src = frame.weights;
    first.querySelector(".picture").src = frame.picture;
    first.querySelector(".step").textContent = `Step ${k}`;
    first.querySelector(".move").textContent = frame.move;
    first.querySelector(".change").textContent = frame.change;
  };

  const fromAddress = () => {
    const match = /^#frame=(\d+)$/.exec(location.hash);
    if (match) show(Number(match[1]));
  };

  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  play.addEventListener("click", () => {
    if (timer !== null) { stop(); return; }
    play.textContent = "Pause";
    timer = setInterval(() => show((Number(slider.value) + 1) % frames.length), 900);
  });
  addEventListener("hashchange", fromAddress);

  slider.max = end;
  if (last) last.hidden = true;
  controls.hidden = false;
  show(0);
  fromAddress();
})();
