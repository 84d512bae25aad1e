// Small things that every page of the console has: one send per press, ids that can be copied, a main landmark.
(() => {
  "use strict";
  const say = (text) => {
    const place = document.getElementById("cw-said");
    if (place) place.textContent = text;
  };

  // A form that is on its way is not sent a second time by a double click. The button keeps its name and value.
  const held = new WeakSet();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented) return;
    if (held.has(form)) {
      event.preventDefault();
      return;
    }
    held.add(form);
    const buttons = form.querySelectorAll("button:not([type=button])");
    for (const button of buttons) button.setAttribute("aria-disabled", "true");
    // If no new page comes (a lost connection), the form can be used again.
    setTimeout(() => release(form), 15000);
  });
  const release = (form) => {
    held.delete(form);
    for (const button of form.querySelectorAll("button[aria-disabled]")) button.removeAttribute("aria-disabled");
  };
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) for (const form of document.forms) release(form);
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      say(`${button.dataset.copy} copied`);
      button.textContent = "Copied";
    } catch {
      say("The browser did not allow copying");
      button.textContent = "Not allowed";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });

  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("main")?.setAttribute("role", "main");
  });
})();
