// A minute of latency as a line.

const WIDTH = 240;
const HEIGHT = 44;
const PLACES = 60;

export function draw(points, line, area) {
  const most = Math.max(100, ...points.filter((one) => one !== null)) * 1.1;
  const first = PLACES - points.length;
  const runs = [[]];
  points.forEach((value, place) => {
    if (value === null) runs.push([]);
    else runs.at(-1).push([((first + place) / (PLACES - 1)) * WIDTH, HEIGHT - (value / most) * HEIGHT]);
  });
  const drawn = runs.filter((run) => run.length > 1);
  const path = (run) => run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join(" L ");
  line.setAttribute("d", drawn.map((run) => `M ${path(run)}`).join(" "));
  area.setAttribute("d", drawn.map((run) => `M ${run[0][0]} ${HEIGHT} L ${path(run)} L ${run.at(-1)[0]} ${HEIGHT} Z`).join(" "));
}
