/** What the server sends: see `noclone/web/board.py`. */

/** time, block, error rate, secret bits per second of light, gain of each intensity */
export type Point = [number, number, number | null, number, ...number[]];

export interface Funnel {
  block: number;
  detections: number;
  secret_bits: number;
  epsilon: number;
  proof: string;
  steps: { name: string; bits: number }[];
}

export interface LinkNow {
  name: string;
  state: "waiting" | "ok" | "refused" | "down" | "stopped";
  why: string;
  since: number;
  qber: number | null;
  /** Of continuous variables. */
  quadratures: { transmittance: number; excess: number; signal_to_noise: number; efficiency: number } | null;
  secret_bps: number | null;
  stored_bits: number | null;
  full: boolean;
  seconds_left: number | null;
  attack: { name: string; strength: number; since: number } | null;
  eve: Record<string, string | number | boolean | null> | null;
  funnel: Funnel | null;
  alarms: number;
  series: Point[];
  /** When its newest refused block was; the page's own note. */
  refused?: number;
  /** time, bits in store then */
  levels: [number, number][];
  /** Of a vendor's link alone. */
  blocks?: number;
  keys_lost?: number;
  origin?: string;
  seeded?: boolean;
}

interface Ends {
  alice: string;
  bob: string;
}

/** A link of simulated light: everything that its devices are is known. */
export interface FibreLink extends LinkNow, Ends {
  kind: "simulated";
  protocol: string;
  length_km: number;
  loss_db: number;
  clock_hz: number;
  qber_max: number;
  qber_expected: number | null;
  secret_bps_expected: number;
  seconds_per_block: number;
  intensities: number[];
  /** Which devices it trusts, as the end of a sentence; of decoy-state BB84 nothing is said. */
  trusts: string;
  /** Repeaters on its way. */
  between: string[];
  /** None where the link's light is of another kind, without such a receiver. */
  efficiency: number | null;
  dark_count_hz: number | null;
  misalignment: number | null;
}

/** A link that a vendor's equipment feeds: nobody here sees its light. */
export interface VendorLink extends LinkNow, Ends {
  kind: "vendor";
  vendor: string;
  epsilon: number | null;
  stock_bits: number;
}

export type Link = FibreLink | VendorLink;

export interface Border {
  domain: string;
  node: string;
  peer: string;
  applications: number;
  state: "closed" | "open" | "failing";
  why: string;
  since: number;
  out: number;
  in: number;
  failed: number;
}

export interface NodeNow {
  name: string;
  state: "serving" | "draining" | "drained";
  since: number;
}

export interface Node extends NodeNow {
  title: string;
  lat: number | null;
  lon: number | null;
  x: number;
  y: number;
}

export interface News {
  number: number;
  time: number;
  kind: string;
  subject: string;
  text: string;
  /** Of a change of mind: the lines that it rests on. */
  evidence?: { number: number; kind: string; text: string }[];
}

export interface Level {
  level: string;
  answer: "yes" | "conditional" | "no";
  question: string;
  conditions: string[];
  reasons: { text: string; evidence: string }[];
}

export interface Verdict {
  code: string;
  sentence: string;
  levels: Level[];
}

export interface Attack {
  name: string;
  /** Of the links that it is for; empty: any. */
  protocol: string;
  does: string;
  hopes: string;
  caught_by: string;
}

export interface Snapshot {
  version: string;
  number: number;
  now: number;
  speed: number | null;
  scenario: { name: string; title: string; description: string; lab: boolean; simulated: boolean; key_size_bits: number };
  nodes: Node[];
  applications: { id: string; node: string }[];
  links: Link[];
  borders: Border[];
  verdict: Verdict;
  news: News[];
  delivered: number;
  attacks: Attack[];
}

/** What is new of a link: all that changes, or only what is stored. */
export type LinkChange = Partial<LinkNow> & Pick<LinkNow, "name" | "series" | "levels">;

export interface Changes {
  number: number;
  now: number;
  links: LinkChange[];
  nodes?: NodeNow[];
  borders?: Border[];
  delivered: number;
  news?: News[];
  verdict?: Verdict;
}

export interface Coalitions {
  order: number | null;
  total: number;
  by_order: Record<string, number>;
  listed: string[][];
}

export interface KeyStory {
  key_ID: string;
  bits: number;
  master: string;
  state: string;
  kme: string;
  sites: string[];
  claim: string;
  words: string[];
  formula: string;
  atoms: Record<string, string>;
  minimal_cut_sets: Coalitions;
  epsilon: number;
}
