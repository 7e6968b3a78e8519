// Keeps a live page still: a fragment that did not change is not swapped in, opened details stay open, times
// are told as "12 s ago", and an error shows its next step. Nothing polls while the page is hidden.
(function () {
  "use strict";
  const last = new Map();
  const notice = () => document.getElementById("notice");

  document.body.addEventListener("htmx:beforeRequest", (event) => {
    const polled = event.detail.requestConfig.triggeringEvent === undefined;
    if (document.hidden && polled && event.detail.requestConfig.verb === "get") event.preventDefault();
  });

  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const target = event.detail.target;
    if (!event.detail.shouldSwap || target.id === "dialog" || target.id === "notice") return;
    if (last.get(target.id) === event.detail.serverResponse) {
      event.detail.shouldSwap = false;
      return;
    }
    last.set(target.id, event.detail.serverResponse);
    target.openDetails = [...target.querySelectorAll("details[open][id]")].map((details) => details.id);
  });

  document.body.addEventListener("htmx:afterSwap", (event) => {
    const target = event.detail.target;
    for (const id of target.openDetails || []) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
    tellTimes(target);
  });

  function say(text, bad) {
    const box = notice();
    box.classList.toggle("bad", bad);
    box.replaceChildren();
    if (!text) return;
    const line = document.createElement("p");
    line.textContent = text;
    box.append(line);
  }

  document.body.addEventListener("htmx:responseError", (event) => {
    let problem = {};
    try { problem = JSON.parse(event.detail.xhr.responseText); } catch { /* not a problem document */ }
    const next = problem.next_step ? ` Next: ${problem.next_step}.` : "";
    say(`${problem.what || "The server refused"}.${next}`, true);
  });
  document.body.addEventListener("htmx:sendError", () => {
    document.body.classList.add("offline");
    say("The server does not answer; what you see is the last it said. Start it with: eo up", true);
  });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful && document.body.classList.contains("offline")) {
      document.body.classList.remove("offline");
      say("", false);
    }
  });
  document.body.addEventListener("refresh", () => notice().classList.remove("bad"));

  function tellTimes(root) {
    const now = Date.now();
    for (const element of root.querySelectorAll("time[datetime]")) {
      const at = Date.parse(element.dateTime);
      if (Number.isNaN(at)) continue;
      element.title ||= element.textContent;
      const text = words((now - at) / 1000);
      if (element.textContent !== text) element.textContent = text;
    }
  }

  function words(seconds) {
    const size = Math.abs(seconds);
    const text = size < 90 ? `${Math.round(size)} s` : size < 5400 ? `${Math.round(size / 60)} min`
      : size < 129600 ? `${Math.round(size / 3600)} h` : `${Math.round(size / 86400)} days`;
    return seconds < 0 ? `in ${text}` : `${text} ago`;
  }

  setInterval(() => tellTimes(document), 1000);
  tellTimes(document);
})();
