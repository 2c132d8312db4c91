// How old a shown picture is. The server tells, over a data channel, when each picture was captured and under which RTP
// time stamp it sends it; the browser tells when it shows the picture of that time stamp.

const KEPT = 128;
const PINGS = 12;
const PING_EVERY_MS = 1000;

const now = () => performance.timeOrigin + performance.now();

export class LatencyMeter {
  // onPicture(): a picture is shown. onLatency(ms): how old one of them was. onEnd(reason): there will be no more.
  constructor(video, channel, { onPicture, onLatency, onEnd }) {
    this.video = video;
    this.channel = channel;
    this.onPicture = onPicture;
    this.onLatency = onLatency;
    this.onEnd = onEnd;
    // By RTP time stamp; a picture may be shown before its note has come, or after.
    this.notes = new Map();
    this.shown = new Map();
    this.pings = [];
    this.offsetMs = null;
    this.errorMs = 0;
    this.running = true;
    channel.addEventListener("message", ({ data }) => this.heed(JSON.parse(data)));
    this.timer = setInterval(() => this.ping(), PING_EVERY_MS);
    channel.addEventListener("open", () => this.ping());
    this.wait();
  }

  stop() {
    this.running = false;
    clearInterval(this.timer);
  }

  ping() {
    if (this.channel.readyState === "open") this.channel.send(JSON.stringify({ ping_ms: now() }));
  }

  heed(message) {
    if ("ping_ms" in message) this.compareClocks(message);
    else if ("ended" in message) this.onEnd(message.ended);
    else {
      keep(this.notes, message.rtp, message);
      this.match(message.rtp);
    }
  }

  match(rtp) {
    const note = this.notes.get(rtp);
    const shownMs = this.shown.get(rtp);
    if (note === undefined || shownMs === undefined) return;
    this.notes.delete(rtp);
    this.shown.delete(rtp);
    if (note.clock === "browser") this.onLatency(shownMs - note.captured_ms);
    else if (this.offsetMs !== null) this.onLatency(shownMs - (note.captured_ms - this.offsetMs));
  }

  // The quickest of the last few answers tells best how far the server's clock is ahead.
  compareClocks({ ping_ms, server_ms }) {
    const there = now() - ping_ms;
    this.pings.push({ there, offset: server_ms - ping_ms - there / 2 });
    if (this.pings.length > PINGS) this.pings.shift();
    const best = this.pings.reduce((least, one) => (one.there < least.there ? one : least));
    this.offsetMs = best.offset;
    this.errorMs = best.there / 2;
  }

  wait() {
    if (!this.running || !this.video.requestVideoFrameCallback) return;
    this.video.requestVideoFrameCallback((_, shown) => {
      if (!this.running) return;
      this.onPicture();
      keep(this.shown, shown.rtpTimestamp, performance.timeOrigin + shown.expectedDisplayTime);
      this.match(shown.rtpTimestamp);
      this.wait();
    });
  }
}

function keep(map, key, value) {
  map.set(key, value);
  if (map.size > KEPT) map.delete(map.keys().next().value);
}

// Median of the last second, and one point a second for the chart.
export class Figures {
  constructor() {
    this.latencies = [];
    this.shown = [];
    this.points = [];
  }

  addPicture() {
    this.shown.push(performance.now());
    return this.shown.length;
  }

  addLatency(latencyMs) {
    this.latencies.push({ at: performance.now(), latencyMs });
  }

  // fps counts pictures of the last two seconds, the rest is about the last one.
  read() {
    const at = performance.now();
    this.shown = this.shown.filter((one) => at - one < 2000);
    this.latencies = this.latencies.filter((one) => at - one.at < 1000);
    const sorted = this.latencies.map((one) => one.latencyMs).sort((a, b) => a - b);
    const latencyMs = sorted.length ? sorted[sorted.length >> 1] : null;
    this.points.push(latencyMs);
    if (this.points.length > 60) this.points.shift();
    return { latencyMs, fps: this.shown.length / 2, points: this.points };
  }
}
