/** Where words stand on the map: beside what they speak of, and on nothing else if there is room. */

export type Spot = [number, number];
type Box = [left: number, top: number, right: number, bottom: number];

export interface Label {
  at: Spot;
  size: "whole" | "short" | "mark";
}

const LETTER = 7.4; // pixels, of names in 13 px
const DISC = 11;
const SIZES = { whole: [142, 34], short: [84, 17], mark: [16, 17] } as const;
const ALONG = [0.5, 0.4, 0.6, 0.3, 0.7];
const BEARABLE = 0.03; // share of a label that may lie on something else before it is cut short

/** How far a name is moved sideways, so that all of it can be read. */
export function nudge(x: number, name: string, width: number): number {
  const half = (LETTER * name.length) / 2 + 2;
  return Math.max(half, Math.min(x, width - half)) - x;
}

/** Give each line's values a place: nearest to its middle where nothing is hidden, and fewer words where all is full. */
export function placeLabels(lines: [Spot, Spot][], nodes: { spot: Spot; title: string }[], width: number, height: number): Label[] {
  const taken: Box[] = nodes.flatMap(({ spot: [x, y], title }) => {
    const middle = x + nudge(x, title, width);
    const half = (LETTER * title.length) / 2;
    return [[x - DISC, y - DISC, x + DISC, y + DISC], [middle - half, y + 14, middle + half, y + 31]] as Box[];
  });
  return lines.map(([a, b]) => {
    let best: Label = { at: a, size: "mark" };
    let least = Infinity;
    for (const size of ["whole", "short", "mark"] as const) {
      for (const share of ALONG) {
        for (const side of [1, -1]) {
          const at = beside(a, b, share, side, size, width, height);
          const box = around(at, size);
          const hidden = taken.reduce((sum, one) => sum + overlap(box, one), 0) / (SIZES[size][0] * SIZES[size][1]);
          if (hidden < least - 1e-9) [best, least] = [{ at, size }, hidden];
        }
      }
      if (least <= BEARABLE) break;
    }
    taken.push(around(best.at, best.size));
    return best;
  });
}

/** A place beside a line, not on it; `at` is where the first line of words stands. */
function beside(a: Spot, b: Spot, share: number, side: number, size: Label["size"], width: number, height: number): Spot {
  const long = Math.hypot(b[0] - a[0], b[1] - a[1]) || 1;
  let [nx, ny] = [(b[1] - a[1]) / long, (a[0] - b[0]) / long];
  if (ny > 0) [nx, ny] = [-nx, -ny];
  const [wide, high] = SIZES[size];
  const away = side * (8 + (wide / 2) * Math.abs(nx) + (high / 2) * Math.abs(ny));
  const [x, y] = [a[0] + share * (b[0] - a[0]) + away * nx, a[1] + share * (b[1] - a[1]) + away * ny];
  return [Math.min(Math.max(x, wide / 2 + 4), width - wide / 2 - 4), Math.min(Math.max(y, 20), height - 30)];
}

function around([x, y]: Spot, size: Label["size"]): Box {
  const [wide, high] = SIZES[size];
  return [x - wide / 2, y - 15, x + wide / 2, y - 15 + high];
}

function overlap(a: Box, b: Box): number {
  const across = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const down = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return across > 0 && down > 0 ? across * down : 0;
}
