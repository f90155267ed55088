import createClient from 'openapi-fetch';
import { expectAnswer, reportAnswer, reportSilence } from '../connection/connection';
import { session } from '../session/session';
import { problemOf, unreachable } from './problem';
import type { paths } from './schema';

export type ApiClient = ReturnType<typeof createClient<paths>>;

/** Every route of the API. Set once before anything is rendered, because its address is known at run time only. */
export let api: ApiClient;

let baseUrl = '';

export function connectApi(url: string) {
  baseUrl = url;
  api = createClient<paths>({
    baseUrl,
    // The API marks in a cookie how new a database a browser must be shown, to see its own writes.
    credentials: 'include',
    fetch: fetchWithSession,
  });
}

export function apiUrl(path: string): string {
  return baseUrl + path;
}

/** What everybody may read does not wait for a session. */
const FOR_EVERYBODY = /\/api\/(products(?!\/off-sale$)|categories|health)/;
/** What makes a session cannot have one. */
const WITHOUT_SESSION =
  /\/api\/auth\/(login|signup|refresh|forgot-password|reset-password|verify-email$)/;

export function needsSession({ method, url }: Request): boolean {
  const { pathname } = new URL(url);
  if (method === 'GET' && FOR_EVERYBODY.test(pathname)) return false;
  return !WITHOUT_SESSION.test(pathname);
}

/** As the user, whose token is renewed when it has run out, before the request or because of it. */
export async function fetchWithSession(request: Request): Promise<Response> {
  const token = needsSession(request) ? await session.accessToken() : null;
  if (!token) return send(request);
  const again = request.clone();
  const response = await send(authorized(request, token));
  if (response.status !== 401) return response;
  const renewed = await session.renew(token);
  return renewed ? send(authorized(again, renewed)) : response;
}

function authorized(request: Request, token: string): Request {
  request.headers.set('authorization', `Bearer ${token}`);
  return request;
}

/** After this the page says that it is slow. A bank takes its time, for which the API is asked to wait. */
const SLOW_AFTER = 4000;
const SLOW_AFTER_WAITING = 12_000;
/** After this nobody answers: the API itself gives up a request before, but for an import, which it works on for long. */
const SILENT_AFTER = 20_000;
const SILENT_AFTER_IMPORTING = 150_000;

function isImport({ method, url }: Request): boolean {
  return method === 'POST' && new URL(url).pathname.endsWith('/api/products/import');
}

async function send(request: Request): Promise<Response> {
  const patience = new AbortController();
  request.signal.addEventListener('abort', () => patience.abort());
  if (request.signal.aborted) patience.abort();
  const isLong = isImport(request);
  const timer = setTimeout(() => patience.abort(), isLong ? SILENT_AFTER_IMPORTING : SILENT_AFTER);
  const answered = expectAnswer(
    isLong || request.headers.has('prefer') ? SLOW_AFTER_WAITING : SLOW_AFTER,
  );
  try {
    const response = await whole(await fetch(request, { signal: patience.signal }));
    reportAnswer(response);
    return response;
  } catch (error) {
    if (request.signal.aborted) throw error;
    reportSilence();
    throw unreachable();
  } finally {
    clearTimeout(timer);
    answered();
  }
}

/**
 * With its body, which may break off or not come either. Not so a stream of events, which may take for ever, or a file,
 * which takes as long as its size and the line want.
 */
async function whole(response: Response): Promise<Response> {
  const { status, statusText, headers } = response;
  if (!response.body || !headers.get('content-type')?.includes('json')) return response;
  return new Response(await response.arrayBuffer(), { status, statusText, headers });
}

type Answer = { data?: unknown; error?: unknown; response: Response };

/** The body of a success; a refusal is thrown as a `Problem`. */
export async function read<A extends Answer>(call: Promise<A>): Promise<NonNullable<A['data']>> {
  const { data, error, response } = await call;
  if (response.ok) return data as NonNullable<A['data']>;
  throw await problemOf(restored(response, error));
}

/** The client has consumed the body of a refusal; this puts it back for `problemOf`. */
function restored(response: Response, error: unknown): Response {
  const body = typeof error === 'string' ? error : JSON.stringify(error ?? null);
  return new Response(body, { status: response.status, headers: response.headers });
}
