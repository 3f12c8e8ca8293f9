"use strict";
(() => {
  const form = document.getElementById("filter");
  const rows = Array.from(document.querySelectorAll("#rows tbody tr"));
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const show = () => {
    const { framework, verdict, text } = form.elements;
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, at) => {
      const meant = (!framework.value || row.dataset.framework === framework.value)
        && (!verdict.value || row.dataset.verdict === verdict.value)
        && words.every((word) => texts[at].includes(word));
      row.hidden = !meant;
      shown += meant ? 1 : 0;
    });
    form.querySelector("output").textContent = shown + " of " + rows.length + " shown";
  };
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
})();
