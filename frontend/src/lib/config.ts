export type Config = {
  /** Origin of the API; empty when it serves these pages too, or a proxy does for both. */
  apiUrl: string;
};

/** Reads `/config.json`, with which an operator points one build at any environment. */
export async function readConfig(): Promise<Config> {
  try {
    const response = await fetch('/config.json');
    const { apiUrl } = (await response.json()) as Partial<Config>;
    return { apiUrl: (apiUrl ?? '').replace(/\/+$/, '') };
  } catch {
    // A bucket may answer with its error page. Beside the pages is where the API most likely is.
    return { apiUrl: '' };
  }
}
