// What the proxy counts, asked for every second; what is shown is what has changed.

const EVERY = 1000; // milliseconds
const PATIENCE = 5000;

const list = (value) => Array.isArray(value) ? value : value === undefined ? [] : [{ value }];
const has = (item, labels) => Object.entries(labels).every(([name, value]) => item[name] === value);
const sum = (proxy, name, labels = {}) => list(proxy[name]).filter((item) => has(item, labels)).reduce((all, item) => all + item.value, 0);

// The quantile of what came between two histograms, in seconds.
const quantile = (now, before, q) => {
  const old = new Map(before.buckets_us);
  const fresh = now.buckets_us.map(([upper, n]) => [upper, n - (old.get(upper) ?? 0)]).filter(([, n]) => n > 0);
  const all = fresh.reduce((all, [, n]) => all + n, 0);
  let left = all * q;
  for (const [upper, n] of fresh) {
    left -= n;
    if (left <= 1e-9) return (upper ?? 1e8) / 1e6;
  }
  return null;
};

const bytes = (n) => scaled(n).join(" ") + "B/s";
const number = (n) => n.toLocaleString("en", { maximumFractionDigits: n < 100 ? 1 : 0 });
const classes = ["2xx", "3xx", "4xx", "5xx"];
const handshakes = [["TLS 1.3", "1.3", "false"], ["1.3 resumed", "1.3", "true"], ["TLS 1.2", "1.2", "false"], ["1.2 resumed", "1.2", "true"]];
const latencies = [["request", "request_duration_seconds", 0], ["handshake", "handshake_duration_seconds", 1], ["server", "upstream_response_seconds", 2]];

const plots = {
  handshakes: new Plot({ title: "Handshakes", unit: "handshakes/s", lines: handshakes.map(([name, , resumed], i) => ({ name, colour: i < 2 ? 0 : 1, dashed: resumed === "true" })).concat({ name: "failed", colour: 3 }) }),
  requests: new Plot({ title: "Requests", unit: "requests/s", lines: classes.map((name, i) => ({ name, colour: [2, 0, 1, 3][i] })) }),
  bytes: new Plot({ title: "Bytes", unit: "bytes/s", format: bytes, lines: [{ name: "to clients" }, { name: "from clients" }, { name: "to servers" }, { name: "from servers" }] }),
  latency: new Plot({ title: "Latency", unit: "logarithmic", format: time, label: time, logarithmic: true, lines: latencies.flatMap(([name, , colour]) => [{ name: `${name} p50`, colour }, { name: `${name} p99`, colour, dashed: true }]) }),
  parked: new Plot({ title: "Parked handshakes", unit: "handshakes", lines: [{ name: "parked" }] }),
  signatures: new Plot({ title: "Signatures", unit: "signatures/s", lines: [{ name: "device", colour: 0 }, { name: "library", colour: 1 }] }),
  fill: new Plot({ title: "Lane fill", unit: "requests in a batch" }),
  ratio: new Plot({ title: "Compression", unit: "times smaller", lines: [{ name: "ratio", colour: 2 }] }),
  connections: new Plot({ title: "Connections of clients", unit: "connections", lines: [{ name: "open" }] }),
};

// What is wrong, if it is more than nothing: a family, and how a row calls it.
const troubles = [
  ["handshakes_failed_total", "handshake failed", "reason"],
  ["connections_refused_total", "connection not taken", () => "too many connections"],
  ["timeouts_total", "timeout", "kind"],
  ["requests_unanswered_total", "request without an answer", () => "the client has gone"],
  ["requests_total", "status", "status", (item) => item.class === "5xx"],
  ["signatures_total", "signature by the library", "reason", (item) => item.by === "library"],
];

const state = (text, bad = false) => {
  const element = document.getElementById("state");
  if (element.textContent !== text) element.textContent = text;
  element.className = bad ? "bad" : "";
};

// Narrow screens show a row as a list, in which each cell has the name of its column.
const rows = (id, cells) => {
  const names = [...document.querySelectorAll(`#${id} th`)].map((th) => [...th.childNodes].map((part) => part.textContent).join(", "));
  document.querySelector(`#${id} tbody`).replaceChildren(...cells.map((row) => {
    const element = html("tr");
    element.append(...row.map(([text, className], i) => {
      const cell = html("td", text, className);
      cell.dataset.name = names[i];
      return cell;
    }));
    return element;
  }));
};

const tiles = (all) => document.getElementById("tiles").replaceChildren(...all.map(([name, value, unit, bad]) => {
  const [tile, dd] = [html("div"), html("dd", value, bad ? "bad" : "")];
  if (unit) dd.append(" ", html("small", unit));
  tile.append(html("dt", name), dd);
  return tile;
}));

