import { oneOf } from '../ui/listing';
import { endOfDay, startOfDay } from './day';
import type { ExportFilter } from './queries';
import { ORDER_STATUSES } from './transitions';

/** What the address of the list says; `from` and `to` are days in India, both of them included. */
export const FILTERS = ['status', 'from', 'to', 'user_id', 'number', 'sort'] as const;

export const SORTS = ['-created_at', 'created_at'] as const;

const NUMBER = /^#?[0-9a-f]{8}$/i;

/** Whether this is what customers see of an order's id, which the list can be narrowed to. */
export function isOrderNumber(text: string): boolean {
  return NUMBER.test(text);
}

type Filters = Record<(typeof FILTERS)[number], string>;

/** Which orders these filters mean, as the API takes them. What is no status, no day and no number is left out. */
export function ordersOf(filters: Filters): ExportFilter {
  const status = oneOf(ORDER_STATUSES, filters.status);
  const from = startOfDay(filters.from);
  const to = endOfDay(filters.to);
  return {
    ...(status && { status }),
    ...(from && { from }),
    ...(to && { to }),
    ...(filters.user_id && { user_id: filters.user_id }),
    ...(isOrderNumber(filters.number) && { number: filters.number }),
  };
}
