/** Numbers and times in words. */

export function si(value: number | null | undefined, unit: string): string {
  if (value === null || value === undefined) return "–";
  const steps: [number, string][] = [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ];
  for (const [factor, prefix] of steps) {
    if (Math.abs(value) >= factor) return `${(value / factor).toPrecision(3)} ${prefix}${unit}`;
  }
  return `${value === 0 ? "0" : value.toPrecision(3)} ${unit}`;
}

export function percent(value: number | null | undefined, digits = 2): string {
  return value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`;
}

export function grouped(value: number): string {
  return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
}

export function clock(seconds: number): string {
  return new Date(1000 * seconds).toISOString().slice(11, 19);
}

export function span(seconds: number): string {
  if (seconds < 9.5) return `${Math.max(seconds, 0).toPrecision(2)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}
