// The page: what is chosen, what is shown, and what is said about it.

import { change, read, Refused, rememberKey, request } from "./api.js";
import { draw } from "./chart.js";
import { Figures, LatencyMeter } from "./latency.js";
import { Peer } from "./peer.js";

const CAMERA = "camera";
const CAMERA_SIZE = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30, max: 60 } };
const LOOK_EVERY_MS = 1000;
const AGAIN_AFTER_MS = 2000;
const NOTE_MS = 4000;
const FAILURES = 5;
const one = (id) => document.getElementById(id);

const page = {
  options: null,
  streams: [],
  // What runs: {peer, meter, figures, path of its settings, name or null for the camera}.
  session: null,
  camera: null,
  wished: false,
  retry: null,
  // Until when the status says what somebody did, in place of what goes on.
  notedUntil: 0,
};

async function begin() {
  wire();
  await refresh();
  const wanted = decodeURIComponent(location.hash.slice(1));
  if (page.streams.some((stream) => stream.name === wanted)) one("source").value = `stream:${wanted}`;
  choose();
  if (chosenStream()) start();
  setInterval(look, LOOK_EVERY_MS);
}

async function refresh() {
  page.options = await withKey(() => read("live/options"));
  page.streams = (await withKey(() => read("live/streams"))).streams;
  one("version").textContent = `depthcast ${page.options.version}`;
  fillSources();
  fillModels();
  fillColours();
  say(page.options.camera || page.streams.length ? "Ready." : "No stream is running here.");
}

// Asks for a key as often as the server wants one.
async function withKey(action) {
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (error.status !== 401 || !(await askForKey())) throw error;
    }
  }
}

function askForKey() {
  const dialog = one("key-dialog");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      if (dialog.returnValue) rememberKey(one("key").value);
      one("key").value = "";
      resolve(Boolean(dialog.returnValue));
    }, { once: true });
  });
}

// --- what can be chosen

function fillSources() {
  const kept = one("source").value;
  const groups = [];
  if (page.options.camera) groups.push(group("This browser", [[CAMERA, "Camera of this device"]]));
  const streams = page.streams.map(({ name, width, height }) => [`stream:${name}`, `${name} (${width}×${height})`]);
  if (streams.length) groups.push(group("Running streams", streams));
  if (!groups.length) groups.push(new Option("nothing to show yet", ""));
  one("source").replaceChildren(...groups);
  if ([...one("source").options].some((option) => option.value === kept)) one("source").value = kept;
}

function group(label, entries) {
  const box = document.createElement("optgroup");
  box.label = label;
  box.append(...entries.map(([value, text]) => new Option(text, value)));
  return box;
}

function fillModels() {
  const models = page.options.camera?.models ?? [];
  one("model").replaceChildren(...models.map(({ name, note }) => new Option(note ? `${name} – ${note}` : name, name)));
}

function fillColours() {
  if (document.querySelector(".swatch")) return;
  for (const name of page.options.colormaps) {
    const label = document.createElement("label");
    label.className = "swatch";
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "colormap", value: name });
    const text = document.createElement("span");
    const ramp = document.createElement("i");
    ramp.dataset.colormap = name;
    text.append(ramp, name);
    label.append(input, text);
    one("colours").append(label);
  }
  showColours("inferno");
}

async function fillDevices() {
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
  const used = page.camera?.getVideoTracks()[0].getSettings().deviceId;
  one("device").replaceChildren(...devices.map(({ deviceId, label }, place) => new Option(label || `camera ${place + 1}`, deviceId)));
  if (used) one("device").value = used;
  one("device-label").hidden = devices.length < 2 || Boolean(chosenStream());
}

const chosenStream = () => {
  const { value } = one("source");
  return value.startsWith("stream:") ? page.streams.find((stream) => stream.name === value.slice(7)) : undefined;
};
const chosenColours = () => document.querySelector("input[name=colormap]:checked")?.value;

