"use strict";
const show = (id, text) => {
  const element = document.getElementById(id);
  element.textContent = text;
  element.classList.remove("none");
};

// What the browser knows about the way here, and this server does not.
addEventListener("load", () => setTimeout(() => {
  const [page] = performance.getEntriesByType("navigation");
  if (!page) return;
  const { encodedBodySize: sent, decodedBodySize: size, nextHopProtocol: protocol } = page;
  const packed = sent > 0 && sent < size
    ? `${sent} bytes on the way, ${size} bytes unpacked: compressed ${(size / sent).toFixed(1)} times`
    : `${size} bytes, not compressed`;
  const took = Math.max(0, page.responseEnd - page.requestStart).toFixed(1);
  show("transfer", `${location.protocol.replace(":", "")}, ${protocol || "protocol not told"}; ${packed}; ${took} ms from the request to the end of the response`);
}, 0));

const events = new EventSource("/events?n=30");
events.addEventListener("message", (message) => {
  const { event, of } = JSON.parse(message.data);
  show("events", `event ${event} of ${of}`);
  document.getElementById("progress").style.width = `${100 * event / of}%`;
  if (event === of) events.close();
});
events.addEventListener("error", () => {
  if (events.readyState !== EventSource.OPEN) show("events", "the stream has broken off");
});

let socket;
document.getElementById("talk").addEventListener("submit", (submit) => {
  submit.preventDefault();
  const words = document.getElementById("words").value;
  const say = () => {
    const start = performance.now();
    socket.onmessage = (answer) => show("heard", `“${answer.data}” came back after ${(performance.now() - start).toFixed(1)} ms`);
    socket.send(words);
  };
  if (socket?.readyState === WebSocket.OPEN) return say();
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/websocket`);
  socket.onopen = say;
  socket.onerror = () => show("heard", "there is no connection");
});
