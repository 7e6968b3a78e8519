// Energy of the chosen workload by function: a flame graph whose widths are joules.
// Drawn by d3-flame-graph from /api/v1/workloads/flamegraph; a click zooms, "Reset zoom" goes back.
(function () {
  "use strict";
  const box = document.getElementById("flame");
  const figure = document.getElementById("flame-figure");
  const title = document.getElementById("flame-title");
  const detail = document.getElementById("flame-detail");
  const empty = document.getElementById("flame-empty");
  const reset = document.getElementById("flame-reset");
  let workload = null;
  let chart = null;

  function joules(value) {
    for (const [factor, unit] of [[1e6, "MJ"], [1e3, "kJ"], [1, "J"], [1e-3, "mJ"]]) {
      if (Math.abs(value) >= factor) return `${(value / factor).toPrecision(3)} ${unit}`;
    }
    return value === 0 ? "0 J" : `${(value * 1e6).toPrecision(3)} µJ`;
  }

  // `frame.value` is what a zoom leaves of it; `frame.data.value` is what was measured.
  function label(frame, total) {
    const share = total > 0 ? ((100 * frame.data.value) / total).toFixed(1) : "0";
    return `${frame.data.name}: ${joules(frame.data.value)}, ${share} %`;
  }

  // A warm hue by name, so that a function keeps its colour from one look to the next.
  function tint(name) {
    let hash = 0;
    for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 997;
    return `hsl(${22 + (hash % 30)}, ${62 + (hash % 20)}%, ${66 + (hash % 12)}%)`;
  }

  function draw(tree) {
    const total = tree.value;
    box.replaceChildren();
    chart = flamegraph.default()
      .width(Math.max(280, box.clientWidth)).cellHeight(20).minFrameSize(2).inverted(true).transitionDuration(0)
      .sort((a, b) => b.value - a.value)
      .setLabelHandler((frame) => label(frame, total))
      .setColorMapper((frame) => tint(frame.data.name))
      .onHover((frame) => { detail.textContent = label(frame, total); })
      .onClick((frame) => { detail.textContent = label(frame, total); reset.hidden = !frame.parent; });
    d3.select(box).datum(tree).call(chart);
    title.textContent = `Energy by function of ${workload}, last 5 min: ${joules(total)}`;
  }

  async function show(name) {
    workload = name;
    mark();
    detail.textContent = "";
    reset.hidden = true;
    const answer = await fetch(`/api/v1/workloads/flamegraph?workload=${encodeURIComponent(name)}`).catch(() => null);
    if (workload !== name) return;
    const body = answer ? await answer.json() : { what: "The server does not answer" };
    const filled = Boolean(answer?.ok && body.value > 0);
    figure.classList.toggle("filled", filled);
    if (filled) {
      draw(body);
      return;
    }
    title.textContent = `Energy by function of ${name}`;
    empty.textContent = body.what ? `${body.what}.` : "No stack has been sampled yet; wait about 10 s.";
  }

  function mark() {
    for (const button of document.querySelectorAll("#workloads [data-workload]")) {
      button.setAttribute("aria-pressed", String(button.dataset.workload === workload));
    }
  }

  document.body.addEventListener("click", (event) => {
    const button = event.target.closest("#workloads [data-workload]");
    if (button) show(button.dataset.workload);
  });
  document.body.addEventListener("htmx:afterSwap", (event) => event.detail.target.id === "workloads" && mark());
  reset.addEventListener("click", () => { chart?.resetZoom(); reset.hidden = true; });
  let late = 0;
  window.addEventListener("resize", () => {
    clearTimeout(late);
    late = setTimeout(() => workload && figure.classList.contains("filled") && show(workload), 200);
  });
})();
