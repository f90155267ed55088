import type { components } from './schema';

type Body = components['schemas']['Problem'];

export type FieldError = components['schemas']['FieldError'];
export type Shortage = components['schemas']['Shortage'];

/** Why a request failed: a refusal of the API's (RFC 9457), or no answer of the API's at all. */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly status: number;
  /** The API's own word, such as `out_of_stock`, or `unreachable`. */
  readonly code: string;
  readonly fields: readonly FieldError[];
  readonly shortages: readonly Shortage[];
  readonly requestId: string | null;
  /** Seconds after which the API wants to be asked again. */
  readonly retryAfter: number | null;

  constructor(status: number, body: Partial<Body>, retryAfter: number | null = null) {
    super(body.error ?? body.title ?? 'The shop does not answer');
    this.status = status;
    this.code = body.code ?? 'unreachable';
    this.fields = body.errors ?? [];
    this.shortages = body.shortages ?? [];
    this.requestId = body.request_id ?? null;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later without anybody changing anything. */
  get passes(): boolean {
    return this.status === 0 || this.status === 429 || this.status === 503;
  }
}

export function unreachable(): Problem {
  return new Problem(0, {});
}

export async function problemOf(response: Response): Promise<Problem> {
  const body = await bodyOf(response);
  // Proxies answer in their own words while the API is away.
  if (!body && response.status >= 500) return unreachable();
  return new Problem(response.status, body ?? { code: 'unknown' }, retryAfterOf(response));
}

async function bodyOf(response: Response): Promise<Partial<Body> | null> {
  if (!response.headers.get('content-type')?.includes('json')) return null;
  try {
    return (await response.json()) as Partial<Body>;
  } catch {
    return null;
  }
}

function retryAfterOf(response: Response): number | null {
  const header = response.headers.get('retry-after');
  if (header === null) return null;
  const seconds = /^\d+$/.test(header)
    ? Number(header)
    : Math.ceil((Date.parse(header) - Date.now()) / 1000);
  return Number.isFinite(seconds) ? Math.max(1, seconds) : null;
}

export function asProblem(error: unknown): Problem {
  return error instanceof Problem
    ? error
    : new Problem(-1, { code: 'unknown', error: String(error) });
}