function choose() {
  const stream = chosenStream();
  const isCamera = one("source").value === CAMERA;
  one("model-label").hidden = !isCamera;
  one("device-label").hidden = !isCamera || one("device").options.length < 2;
  one("shared-note").hidden = !stream;
  one("start").disabled = !isCamera && !stream;
  one("beside").disabled = !isCamera && !stream;
  if (stream) {
    showSettings(stream);
    document.title = `${stream.name} – depthcast`;
  } else {
    one("beside").checked = true;
    document.title = "depthcast";
  }
  showPair();
  if (page.session) return;
  if (isCamera) hint("The pictures of your camera go to this server and come back as depth.\nThey are not kept.");
  else if (stream) hint("Not playing.");
  else hint("No stream is running here.\nStart one with: depthcast run SOURCE -o webrtc://@:8080/NAME");
}

// --- what runs

async function start() {
  end(true);
  page.wished = true;
  one("start").textContent = "Stop";
  say("Connecting…");
  try {
    await withKey(() => (chosenStream() ? watch(chosenStream()) : useCamera()));
  } catch (error) {
    failed(error);
  }
}

async function useCamera() {
  if (!window.isSecureContext || !navigator.mediaDevices) {
    throw new Error("Browsers give cameras to https:// pages and to localhost only: open the page that way.");
  }
  if (!page.camera) {
    const deviceId = one("device").value;
    const video = deviceId ? { ...CAMERA_SIZE, deviceId: { exact: deviceId } } : { ...CAMERA_SIZE, facingMode: "environment" };
    page.camera = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    if (!page.wished) return end();
    page.camera.getVideoTracks()[0].addEventListener("ended", () => failed(new Error("The camera was taken away.")));
  }
  one("picture-video").srcObject = page.camera;
  showPair();
  fillDevices();
  hint("Waiting for the first depth…");
  const colormap = chosenColours();
  await connect(`live/camera?${new URLSearchParams({ model: one("model").value, colormap })}`, page.camera, null, colormap);
}

async function watch(stream) {
  hint("Waiting for the first picture…");
  await connect(stream.watch, null, stream.name);
}

async function connect(path, camera, name, colormap) {
  const peer = new Peer(page.options.ice_servers, camera, lost);
  const video = one("depth-video");
  video.srcObject = peer.stream;
  const figures = new Figures();
  const meter = new LatencyMeter(video, peer.channel, {
    onPicture: () => figures.addPicture() === 1 && firstPicture(),
    onLatency: (latencyMs) => figures.addLatency(latencyMs),
    onEnd: (reason) => peer.lose(reason, true),
  });
  const settings = name === null ? null : `live/streams/${encodeURIComponent(name)}`;
  page.session = { peer, meter, figures, name, colormap, settings, failures: 0, hasBegun: false, isChanging: false };
  const mine = page.session;
  showPair();
  await peer.connect(path);
  if (page.session !== mine) return peer.close();
  if (name === null) mine.settings = peer.resource;
}

function firstPicture() {
  if (page.session.hasBegun) return;
  page.session.hasBegun = true;
  // Another may have been chosen while the connection came about.
  const { colormap } = page.session;
  if (colormap && colormap !== chosenColours()) wish({ colormap: chosenColours() });
  for (const id of ["pause", "reset"]) one(id).disabled = false;
  showFullscreen();
  hint("");
  sayState(false);
}

// isFinal: a camera is not wanted there any longer. A stream is waited for whatever was its end.
function lost(reason, isFinal = false) {
  stopFor(reason, page.session?.name !== null || !isFinal);
}

function stopFor(reason, isToBeContinued, afterMs = AGAIN_AFTER_MS) {
  end(isToBeContinued);
  say(reason, "alarm");
  hint(isToBeContinued ? `${reason}\nTrying again…` : reason);
  if (isToBeContinued) again(afterMs);
}

function failed(error) {
  const words = {
    NotAllowedError: "The browser was not allowed to use the camera.",
    NotFoundError: "This device has no camera.",
    NotReadableError: "The camera is in use by another program.",
    OverconstrainedError: "That camera is not there any more.",
  };
  const message = words[error.name] ?? error.message;
  // Away, busy, or a stream that has just ended.
  const passes = error.status === 0 || error.status === 503 || (error.status === 404 && Boolean(chosenStream()));
  stopFor(message, page.wished && passes, error.retryAfterS && error.retryAfterS * 1000);
}

