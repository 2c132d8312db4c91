// WebRTC to the server, by WHIP and WHEP: one offer, one answer, no trickling.

import { request } from "./api.js";

const GATHERING_MS = 1500;
const CONNECTING_MS = 15000;

export class Peer {
  // camera: a MediaStream to send, or null to watch only. onEnd(reason, isFinal): the connection is lost, once.
  constructor(iceServers, camera, onEnd) {
    this.connection = new RTCPeerConnection({ iceServers });
    this.channel = this.connection.createDataChannel("frames", { ordered: false, maxRetransmits: 0 });
    this.stream = new MediaStream();
    this.resource = null;
    this.onEnd = onEnd;
    if (camera) {
      for (const track of camera.getVideoTracks()) {
        track.contentHint = "motion";
        this.connection.addTransceiver(track, { direction: "sendrecv", streams: [camera] });
      }
    } else {
      this.connection.addTransceiver("video", { direction: "recvonly" });
    }
    this.connection.addEventListener("track", ({ track, receiver }) => {
      // Show each picture as soon as it is there.
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      this.stream.addTrack(track);
    });
    this.connection.addEventListener("connectionstatechange", () => {
      const state = this.connection.connectionState;
      if (state === "connected") clearTimeout(this.timer);
      if (state === "failed" || state === "closed") this.lose("The connection was lost.");
    });
    this.channel.addEventListener("close", () => this.lose("The stream has ended."));
  }

  async connect(path) {
    await this.connection.setLocalDescription();
    await gathered(this.connection);
    const body = this.connection.localDescription.sdp;
    const response = await request("POST", path, { body, type: "application/sdp" });
    const place = response.headers.get("Location");
    this.resource = place && new URL(place, new URL(path, location.href)).href;
    await this.connection.setRemoteDescription({ type: "answer", sdp: await response.text() });
    this.timer = setTimeout(() => this.lose("The server answers, but no video comes through: a firewall may stop UDP.", true), CONNECTING_MS);
  }

  // isFinal: to try again would end in the same way.
  lose(reason, isFinal = false) {
    const onEnd = this.onEnd;
    this.close();
    if (onEnd) onEnd(reason, isFinal);
  }

  // Ends the session here and on the server, also while the page is being left.
  close() {
    this.onEnd = null;
    clearTimeout(this.timer);
    const { connection, resource } = this;
    this.resource = null;
    if (!resource) connection.close();
    // The server is told first: once the connection is closed it knows of no session to end.
    else request("DELETE", resource, { keepalive: true }).catch(() => {}).finally(() => connection.close());
  }
}

function gathered(connection) {
  return new Promise((resolve) => {
    const done = () => connection.iceGatheringState === "complete" && resolve();
    connection.addEventListener("icegatheringstatechange", done);
    setTimeout(resolve, GATHERING_MS);
    done();
  });
}
