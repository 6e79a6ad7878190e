// Copy buttons, which are hidden without this, and relative times that go on counting.
"use strict";

(function () {
  async function copy(text) {
    if (navigator.clipboard && window.isSecureContext) {
      await navigator.clipboard.writeText(text);
      return;
    }
    // Plain http on another host has no clipboard interface.
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "skip";
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }

  function reveal(root) {
    for (const button of root.querySelectorAll("button.copy")) button.hidden = false;
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    try {
      await copy(button.dataset.copy);
      button.textContent = "copied";
    } catch {
      button.textContent = "select it by hand";
    }
    button.classList.add("done");
    setTimeout(() => { button.textContent = "copy"; button.classList.remove("done"); }, 1500);
  });

  // The same words as `ago` in shown.py.
  const spans = [[172800, 86400, "d"], [7200, 3600, "h"], [120, 60, "min"], [0, 1, "s"]];
  function ago(seconds) {
    if (seconds < -5) return "in the future";
    if (seconds < 2) return "now";
    for (const [least, unit, name] of spans) {
      if (seconds >= least) return `${Math.floor(seconds / unit)} ${name} ago`;
    }
  }

  function tick() {
    if (document.hidden) return;
    for (const time of document.querySelectorAll("time[datetime]")) {
      const text = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
      if (text && time.textContent !== text) time.textContent = text;
    }
  }

  reveal(document);
  setInterval(tick, 5000);
  document.addEventListener("diag:replaced", (event) => { reveal(event.target); tick(); });
})();