const uptime = (s) => s < 120 ? `${Math.floor(s)} s` : s < 7200 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} days`;

const choose = (status) => {
  const select = document.getElementById("proxies");
  const names = status.proxies.map((proxy) => proxy.name);
  if (names.join("\n") !== [...select.options].map((option) => option.value).join("\n")) {
    select.replaceChildren(...names.map((name) => new Option(name, name)));
    document.getElementById("choice").hidden = names.length < 2;
  }
  return Math.max(0, names.indexOf(select.value));
};

let last;

const show = (status) => {
  const place = choose(status);
  const proxy = status.proxies[place];
  state(status.draining ? "Draining: what is under way is finished, nothing new is taken." : `Running for ${uptime(status.uptime)}.`, status.draining);
  const before = last?.proxies.find((other) => other.name === proxy?.name);
  const seconds = status.uptime - (last?.uptime ?? 0);
  // A program that was started anew counts from 0, and so does its clock.
  const again = last && seconds <= 0;
  const old = last;
  last = status;
  if (again) Object.values(plots).forEach((plot) => plot.clear());
  if (!proxy || !before || again) return;
  document.getElementById("name").textContent = `warpdrive proxy ${proxy.name}`;
  const rate = (name, labels) => Math.max(0, sum(proxy, name, labels) - sum(before, name, labels)) / seconds;
  const at = status.uptime;
  const open = sum(proxy, "connections_open");
  const parked = sum(proxy, "handshakes_parked");
  const [packed, plain] = [rate("compression_output_bytes_total"), rate("compression_input_bytes_total")];
  const ratio = packed > 0 ? plain / packed : null;
  const [device, library] = ["device", "library"].map((by) => rate("signatures_total", { by }));
  const quantiles = Object.fromEntries(latencies.flatMap(([name, family]) => [["p50", 0.5], ["p99", 0.99]].map(([p, q]) => [`${name} ${p}`, quantile(proxy[family], before[family], q)])));
  plots.handshakes.add(at, { ...Object.fromEntries(handshakes.map(([name, version, resumed]) => [name, rate("handshakes_total", { version, resumed })])), failed: rate("handshakes_failed_total") });
  plots.requests.add(at, Object.fromEntries(classes.map((name) => [name, rate("requests_total", { class: name })])));
  plots.bytes.add(at, { "to clients": rate("sent_bytes_total", { to: "client" }), "from clients": rate("received_bytes_total", { from: "client" }), "to servers": rate("sent_bytes_total", { to: "server" }), "from servers": rate("received_bytes_total", { from: "server" }) });
  plots.latency.add(at, quantiles);
  plots.parked.add(at, { parked });
  plots.signatures.add(at, { device, library });
  plots.ratio.add(at, { ratio });
  plots.connections.add(at, { open });
  plots.fill.figure.hidden = status.devices.length === 0;
  plots.fill.add(at, fill(status.devices, old.devices));

  const breaker = list(proxy.breaker_state).filter((item) => item.state !== "closed" && item.value > 0).length > 0;
  tiles([
    ["Requests", short(rate("requests_total")), "/s"],
    ["Handshakes", short(rate("handshakes_total")), "/s"],
    ["Connections", short(open), "open"],
    ["To clients", ...scaled(rate("sent_bytes_total", { to: "client" })).map((part, i) => i ? `${part}B/s` : part)],
    ["Request, p50", time(quantiles["request p50"])],
    ["Request, p99", time(quantiles["request p99"])],
    ["Compression", ratio === null ? "–" : short(ratio), ratio === null ? "" : "times"],
    ["Signed by device", breaker ? "left out" : device + library > 0 ? short(100 * device / (device + library)) : "–", !breaker && device + library > 0 ? "%" : "", breaker],
  ]);
  servers(proxy, rate);
  wrong(proxy, before, seconds);
};

// Requests in a batch, of each device that had any.
const fill = (devices, old) => Object.fromEntries(devices.map((device) => {
  const before = old.find((other) => other.name === device.name)?.fill ?? [];
  const fresh = device.fill.map((n, i) => n - (before[i] ?? 0));
  const batches = fresh.reduce((all, n) => all + n, 0);
  const requests = fresh.reduce((all, n, i) => all + n * i, 0);
  return [device.name, batches > 0 ? requests / batches : null];
}));

const servers = (proxy, rate) => rows("servers", list(proxy.upstream_up).map((item) => {
  const labels = { upstream: item.upstream, server: item.server };
  const count = (name) => [number(sum(proxy, name, labels))];
  const all = proxy.cores.length;
  const up = item.value === all ? ["up", "good text"] : item.value === 0 ? ["down", "bad text"] : [`down on ${all - item.value} of ${all} cores`, "bad text"];
  return [[item.upstream, "text"], [item.server, "text"], up, [short(rate("upstream_requests_total", labels))], count("upstream_requests_total"),
    count("upstream_failures_total"), count("upstream_retries_total"), count("upstream_connections_open"), count("upstream_connections_idle")];
}));

const wrong = (proxy, before, seconds) => {
  const found = troubles.flatMap(([name, what, why, which = () => true]) => list(proxy[name]).filter((item) => item.value > 0 && which(item)).map((item) => {
    const { value, ...labels } = item;
    const more = Math.max(0, value - sum(before, name, labels)) / seconds;
    return [[what, "text"], [typeof why === "string" ? item[why].replaceAll("_", " ") : why(), "text"], [number(value)], [short(more), more > 0 ? "bad" : ""]];
  }));
  document.getElementById("calm").hidden = found.length > 0;
  document.getElementById("wrong").hidden = found.length === 0;
  rows("wrong", found);
};

document.getElementById("proxies").addEventListener("change", () => {
  Object.values(plots).forEach((plot) => plot.clear());
  last = undefined;
});

const poll = async () => {
  try {
    const response = await fetch("/status.json", { signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    show(await response.json());
  } catch (error) {
    state(`No answer from the proxy: ${error.message}. Numbers are those from before.`, true);
  }
  setTimeout(poll, EVERY);
};
poll();
