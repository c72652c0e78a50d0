/** The network as the server tells it: one stream of changes in, one reactive object out. */

import type { Changes, Link, LinkNow, News, Snapshot, Verdict } from "./types";

const SERIES_MAX = 240;
const NEWS_MAX = 300;
const RECOVERED_S = 30;

class Network {
  about = $state.raw<Omit<Snapshot, "links" | "verdict" | "news"> | null>(null);
  links = $state<Record<string, Link>>({});
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
    const { links, verdict, news, ...about } = snapshot;
    this.about = about;
    this.links = Object.fromEntries(links.map((link) => [link.name, link]));
    this.verdict = verdict;
    this.news = news;
    this.delivered = snapshot.delivered;
    this.seen(snapshot.now);
  }

  private change(changes: Changes): void {
    for (const now of changes.links) this.update(now);
    this.delivered = changes.delivered;
    if (changes.news) this.news = [...this.news, ...changes.news].slice(-NEWS_MAX);
    if (changes.verdict) this.verdict = changes.verdict;
    this.seen(changes.now);
  }

  private update(now: LinkNow): void {
    const link = this.links[now.name];
    if (!link) return;
    const last = link.series.at(-1)?.[0] ?? 0;
    const { series, ...rest } = now;
    Object.assign(link, rest);
    const fresh = series.filter((point) => point[0] > last);
    if (fresh.length) link.series = [...link.series, ...fresh].slice(-SERIES_MAX);
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

/** A link's state in words, and how it is drawn. */
export function state(link: Link, time: number): { word: string; kind: "good" | "bad" | "quiet"; mark: string } {
  if (link.state === "down") return { word: "down", kind: "bad", mark: "✕" };
  if (link.state === "stopped") return { word: `stopped ${link.why}`, kind: "bad", mark: "■" };
  if (link.state === "refused") return { word: `no key: ${link.why}`, kind: "bad", mark: "!" };
  if (link.stored_bits === 0 && link.series.length > 0) return { word: "starved: no key left", kind: "bad", mark: "○" };
  if (link.state === "ok" && link.full) return { word: "store is full: waits until key is used", kind: "quiet", mark: "●" };
  if (link.state === "waiting") return { word: "waiting for its first block", kind: "quiet", mark: "…" };
  const refused = link.series.findLast((point) => point[3] === 0);
  if (refused && time - refused[0] < RECOVERED_S) return { word: "recovered", kind: "good", mark: "↑" };
  return { word: "gives key", kind: "good", mark: "✓" };
}

export const network = new Network();
