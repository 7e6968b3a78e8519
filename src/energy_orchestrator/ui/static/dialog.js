// One dialog for every question. It opens when its content arrives, closes when the answer was accepted, and gives
// the focus back to the button that opened it.
(function () {
  "use strict";
  const dialog = document.getElementById("dialog");
  let opener = null;

  document.body.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target !== dialog) return;
    opener = event.detail.requestConfig.elt.id;
    if (!dialog.open) dialog.showModal();
    const first = dialog.querySelector("[autofocus]");
    if (first) first.focus();
  });
  document.body.addEventListener("refresh", () => dialog.open && dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
  });
  dialog.addEventListener("close", () => {
    const button = opener && document.getElementById(opener);
    if (button) button.focus();
    dialog.replaceChildren();
  });
})();