// What went away is asked for again until somebody says stop; a camera stays on meanwhile.
function again(afterMs = AGAIN_AFTER_MS) {
  clearTimeout(page.retry);
  page.wished = true;
  one("start").textContent = "Stop";
  page.retry = setTimeout(async () => {
    if (!page.wished) return;
    try {
      page.streams = (await read("live/streams")).streams;
      if (chosenStream() || one("source").value === CAMERA) return start();
    } catch {
      // The server is away as well.
    }
    again();
  }, afterMs);
}

function end(isToBeContinued = false) {
  clearTimeout(page.retry);
  const { session } = page;
  page.session = null;
  session?.meter.stop();
  session?.peer.close();
  one("depth-video").srcObject = null;
  if (!isToBeContinued) {
    page.wished = false;
    page.camera?.getTracks().forEach((track) => track.stop());
    page.camera = null;
    one("picture-video").srcObject = null;
    one("start").textContent = "Start";
  }
  for (const id of ["pause", "reset"]) one(id).disabled = true;
  showFullscreen();
  showPaused(false);
  showFigures({ latencyMs: null, fps: null, points: [] }, null);
  showPair();
}

// --- what is said

function say(message, mood = "") {
  const status = one("status");
  if (status.textContent !== message) status.textContent = message;
  status.dataset.mood = mood;
  page.notedUntil = 0;
}

function note(message, mood) {
  say(message, mood);
  page.notedUntil = performance.now() + NOTE_MS;
}

function sayState(paused) {
  if (performance.now() < page.notedUntil) return;
  const { name } = page.session;
  if (paused) say("Paused.");
  else say(name === null ? "Live: your camera." : `Live: ${name}.`, "live");
}

function hint(message) {
  one("hint").textContent = message;
  one("hint").hidden = !message;
}

function showSettings({ colormap, paused, side_by_side }) {
  showColours(colormap);
  showPaused(page.session ? paused : false);
  if (page.session?.name !== null || chosenStream()) one("beside").checked = side_by_side;
}

function showColours(name) {
  const input = document.querySelector(`input[name=colormap][value="${name}"]`);
  if (input) input.checked = true;
  one("ramp").dataset.colormap = name;
}

function showPaused(paused) {
  one("pause").setAttribute("aria-pressed", String(paused));
  one("pause").textContent = paused ? "Go on" : "Pause";
  one("badge").hidden = !paused;
}

// Whoever is there can leave, whatever becomes of the stream.
function showFullscreen() {
  const isThere = Boolean(document.fullscreenElement);
  one("fullscreen").textContent = isThere ? "Leave full screen" : "Full screen";
  one("fullscreen").disabled = !isThere && !page.session?.hasBegun;
}

// Camera: two videos here. A running stream: one video, which the server may have put together.
function showPair() {
  const isPair = Boolean(page.camera) && !chosenStream() && one("beside").checked;
  one("picture").hidden = !isPair;
  one("stage").toggleAttribute("data-pair", isPair);
  one("depth-name").textContent = chosenStream() ? chosenStream().name : "Depth";
}

function fitScreens() {
  for (const video of document.querySelectorAll("video")) {
    if (!video.videoWidth) continue;
    video.closest("figure").style.setProperty("--ratio", (video.videoWidth / video.videoHeight).toFixed(4));
  }
}

function showFigures({ latencyMs, fps, points }, dropped) {
  one("latency").textContent = latencyMs === null ? "–" : Math.round(latencyMs);
  one("fps").textContent = fps === null ? "–" : fps.toFixed(fps < 9.95 ? 1 : 0);
  one("drops").textContent = dropped === null ? "–" : Math.round(100 * dropped.share);
  one("drops-unit").textContent = dropped === null ? "" : "%";
  one("drops-note").textContent = dropped === null ? "so that latency does not grow" : `${dropped.count} of ${dropped.of} pictures`;
  draw(points, one("chart-line"), one("chart-area"));
}

