// Draw every chart of the page; on a phone with smaller type, and without drags that would catch the scrolling finger.
const narrow = window.matchMedia("(max-width: 640px)").matches;
for (const box of document.querySelectorAll("figure > .plot")) {
  const spec = JSON.parse(box.parentElement.querySelector("script").textContent);
  if (narrow) {
    spec.layout.dragmode = false;
    spec.layout.font = { size: 12 };
    spec.layout.margin = { l: 44, r: 10, t: 20, b: 48 };
  }
  Plotly.newPlot(box, spec.data, spec.layout, {
    responsive: true,
    displaylogo: false,
    displayModeBar: narrow ? false : "hover",
    // Dragging zooms already; a longer bar would cover the legend.
    modeBarButtons: [["toImage", "resetScale2d"]],
  });
}
