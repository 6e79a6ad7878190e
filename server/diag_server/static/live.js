// Keeps an open overview up to date: asks for its changing part every two seconds while the page is seen.
"use strict";

(function () {
  const every = 2000;
  const live = document.getElementById("live");
  const state = document.getElementById("live-state");
  let etag = "";

  const keys = () => new Set([...live.querySelectorAll("[data-key]")].map((row) => row.dataset.key));

  function busy() {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && live.contains(selection.anchorNode);
  }

  function replace(html) {
    const before = keys();
    const focused = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    live.innerHTML = html;
    const fresh = [...live.querySelectorAll("[data-key]")].filter((row) => !before.has(row.dataset.key));
    for (const row of fresh) row.classList.add("fresh");
    if (focused) {
      const again = [...live.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused);
      if (again) again.focus();
    }
    live.dispatchEvent(new CustomEvent("diag:replaced", { bubbles: true }));
    const captures = fresh.filter((row) => row.closest(".captures")).length;
    if (captures) state.textContent = captures === 1 ? "Live. One new capture." : `Live. ${captures} new captures.`;
  }

  async function look() {
    if (document.hidden || busy()) return;
    try {
      const answer = await fetch(live.dataset.source, {
        headers: etag ? { "If-None-Match": etag } : {},
        cache: "no-store",
        redirect: "error",
      });
      if (answer.status === 200) {
        const html = await answer.text();
        const first = !etag;
        etag = answer.headers.get("ETag") || "";
        if (first) state.textContent = "Live: what is caught appears here.";
        replace(html);
      } else if (answer.status !== 304) {
        state.textContent = "Not live: the viewer answers with an error. Reload the page.";
      }
    } catch {
      etag = "";
      state.textContent = "Not live: the viewer does not answer.";
    }
  }

  async function run() {
    await look();
    setTimeout(run, every);
  }

  document.addEventListener("visibilitychange", look);
  run();
})();
