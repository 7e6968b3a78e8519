// Power of the chosen node over time: idle, workloads and unattributed stacked to the node's power, with the
// interval of the node's power as a band. Drawn by uPlot from /api/v1/nodes/{host}/power.
(function () {
  "use strict";
  const box = document.getElementById("plot");
  const figure = document.getElementById("power-figure");
  const span = document.getElementById("plot-span");
  let host = null;
  let plot = null;
  let raw = [];

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const watts = (value) => (value == null ? "–" : `${value.toPrecision(3)} W`);
  const height = () => (window.innerWidth < 600 ? 200 : 260);

  function columns(points) {
    const pick = (get) => points.map(get);
    return [
      pick((p) => Date.parse(p.timestamp) / 1000),
      pick((p) => p.idle_watts),
      pick((p) => p.idle_watts + p.active_watts),
      pick((p) => p.node_watts),
      pick((p) => p.node_watts_upper),
      pick((p) => p.node_watts_lower),
    ];
  }

  function series(label, name, key) {
    return {
      label, stroke: () => color(name), fill: null, width: 1.25, points: { show: false },
      value: (_plot, _value, _series, index) => (index == null || !raw[index] ? "–" : watts(raw[index][key])),
    };
  }

  function edge(label) {
    return {
      label, stroke: () => color("--soft"), width: 1, dash: [3, 4], points: { show: false },
      value: (_plot, _value, _series, index) => {
        const point = index == null ? null : raw[index];
        return point ? `${point.node_watts_lower.toPrecision(3)} to ${watts(point.node_watts_upper)}` : "–";
      },
    };
  }

  function options() {
    const axis = { stroke: () => color("--soft"), grid: { stroke: () => color("--line"), width: 1 }, ticks: { show: false } };
    return {
      width: box.clientWidth, height: height(), legend: { live: true }, cursor: { y: false },
      scales: { y: { range: (_plot, _min, max) => [0, Math.max(1, max * 1.08)] } },
      axes: [{ ...axis }, { ...axis, size: 56, values: (_plot, ticks) => ticks.map((tick) => `${tick} W`) }],
      series: [
        { label: "Time", value: (_plot, at) => (at == null ? "–" : new Date(at * 1000).toLocaleTimeString()) },
        { ...series("Idle", "--idle", "idle_watts"), fill: () => color("--idle-fill") },
        series("Workloads", "--active", "active_watts"),
        series("Unattributed", "--unattributed", "unattributed_watts"),
        edge("90 % interval"), edge("lower"),
      ],
      bands: [
        { series: [2, 1], fill: () => color("--active-fill") },
        { series: [3, 2], fill: () => color("--unattributed-fill") },
        { series: [4, 5], fill: () => color("--band") },
      ],
    };
  }

  function draw(points) {
    raw = points;
    figure.classList.toggle("filled", points.length > 0);
    if (points.length === 0) return;
    if (plot === null) plot = new uPlot(options(), columns(points), box);
    else plot.setData(columns(points));
  }

  async function refresh() {
    if (document.hidden) return;
    host ??= document.querySelector("#nodes [data-host]")?.dataset.host ?? null;
    if (host === null) return;
    mark();
    const asked = host;
    const answer = await fetch(`/api/v1/nodes/${encodeURIComponent(asked)}/power?minutes=${span.value}`).catch(() => null);
    if (answer?.ok && asked === host) draw(await answer.json());
  }

  function mark() {
    document.getElementById("plot-title").textContent = `Power of ${host} over time`;
    for (const button of document.querySelectorAll("#nodes [data-host]")) {
      button.setAttribute("aria-pressed", String(button.dataset.host === host));
    }
  }

  function redraw() {
    if (plot) plot.destroy();
    plot = null;
    draw(raw);
  }

  document.body.addEventListener("click", (event) => {
    const button = event.target.closest("#nodes [data-host]");
    if (!button) return;
    host = button.dataset.host;
    refresh();
  });
  document.body.addEventListener("htmx:afterSwap", (event) => event.detail.target.id === "nodes" && host && mark());
  span.addEventListener("change", refresh);
  window.addEventListener("resize", () => plot && plot.setSize({ width: box.clientWidth, height: height() }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  setInterval(refresh, 2000);
  refresh();
})();
