import type { ReactNode } from 'react';

export type Column<T> = {
  header: string;
  cell: (row: T) => ReactNode;
  numeric?: boolean;
  /** Short, and not to be broken: a date, a number, a status. */
  whole?: boolean;
};

type Props<T> = {
  caption: string;
  /** The first one names the row. */
  columns: readonly Column<T>[];
  rows: readonly T[];
  keyOf: (row: T) => string;
};

const CELL = 'py-1 md:px-3 md:py-2.5 md:align-top';

/** A table on a wide screen; on a narrow one each row is a card, in which every cell has its column's name. */
export function Table<T>({ caption, columns, rows, keyOf }: Props<T>) {
  return (
    <div className="overflow-hidden card">
      <table className="block w-full md:table">
        <caption className="sr-only">{caption}</caption>
        <thead className="max-md:sr-only">
          <tr className="border-b border-line bg-paper text-left text-sm text-muted">
            {columns.map(({ header, numeric }) => (
              <th
                key={header}
                scope="col"
                className={`px-3 py-2 font-semibold ${numeric ? 'text-right' : ''}`}
              >
                {header}
              </th>
            ))}
          </tr>
        </thead>
        <tbody className="block divide-y divide-line md:table-row-group">
          {rows.map((row) => (
            <tr key={keyOf(row)} className="block px-4 py-3 md:table-row">
              {columns.map(({ header, cell, numeric, whole }, index) =>
                index === 0 ? (
                  <th
                    key={header}
                    scope="row"
                    className={`block text-left font-semibold break-words md:table-cell ${CELL} ${whole ? 'md:whitespace-nowrap' : ''}`}
                  >
                    {cell(row)}
                  </th>
                ) : (
                  <td
                    key={header}
                    className={`flex items-baseline justify-between gap-4 md:table-cell ${CELL} ${numeric ? 'md:text-right md:tabular-nums' : ''} ${numeric || whole ? 'md:whitespace-nowrap' : ''}`}
                  >
                    {/* The column's header says it to those who hear the table. */}
                    <span aria-hidden="true" className="shrink-0 text-sm text-muted md:hidden">
                      {header}
                    </span>
                    <span
                      className={`min-w-0 text-right [overflow-wrap:anywhere] ${numeric ? '' : 'md:text-left'}`}
                    >
                      {cell(row)}
                    </span>
                  </td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
