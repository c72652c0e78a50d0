/** The network as the server tells it: one stream of changes in, one reactive object out. */

import type { Border, Changes, FibreLink, Link, LinkChange, News, Node, Point, Snapshot, Verdict } from "./types";

const SERIES_MAX = 240;
const NEWS_MAX = 300;
const RECOVERED_S = 30;

class Network {
  about = $state.raw<Omit<Snapshot, "links" | "nodes" | "borders" | "verdict" | "news"> | null>(null);
  links = $state<Record<string, Link>>({});
  nodes = $state<Record<string, Node>>({});
  borders = $state<Record<string, Border>>({});
  /** The line of the timeline that somebody wants to see, and how often he asked. */
  wanted = $state({ line: "", times: 0 });
  verdict = $state.raw<Verdict | null>(null);
  news = $state.raw<News[]>([]);
  delivered = $state(0);
  connected = $state(false);
  failure = $state("");
  lastSeen = $state(Date.now());
  now = $state(Date.now());
  /** Server's clock less ours, in seconds. */
  skew = $state(0);
  operator = $state(false);
  private source: EventSource | null = null;

  get names(): string[] {
    return Object.keys(this.links);
  }

  /** Links of simulated light: those that Eve and what-if can touch. */
  fibre(name: string): FibreLink | undefined {
    const link = this.links[name];
    return link?.kind === "simulated" ? link : undefined;
  }

  /** Show a line of the timeline. */
  show(line: { number: number; kind: string }): void {
    this.wanted = { line: lineId(line), times: this.wanted.times + 1 };
  }

  /** Seconds since 1970 by the server's clock. */
  get time(): number {
    return this.now / 1000 + this.skew;
  }

  async open(): Promise<void> {
    setInterval(() => (this.now = Date.now()), 1000);
    await this.askSession();
    this.connect();
  }

  connect(): void {
    this.source?.close();
    const source = new EventSource("./api/stream");
    this.source = source;
    source.addEventListener("snapshot", (event) => this.take(JSON.parse((event as MessageEvent).data)));
    source.addEventListener("changes", (event) => this.change(JSON.parse((event as MessageEvent).data)));
    source.addEventListener("heartbeat", () => this.seen());
    source.onopen = () => this.seen();
    source.onerror = () => {
      this.connected = false;
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.connect(), 3000);
    };
  }

  private seen(serverNow?: number): void {
    this.connected = true;
    this.lastSeen = Date.now();
    if (serverNow !== undefined) this.skew = serverNow - this.lastSeen / 1000;
  }

  private take(snapshot: Snapshot): void {
    const { links, nodes, borders, verdict, news, ...about } = snapshot;
    this.about = about;
    this.nodes = Object.fromEntries(nodes.map((node) => [node.name, node]));
    this.borders = Object.fromEntries(borders.map((border) => [border.domain, border]));
    for (const link of links) note(link, link.series);
    this.links = Object.fromEntries(links.map((link) => [link.name, link]));
    this.verdict = verdict;
    this.news = news;
    this.delivered = snapshot.delivered;
    this.seen(snapshot.now);
  }

  private change(changes: Changes): void {
    for (const now of changes.links) this.update(now);
    for (const now of changes.nodes ?? []) Object.assign(this.nodes[now.name] ?? {}, now);
    for (const now of changes.borders ?? []) Object.assign(this.borders[now.domain] ?? {}, now);
    this.delivered = changes.delivered;
    if (changes.news) this.news = [...this.news, ...changes.news].slice(-NEWS_MAX);
    if (changes.verdict) this.verdict = changes.verdict;
    this.seen(changes.now);
  }

  private update(now: LinkChange): void {
    const link = this.links[now.name];
    if (!link) return;
    const last = link.series.at(-1)?.[0] ?? 0;
    const { series, levels, ...rest } = now;
    Object.assign(link, rest);
    const fresh = series.filter((point) => point[0] > last);
    note(link, fresh);
    if (fresh.length) link.series = [...link.series, ...fresh].slice(-SERIES_MAX);
    const stood = link.levels.at(-1)?.[0] ?? 0;
    const risen = levels.filter((point) => point[0] > stood);
    if (risen.length) link.levels = [...link.levels, ...risen].slice(-SERIES_MAX);
  }

  private async askSession(): Promise<void> {
    const answer = await send("GET", "api/session");
    if (answer.ok) this.operator = Boolean((answer.data as { operator: boolean }).operator);
  }

  async enter(token: string): Promise<string> {
    const answer = await send("POST", "api/session", { token });
    this.operator = answer.ok;
    if (answer.ok && !this.connected) this.connect();
    return answer.ok ? "" : answer.message;
  }

  async leave(): Promise<void> {
    await send("DELETE", "api/session");
    this.operator = false;
  }
}

/** Note the newest block that gave nothing: looking for it at every redraw would cost too much. */
function note(link: Link, points: Point[]): void {
  const refused = points.findLast((point) => point[3] === 0);
  if (refused) link.refused = refused[0];
}

export interface Answer {
  ok: boolean;
  data: unknown;
  message: string;
}

export async function send(method: string, path: string, body?: unknown): Promise<Answer> {
  try {
    const response = await fetch(`./${path}`, {
      method,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
    });
    const data: unknown = await response.json();
    const told = data as { message?: string; hint?: string };
    const message = response.ok ? "" : [told.message ?? "refused", told.hint].filter(Boolean).join(": ");
    return { ok: response.ok, data, message };
  } catch {
    return { ok: false, data: null, message: "the network does not answer" };
  }
}

export function lineId(line: { number: number; kind: string }): string {
  return `line-${line.number}-${line.kind.replace(".", "-")}`;
}

/** A link's state in words, and how it is drawn. */
export function state(link: Link, time: number): { word: string; kind: "good" | "bad" | "quiet"; mark: string } {
  const trouble =
    link.state === "down" ? "down"
    : link.state === "stopped" ? `stopped ${link.why}`
    : link.state === "refused" ? `no key: ${link.why}`
    : "";
  // A store that no key can be cut from is the worst that applications see, whatever the reason.
  if (link.stored_bits !== null && link.stored_bits < (network.about?.scenario.key_size_bits ?? 1) && link.series.length > 0)
    return { word: `starved: no key left${trouble ? `, ${trouble}` : ""}`, kind: "bad", mark: "○" };
  if (trouble) return { word: trouble, kind: "bad", mark: { down: "✕", stopped: "■", refused: "!" }[link.state as "down"] };
  if (link.state === "ok" && link.full) return { word: "store is full: waits until key is used", kind: "quiet", mark: "●" };
  if (link.state === "waiting") return { word: link.series.length ? "waiting for its next block" : "waiting for its first block", kind: "quiet", mark: "…" };
  if (link.kind === "vendor") return { word: "gives key, on its vendor's word", kind: "good", mark: "✓" };
  if (link.refused && time - link.refused < RECOVERED_S) return { word: "recovered", kind: "good", mark: "↑" };
  return { word: "gives key", kind: "good", mark: "✓" };
}

export const network = new Network();

/** A border's state in words, and how it is drawn. */
export function borderState(border: Border): { word: string; kind: "good" | "bad" | "quiet"; mark: string } {
  if (border.state === "failing") return { word: `keys do not cross: ${border.why}`, kind: "bad", mark: "!" };
  if (border.state === "closed") return { word: "not open yet", kind: "quiet", mark: "…" };
  return border.out + border.in > 0 ? { word: "keys cross", kind: "good", mark: "✓" } : { word: "open, no key has crossed", kind: "quiet", mark: "◦" };
}