// Once a second: figures, and settings that somebody else may have changed.
async function look() {
  const { session } = page;
  if (!session?.settings) return lookForStreams();
  const figures = session.figures.read();
  if (!session.hasBegun) return;
  let stream = null;
  try {
    stream = await read(session.settings);
    session.failures = 0;
  } catch (error) {
    session.failures += 1;
    // Without pictures there is nothing more to wait for.
    if (error.status === 404 || session.failures > (figures.fps ? FAILURES : 1)) {
      if (page.session === session) lost(error.status === 404 ? "The stream has ended." : error.message);
      return;
    }
  }
  if (page.session !== session) return;
  const late = await lateHere(session.peer.connection);
  if (page.session !== session) return;
  // What is shown again and again while it is paused is not counted.
  if (stream?.paused) figures.fps = null;
  showFigures(figures, stream && droppedOf(stream.stats, late));
  const spread = Math.ceil(session.meter.errorMs);
  one("latency-note").textContent = session.name === null
    ? "camera to screen, median of the last second"
    : `server to screen, ±${spread} ms, median of the last second`;
  if (stream && !session.isChanging) {
    showSettings(stream);
    sayState(stream.paused);
    one("fps-note").textContent = `${stream.model}, ${stream.width}×${stream.height}`;
  }
}

async function lookForStreams() {
  if (page.wished || !page.options) return;
  try {
    const { streams } = await read("live/streams");
    const names = (all) => all.map(({ name }) => name).join("\n");
    const isNew = names(streams) !== names(page.streams);
    page.streams = streams;
    if (isNew) {
      fillSources();
      choose();
    }
  } catch {
    // Said when something is started.
  }
}

function droppedOf({ frames_in, dropped, sink_dropped }, late) {
  const count = dropped + sink_dropped + late;
  return { count, of: frames_in, share: frames_in ? Math.min(1, count / frames_in) : 0 };
}

async function lateHere(connection) {
  const report = await connection.getStats();
  return [...report.values()].find(({ type, kind }) => type === "inbound-rtp" && kind === "video")?.framesDropped ?? 0;
}

// --- what is done

async function wish(wishes) {
  const { session } = page;
  if (!session?.settings) return;
  session.isChanging = true;
  try {
    showSettings(await change(session.settings, wishes));
  } catch (error) {
    note(error.message, "alarm");
  } finally {
    session.isChanging = false;
  }
}

async function reset() {
  try {
    await request("POST", `${page.session.settings}/reset`);
    note("Started anew.", "live");
  } catch (error) {
    note(error.message, "alarm");
  }
}

async function fullscreen() {
  const show = one("show");
  if (document.fullscreenElement) await document.exitFullscreen();
  else if (show.requestFullscreen) await show.requestFullscreen();
  else one("depth-video").webkitEnterFullscreen?.();
}

function wire() {
  one("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    if (page.wished) {
      end();
      say("Stopped.");
      choose();
    } else {
      start();
    }
  });
  one("source").addEventListener("change", () => {
    end();
    choose();
    history.replaceState(null, "", chosenStream() ? `#${encodeURIComponent(chosenStream().name)}` : location.pathname);
    if (chosenStream()) start();
  });
  for (const id of ["model", "device"]) {
    one(id).addEventListener("change", () => {
      if (!page.wished) return;
      end();
      start();
    });
  }
  one("colours").addEventListener("change", ({ target }) => {
    one("ramp").dataset.colormap = target.value;
    wish({ colormap: target.value });
  });
  one("beside").addEventListener("change", ({ target }) => {
    if (chosenStream()) wish({ side_by_side: target.checked });
    else showPair();
  });
  one("pause").addEventListener("click", () => {
    const paused = one("pause").getAttribute("aria-pressed") !== "true";
    showPaused(paused);
    page.notedUntil = 0;
    sayState(paused);
    wish({ paused });
  });
  one("reset").addEventListener("click", reset);
  one("fullscreen").addEventListener("click", fullscreen);
  for (const video of document.querySelectorAll("video")) video.addEventListener("resize", fitScreens);
  window.addEventListener("pagehide", () => end());
  document.addEventListener("fullscreenchange", showFullscreen);
}

begin().catch((error) => {
  say(error.message, "alarm");
  hint(error.message);
});
