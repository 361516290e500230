"use strict";
// A run has the same number in all charts: what is under the pointer stands out everywhere, a click keeps it so,
// and dragging along an axis of the parallel coordinates leaves only the runs that pass there.
(() => {
  const elements = new Map();
  for (const one of document.querySelectorAll("[data-run]")) {
    if (!elements.has(one.dataset.run)) elements.set(one.dataset.run, []);
    elements.get(one.dataset.run).push(one);
  }
  let kept = null, lit = null;
  const runAt = (event) => event.target.closest?.("[data-run]")?.dataset.run ?? null;
  function light(run) {
    if (run === lit) return;
    for (const one of elements.get(lit) ?? []) one.classList.remove("on");
    for (const one of elements.get(run) ?? []) one.classList.add("on");
    document.body.classList.toggle("lit", run !== null);
    lit = run;
  }
  document.addEventListener("pointerover", (event) => light(runAt(event) ?? kept));
  document.addEventListener("click", (event) => {
    const run = runAt(event);
    kept = run === kept ? null : run;
    light(run ?? kept);
  });

  for (const chart of document.querySelectorAll("svg.parallel")) {
    const lines = [...chart.querySelectorAll("[data-places]")].map((one) => ({
      run: one.dataset.run,
      places: one.dataset.places.split(",").map((text) => (text === "" ? NaN : Number(text))),
    }));
    const ranges = new Map();
    const apply = () => {
      for (const { run, places } of lines) {
        const passes = [...ranges].every(([axis, [low, high]]) => places[axis] >= low && places[axis] <= high);
        for (const one of elements.get(run)) one.classList.toggle("off", !passes);
      }
    };
    chart.querySelectorAll(".reach").forEach((reach, axis) => {
      const brush = reach.previousElementSibling;
      const top = Number(reach.getAttribute("y")), high = Number(reach.getAttribute("height"));
      let start = null;
      const at = (event) => {
        const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
        return Math.min(Math.max((point.y - top) / high, 0), 1);
      };
      const mark = (from, to) => {
        brush.setAttribute("y", top + Math.min(from, to) * high);
        brush.setAttribute("height", Math.abs(to - from) * high);
      };
      reach.addEventListener("pointerdown", (event) => { start = at(event); reach.setPointerCapture(event.pointerId); });
      reach.addEventListener("pointermove", (event) => { if (start !== null) mark(start, at(event)); });
      reach.addEventListener("pointercancel", () => { start = null; });
      reach.addEventListener("pointerup", (event) => {
        if (start === null) return;
        const end = at(event), from = start;
        start = null;
        if (Math.abs(end - from) < 0.01) { ranges.delete(axis); mark(0, 0); }
        else ranges.set(axis, [1 - Math.max(from, end), 1 - Math.min(from, end)]);
        apply();
      });
    });
  }
})();
