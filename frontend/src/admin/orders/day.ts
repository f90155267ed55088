const DAY = 24 * 60 * 60 * 1000;

/** The instant at which a day (`2026-01-31`) begins in India, or nothing if there is no such day. */
export function startOfDay(day: string): string | undefined {
  const start = new Date(`${day}T00:00:00+05:30`);
  return Number.isNaN(start.getTime()) ? undefined : start.toISOString();
}

/** The instant at which it is over. */
export function endOfDay(day: string): string | undefined {
  const start = startOfDay(day);
  return start && new Date(Date.parse(start) + DAY).toISOString();
}
