export type Config = {
  /** Origin of the API; empty when it serves these pages too, or a proxy does for both. */
  apiUrl: string;
};

/** How long to wait before each further try, in ms, while nobody hands the file out. */
const WAITS = [500, 1000, 2000, 4000];

/** Reads `/config.json`, with which an operator points one build at any environment. */
export async function readConfig(): Promise<Config> {
  const response = await fetchConfig();
  try {
    const { apiUrl } = (await response?.json()) as Partial<Config>;
    return { apiUrl: (apiUrl ?? '').replace(/\/+$/, '') };
  } catch {
    // A bucket may answer with its error page. Beside the pages is where the API most likely is.
    return { apiUrl: '' };
  }
}

/** A moment without a server must not send the whole visit to another one. */
async function fetchConfig(): Promise<Response | undefined> {
  for (const wait of [...WAITS, undefined]) {
    const response = await fetch('/config.json').catch(() => undefined);
    if (response && response.status < 500) return response;
    if (wait) await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
