import type { Readiness } from './queries';

export type Check = { name: string; status: string; milliseconds: number | null };

/** The process itself, then what it depends on. */
export function checksOf({ checks }: Readiness): Check[] {
  const { service, ...dependencies } = checks;
  const own = { name: 'service', status: service, milliseconds: null };
  const others = Object.entries(dependencies).map(([name, report]) => ({
    name,
    status: report.status,
    milliseconds: report.responseTimeMs,
  }));
  return [own, ...others.sort((a, b) => a.name.localeCompare(b.name))];
}
