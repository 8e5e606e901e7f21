// Draws the figures of a report, in the colours the reader's system asks for; on paper always in light ones.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const paper = window.matchMedia("print");
  // The house's ink, grid, axes and grey; palette colours are told apart on both backgrounds.
  const atNight = { "#23272f": "#e8eaed", "#e6e8eb": "#343a43", "#b5bac1": "#6b7380", "#5b6270": "#a9b0bb", "#ffffff": "#16191e" };
  const figures = document.querySelectorAll(".figure");

  function specification(figure) {
    const text = document.getElementById(figure.dataset.of).textContent;
    const night = dark.matches && !paper.matches;
    const spec = JSON.parse(night ? text.replace(/#[0-9a-f]{6}\b/gi, (c) => atNight[c.toLowerCase()] ?? c) : text);
    const layout = spec.layout ?? {};
    layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.font = { ...layout.font, color: night ? "#e8eaed" : "#23272f" };
    delete layout.width; // as wide as the page
    return [spec.data, layout];
  }

  async function draw(figure) {
    try {
      const [data, layout] = specification(figure);
      await window.Plotly.react(figure, data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
      figure.dataset.state = "drawn";
    } catch {
      figure.textContent = figure.dataset.trouble;
      figure.dataset.state = "failed";
    }
  }

  const drawAll = () => figures.forEach(draw);
  dark.addEventListener("change", drawAll);
  paper.addEventListener("change", drawAll);
  drawAll();
})();
